"""What a platform has answered: its page as text, as HTML and as JSON, with errors that name what is missing."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from likepion_provider.errors import PlatformChanged
from likepion_provider.models import writable
from likepion_provider.web.html import Html
from likepion_provider.web.origin import REDIRECTS
from likepion_provider.web.work import Work, cut

#: No JSON is read beyond these: bytes, and lists and objects, as far as their brackets tell.
MAX_JSON_BYTES = 8 * 1024 * 1024
MAX_JSON_CONTAINERS = 100_000
#: No list is read beyond so many rows; a platform with more gives them page by page.
MAX_ROWS = 10_000
#: Escapes of halves of a character, and of NUL.
_UNWRITABLE = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
#: No address and no name of a field is shown beyond so many characters.
MAX_SHOWN_CHARS = 200
#: No date is longer, in characters.
_MAX_DATE_CHARS = 100


@dataclasses.dataclass(frozen=True)
class Page:
    """An answer of a platform, below 500 and not 429. What it holds is parsed once, when it is first asked for.

    :param url: the address that answered, after redirects.
    """

    platform: str
    url: str
    status: int
    headers: Mapping[str, str] = dataclasses.field(repr=False)
    body: bytes = dataclasses.field(repr=False)

    @property
    def text(self) -> str:
        """The body as UTF-8; what is not shows as a replacement character."""
        return self.body.decode("utf-8", errors="replace")

    @property
    def redirects_to(self) -> str:
        """Where a redirect leads, as an absolute address; empty where the page is no redirect.

        To look at: :meth:`PlatformHttp.follow <likepion_provider.web.http.PlatformHttp.follow>` goes there.

        :raises PlatformChanged: it is no address.
        """
        location = self.headers.get("location", "") if self.status in REDIRECTS else ""
        return self.join(location) if location else ""

    def join(self, link: str) -> str:
        """Where a link of the page leads, as an absolute address.

        :raises PlatformChanged: nowhere.
        """
        try:
            joined = urljoin(self.url, link)
            urlsplit(joined)
        except ValueError:
            raise self.changed("a link that is an address") from None
        return joined

    @functools.cached_property
    def html(self) -> Html:
        """The body as HTML; nothing is in one without a tag.

        :raises PlatformChanged: it is larger than is read.
        """
        return Html(self.text if b"<" in self.body else "", self.work)

    @functools.cached_property
    def work(self) -> Work:
        """What may still be done with the page; too much is a page that changed."""
        return Work(self.changed)

    def inputs(self, *needed: str) -> dict[str, str]:
        """What the page's inputs and selections hold, by name.

        :param needed: names that must be among them.
        :raises PlatformChanged: one is not.
        """
        for name in needed:
            if name not in self.html.controls:
                raise self.changed(f"the input {name}")
        return self.html.controls

    @functools.cached_property
    def _json(self) -> Any:
        if len(self.body) > MAX_JSON_BYTES:
            raise self.changed(f"a JSON body of at most {MAX_JSON_BYTES} bytes")
        if self.body.count(b"{") + self.body.count(b"[") > MAX_JSON_CONTAINERS:
            raise self.changed(f"a JSON body of at most {MAX_JSON_CONTAINERS} lists and objects")
        try:
            value = json.loads(self.body)
            # A text that UTF-8 cannot have could neither be sent nor filed.
            return _writable(value) if _UNWRITABLE.search(self.body) else value
        except (ValueError, RecursionError):
            raise self.changed("a JSON body") from None

    def json(self) -> Any:
        """The body as JSON.

        :raises PlatformChanged: it is not JSON.
        """
        return self._json

    def field(self, *path: str | int, kind: type | tuple[type, ...] = str) -> Any:
        """One value of the JSON body.

        :param path: keys and positions, from the outside in.
        :param kind: what it must be.
        :raises PlatformChanged: it is missing or something else.
        """
        return self._walk((), self.json(), path, kind)

    def row(self, *path: str | int) -> JsonRow:
        """An object in the JSON body.

        :param path: keys and positions, from the outside in.
        :raises PlatformChanged: it is missing, or no object.
        """
        return JsonRow(self, path, self.field(*path, kind=dict))

    def rows(self, *path: str | int) -> list[JsonRow]:
        """A list of objects in the JSON body.

        :param path: keys and positions, from the outside in.
        :raises PlatformChanged: it is missing, one of its rows is no object, or there are more than MAX_ROWS.
        """
        return self._rows(path, self.field(*path, kind=list))

    def _walk(
        self, place: tuple[str | int, ...], value: Any, path: tuple[str | int, ...], kind: type | tuple[type, ...]
    ) -> Any:
        """A value below another one, whose place in the body errors name."""
        with contextlib.suppress(KeyError, IndexError, TypeError):
            for step in path:
                value = value[step]
            if isinstance(value, kind):
                return value
        raise self.changed(".".join(map(str, (*place, *path))) or "a JSON body of its kind")

    def _rows(self, place: tuple[str | int, ...], values: list[Any]) -> list[JsonRow]:
        if len(values) > MAX_ROWS:
            raise self.changed(f"{'.'.join(map(str, place)) or 'a list'} with at most {MAX_ROWS} rows")
        return [
            JsonRow(self, (*place, index), self._walk(place, values, (index,), dict)) for index in range(len(values))
        ]

    def expect(self, *statuses: int, what: str = "an answer with a known status") -> Page:
        """The page itself, with one of these statuses.

        :param what: what a page with another status lacks.
        :raises PlatformChanged: it has another one.
        """
        if self.status not in statuses:
            raise self.changed(what)
        return self

    def changed(self, field: str) -> PlatformChanged:
        """The error for an answer that lacks ``field``."""
        address, field = cut(self.url.split("?")[0], MAX_SHOWN_CHARS), cut(field, MAX_SHOWN_CHARS)
        return PlatformChanged(
            f"{self.platform}: {address} (status {self.status}) no longer has {field}",
            platform=self.platform,
            url=address,
            field=field,
        )


class JsonRow(dict[str, Any]):
    """An object of a JSON body. It knows its place there, so that errors name it."""

    def __init__(self, page: Page, path: tuple[str | int, ...], value: dict[str, Any]) -> None:
        super().__init__(value)
        self._page = page
        self._path = path

    def field(self, *path: str | int, kind: type | tuple[type, ...] = str) -> Any:
        """A value that must be there: see :meth:`Page.field`."""
        return self._page._walk(self._path, self, path, kind)

    def rows(self, *path: str | int) -> list[JsonRow]:
        """A list that must be there: see :meth:`Page.rows`."""
        return self._page._rows((*self._path, *path), self.field(*path, kind=list))

    def text(self, *path: str | int) -> str:
        """A value as text, cut; empty where it is missing or null, or holds values of its own."""
        try:
            value = self.field(*path, kind=(str, int, float))
        except PlatformChanged:
            return ""
        return cut(str(value or ""))

    def date(self, name: str) -> datetime | None:
        """A date as :func:`read_date` reads it; None where it is missing, null or empty.

        :raises PlatformChanged: it cannot be read.
        """
        text = self.text(name)
        if (date := read_date(text)) is None and text:
            raise self._page.changed(f"{'.'.join(map(str, (*self._path, name)))} as a date")
        return date

    def time(self, name: str, *, per_s: int = 1) -> datetime | None:
        """A moment that is counted from 1970; None where it is missing, null or 0.

        :param per_s: 1000 where milliseconds are counted.
        :raises PlatformChanged: it is no such number.
        """
        counted = self.get(name) or 0
        try:
            return datetime.fromtimestamp(counted / per_s, timezone.utc) if counted else None
        except (TypeError, ValueError, OverflowError, OSError):
            raise self._page.changed(f"{'.'.join(map(str, (*self._path, name)))} as a moment") from None


def _writable(value: Any) -> Any:
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, dict):
        return {writable(name): _writable(each) for name, each in value.items()}
    return [_writable(each) for each in value] if isinstance(value, list) else value


def read_date(text: str, pattern: str | None = None) -> datetime | None:
    """A date in ISO 8601, as in mails (RFC 2822) or as ``pattern`` says; in UTC where it names no zone.

    :param pattern: as for ``strptime``; only this is tried then.
    :return: None where it cannot be read.
    """
    readings: tuple[Callable[[str], datetime], ...] = (_iso_date, parsedate_to_datetime)
    if pattern:
        readings = (lambda day: datetime.strptime(day, pattern),)  # noqa: DTZ007 - the zone is added below
    text = cut(text, _MAX_DATE_CHARS)
    for reading in readings:
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            date = reading(text)
            return date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return None


def _iso_date(text: str) -> datetime:
    # Python 3.10 does not read the Z.
    return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
