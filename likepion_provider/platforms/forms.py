"""HTML forms: what an importer needs of them."""

from __future__ import annotations

from html.parser import HTMLParser


def hidden_fields(html: str) -> dict[str, str]:
    """The hidden inputs of a page, by name; of repeated names the first."""
    reader = _Inputs()
    reader.feed(html)
    reader.close()
    return reader.hidden


class _Inputs(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.hidden: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and (given.get("type") or "").lower() == "hidden" and given.get("name"):
            self.hidden.setdefault(str(given["name"]), given.get("value") or "")
