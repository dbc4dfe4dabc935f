"""What the site has beside the files of docs/: pages of the root, the commands' own help, and what ran a block."""

from __future__ import annotations

import argparse
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from likepion_provider.cli import parser

ROOT = Path(__file__).parents[2]
#: Pages of the root, and where they stand on the site.
ROOT_PAGES = {
    "README.md": "index.md",
    "README.vi.md": "vi/index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "tests/benchmarks/results.md": "performance-results.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
MARK = re.compile(r"^<!-- (run by|not run): (.*?) -->$", re.MULTILINE)
HELP = "<!-- the help of every command -->"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Bring in the pages of the root."""
    for source, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links of the repository to pages of the site, say what ran a block, and put the help in."""
    place = page.file.src_uri
    source = next((name for name, to in ROOT_PAGES.items() if to == place), f"docs/{place}")
    markdown = LINK.sub(lambda link: _led(link, PurePosixPath(source), place), markdown)
    markdown = MARK.sub(lambda mark: f"*{mark[1].capitalize()}: {mark[2]}*\n", markdown)
    return markdown.replace(HELP, "\n\n".join(_help())) if HELP in markdown else markdown


def _led(link: re.Match[str], source: PurePosixPath, place: str) -> str:
    image, words, target, anchor = link.groups()
    file = posixpath.normpath(source.parent / target)
    on_site = ROOT_PAGES.get(file) or (file.removeprefix("docs/") if file.startswith("docs/") else "")
    if not on_site:
        # A file of the repository that is no page.
        return f"`{file}`"
    return f"{image}[{words}]({posixpath.relpath(on_site, posixpath.dirname(place) or '.')}{anchor or ''})"


def _help() -> Iterator[str]:
    """Each command's help, in the order in which the parser has them."""
    for command in _commands(parser()):
        command.formatter_class = lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=100)
        yield f"## `{command.prog}`\n\n```text\n{command.format_help()}```"


def _commands(command: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield command
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _commands(each)
