"""The HTTP client that importers are handed: bounded, polite to each domain, and with errors that say what to do.

What is secret goes to the site's own origin only (:mod:`~likepion_provider.web.origin`), nothing goes to an address
that is not public unless the connection names it (:mod:`~likepion_provider.web.sockets`), no request is sent twice
(:mod:`~likepion_provider.wire`), and a visit has an end (:mod:`~likepion_provider.web.visit`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any

from likepion_provider import wire
from likepion_provider.aio import Gate
from likepion_provider.errors import LikepionError, PlatformError, TooManyRequests, Transient
from likepion_provider.manager.protocol import retry_after_s
from likepion_provider.masking import PIECE_CHARS, hide
from likepion_provider.web.cookies import Cookies
from likepion_provider.web.origin import BadAddress, may_know, parse, redirected
from likepion_provider.web.page import MAX_SHOWN_CHARS, Page
from likepion_provider.web.visit import Visit, VisitLimits
from likepion_provider.web.work import cut

if TYPE_CHECKING:
    import ssl

    import aiohttp
    from aiohttp.abc import AbstractResolver
    from yarl import URL

#: A page is not looked for behind more redirects.
MAX_REDIRECTS = 10
#: Headers that hold a secret.
_CARRIES = re.compile("auth|key|token|secret|cookie", re.IGNORECASE)
#: Where a platform says 429 without ``Retry-After``.
DEFAULT_PAUSE_S = 10.0
#: How often a read is sent whose connection broke off before an answer began, as one that was kept alive may.
READ_TRIES = 2
_SITE_REMEDY = "If that is the site, put its address into the host of the domain's Airflow connection."


def basic_auth(login: str, password: str) -> dict[str, str]:
    """The header that sends a login with a request (RFC 7617)."""
    return {"Authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()}


@dataclasses.dataclass(frozen=True)
class Connections:
    """What the accounts of a batch share: open connections, no limit to them but the domains' gates.

    :param anywhere: for what Airflow connections name.
    :param public: for everything else; refuses addresses that are not public.
    """

    anywhere: aiohttp.ClientSession
    public: aiohttp.ClientSession


@contextlib.asynccontextmanager
async def connections(
    *, resolver: AbstractResolver | None = None, trust: ssl.SSLContext | bool = True
) -> AsyncIterator[Connections]:
    """The connections of a batch.

    :param resolver: finds the addresses of host names; the system's by default.
    :param trust: whom TLS connections trust; the system's authorities by default.
    """
    from likepion_provider.web.sockets import connector  # late: aiohttp takes longer to import than all of this package

    options: dict[str, Any] = {"limit": 0, "limit_per_host": 0, "resolver": resolver, "ssl": trust}
    headers = {"User-Agent": "airflow-provider-likepion"}
    async with contextlib.AsyncExitStack() as stack:
        anywhere, public = [
            await stack.enter_async_context(
                wire.session(connector=connector(public_only=public_only, **options), headers=headers)
            )
            for public_only in (False, True)
        ]
        yield Connections(anywhere, public)


@dataclasses.dataclass(frozen=True)
class _Request:
    """One request; ``options`` are aiohttp's."""

    method: str
    url: URL
    writes: bool
    options: dict[str, Any]


