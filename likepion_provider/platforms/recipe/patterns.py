"""Regular expressions of recipes, by an engine that never goes back: the time is characters times pattern."""

from __future__ import annotations

import functools
from typing import Any

import re2

from likepion_provider.models import writable
from likepion_provider.web.work import Work, cut

#: RE2's own measure; a pattern of text has about one for each character.
MAX_PROGRAM_SIZE = 1000
#: So many characters, times the size, cost a step where RE2 is at its slowest.
_CHARS_PER_STEP = 100


@functools.lru_cache(maxsize=1000)
def compiled(pattern: str) -> Any:
    """Read a pattern.

    :raises ValueError: it is none, is too large, or needs what RE2 does not have, such as look-around.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        read = re2.compile(pattern, options)
    except re2.error as error:
        words = error.args[0]
        raise ValueError(words.decode(errors="replace") if isinstance(words, bytes) else str(words)) from None
    if read.programsize > MAX_PROGRAM_SIZE:
        raise ValueError(f"is larger than {MAX_PROGRAM_SIZE} instructions of RE2, it has {read.programsize}")
    return read


def first(pattern: str, text: str, work: Work) -> str:
    """The pattern's first group in a text, or all that it matches; empty where it does not.

    :raises PlatformChanged: it costs more than the page's work allows.
    """
    read, seen = compiled(pattern), writable(cut(text))
    work.spend(1 + len(seen) * read.programsize // _CHARS_PER_STEP)
    found = read.search(seen)
    return (found[(found.lastindex and 1) or 0] or "") if found else ""
