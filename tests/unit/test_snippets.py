"""Every block of commands or code in the documentation is run by a test, or says that it is not, and why.

Above a block stands ``<!-- run by: FILE, ... -->`` or ``<!-- not run: why -->``; readers of the site see it too. A file
that is named reads the page; ``.ci/run`` has the same commands. The Vietnamese pages have the blocks of the English
ones, as ``test_readme.py`` sees.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from likepion_provider.cli import parser

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).relative_to(ROOT).as_posix()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCK = re.compile(r"(?:^<!-- (run by|not run): (.+?) -->\n)?^```(\w+)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
#: What shows, and does nothing.
SHOWN = ("text",)


class Block(NamedTuple):
    """A fenced block."""

    page: Path
    mark: str
    words: str
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.text.strip().splitlines()[0][:30]}"

    def is_run_by(self, path: str) -> bool:
        return self.mark == "run by" and path in self.words.split(", ")


BLOCKS = [
    Block(page, *found)
    for page in PAGES
    if page.parent.name != "vi"
    for found in BLOCK.findall(page.read_text(encoding="utf-8"))
    if found[2] not in SHOWN
]


def named(blocks: list[Block]) -> list[object]:
    return [pytest.param(each, id=each.name) for each in blocks]


@pytest.mark.parametrize("block", named(BLOCKS))
def test_a_block_says_what_runs_it(block: Block) -> None:
    assert block.mark, "say above it what runs it, or that nothing does and why"
    if block.mark == "not run":
        return
    for name in block.words.split(", "):
        reader = (ROOT / name).read_text(encoding="utf-8")
        if name == ".ci/run":
            assert {
                each for each in re.findall(r"^make [a-z]+", block.text, re.MULTILINE) if each not in reader
            } == set()
        else:
            assert name == HERE or block.page.name in reader, f"{name} does not read {block.page.name}"


@pytest.mark.parametrize("block", named([each for each in BLOCKS if each.language == "python"]))
def test_python_can_be_read(block: Block) -> None:
    compile(block.text, block.name, "exec")


@pytest.mark.parametrize("block", named([each for each in BLOCKS if each.is_run_by(HERE)]))
def test_what_this_file_runs_works(block: Block, tmp_path: Path) -> None:
    if block.language == "python":
        exec(compile(block.text, block.name, "exec"), {"__name__": "docs"})
    else:
        environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
        done = subprocess.run(
            ["bash", "-euc", block.text], env=environment, cwd=tmp_path, capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr


def commands() -> Iterator[object]:
    """Each line that calls ``likepion``, in blocks; and the words of each in the text, as far as they are commands."""
    for block in BLOCKS:
        for line in re.findall(r"^likepion .*$", block.text.replace("\\\n", " "), re.MULTILINE):
            yield pytest.param(shlex.split(line, comments=True)[1:], id=line[:60])


@pytest.mark.parametrize("words", [*commands()])
def test_a_command_is_one_that_there_is(words: list[str]) -> None:
    parser().parse_args(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_text_are_there(page: Path) -> None:
    known = {each.prog for each in every(parser())}
    for code in re.findall(r"`(likepion [a-z][^`]*)`", page.read_text(encoding="utf-8")):
        words = re.match(r"likepion(?: [a-z-]+)*", " ".join(code.split()))
        assert words
        longest = next(each for each in prefixes(words[0]) if each in known)
        assert len(longest.split()) > 1, code
        options = re.findall(r"(?<= )--[a-z-]+", code)
        (command,) = [each for each in every(parser()) if each.prog == longest]
        assert {*options} <= {*command._option_string_actions}, code


def test_the_page_of_commands_has_every_one() -> None:
    page = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    leaves = {each.prog for each in every(parser()) if not each._subparsers}
    assert set(re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)) == leaves


def prefixes(words: str) -> Iterator[str]:
    parts = words.split()
    yield from (" ".join(parts[:number]) for number in range(len(parts), 0, -1))


def every(command: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield command
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from every(each)
