"""HTML as importers read it: forms, links, tables and lists; one parser for all, linear and bounded.

lxml's parser hands its events over as they come. The trees of lxml and of lexbor are not built: both look through all
attributes of a tag for each one, lexbor through all open tags for each ``<p>``, so that 1 MB takes them minutes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

from likepion_provider.web.work import CHARS_PER_STEP, TooMuch, Work, cut

#: No page of HTML is read beyond these.
MAX_HTML_CHARS = 4 * 1024 * 1024
MAX_ELEMENTS = 32_000
MAX_DEPTH = 128
_CHUNK_CHARS = 64 * 1024
#: What is in them is no text of the elements around.
_UNSEEN = frozenset({"script", "style"})
#: What most elements have; shared, since each object that a page makes also costs the collector of garbage.
_NO_ATTRIBUTES: dict[str, str] = {}
_NO_KINDS: dict[str, int] = {}


class Anchor(NamedTuple):
    """Where a link leads, as the page writes it, and the text that it shows."""

    href: str
    text: str


class TableRow(NamedTuple):
    """A row of a table: what its cells show, and the links in it."""

    cells: list[str]
    anchors: list[Anchor]


class Element:
    """A tag with what is in it.

    :param number: its place in the document's order; those in it have the numbers up to ``end``, exclusive.
    """

    __slots__ = (
        "_page",
        "attributes",
        "child_count",
        "classes",
        "end",
        "kinds",
        "number",
        "of_kind",
        "parent",
        "position",
        "tag",
        "text_begin",
        "text_end",
    )

    def __init__(self, page: Html, tag: str, attributes: dict[str, str], parent: Element | None) -> None:
        self._page = page
        self.tag = tag
        self.attributes = attributes
        self.classes = frozenset(attributes["class"].split()) if "class" in attributes else frozenset()
        self.parent = parent
        #: How many children it has, and how many of each tag.
        self.child_count = 0
        self.kinds: dict[str, int] = _NO_KINDS
        #: Which of its parent's children it is, and which of those of its tag, from 1.
        self.position = self.of_kind = 1
        self.number = self.end = self.text_begin = self.text_end = 0

    def get(self, name: str) -> str:
        """An attribute; empty where there is none."""
        return self.attributes.get(name, "")

    @property
    def inside(self) -> list[Element]:
        """Everything in it, in the document's order."""
        return self._page.elements[self.number + 1 : self.end]

    def find(self, *tags: str) -> Iterator[Element]:
        """Everything in it that is such a tag."""
        self._page.work.spend(self.end - self.number)
        return (each for each in self.inside if each.tag in tags)

    def text(self, between: str = "") -> str:
        """What it shows, with single spaces between words.

        :param between: what goes between two pieces of text that a tag parts.
        """
        return " ".join(between.join(self.pieces()).split())

    def pieces(self) -> list[str]:
        """What it shows, as it is written, parted by tags."""
        return self._page.pieces(self)


