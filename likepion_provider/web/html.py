"""HTML as importers read it: forms, links, tables and lists, found in one linear pass."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
from typing import NamedTuple


class Anchor(NamedTuple):
    """Where a link leads, as the page writes it, and the text that it shows."""

    href: str
    text: str


@dataclasses.dataclass(frozen=True)
class TableRow:
    """A row of a table: what its cells show, and the links in it."""

    cells: list[str] = dataclasses.field(default_factory=list)
    anchors: list[Anchor] = dataclasses.field(default_factory=list)


class Html(HTMLParser):
    """What is on a page. Texts have single spaces between words.

    :param text: the page's source.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        #: What inputs and selections hold, by name; of repeated names the first.
        self.controls: dict[str, str] = {}
        #: For each selection by name: its options' values, by the text that they show.
        self.options: dict[str, dict[str, str]] = {}
        self.anchors: list[Anchor] = []
        self.rows: list[TableRow] = []
        #: The items of lists, each with its list's class.
        self.items: list[tuple[str, str]] = []
        self._texts: list[str] = []
        #: For each tag that is open: where its text begins, and its address or value.
        self._open: dict[str, tuple[int, str]] = {}
        self._select = ""
        self._row: TableRow | None = None
        self._lists: list[str] = []
        self.feed(text)
        self.close()
        for tag in tuple(self._open):
            self.handle_endtag(tag)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See :class:`html.parser.HTMLParser`."""
        given = {name: value or "" for name, value in attrs}
        name, value = given.get("name", ""), given.get("value", "")
        if tag in ("a", "option", "td"):
            self.handle_endtag(tag)  # HTML lets authors leave the end out
        if tag in ("a", "li", "option", "td"):
            self._open[tag] = len(self._texts), value if tag == "option" else given.get("href", "")
        if tag == "input" and name:
            self.controls.setdefault(name, value)
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and ("selected" in given or self._select not in self.controls):
            self.controls[self._select] = value
        elif tag == "tr":
            self._row = TableRow()
            self.rows.append(self._row)
        elif tag == "ul":
            self._lists.append(given.get("class", ""))

    def handle_data(self, data: str) -> None:
        """See :class:`html.parser.HTMLParser`."""
        self._texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        """See :class:`html.parser.HTMLParser`."""
        if tag in self._open:
            begin, given = self._open.pop(tag)
            self._take(tag, given, " ".join("".join(self._texts[begin:]).split()))
        elif tag == "select":
            self.handle_endtag("option")
            self._select = ""
        elif tag == "tr":
            self.handle_endtag("td")
            self._row = None
        elif tag == "ul" and self._lists:
            self._lists.pop()

    def _take(self, tag: str, given: str, text: str) -> None:
        if tag == "a" and given:
            self.anchors.append(Anchor(given, text))
            if self._row:
                self._row.anchors.append(Anchor(given, text))
        elif tag == "option" and self._select:
            self.options.setdefault(self._select, {})[text] = given
        elif tag == "td" and self._row:
            self._row.cells.append(text)
        elif tag == "li" and self._lists:
            self.items.append((self._lists[-1], text))
