"""Everything in the package's source that a person reads, as messages for the catalogues.

What :func:`~likepion_provider.words.t` and ``tn`` are called with is a message, as everywhere with gettext. The words
of errors are messages too, though nothing marks them: they stand in known places, or are sentences of their own.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from likepion_provider import errors
from likepion_provider.words import FIELD, MESSAGE, STATE

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "likepion_provider"
#: Developers read what these say.
LEFT_OUT = (
    "__init__.py",
    "hooks/marks.py",
    "sandbox",
    "testing",
    "cli/new_platform",
    "example_dags",
    "hooks/output.py",
    "words.py",
)
ERRORS = {name for name in vars(errors) if isinstance(getattr(errors, name), type)} - {"NoImporter"}
#: Variables, attributes and keywords that hold words of an error or of a report.
NAMES = {
    "message",
    "remedy",
    "words",
    "why",
    "reason",
    "by_itself",
    "by_person",
    "stalled",
    "said",
    "hint",
    "found",
    "evidence",
    "lacking",
    "doubts",
}
#: Functions that return such words.
RETURNING = {"instructions", "_reason", "questions", "schema", "age", "space", "counts", "integrity"}
#: Methods that put the words that they take into a sentence: the sentence is the message.
FRAMES = {
    "failed": "{title} %s",
    "by_itself": "it %s",
    "_transient": "the feed {feed} %s",
    "_invalid": "the feed {feed} %s ({where})",
    "_too_large": "{platform}: the site has %s for one visit",
    "Rereading": "%s",
}
#: The same, where a file says them into a variable or in a way of its own.
FRAMES_OF = {
    "feed/process.py": {"_refused": "the feed {feed} %s (document)"},
    "platforms/importers/wordpress_ssp.py": {"words": "{title} %s"},
    "manager/protocol.py": {"_unclear": "%s", "Loss": "{endpoint}: %s ({detail})"},
    "web/http.py": {"words": "{platform}: {host} %s", "kind": "%s"},
}
FEWEST_LETTERS = 6
#: Words for logs, patterns and SQL.
SILENT = re.compile(r"(^|\.)_?log(ger)?\.\w+$|^re\.\w+$|^text$")


_TEXT = r'"(?:[^"\\]|\\.)*"'
#: What the page's functions are called with that say something.
SAID_BY_PAGE = re.compile(
    rf"\b(?:t|parts)\(\s*(?P<text>{_TEXT})|\bplural\([^\"]*,\s*(?P<one>{_TEXT}),\s*(?P<many>{_TEXT})"
)


class Message(NamedTuple):
    """A message of a catalogue; ``many`` where it counts."""

    name: str
    many: str = ""
    context: str = ""


def gathered() -> dict[Message, list[tuple[str, int]]]:
    """Every message, with the places where it is said."""
    found: dict[Message, list[tuple[str, int]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).as_posix()
        if not where.startswith(LEFT_OUT):
            for line, message in _of_python(ast.parse(path.read_text(encoding="utf-8")), where):
                found.setdefault(message, []).append((path.relative_to(ROOT).as_posix(), line))
    for message, place in of_board():
        found.setdefault(message, []).append(place)
    return found


def of_board() -> Iterator[tuple[Message, tuple[str, int]]]:
    """What the board's page says by itself."""
    for path in sorted((PACKAGE / "board/static").glob("*.js")):
        script = path.read_text(encoding="utf-8")
        for call in SAID_BY_PAGE.finditer(script):
            words = [json.loads(each) for each in call.groups() if each]
            yield Message(*words), (path.relative_to(ROOT).as_posix(), script.count("\n", 0, call.start()) + 1)
    page = PACKAGE / "board/static/board.html"
    reader = _PageReader()
    reader.feed(page.read_text(encoding="utf-8"))
    for line, text in reader.found:
        yield Message(text), (page.relative_to(ROOT).as_posix(), line)