class Html:
    """What is on a page.

    :param text: the page's source.
    :param work: what may be done with the page.
    :raises TooMuch: it is larger than the bounds, or as ``work`` has it.
    """

    def __init__(self, text: str, work: Work | None = None) -> None:
        self.work = work or Work()
        self.root = Element(self, "", {}, None)
        #: The root and everything in it, in the document's order.
        self.elements: list[Element] = [self.root]
        #: The numbers of what selectors found on the whole page, by selector.
        self.found: dict[str, list[int]] = {}
        self._texts: list[str] = []
        #: Of these texts, those that are not shown.
        self._unseen: list[bool] = []
        self._read(text)
        self.root.end, self.root.text_end = len(self.elements), len(self._texts)

    @functools.cached_property
    def controls(self) -> dict[str, str]:
        """What inputs and selections hold, by name; of repeated names the first."""
        found: dict[str, str] = {}
        for each in self.root.find("input", "select"):
            if name := each.get("name"):
                if each.tag == "input":
                    found.setdefault(name, each.get("value"))
                elif (option := chosen(each)) is not None:
                    found.setdefault(name, option.get("value"))
        return found

    @functools.cached_property
    def options(self) -> dict[str, dict[str, str]]:
        """For each selection by name: its options' values, by the text that they show."""
        selects = [each for each in self.root.find("select") if each.get("name")]
        found: dict[str, dict[str, str]] = {}
        for select in selects:
            held = found.setdefault(select.get("name"), {})
            held.update({option.text(): option.get("value") for option in select.find("option")})
        return found

    @functools.cached_property
    def anchors(self) -> list[Anchor]:
        """Every link, in the document's order."""
        return [_anchor(each) for each in self.root.find("a") if each.get("href")]

    @functools.cached_property
    def rows(self) -> list[TableRow]:
        """The rows of tables; what is in a table in a table belongs to the inner one's row."""
        rows: dict[Element, TableRow] = {}
        for each, row in self._within("tr"):
            if each.tag == "tr":
                rows[each] = TableRow([], [])
            elif row and each.tag == "td":
                rows[row].cells.append(each.text())
            elif row and each.tag == "a" and each.get("href"):
                rows[row].anchors.append(_anchor(each))
        return list(rows.values())

    @functools.cached_property
    def items(self) -> list[tuple[str, str]]:
        """The items of lists, each with its list's class."""
        return [(of.get("class"), each.text()) for each, of in self._within("ul") if of and each.tag == "li"]

    def _within(self, tag: str) -> Iterator[tuple[Element, Element | None]]:
        """Every element, and the nearest one of a tag that it is in."""
        self.work.spend(len(self.elements))
        nearest: list[Element | None] = [None]
        for each in self.root.inside:
            of = nearest[each.parent.number] if each.parent else None
            yield each, of
            nearest.append(each if each.tag == tag else of)

    def pieces(self, element: Element) -> list[str]:
        """See :meth:`Element.pieces`."""
        begin, end = element.text_begin, element.text_end
        shown = [
            text for text, unseen in zip(self._texts[begin:end], self._unseen[begin:end], strict=True) if not unseen
        ]
        if element.tag in _UNSEEN:
            shown = self._texts[begin:end]
        self.work.spend(1 + end - begin + sum(map(len, shown)) // CHARS_PER_STEP)
        return shown

    # --- the parser's events ---

    def _read(self, text: str) -> None:
        if len(text) > MAX_HTML_CHARS:
            raise self.work.refuse(f"HTML of at most {MAX_HTML_CHARS} characters")
        from lxml.etree import HTMLParser, XMLSyntaxError  # late: not every run meets HTML

        self._open = [self.root]
        parser = HTMLParser(target=self, huge_tree=True)
        # In pieces, since an error of ours ends the reading with the piece that it came up in.
        for begin in range(0, len(text), _CHUNK_CHARS):
            # A NUL would end the parser's text.
            parser.feed(text[begin : begin + _CHUNK_CHARS].replace("\0", "\ufffd"))
        try:
            parser.close()
        except XMLSyntaxError:  # nothing in it
            return

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """See lxml's parser target."""
        if len(self.elements) > MAX_ELEMENTS:
            raise self.work.refuse(f"HTML of at most {MAX_ELEMENTS} elements")
        if len(self._open) > MAX_DEPTH:
            raise self.work.refuse(f"HTML that is at most {MAX_DEPTH} elements deep")
        parent = self._open[-1]
        # lxml's own mapping of none is slow to copy.
        element = Element(self, tag, dict(attributes) if attributes else _NO_ATTRIBUTES, parent)
        element.position = parent.child_count = parent.child_count + 1
        if element.position == 1:
            parent.kinds = {}
        element.of_kind = parent.kinds[tag] = parent.kinds.get(tag, 0) + 1
        element.number, element.text_begin = len(self.elements), len(self._texts)
        self.elements.append(element)
        self._open.append(element)

    def end(self, tag: str) -> None:
        """See lxml's parser target."""
        if len(self._open) > 1:
            element = self._open.pop()
            element.end, element.text_end = len(self.elements), len(self._texts)

    def data(self, text: str) -> None:
        """See lxml's parser target."""
        self._texts.append(text)
        self._unseen.append(self._open[-1].tag in _UNSEEN)

    def comment(self, text: str) -> None:
        """See lxml's parser target."""

    def close(self) -> None:
        """See lxml's parser target."""
        while len(self._open) > 1:
            self.end("")


def chosen(select: Element) -> Element | None:
    """The option that a selection holds: the last one that is marked, else the first."""
    options = list(select.find("option"))
    marked = [each for each in options if "selected" in each.attributes]
    return marked[-1] if marked else options[0] if options else None


def shown_text(html: str) -> str:
    """What a piece of HTML shows: without tags, with its characters' names read. Empty where it is too much."""
    try:
        return Html(cut(html)).root.text()
    except TooMuch:
        return ""


def _anchor(element: Element) -> Anchor:
    return Anchor(element.get("href"), element.text())
