"""Values out of pages: CSS selectors on HTML, JSONPath on JSON."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import bs4
import jsonpath

from likepion_provider.platforms.recipe.shape import Form, Selector
from likepion_provider.web.page import Page


@dataclasses.dataclass(frozen=True)
class Scope:
    """A page, or one row of it."""

    page: Page
    html: bs4.Tag | None = None
    data: Any = None

    def value(self, selector: Selector) -> str:
        """The first value that is not empty; empty where there is none."""
        return next(filter(None, (_cut(selector, text) for text in self._texts(selector))), "")

    def has(self, selector: Selector) -> bool:
        """Whether there is an element, or a value that is not empty."""
        if selector.css and not selector.attr and not selector.match:
            return bool(self._select(selector.css))
        return bool(self.value(selector))

    def needed(self, name: str, selector: Selector) -> str:
        """A value that must be there.

        :raises PlatformChanged: it is not.
        """
        if value := self.value(selector):
            return value
        raise self.page.changed(f"{name} ({selector})")

    def there(self, name: str, selector: Selector) -> str:
        """Empty, where the element is there without a value.

        :raises PlatformChanged: there is no such element.
        """
        if not selector.css or not self._select(selector.css):
            raise self.page.changed(f"{name} ({selector})")
        return ""

    def rows(self, selector: Selector) -> list[Scope]:
        """Every part of the page that the selector finds.

        :raises PlatformChanged: a path that ends at a list does not find it.
        """
        if selector.css:
            return [dataclasses.replace(self, html=tag) for tag in self._select(selector.css)]
        path = selector.json_path or ""
        found = jsonpath.findall(path, self._json)
        if not found and not path.endswith("]"):
            raise self.page.changed(f"the list {path}")
        # A path that ends at a list means its members.
        rows = found[0] if len(found) == 1 and isinstance(found[0], list) else found
        return [dataclasses.replace(self, data=row) for row in rows]

    def _select(self, css: str) -> list[bs4.Tag]:
        root = self.html if self.html is not None else soup(self.page)
        return [root] if css == ":scope" else list(root.select(css))

    @property
    def _json(self) -> Any:
        return self.data if self.data is not None else self.page.json()

    def _texts(self, selector: Selector) -> Iterator[str]:
        if selector.css:
            for tag in self._select(selector.css):
                yield str(tag.get(selector.attr) or "") if selector.attr else " ".join(tag.get_text(" ").split())
        else:
            for each in jsonpath.findall(selector.json_path or "", self._json):
                yield each if isinstance(each, str) else "" if each in (None, False, [], {}) else json.dumps(each)


def soup(page: Page) -> bs4.BeautifulSoup:
    """A page as HTML; the last few are kept."""
    return _soup(page.body)


@functools.lru_cache(maxsize=4)
def _soup(body: bytes) -> bs4.BeautifulSoup:
    # What has no tag at all is not HTML, and the parser would warn of it.
    return bs4.BeautifulSoup(body.decode(errors="replace") if b"<" in body else "", "html.parser")


def _cut(selector: Selector, text: str) -> str:
    if not selector.match:
        return text.strip()
    found = re.search(selector.match, text)
    return (found[(found.lastindex and 1) or 0] or "").strip() if found else ""


def form_of(page: Page, form: Form) -> bs4.Tag:
    """The form on a page that has what is to be filled in: of several the first.

    :raises PlatformChanged: the page has no such form; the input that it lacks is named.
    """
    forms = soup(page).select(form.css)
    if not forms:
        raise page.changed(f"the form {form.css}")
    lacking = [_lacks(each, (*form.fields, *form.hidden)) for each in forms]
    if all(lacking):
        raise page.changed(f"the input {lacking[0]}")
    found = forms[lacking.index("")]
    if form.button and not found.select_one(form.button):
        raise page.changed(f"the button {form.button}")
    return found


def _lacks(tag: bs4.Tag, names: tuple[str, ...]) -> str:
    there = {str(each.get("name") or "") for each in tag.select("input, select, textarea")}
    return next((name for name in names if name not in there), "")


def held(tag: bs4.Tag, button: str | None) -> dict[str, str]:
    """What a form would send as it stands, with the button that is named."""
    fields: dict[str, str] = {}
    for each in tag.select("input[name], select[name], textarea[name]"):
        value = _held(each)
        if value is not None and not each.has_attr("disabled"):
            fields[str(each["name"])] = value
    if button and (pressed := tag.select_one(button)) and pressed.get("name"):
        fields[str(pressed["name"])] = str(pressed.get("value") or "")
    return fields


def _held(tag: bs4.Tag) -> str | None:
    """One control's value; None where it would send nothing."""
    kind = str(tag.get("type") or "text").lower()
    if tag.name == "textarea":
        return tag.get_text()
    if tag.name == "select":
        option = tag.select_one("option[selected]") or tag.select_one("option")
        return str(option.get("value", option.get_text(strip=True))) if option else None
    if kind in ("submit", "button", "image", "reset", "file"):
        return None
    if kind in ("checkbox", "radio"):
        return str(tag.get("value") or "on") if tag.has_attr("checked") else None
    return str(tag.get("value") or "")