class _PageReader(HTMLParser):
    """The texts of the page, as ``words.js`` looks them up: an element's own text, and some attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, str]] = []
        self._as_it_is = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if ("translate", "no") in attributes:
            self._as_it_is = tag
        for name, value in attributes:
            if name in ("aria-label", "placeholder", "title"):
                self._add(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._as_it_is:
            self._as_it_is = ""

    def handle_data(self, text: str) -> None:
        if not self._as_it_is:
            self._add(text)

    def _add(self, text: str) -> None:
        if re.search("[A-Za-z]", text):
            self.found.append((self.getpos()[0], " ".join(text.split())))


def _of_python(tree: ast.Module, where: str) -> Iterator[tuple[int, Message]]:
    if where == "models.py":
        yield from _states(tree)
    yield from _Reader(FRAMES | FRAMES_OF.get(where, {})).read(tree)


def _states(tree: ast.Module) -> Iterator[tuple[int, Message]]:
    for each in tree.body:
        if isinstance(each, ast.ClassDef) and any(ast.unparse(base) == "Enum" for base in each.bases):
            for row in each.body:
                if isinstance(row, ast.Assign) and isinstance(row.value, ast.Constant):
                    yield row.lineno, Message(str(row.value.value), context=STATE)


class _Reader(ast.NodeVisitor):
    def __init__(self, frames: dict[str, str]) -> None:
        self._frames = frames
        self.found: list[tuple[int, Message]] = []
        self._functions: list[str] = []

    def read(self, tree: ast.AST) -> list[tuple[int, Message]]:
        self.visit(tree)
        return self.found

    def visit_Call(self, call: ast.Call) -> None:
        name = ast.unparse(call.func)
        last = name.rpartition(".")[2]
        if name in ("t", "tn"):
            words = [each.value for each in call.args[: 1 if name == "t" else 2] if isinstance(each, ast.Constant)]
            if words:
                self.found.append((call.lineno, Message(*words)))
            self._all(call.keywords)
            return
        if SILENT.search(name):
            return
        if call.args and (last in ERRORS or last in self._frames or name == "super().__init__"):
            self._take(call.args[1 if last == "_unclear" else 0], self._frames.get(last, "%s"))
        self.generic_visit(call)

    def visit_keyword(self, keyword: ast.keyword) -> None:
        if keyword.arg in NAMES:
            self._take(keyword.value, self._frames.get(keyword.arg, "%s"))
        self.generic_visit(keyword)

    def visit_Assign(self, row: ast.Assign) -> None:
        targets = row.targets[0]
        pairs = [(targets, row.value)]
        if isinstance(targets, ast.Tuple) and isinstance(row.value, ast.Tuple):
            pairs = list(zip(targets.elts, row.value.elts, strict=True))
        for target, value in pairs:
            name = ast.unparse(target).rpartition(".")[2].lstrip("_")
            if name in NAMES:
                self._take(value, self._frames.get(name, "%s"))
        self.generic_visit(row)

    def visit_AnnAssign(self, row: ast.AnnAssign) -> None:
        if row.value is not None:
            self.visit(row.value)

    def visit_Return(self, row: ast.Return) -> None:
        if row.value is not None:
            if self._functions and self._functions[-1] in RETURNING:
                self._take(row.value)
            self.visit(row.value)

    def visit_FunctionDef(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._functions.append(function.name)
        self._all([*function.args.defaults, *filter(None, function.args.kw_defaults), *_undocumented(function.body)])
        self._functions.pop()

    def visit_AsyncFunctionDef(self, function: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(function)

    def visit_ClassDef(self, body: ast.ClassDef) -> None:
        for row in body.body if body.name in self._frames else ():
            if isinstance(row, ast.Assign):
                self._take(row.value, self._frames[body.name])
        self._all(_undocumented(body.body))

    def visit_Module(self, module: ast.Module) -> None:
        self._all(_undocumented(module.body))

    def visit_Constant(self, constant: ast.Constant) -> None:
        self._sentence(constant)

    def visit_JoinedStr(self, text: ast.JoinedStr) -> None:
        self._sentence(text)
        self._all([each for each in text.values if isinstance(each, ast.FormattedValue)])

    def visit_FormattedValue(self, field: ast.FormattedValue) -> None:
        self.visit(field.value)

    def _all(self, nodes: list[ast.AST]) -> None:
        for each in nodes:
            self.visit(each)

    def _sentence(self, node: ast.expr) -> None:
        """Words that are a sentence of their own are a remedy, wherever they stand."""
        for text in variants(node):
            if re.match(r"[A-Z{]", text) and text.endswith(".") and len(_own_words(text)) > 2:
                self._add(node.lineno, text)

    def _take(self, node: ast.expr, frame: str = "%s") -> None:
        for text in variants(node):
            self._add(node.lineno, frame.replace("%s", text))

    def _add(self, line: int, text: str) -> None:
        text = _numbered(text)
        between = FIELD.split(text)[::2]
        # Fields side by side cannot be told apart; and too few letters say too little of where a text comes from.
        letters = sum(map(len, _own_words(text)))
        if " " in text and "%s" not in text and letters >= FEWEST_LETTERS and all(between[1:-1]):
            self.found.append((line, Message(text, context=MESSAGE)))


def variants(node: ast.expr) -> list[str]:
    """The texts that an expression may make, with facts as ``{name}``; none where it makes no text of its own."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        parts = [_variants_in(each) for each in node.values]
        return ["".join(each) for each in itertools.product(*parts)]
    if isinstance(node, ast.IfExp):
        return [*variants(node.body), *variants(node.orelse)]
    if isinstance(node, ast.BoolOp):
        return [text for each in node.values for text in variants(each)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = [variants(each) or [_field(each)] for each in (node.left, node.right)]
        return ["".join(each) for each in itertools.product(*sides)]
    if isinstance(node, ast.List):
        return [text for each in node.elts for text in variants(each)]
    if isinstance(node, ast.Dict):
        return [text for key in node.keys if key for text in variants(key)]
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "counted":
        return _counted(node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("lstrip", "rstrip"):
        return variants(node.func.value)
    return []


def _variants_in(part: ast.expr) -> list[str]:
    if isinstance(part, ast.FormattedValue):
        # A piece of the sentence, or a fact in it.
        own = variants(part.value) if isinstance(part.value, ast.IfExp | ast.Call) else []
        return own or [_field(part.value)]
    return variants(part)


def _counted(call: ast.Call) -> list[str]:
    """What :func:`likepion_provider.plurals.counted` makes."""
    number, *nouns = call.args
    words = [str(each.value) for each in nouns if isinstance(each, ast.Constant)]
    return [f"{_field(number)} {word}" for word in (words if len(words) > 1 else [words[0], f"{words[0]}s"])]


def _field(node: ast.expr) -> str:
    names = re.findall(r"[A-Za-z_]\w*", re.sub(r"'[^']*'", "", ast.unparse(node)))
    names = [each for each in names if each not in ("self", "join", "map", "len", "str", "repr", "value", "quoted")]
    return "{" + (names[-1].lower().strip("_") if names else "fact") + "}"


def _numbered(text: str) -> str:
    """The text, with no name of a field twice."""
    seen: dict[str, int] = {}

    def named(field: re.Match[str]) -> str:
        seen[field[1]] = seen.get(field[1], 0) + 1
        return field[0] if seen[field[1]] == 1 else f"{{{field[1]}_{seen[field[1]]}}}"

    return FIELD.sub(named, text)


def _own_words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]{2,}", FIELD.sub(" ", text))


def _undocumented(body: list[ast.stmt]) -> list[ast.stmt]:
    return [each for each in body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))]
