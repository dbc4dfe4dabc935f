"""The HTTP client that importers are handed: bounded, polite to each domain, and with errors that say what to do."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urljoin, urlsplit

from likepion_provider.aio import Gate
from likepion_provider.errors import Transient
from likepion_provider.manager.protocol import retry_after_s
from likepion_provider.web.page import Page

if TYPE_CHECKING:
    import aiohttp

#: No page is read beyond this.
MAX_PAGE_BYTES = 32 * 1024 * 1024
#: Where a platform says 429 without ``Retry-After``.
DEFAULT_PAUSE_S = 10.0


def basic_auth(login: str, password: str) -> dict[str, str]:
    """The header that sends a login with a request (RFC 7617)."""
    return {"Authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()}


#: Open connections, see :func:`connections`.
Connections: TypeAlias = "aiohttp.BaseConnector"


@contextlib.asynccontextmanager
async def connections() -> AsyncIterator[Connections]:
    """What the accounts of a batch share: open connections, no limit to them but the domains' gates."""
    import aiohttp  # late: it takes longer to import than all of this package

    async with aiohttp.TCPConnector(limit=0, limit_per_host=0) as connector:
        yield connector


class PlatformHttp:
    """One account's client: its own cookies, the batch's connections.

    :param base_url: relative addresses start here.
    :param gate: of the domain: how many requests it gets at a time, and since when it wants none. It holds within one
        task; tasks side by side each have their own.
    :param before_write: called right before every request but GET and HEAD; gives the seconds within which it must have
        ended, and raises where the claim is gone.
    :param cookie: the account's ``Cookie`` header, sent to ``base_url``'s host only.
    :param timeout_s: for one request in all.
    """

    def __init__(
        self,
        *,
        platform: str,
        base_url: str,
        connector: Connections,
        gate: Gate,
        before_write: Callable[[], Awaitable[float]],
        cookie: str = "",
        timeout_s: float = 60.0,
    ) -> None:
        from http.cookies import SimpleCookie

        import aiohttp
        from yarl import URL

        self.platform = platform
        self.timeout_s = timeout_s
        self.base_url = base_url.rstrip("/") + "/"
        self._gate = gate
        self._before_write = before_write
        # Test servers and sites of one's own may be addressed by IP.
        self._jar = aiohttp.CookieJar(unsafe=True)
        if cookie:
            self._jar.update_cookies(SimpleCookie(cookie), URL(self.base_url))
        self._session = aiohttp.ClientSession(
            connector=connector,
            connector_owner=False,
            cookie_jar=self._jar,
            headers={"User-Agent": "airflow-provider-likepion"},
        )

    async def close(self) -> None:
        """End the session; the connections stay with the batch."""
        await self._session.close()

    @property
    def cookie(self) -> str:
        """The cookies of ``base_url``'s host, as a ``Cookie`` header's value, those for some of its paths too."""
        from yarl import URL

        found = self._jar.filter_cookies(URL(self.base_url))
        paths = {str(morsel["path"]) for morsel in self._jar} - {"/"}
        for path in sorted(paths):
            found.update(self._jar.filter_cookies(URL(self.base_url).with_path(path)))
        return "; ".join(f"{name}={morsel.value}" for name, morsel in found.items())

    def is_own(self, url: str) -> bool:
        """Whether an address is on the site's own host, the only one to which a site's secrets may go."""
        return urlsplit(url).netloc == urlsplit(self.base_url).netloc

    async def get(self, path: str, **options: Any) -> Page:
        """Read an address: see :meth:`request`."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Page:
        """Write: see :meth:`request`."""
        return await self.request("POST", path, **options)

    async def request(self, method: str, path: str, *, writes: bool | None = None, **options: Any) -> Page:
        """One request, as a page whatever its status below 500 but 429.

        :param path: relative to ``base_url``, or absolute.
        :param writes: whether it changes something there; by default everything but GET and HEAD does.
        :param options: aiohttp's ``params``, ``data``, ``json``, ``headers``, ``allow_redirects``.
        :raises Transient: no answer, 429 or 5xx.
        :raises LeaseLost: it would write without a valid claim.
        """
        import aiohttp

        url = urljoin(self.base_url, path)
        async with self.turn(writes=writes if writes is not None else method not in ("GET", "HEAD")) as within_s:
            try:
                page = await self._exchange(method, url, within_s, options)
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
                raise self.no_answer(url, error) from error
        return self.accept(page)

    @contextlib.asynccontextmanager
    async def turn(self, *, writes: bool) -> AsyncIterator[float]:
        """One request's turn at the domain, also for requests that somebody else sends.

        :return: how long it may take, in seconds; a write ends before the claim does.
        :raises LeaseLost: it would write without a valid claim.
        """
        async with self._gate.passage():
            yield min(self.timeout_s, await self._before_write()) if writes else self.timeout_s

    def no_answer(self, url: str, error: BaseException) -> Transient:
        """The error for a request without an answer."""
        return Transient(f"{self.platform}: no answer from {urlsplit(url).hostname} ({type(error).__name__})")

    async def _exchange(self, method: str, url: str, within_s: float, options: dict[str, Any]) -> Page:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=within_s, sock_connect=min(10.0, within_s))
        async with self._session.request(method, url, timeout=timeout, **options) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_PAGE_BYTES:
                    raise aiohttp.ClientPayloadError(f"more than {MAX_PAGE_BYTES} bytes")
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Page(self.platform, str(response.url), response.status, headers, bytes(body))

    def accept(self, page: Page) -> Page:
        """A page as it is, unless it says 429 or 5xx.

        :raises Transient: it does; with ``Retry-After``, the domain's gate is closed for as long.
        """
        if page.status < 500 and page.status != 429:
            return page
        wait_s = retry_after_s(page.headers)
        if page.status == 429 or wait_s is not None:
            self._gate.close_for(DEFAULT_PAUSE_S if wait_s is None else wait_s)
        address = page.url.split("?")[0]
        raise Transient(f"{self.platform}: {address} answered {page.status}", retry_after_s=wait_s)
