"""GET for addresses that strangers wrote: nothing private is reached, nothing grows without bound.

The address is checked where the socket is made, so what was checked is what is connected to: a name that resolves
differently the second time gains nothing. Redirects are followed by hand for the same reason.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from likepion_provider import __version__
from likepion_provider.errors import FeedInvalid, LikepionError, Transient
from likepion_provider.manager.protocol import retry_after_s
from likepion_provider.web.inflate import accepted, inflater
from likepion_provider.web.redact import redact

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PERMANENT = frozenset({301, 308})
_TRANSIENT = frozenset({408, 425, 429})
_WITHOUT_BODY = frozenset({204, 205})
_CONNECT_TIMEOUT_S = 15.0
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ACCEPT = "application/rss+xml, application/atom+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.5"
_REFUSED_REMEDY = "Give the feed a public http(s) address, or allow private addresses in the connection."
_GONE_REMEDY = "Correct the post's feed address at the primary site and run again."


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one feed may cost on the network."""

    redirects: int = 8
    #: Bytes of one body as they come from the wire.
    wire_bytes: int = 256 * 1024 * 1024
    #: Bytes of one body once it is inflated.
    body_bytes: int = 256 * 1024 * 1024
    #: Bytes of one line of an answer's head; curl takes 100 KB, Python's own client 64 KB.
    header_bytes: int = 64 * 1024


DEFAULT_LIMITS = Limits()


class _AddressRefused(OSError):
    """Raised where a socket would be made; an OSError, because aiohttp hands on no other."""


class FeedResponse:
    """A response whose body has not been read; its URLs are for use, not for show.

    :param final_url: the address that answered, with the credentials that may be sent there.
    :param moved_to: where the first redirects, as far as they were permanent, lead; empty without one.
    """

    def __init__(self, response: aiohttp.ClientResponse, *, final_url: str, moved_to: str, limits: Limits) -> None:
        self._response = response
        self._limits = limits
        self.final_url = final_url
        self.moved_to = moved_to
        self.charset = response.charset or ""
        #: Bytes of the body taken from the wire so far.
        self.wire_bytes = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """The inflated body in pieces of at most 64 KB.

        :raises Transient: the connection broke.
        :raises FeedInvalid: the body is larger than :class:`Limits` allows, or not encoded as announced.
        """
        body_bytes = 0
        engine = inflater(self._response.headers.get("Content-Encoding", ""))
        try:
            async for data in self._response.content.iter_any():
                self.wire_bytes += len(data)
                for piece in engine.feed(data):
                    body_bytes += len(piece)
                    self._check_size(body_bytes)
                    yield piece
                self._check_size(body_bytes)
            for piece in engine.finish():
                yield piece
        except ValueError as error:
            raise _invalid(f"cannot be read: {error}", self.final_url, "body", remedy=None) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _transient(f"broke off ({type(error).__name__})", self.final_url) from None

    def _check_size(self, body_bytes: int) -> None:
        limits = self._limits
        if self.wire_bytes > limits.wire_bytes or body_bytes > limits.body_bytes:
            limit = limits.body_bytes if body_bytes > limits.body_bytes else limits.wire_bytes
            remedy = "Check that the address serves a podcast feed; if it does, ask its host for a smaller one."
            raise _invalid(f"is larger than {limit} bytes", self.final_url, "body", remedy=remedy)