class PlatformHttp:
    """One account's client: its own cookies, the batch's connections.

    :param base_url: relative addresses start here; its origin is the site's own, the only one that gets cookies.
    :param gate: of the domain: how many requests it gets at a time, and since when it wants none. It holds within one
        task; tasks side by side each have their own.
    :param before_write: called before every request but GET and HEAD; gives the seconds within which it must have
        ended, and raises where the claim is gone.
    :param last_look: the part of that which is called once more right before a write's first byte; None where there is
        no claim.
    :param cookie: the account's ``Cookie`` header.
    :param named: the addresses that the Airflow connection names; their origins need not be public.
    :param allow_private: whether no other address need be public either.
    :param timeout_s: for one request in all.
    :raises PlatformError: ``base_url`` is no http(s) address.
    """

    def __init__(
        self,
        *,
        platform: str,
        base_url: str,
        connections: Connections,
        gate: Gate,
        before_write: Callable[[], Awaitable[float]],
        last_look: wire.LastLook | None = None,
        cookie: str = "",
        named: Collection[str] = (),
        allow_private: bool = False,
        timeout_s: float = 60.0,
    ) -> None:
        self.platform = platform
        self.timeout_s = timeout_s
        self.base_url = base_url.rstrip("/") + "/"
        self._base = self._address("", "has a host in its Airflow connection that")
        self._connections = connections
        self._gate = gate
        self._before_write = before_write
        self._last_look = last_look
        self._cookies = Cookies(cookie)
        self._allow_private = allow_private
        self._named: list[URL] = []
        for each in named:
            with contextlib.suppress(BadAddress):
                self._named.append(parse(each))
        self.visit = Visit(platform, VisitLimits())

    def begin_visit(self, limits: VisitLimits) -> None:
        """What is asked from now on is a visit of its own."""
        self.visit = Visit(self.platform, limits)

    @property
    def cookie(self) -> str:
        """The site's cookies, as a ``Cookie`` header's value, those for some of its paths too."""
        return self._cookies.text

    def is_own(self, url: str | URL) -> bool:
        """Whether an address is of the site's own origin, the only one to which a site's secrets may go."""
        try:
            return may_know(self._base, parse(url) if isinstance(url, str) else url)
        except BadAddress:
            return False

    async def get(self, path: str, **options: Any) -> Page:
        """Read an address: see :meth:`request`."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Page:
        """Write: see :meth:`request`."""
        return await self.request("POST", path, **options)

    async def follow(self, page: Page) -> Page:
        """Read what a page leads to that was asked for with ``allow_redirects=False``."""
        return await self._send(self._redirected(_Request("GET", parse(page.url), False, {}), page), follows=True)

    async def request(
        self, method: str, path: str, *, writes: bool | None = None, allow_redirects: bool = True, **options: Any
    ) -> Page:
        """One request, as a page whatever its status below 500 but 429.

        A redirect is followed with headers and body within one origin, without them to another, and never from https to
        http; a body that would have to go to another is an error.

        :param path: relative to ``base_url``, or absolute.
        :param writes: whether it changes something there; by default everything but GET and HEAD does.
        :param options: aiohttp's ``params``, ``data``, ``json``, ``headers``.
        :raises Transient: no answer, 429 or 5xx; or the visit's time is up (``VisitTooLong``).
        :raises VisitTooLarge: the site has more than a visit may cost.
        :raises LeaseLost: it would write without a valid claim.
        :raises PlatformError: the address, or what it leads to, is none that may be called.
        """
        if writes is None:
            writes = method not in ("GET", "HEAD")
        # Tokens that the site gave: its errors may repeat them.
        headers = options.get("headers") or {}
        hide(value.rpartition(" ")[2] for name, value in headers.items() if _CARRIES.search(name))
        url = self._address(path, "names an address that")
        return await self._send(_Request(method, url, writes, options), follows=allow_redirects)

    def _address(self, path: str, subject: str) -> URL:
        try:
            return parse(path, self.base_url)
        except BadAddress as error:
            raise PlatformError(f"{self.platform}: the site {subject} {error}", platform=self.platform) from None

    async def _send(self, request: _Request, *, follows: bool) -> Page:
        for _ in range(MAX_REDIRECTS + 1):
            page = await self._answer(request)
            if not follows or not page.redirects_to:
                return page
            request = self._redirected(request, page)
        raise page.changed(f"a page within {MAX_REDIRECTS} redirects")

    def _redirected(self, request: _Request, page: Page) -> _Request:
        """The request that a redirect asks for (RFC 9110, 15.4)."""
        current = parse(page.url)
        try:
            target = redirected(current, page.headers.get("location", ""))
        except BadAddress as error:
            raise PlatformError(
                f"{self.platform}: {current.host} sends on to an address that {error}",
                platform=self.platform,
                remedy=_SITE_REMEDY,
            ) from None
        may_follow = may_know(current, target)
        if page.status == 303 or (page.status in (301, 302) and request.method == "POST"):
            request = _Request("GET", target, False, {"headers": request.options.get("headers")})
        if not may_follow and request.method not in ("GET", "HEAD"):
            raise PlatformError(
                f"{self.platform}: {current.host} sends what it was sent on to {target.host}",
                platform=self.platform,
                remedy=_SITE_REMEDY,
            )
        kept = {name: each for name, each in request.options.items() if name != "params"} if may_follow else {}
        return dataclasses.replace(request, url=target, options=kept)

    async def _answer(self, request: _Request) -> Page:
        for tries_left in reversed(range(READ_TRIES)):
            async with self.turn(writes=request.writes) as within_s:
                try:
                    page = await self._exchange(request, within_s)
                    break
                except wire.BrokenOff as error:
                    if request.writes or not tries_left:
                        raise self.no_answer(str(request.url), error) from error
        return self.accept(page)

    @contextlib.asynccontextmanager
    async def turn(self, *, writes: bool) -> AsyncIterator[float]:
        """One request's turn at the domain, also for requests that somebody else sends.

        :return: how long it may take, in seconds; a write ends before the claim does.
        :raises LeaseLost: it would write without a valid claim.
        :raises VisitTooLong: see :class:`~likepion_provider.web.visit.Visit`; and ``VisitTooLarge``.
        """
        self.visit.count_request()
        came_s = time.monotonic()
        async with self._gate.passage():
            self.visit.has_waited(time.monotonic() - came_s)
            within_s = min(self.timeout_s, self.visit.remaining_s())
            yield min(within_s, await self._before_write()) if writes else within_s

    def no_answer(self, url: str, error: BaseException) -> Transient:
        """The error for a request without an answer."""
        kind = str(error) if isinstance(error, wire.BrokenOff) else type(error).__name__
        return Transient(f"{self.platform}: no answer from {parse(url).origin()} ({kind})")

    async def _exchange(self, request: _Request, within_s: float) -> Page:
        import aiohttp

        from likepion_provider.web.sockets import refusals

        with refusals() as refused, wire.departing(self._last_look if request.writes else None):
            try:
                return await self._read(request, within_s)
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
                raise self._failure(request.url, error, refused) from error

    async def _read(self, request: _Request, within_s: float) -> Page:
        import aiohttp

        url, options = request.url, dict(request.options)
        is_named = self._allow_private or any(may_know(each, url) for each in self._named)
        session = self._connections.anywhere if is_named else self._connections.public
        is_own = self.is_own(url)
        if is_own and (cookie := self._cookies.header(url)):
            options["headers"] = {"Cookie": cookie} | dict(options.get("headers") or {})
        timeout = aiohttp.ClientTimeout(total=within_s, sock_connect=min(10.0, within_s))
        async with session.request(request.method, url, timeout=timeout, allow_redirects=False, **options) as response:
            if is_own:
                self._cookies.take(url, response.headers.getall("Set-Cookie", ()))
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                self.visit.count_bytes(len(chunk), len(body))
            hide(each.value for each in response.cookies.values() if len(each.value) >= PIECE_CHARS)
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Page(self.platform, str(response.url), response.status, headers, bytes(body))

    def _failure(self, url: URL, error: Exception, refused: list[str]) -> LikepionError:
        import aiohttp

        if refused:
            words = "is at an address that is not public"
            remedy = f"{_SITE_REMEDY} Else set allow_private in the connection's extra."
        elif isinstance(error, aiohttp.ClientConnectorCertificateError):
            words = "has a certificate that does not hold"
            remedy = (
                "Have it renewed at the site; an authority of one's own must be among those that the workers trust."
            )
        elif isinstance(error, aiohttp.ClientResponseError):
            words, remedy = "does not answer in HTTP, or with too long a head", _SITE_REMEDY
        elif isinstance(error, ValueError):
            words, remedy = "cannot be sent a character that it asks for, or that its account has", PlatformError.remedy
        else:
            return self.visit.too_long() if self.visit.is_over else self.no_answer(str(url), error)
        return PlatformError(f"{self.platform}: {url.host} {words}", platform=self.platform, remedy=remedy)

    def accept(self, page: Page) -> Page:
        """A page as it is, unless it says 429 or 5xx.

        :raises Transient: it does; with ``Retry-After``, the domain's gate is closed for as long.
        """
        if page.status < 500 and page.status != 429:
            return page
        wait_s = retry_after_s(page.headers)
        if page.status == 429 or wait_s is not None:
            self._gate.close_for(DEFAULT_PAUSE_S if wait_s is None else wait_s)
        address = cut(page.url.split("?")[0], MAX_SHOWN_CHARS)
        kind = TooManyRequests if page.status == 429 else Transient
        raise kind(f"{self.platform}: {address} answered {page.status}", retry_after_s=wait_s)
