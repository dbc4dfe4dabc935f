"""Addresses that strangers wrote, and the one rule of where a redirect may lead and what goes along."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

if TYPE_CHECKING:
    from yarl import URL

#: Statuses that send on to another address.
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class BadAddress(ValueError):
    """No http(s) address, or one that must not be followed; the message goes on from its subject.

    :param address: as far as it could be read; for use, not for show.
    """

    def __init__(self, message: str, address: str) -> None:
        super().__init__(message)
        self.address = address


def parse(address: str, base: str = "") -> URL:
    """An http(s) address as it was given: hosts that sign addresses compare them letter by letter (RFC 3986, 2.2).

    :param address: relative to ``base``, or absolute; what may not stand in an address is escaped, a fragment dropped.
    :raises BadAddress: it is none.
    """
    from yarl import URL

    joined = address
    try:
        joined = urljoin(base, address.strip()) if base else address.strip()
        parts = urlsplit(joined)
        user, at, host = parts.netloc.rpartition("@")
        if parts.scheme in ("http", "https") and (origin := URL(f"{parts.scheme}://{host}")).host:
            authority = _quoted(user) + at + origin.raw_authority
            rest = _quoted(parts.path) or "/", _quoted(parts.query), ""
            return URL(urlunsplit((parts.scheme, authority, *rest)), encoded=True)
    except ValueError:
        pass
    raise BadAddress("is no http or https address", joined or address)


def _quoted(part: str) -> str:
    """A part of an address as it is; only what may not stand in one is escaped."""
    return re.sub(r"[^\x21-\x7e]|[\"<>\\^`{|}]", lambda found: quote(found[0], safe="", errors="surrogateescape"), part)


def may_know(current: URL, target: URL) -> bool:
    """Whether what is secret between us and one address may be sent to another.

    The same origin may (scheme, host and port: RFC 6454), and the same host turned from http to https.
    """
    if target.origin() == current.origin():
        return True
    upgraded = (current.scheme, current.port, target.scheme, target.port) == ("http", 80, "https", 443)
    return upgraded and current.host == target.host


def redirected(current: URL, location: str) -> URL:
    """Where a redirect leads. What is secret may go along only where :func:`may_know` says so.

    :raises BadAddress: nowhere, or from https to http.
    """
    if not location:
        raise BadAddress("is no http or https address", location)
    target = parse(location, str(current))
    if (current.scheme, target.scheme) == ("https", "http"):
        raise BadAddress("leads from https to http", str(target))
    return target