class Fetcher:
    """Fetches feeds; to be used as an async context manager by one task at a time.

    :param allow_private: whether loopback and private addresses may be reached.
    :param limits: what one feed may cost.
    :param resolver: finds the addresses of host names; the system's by default.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._limits = limits
        self._resolver = resolver
        self._refused_address = ""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Fetcher:
        connector = aiohttp.TCPConnector(
            resolver=self._resolver, use_dns_cache=False, force_close=True, socket_factory=self._socket
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            # Neither proxies nor netrc: a proxy would connect to addresses that nobody has checked.
            trust_env=False,
            # This feed's own: a host may send a cookie along with a redirect, and ask for it.
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            max_line_size=self._limits.header_bytes,
            max_field_size=self._limits.header_bytes,
            # The caller sets the deadline for everything; a server that drips would outwait any other.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[FeedResponse]:
        """Send a GET, follow redirects, and hand out the response; the connection is closed with the context.

        :param url: http or https. User info in it is sent to its own origin only.
        :raises Transient: not reachable, 408, 425, 429 or 5xx.
        :raises FeedInvalid: any other refusal, of the server's or of ours.
        """
        response, final_url, moved_to = await self._follow(url)
        try:
            yield FeedResponse(response, final_url=final_url, moved_to=moved_to, limits=self._limits)
        finally:
            response.close()

    async def _follow(self, url: str) -> tuple[aiohttp.ClientResponse, str, str]:
        first = current = _parse(url, url, "address")
        where, moved_to, permanent = "address", "", True
        seen = {(current, "")}
        for hop in range(self._limits.redirects + 1):
            response = await self._get(current, where)
            if response.status not in _REDIRECTS:
                if hop and _is_gone(response) and (again := await self._ask_again(first)):
                    return again, str(first), ""
                _check_status(response, str(current), where)
                return response, str(current), moved_to
            where = f"redirect {hop + 1}"
            permanent = permanent and response.status in _PERMANENT
            target = _target(current, response.headers.get("Location", ""), where)
            response.close()
            step = (target, self._cookies(target))
            if step in seen:
                raise _invalid("redirects in a circle", str(target), where, remedy=_GONE_REMEDY)
            seen.add(step)
            current, moved_to = target, str(target) if permanent else moved_to
        raise _invalid(f"redirects more than {self._limits.redirects} times", str(current), where, remedy=_GONE_REMEDY)

    async def _ask_again(self, first: URL) -> aiohttp.ClientResponse | None:
        """The first address's own answer, where what it led to is gone: hosts take back even permanent redirects."""
        response = await self._get(first, "address")
        if _is_success(response):
            return response
        response.close()
        return None

    def _cookies(self, url: URL) -> str:
        """What would be sent there, to tell a circle from a host that waits for its cookie."""
        return self._open_session().cookie_jar.filter_cookies(url).output()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("a Fetcher is used inside 'async with'")
        return self._session

    async def _get(self, url: URL, where: str) -> aiohttp.ClientResponse:
        self._refused_address = ""
        try:
            return await self._open_session().get(url, headers=_headers(), allow_redirects=False)
        except aiohttp.InvalidURL:
            raise _invalid("is no address that can be called", str(url), where, remedy=_GONE_REMEDY) from None
        except aiohttp.ClientConnectorCertificateError:
            remedy = "Renew the certificate at the feed's host, or correct the feed's address."
            raise _invalid("has a certificate that does not hold", str(url), where, remedy=remedy) from None
        except aiohttp.ClientResponseError:
            raise _invalid("does not answer in HTTP", str(url), where, remedy=_GONE_REMEDY) from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error, str(url), where) from None

    def _unreachable(self, error: Exception, url: str, where: str) -> LikepionError:
        if self._refused_address:
            message = f"leads to {self._refused_address}, an address that is not public"
            return _invalid(message, url, where, remedy=_REFUSED_REMEDY)
        return _transient(f"cannot be reached ({type(error).__name__})", url)

    def _socket(self, address_info: tuple[Any, ...]) -> socket.socket:
        """The socket factory of aiohttp, called with the very address that the socket then connects to."""
        family, kind, protocol, _, address = address_info
        if not self._allow_private and not is_public(address[0]):
            # Kept here too, since several failed addresses become one error without a cause.
            self._refused_address = address[0]
            raise _AddressRefused(f"{address[0]} is not public")
        return socket.socket(family, kind, protocol)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the open Internet.

    Loopback, private, link-local, shared (carrier-grade NAT), multicast and reserved ranges do not, nor IPv6 forms that
    carry an IPv4 address that does not.

    :param address: as a resolver gives it, perhaps with an IPv6 zone.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _parse(url: str, shown: str, where: str) -> URL:
    try:
        parts = urlsplit(url.strip())
        user, at, host = parts.netloc.rpartition("@")
        if parts.scheme in ("http", "https") and (origin := URL(f"{parts.scheme}://{host}")).host:
            # As it was given: hosts that sign addresses compare them letter by letter (RFC 3986, 2.2).
            authority = _quoted(user) + at + origin.raw_authority
            rest = _quoted(parts.path) or "/", _quoted(parts.query), ""
            return URL(urlunsplit((parts.scheme, authority, *rest)), encoded=True)
    except ValueError:
        pass
    raise _invalid("is no http or https address", shown, where, remedy=_GONE_REMEDY)


def _quoted(part: str) -> str:
    """A part of an address as it is; only what may not stand in one is escaped."""
    return re.sub(r"[^\x21-\x7e]|[\"<>\\^`{|}]", lambda found: quote(found[0], safe="", errors="surrogateescape"), part)


def _target(current: URL, location: str, where: str) -> URL:
    """Where a redirect leads; credentials go along only within the same origin."""
    try:
        joined = urljoin(str(current), location) if location else ""
    except ValueError:
        joined = ""
    target = _parse(joined, joined or location, where)
    if _may_know(current, target):
        return target.with_user(current.user).with_password(current.password)
    return target.with_user(None)


def _may_know(current: URL, target: URL) -> bool:
    """Whether credentials for one URL may be sent to another: the same origin, or the same host turned to https."""
    if target.origin() == current.origin():
        return True
    upgraded = (current.scheme, current.port, target.scheme, target.port) == ("http", 80, "https", 443)
    return upgraded and current.host == target.host


def carry_credentials(url: str, target: str) -> str:
    """A further page's address with the first one's credentials, if that host may know them.

    :param url: an address that has been fetched.
    :param target: an absolute http(s) address that the feed names.
    :raises FeedInvalid: the feed names no http(s) address.
    """
    return str(_target(URL(url, encoded=True), target, "next page"))


def _headers() -> dict[str, str]:
    return {
        "Accept": _ACCEPT,
        "Accept-Encoding": accepted(),
        "User-Agent": f"airflow-provider-likepion/{__version__}",
    }


def _is_success(response: aiohttp.ClientResponse) -> bool:
    return 200 <= response.status < 300 and response.status not in _WITHOUT_BODY


def _is_gone(response: aiohttp.ClientResponse) -> bool:
    return 400 <= response.status < 500 and response.status not in _TRANSIENT


def _check_status(response: aiohttp.ClientResponse, url: str, where: str) -> None:
    status = response.status
    if _is_success(response):
        return
    response.close()
    if status >= 500 or status in _TRANSIENT:
        raise _transient(f"answered {status}", url, retry_after_s(response.headers))
    remedy = _GONE_REMEDY
    if status in (401, 403):
        remedy = "Put the feed's user name and password, or its private address, into the post at the primary site."
    raise _invalid(f"answered {status}", url, where, remedy=remedy)


def _transient(message: str, url: str, retry_s: float | None = None) -> Transient:
    return Transient(f"the feed {redact(url)} {message}", retry_after_s=retry_s)


def _invalid(message: str, url: str, where: str, *, remedy: str | None) -> FeedInvalid:
    shown = redact(url)
    return FeedInvalid(f"the feed {shown} {message} ({where})", url=shown, where=where, remedy=remedy)
