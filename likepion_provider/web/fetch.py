"""GET for addresses that strangers wrote: nothing private is reached, nothing grows without bound.

Every address is checked where its socket is made (:mod:`~likepion_provider.web.sockets`), and redirects are followed by
hand by the rule of :mod:`~likepion_provider.web.origin`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from likepion_provider import __version__
from likepion_provider.errors import FeedInvalid, LikepionError, Transient
from likepion_provider.manager.protocol import retry_after_s
from likepion_provider.redact import redact
from likepion_provider.web.inflate import accepted, inflater
from likepion_provider.web.origin import REDIRECTS, BadAddress, may_know, parse, redirected
from likepion_provider.web.sockets import connector, refusals

_PERMANENT = frozenset({301, 308})
_TRANSIENT = frozenset({408, 425, 429})
_WITHOUT_BODY = frozenset({204, 205})
_CONNECT_TIMEOUT_S = 15.0
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
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Fetcher:
        self._session = aiohttp.ClientSession(
            connector=connector(
                public_only=not self._allow_private, resolver=self._resolver, use_dns_cache=False, force_close=True
            ),
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
        first = current = _first(url)
        where, moved_to, permanent = "address", "", True
        seen = {(current, "")}
        for hop in range(self._limits.redirects + 1):
            response = await self._get(current, where)
            if response.status not in REDIRECTS:
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
        with refusals() as refused:
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
                raise _unreachable(error, refused, str(url), where) from None


def _first(url: str) -> URL:
    try:
        return parse(url)
    except BadAddress as error:
        raise _invalid(str(error), url, "address", remedy=_GONE_REMEDY) from None


def _unreachable(error: Exception, refused: list[str], url: str, where: str) -> LikepionError:
    if refused:
        # Not which: that would tell a stranger about the network here.
        return _invalid("leads to an address that is not public", url, where, remedy=_REFUSED_REMEDY)
    return _transient(f"cannot be reached ({type(error).__name__})", url)


def _target(current: URL, target: str, where: str, *, is_redirect: bool = True) -> URL:
    """Where a redirect or a further page is; credentials go along only where they may be known."""
    try:
        found = redirected(current, target) if is_redirect else parse(target)
    except BadAddress as error:
        raise _invalid(str(error), error.address, where, remedy=_GONE_REMEDY) from None
    if may_know(current, found):
        return found.with_user(current.user).with_password(current.password)
    return found.with_user(None)


def carry_credentials(url: str, target: str) -> str:
    """A further page's address with the first one's credentials, if that host may know them.

    :param url: an address that has been fetched.
    :param target: an absolute http(s) address that the feed names.
    :raises FeedInvalid: the feed names no http(s) address.
    """
    return str(_target(URL(url, encoded=True), target, "next page", is_redirect=False))


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
