"""What the docstrings say in reStructuredText, in Markdown: roles and blocks of code."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|meth|func|mod|data|attr):`(?:~[\w.]*\.)?([\w.]+)(?: <[\w.]+>)?`")
BLOCK = re.compile(r"^( *)\.\. code-block:: (\w+)\n\n((?:\1    .*\n?|\s*\n)+)", re.MULTILINE)


class Markdown(griffe.Extension):
    """Turns each docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Turn one docstring."""
        if obj.docstring:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = BLOCK.sub(_fenced, text)


def _fenced(block: re.Match[str]) -> str:
    indent, language, code = block.groups()
    inner = textwrap.dedent(code).strip("\n")
    return textwrap.indent(f"```{language}\n{inner}\n```", indent) + "\n\n"
