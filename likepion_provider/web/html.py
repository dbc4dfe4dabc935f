"""HTML forms: what an importer needs of them."""

from __future__ import annotations

from html.parser import HTMLParser


def hidden_fields(html: str) -> dict[str, str]:
    """The hidden inputs of a page, by name; of repeated names the first."""
    return _read(html).hidden


def controls(html: str) -> dict[str, str]:
    """What the inputs and selections of a page hold, by name; of repeated names the first."""
    return _read(html).controls


def links(html: str) -> list[str]:
    """Where the links of a page lead."""
    return _read(html).links


def _read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.hidden: dict[str, str] = {}
        self.controls: dict[str, str] = {}
        self.links: list[str] = []
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        name, value = given.get("name", ""), given.get("value", "")
        if tag == "input" and name:
            self.controls.setdefault(name, value)
            if given.get("type", "").lower() == "hidden":
                self.hidden.setdefault(name, value)
        elif tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and ("selected" in given or self._select not in self.controls):
            self.controls[self._select] = value

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""
