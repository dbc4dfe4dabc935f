"""The documentation names only what exists: files, headings, and names of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "likepion_provider"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])

#: The terms that the catalogue of the interface has.
VIETNAMESE = ROOT / "docs/vi/glossary.md"
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
CODE = re.compile(r"`([^`\n]+)`")
#: A folder, or a file of a kind that the repository has.
PATH = re.compile(r"(?:[\w.-]+/)+|(?:[\w.-]+/)*[\w.-]+\.(?:py|md|yaml|toml|txt)")
#: A module of the package, or a name in one, e.g. ``journal.links.Link.presumed``.
DOTTED = re.compile(r"\w+(?:\.\w+)+")
#: What a user has, not the repository.
ELSEWHERE = {"airflow_local_settings.py"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(text_of(page)):
        file = (page.parent / unquote(target)).resolve() if target else page
        assert file.exists(), f"{name_of(page)} links to {target}, which is not there"
        assert file.is_relative_to(ROOT), f"{name_of(page)} links out of the repository: {target}"
        assert not anchor or anchor in anchors(file), f"{name_of(page)} links to {target}#{anchor}, no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_paths_exist(page: Path) -> None:
    for code in CODE.findall(text_of(page)):
        if PATH.fullmatch(code) and code not in ELSEWHERE:
            found = any((place / code).exists() for place in (ROOT, PACKAGE, page.parent))
            assert found, f"{name_of(page)} names {code}, which is not there"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_named_code_exists(page: Path) -> None:
    for code in CODE.findall(text_of(page)):
        if DOTTED.fullmatch(code) and is_ours(code):
            assert exists(code), f"{name_of(page)} names {code}, which is not in the code"


def translated() -> dict[str, str]:
    """English terms, each with the Vietnamese one: the rows of the list of words that have a word of their own."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", VIETNAMESE.read_text(encoding="utf-8"), re.MULTILINE)
    terms = {term.strip(): said for terms, said in rows[2:] for term in re.split(r", | \([^)]*\)", terms)}
    return {term: said for term, said in terms.items() if term and not re.search(rf"\b{term}\b", said, re.IGNORECASE)}


@pytest.mark.parametrize(
    "page", [each for each in PAGES if re.match(r"docs/vi/|.*\.vi\.md", name_of(each))], ids=name_of
)
def test_the_vietnamese_pages_have_the_terms_of_the_interface(page: Path) -> None:
    terms = translated()
    assert len(terms) > 30
    if page == VIETNAMESE:
        return
    # Names of things in Airflow's interface stand in italics, or in tables' code.
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)|(?<!\*)\*(?!\*)[^*\n]+\*(?!\*)|\*\*", " ", text_of(page))
    left = {term for term in terms if re.search(rf"(?<![\w-]){term}s?(?![\w-])", prose, re.IGNORECASE)}
    assert left == set(), {term: terms[term] for term in left}


def test_every_room_is_described() -> None:
    rooms = {path.name + ("/" if path.is_dir() else "") for path in PACKAGE.iterdir() if not path.name.startswith("_")}
    described = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    assert {room for room in rooms if f"`{room}`" not in described} == set()


def is_ours(code: str) -> bool:
    """Whether a dotted name is one of this package: ``feed.url`` is a recipe's, ``models.Feed`` is ours."""
    first, second, *_ = code.split(".")
    if first == "likepion_provider":
        return True
    room = _module(PACKAGE, first)
    return room is not None and (code != code.lower() or _module(room, second) is not None)


def exists(dotted: str) -> bool:
    """Whether a module, or a name in one, is there; nothing is imported."""
    module: Path | None = PACKAGE
    names = dotted.removeprefix("likepion_provider.").split(".")
    while module and module.is_dir() and names:
        module = _module(module, names[0])
        names = names[1:] if module else names
    if module is None:
        return False
    return _defines(ast.parse(module.read_text(encoding="utf-8")).body, names) if module.is_file() else True


def _module(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.py"):
        if path.exists():
            return path
    return None


def _defines(body: list[ast.stmt], names: list[str]) -> bool:
    if not names:
        return True
    for statement in body:
        if names[0] in _names(statement):
            return _defines(getattr(statement, "body", []), names[1:])
    return False


def _names(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (target.id for target in targets if isinstance(target, ast.Name))
