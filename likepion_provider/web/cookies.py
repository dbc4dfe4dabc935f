"""One account's cookies at one site (RFC 6265): what came is sent as it came, until the site sets it anew."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from yarl import URL

#: What a site may set, as browsers have it (RFC 6265bis, 5.6): cookies, and bytes of one.
MAX_COOKIES = 180
MAX_COOKIE_BYTES = 4096
#: What no header can carry.
_UNSENDABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


class _Cookie(NamedTuple):
    value: str
    secure: bool


class Cookies:
    """What is sent to the site's own origin; the caller sends it nowhere else.

    :param given: the account's ``Cookie`` header as the manager has it, however odd.
    """

    def __init__(self, given: str) -> None:
        self._given = given
        self._pairs = [pair for each in _UNSENDABLE.sub("", given).split(";") if (pair := each.strip())]
        #: What the site has set, by name and path, oldest first.
        self._set: dict[tuple[str, str], _Cookie] = {}
        self._is_changed = False

    @property
    def text(self) -> str:
        """All of it as a ``Cookie`` header, those for some paths too; as it came where nothing was changed."""
        if not self._is_changed:
            return self._given
        latest = {name: cookie.value for (name, _), cookie in self._set.items()}
        return "; ".join([*self._pairs, *(f"{name}={value}" for name, value in latest.items())])

    def header(self, url: URL) -> str:
        """The ``Cookie`` header for an address of the site; empty where there is nothing to send."""
        sent = [
            f"{name}={cookie.value}"
            for (name, path), cookie in self._set.items()
            if _is_below(url.raw_path, path) and (url.scheme == "https" or not cookie.secure)
        ]
        return "; ".join([*self._pairs, *sent])

    def take(self, url: URL, lines: Iterable[str]) -> None:
        """Heed the ``Set-Cookie`` headers of an answer; one that breaks the rules is ignored alone."""
        for line in lines:
            pair, _, rest = line.partition(";")
            name, equals, value = (part.strip() for part in pair.partition("="))
            attributes = dict(_attributes(rest))
            unfit = _UNSENDABLE.search(pair) or len(name) + len(value) > MAX_COOKIE_BYTES
            if name and equals and not unfit and _is_of(url.host or "", attributes.get("domain", "")):
                self._store(url, name, value, attributes)

    def _store(self, url: URL, name: str, value: str, attributes: dict[str, str]) -> None:
        path = attributes.get("path", "")
        key = name, path if path.startswith("/") else url.raw_path.rpartition("/")[0] or "/"
        cookie = None if _is_over(attributes) else _Cookie(value, "secure" in attributes)
        if self._set.get(key) == cookie and not any(_name(pair) == name for pair in self._pairs):
            return
        if cookie and f"{name}={value}" in self._pairs:
            return
        self._is_changed = True
        self._pairs = [pair for pair in self._pairs if _name(pair) != name]
        self._set.pop(key, None)
        if cookie:
            self._set[key] = cookie
        if len(self._set) > MAX_COOKIES:
            del self._set[next(iter(self._set))]


def _name(pair: str) -> str:
    return pair.partition("=")[0].strip()


def _attributes(text: str) -> Iterable[tuple[str, str]]:
    for each in text.split(";"):
        name, _, value = each.partition("=")
        yield name.strip().lower(), value.strip()


def _is_of(host: str, domain: str) -> bool:
    """Whether a site may set a cookie for a domain: its own host, or what that is part of."""
    domain = domain.lstrip(".").lower()
    return not domain or host == domain or ("." in domain and host.endswith("." + domain))


def _is_below(path: str, cookie_path: str) -> bool:
    return path == cookie_path or path.startswith(cookie_path.rstrip("/") + "/")


def _is_over(attributes: dict[str, str]) -> bool:
    """Whether a cookie is to be forgotten; one that lasts outlives the session that it is used in."""
    if re.fullmatch(r"-?[0-9]+", age := attributes.get("max-age", "")):
        return age.startswith("-") or not age.strip("0")
    try:
        return parsedate_to_datetime(attributes.get("expires", "")).astimezone(timezone.utc) <= datetime.now(
            timezone.utc
        )
    except (ValueError, TypeError, IndexError, OverflowError):
        return False
