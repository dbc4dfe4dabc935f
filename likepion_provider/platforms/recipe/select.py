"""Values out of pages: CSS selectors on HTML, JSONPath on JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from likepion_provider.platforms.recipe import css, paths, patterns
from likepion_provider.platforms.recipe.shape import Form, Selector
from likepion_provider.web.html import Element, chosen
from likepion_provider.web.page import MAX_ROWS, Page
from likepion_provider.web.work import cut


@dataclasses.dataclass(frozen=True)
class Scope:
    """A page, or one row of it."""

    page: Page
    html: Element | None = None
    data: Any = None

    def value(self, selector: Selector) -> str:
        """The first value that is not empty; empty where there is none."""
        return next(filter(None, (self._cut(selector, text) for text in self._texts(selector))), "")

    def has(self, selector: Selector) -> bool:
        """Whether there is an element, or a value that is not empty."""
        if selector.attr or selector.match:
            return bool(self.value(selector))
        found = self._select(selector.css) if selector.css else self._find(selector.json_path or "")
        return bool(found) if selector.css else any(each not in (None, False, "", [], {}) for each in found)

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
            tags = self._within_bounds(selector, self._select(selector.css))
            return [dataclasses.replace(self, html=tag) for tag in tags]
        path = selector.json_path or ""
        found = self._find(path)
        if not found and not path.endswith("]"):
            raise self.page.changed(f"the list {path}")
        # A path that ends at a list means its members.
        rows = found[0] if len(found) == 1 and isinstance(found[0], list) else found
        return [dataclasses.replace(self, data=row) for row in self._within_bounds(selector, rows)]

    def _within_bounds(self, selector: Selector, found: Sequence[Any]) -> Sequence[Any]:
        if len(found) > MAX_ROWS:
            raise self.page.changed(f"{selector} with at most {MAX_ROWS} rows")
        return found

    def _select(self, selector: str) -> Sequence[Element]:
        return css.select(self.page.html, selector, self.html)

    def _find(self, path: str) -> list[Any]:
        return paths.find(path, self.data if self.data is not None else self.page.json(), self.page.work)

    def _texts(self, selector: Selector) -> Iterator[str]:
        if selector.css:
            for tag in self._select(selector.css):
                yield tag.get(selector.attr) if selector.attr else tag.text(" ")
        else:
            for each in self._find(selector.json_path or ""):
                # Lists and objects have no text: a path that goes on gets to what is in them.
                is_empty = each is None or each is False or isinstance(each, list | dict)
                yield each if isinstance(each, str) else "" if is_empty else json.dumps(each)

    def _cut(self, selector: Selector, text: str) -> str:
        return (patterns.first(selector.match, text, self.page.work) if selector.match else cut(text)).strip()


def form_of(page: Page, form: Form) -> Element:
    """The form on a page that has what is to be filled in: of several the first.

    :raises PlatformChanged: the page has no such form; the input that it lacks is named.
    """
    forms = css.select(page.html, form.css)
    if not forms:
        raise page.changed(f"the form {form.css}")
    lacking = [_lacks(each, (*form.fields, *form.hidden)) for each in forms]
    if all(lacking):
        raise page.changed(f"the input {lacking[0]}")
    found = forms[lacking.index("")]
    if form.button and not css.select(page.html, form.button, found):
        raise page.changed(f"the button {form.button}")
    return found


def _lacks(tag: Element, names: tuple[str, ...]) -> str:
    there = {each.get("name") for each in tag.find(*_CONTROLS)}
    return next((name for name in names if name not in there), "")


def held(page: Page, tag: Element, button: str | None) -> dict[str, str]:
    """What a form would send as it stands, with the button that is named."""
    fields: dict[str, str] = {}
    for each in tag.find(*_CONTROLS):
        value = _held(each)
        if each.get("name") and value is not None and "disabled" not in each.attributes:
            fields[each.get("name")] = value
    for pressed in css.select(page.html, button, tag)[:1] if button else ():
        if pressed.get("name"):
            fields[pressed.get("name")] = pressed.get("value")
    return fields


_CONTROLS = ("input", "select", "textarea")


def _held(tag: Element) -> str | None:
    """One control's value; None where it would send nothing."""
    kind = (tag.get("type") or "text").lower()
    if tag.tag == "textarea":
        return "".join(tag.pieces())
    if tag.tag == "select":
        option = chosen(tag)
        return option.attributes.get("value", option.text()) if option else None
    if kind in ("submit", "button", "image", "reset", "file"):
        return None
    if kind in ("checkbox", "radio"):
        return (tag.get("value") or "on") if "checked" in tag.attributes else None
    return tag.get("value")
