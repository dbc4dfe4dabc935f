"""A recipe's steps in a real browser, for sites whose pages need JavaScript. Needs the extra ``browser`` and Chromium.

The account owner's own login, typed in as a person would; nothing is hidden from the site. The page is a stranger's
program: its every connection passes the guard, and what it may cost ends with the browser's process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import psutil
from playwright.async_api import (
    Browser,
    BrowserContext,
    CDPSession,
    Error,
    Locator,
    Playwright,
    Response,
    async_playwright,
)
from playwright.async_api import Page as Tab

from likepion_provider.errors import LikepionError, PlatformError, Transient
from likepion_provider.platforms.base import Job
from likepion_provider.platforms.recipe import css
from likepion_provider.platforms.recipe.engine import Engine, SiteRequest
from likepion_provider.platforms.recipe.select import form_of
from likepion_provider.platforms.recipe.shape import Form
from likepion_provider.web.origin import BadAddress, parse
from likepion_provider.web.page import Page
from likepion_provider.web.socks import MAX_CARRIED_BYTES, GuardedProxy
from likepion_provider.web.visit import VisitLimits

#: A browser takes some 300 MB; the accounts of a task share so many.
MAX_BROWSERS = 2
#: What a browser's processes may hold together, without what they share.
MAX_BROWSER_BYTES = 1024 * 1024 * 1024
#: How often that is looked at.
WATCH_S = 0.5
#: A browser that does not close by itself is ended after so long.
CLOSING_S = 10.0
#: Names the browser's program where it is not ``chromium``.
CHROMIUM_VARIABLE = "LIKEPION_CHROMIUM"
#: The connection's extra that gives up Chromium's sandbox.
SANDBOX_EXTRA = "browser_sandbox"
#: A page is read when its network was quiet for so long; one that never is, after so long.
QUIET_S = 0.5
MAX_SETTLING_S = 20.0
_BUTTON = "[type=submit], button:not([type])"
ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: Nothing leaves but through the proxy: no name is looked up, no address is called, no UDP is sent.
GUARDED = (
    "--proxy-bypass-list=<-loopback>",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    # By its name of today, and of Chromium before 120.
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
)
#: What Playwright says of a Chromium that ended since it has no sandbox.
_NO_SANDBOX = "Chromium sandboxing failed"
#: What Chromium says of a connection that a SOCKS proxy does not make.
_PROXY_REFUSED = "ERR_SOCKS_CONNECTION"
_DOWNLOAD = "Download is starting"
_READ_REMEDY = "Open the address in a browser, and correct the recipe's selector that leads there."
#: The page's HTML in a world that the page's own scripts have not touched; its length alone where that is too much.
_READ_HTML = """(() => {
  const html = document.documentElement ? document.documentElement.outerHTML : "";
  return {length: html.length, html: html.length > %d ? "" : html};
})()"""
_SLOTS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()


@contextlib.asynccontextmanager
async def browser_engine(job: Job, state: dict[str, Any]) -> AsyncIterator[Engine]:
    """A browser for one visit of one account; the account's next one begins with its cookies.

    :raises PlatformError: there is no Chromium, or it does not start.
    """
    slots = _SLOTS.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(MAX_BROWSERS))
    proxy = GuardedProxy(job.settings.addresses, allow_private=job.settings.allow_private)
    async with slots, proxy, async_playwright() as playwright:
        with tempfile.TemporaryDirectory(prefix="likepion-browser-", ignore_cleanup_errors=True) as home:
            browser = await _launch(job, playwright, proxy, home)
            async with _watched(browser) as life:
                engine = BrowserEngine(job, life, proxy)
                await engine.open(browser, state)
                try:
                    yield engine
                finally:
                    await engine.close(state)


async def _launch(job: Job, playwright: Playwright, proxy: GuardedProxy, home: str) -> Browser:
    # Of the worker's environment, which can hold its secrets, no more than a program needs.
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    try:
        return await playwright.chromium.launch(
            executable_path=_chromium(),
            args=[*ARGUMENTS, *GUARDED],
            env={**kept, "HOME": home, "TMPDIR": home},
            proxy={"server": proxy.url},
            chromium_sandbox=str(job.settings.extra.get(SANDBOX_EXTRA, True)).lower() != "false",
        )
    except Error as error:
        if _NO_SANDBOX in str(error):
            raise _without_sandbox() from None
        raise _unusable(f"it does not start ({error.message.splitlines()[0]})") from None


def _chromium() -> str:
    """The browser's program.

    :raises PlatformError: there is none.
    """
    named = os.environ.get(CHROMIUM_VARIABLE)
    for name in (named,) if named else ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise _unusable(f"{named or 'chromium'} is not installed")


def _unusable(why: str) -> PlatformError:
    return PlatformError(
        f"a recipe with engine: browser needs Chromium: {why}",
        remedy=f"Install it (Debian: apt-get install chromium) or name its program in {CHROMIUM_VARIABLE}.",
    )


def _without_sandbox() -> PlatformError:
    return PlatformError(
        "Chromium cannot have its sandbox here: it refuses to as root, and where the kernel gives it no namespaces",
        remedy="Run the worker as another user than root; or, where the machine holds nothing that a hostile page must "
        f'not reach, give the connection of the platform the extra {{"{SANDBOX_EXTRA}": false}}.',
    )


class _Life:
    """A browser's processes, which end with SIGKILL at a deadline, or when they take too much memory."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        #: Playwright's, which reads for the browser what is called beside it.
        self._driver = process.parent() or process
        flag = "--user-data-dir="
        self._profile = next(each.removeprefix(flag) for each in process.cmdline() if each.startswith(flag))
        #: Why it was ended; empty while it was not.
        self.ended = ""

    def end(self, why: str) -> None:
        """Kill all of it, whatever it is doing."""
        self.ended = self.ended or why
        with contextlib.suppress(psutil.Error):
            for each in (*self._process.children(recursive=True), self._process):
                with contextlib.suppress(psutil.Error):
                    each.kill()

    def forget(self) -> None:
        """End it, and remove what a killed browser leaves on the disk."""
        self.end("is over")
        shutil.rmtree(self._profile, ignore_errors=True)

    @contextlib.contextmanager
    def limited(self, within_s: float) -> Iterator[None]:
        """Let the body take so long; what then waits for the browser fails, since it is gone."""
        ending = asyncio.get_running_loop().call_later(within_s, self.end, f"took longer than {within_s:.0f} s")
        try:
            yield
        finally:
            ending.cancel()

    async def watch(self) -> None:
        """End it as soon as it takes too much memory."""
        while not self.ended:
            if _held_bytes(self._driver) > MAX_BROWSER_BYTES:
                self.end(f"took more than {MAX_BROWSER_BYTES >> 20} MB of memory")
            await asyncio.sleep(WATCH_S)


def _held_bytes(process: psutil.Process) -> int:
    held_bytes = 0
    with contextlib.suppress(psutil.Error):
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                memory = each.memory_info()
                held_bytes += memory.rss - memory.shared
    return held_bytes


@contextlib.asynccontextmanager
async def _watched(browser: Browser) -> AsyncIterator[_Life]:
    """Find a browser's process, and leave none of it behind."""
    session = await browser.new_browser_cdp_session()
    processes = (await session.send("SystemInfo.getProcessInfo"))["processInfo"]
    life = _Life(psutil.Process(next(each["id"] for each in processes if each["type"] == "browser")))
    watching = asyncio.ensure_future(life.watch())
    try:
        yield life
    finally:
        watching.cancel()
        with contextlib.suppress(Error), life.limited(CLOSING_S):
            await browser.close()
        life.forget()


def _cookies(job: Job) -> list[Any]:
    pairs = (each.partition("=") for each in job.http.cookie.split("; ") if "=" in each)
    return [{"name": name, "value": value, "url": job.http.base_url} for name, _, value in pairs]


class BrowserEngine:
    """One tab. What its page shows when the network has become quiet is what the recipe's selectors see."""

    _context: BrowserContext
    _tab: Tab
    _session: CDPSession

    def __init__(self, job: Job, life: _Life, proxy: GuardedProxy) -> None:
        self.cookie = job.http.cookie
        self._job = job
        self._http = job.http
        self._life = life
        self._proxy = proxy
        self._headers: Mapping[str, str] = {}
        self._answers: list[Response] = []
        self._running: set[Any] = set()
        self._passing: set[asyncio.Future[None]] = set()

    async def open(self, browser: Browser, state: dict[str, Any]) -> None:
        """Open the tab, in a context that no other account shares.

        :raises Transient: the browser is gone.
        """
        with self._explained(self._http.base_url), self._life.limited(self._http.timeout_s):
            self._context = await browser.new_context(
                storage_state=state.get("storage"), accept_downloads=False, service_workers="block"
            )
            if not state.get("storage"):
                await self._context.add_cookies(_cookies(self._job))
            self._tab = await self._context.new_page()
            self._tab.on("request", lambda each: self._running.add(each))
            self._tab.on("requestfinished", lambda each: self._running.discard(each))
            self._tab.on("requestfailed", lambda each: self._running.discard(each))
            self._tab.on("response", lambda each: self._answers.append(each))
            self._session = await self._context.new_cdp_session(self._tab)
            self._session.on("Fetch.requestPaused", self._pass)

    async def close(self, state: dict[str, Any]) -> None:
        """Keep the account's cookies; a browser that has none to give is let go without."""
        with contextlib.suppress(Error), self._life.limited(CLOSING_S):
            state["storage"] = await self._context.storage_state()

    async def send(self, request: SiteRequest) -> Page:
        """See :meth:`Engine.send`. What is not a plain GET goes out beside the tab, with its cookies."""
        async with self._turn(request.url, request.headers, writes=request.writes):
            if request.writes:
                page = await self._call(request)
            else:
                self._answers.clear()
                await self._tab.goto(request.url)
                page = await self._shown()
        return self._http.accept(page)

    async def submit(self, page: Page, form: Form, fields: Mapping[str, str], headers: Mapping[str, str]) -> Page:
        """See :meth:`Engine.submit`."""
        tag = form_of(page, form)
        shown = self._tab.locator(form.css).nth(css.select(page.html, form.css).index(tag))
        async with self._turn(page.url, headers, writes=True):
            for name, value in fields.items():
                await _enter(shown.locator(f"[name={json.dumps(name)}]").first, value)
            self._answers.clear()
            async with self._tab.expect_response(_is_answer):
                await _send(shown, form.button or _BUTTON)
            answer = await self._shown()
        return self._http.accept(answer)

    @contextlib.asynccontextmanager
    async def _turn(self, url: str, headers: Mapping[str, str], *, writes: bool) -> AsyncIterator[None]:
        try:
            parse(url)
        except BadAddress as error:
            raise self._failed(f"names an address that {error}", _READ_REMEDY) from None
        async with self._http.turn(writes=writes) as within_s:
            with self._explained(url), self._life.limited(within_s):
                self._context.set_default_timeout(within_s * 1000)
                await self._add_headers(headers)
                yield
                cookies = await self._context.cookies(self._http.base_url)
                self.cookie = "; ".join(f"{each['name']}={each['value']}" for each in cookies)

    @contextlib.contextmanager
    def _explained(self, url: str) -> Iterator[None]:
        """Say what a failure of the browser comes from."""
        self._proxy.refused_host = ""
        try:
            yield
        except Error as error:
            raise self._why(url, error) from None

    def _why(self, url: str, error: Error) -> LikepionError:
        host, words = urlsplit(url).hostname, error.message
        if self._life.ended:
            return Transient(
                f"{self._http.platform}: a page of {host} {self._life.ended}, and its browser was ended",
                remedy="Nothing to do if it was once: it is tried again. Else see in a browser what the page does.",
            )
        if self._proxy.is_exhausted:
            return self._failed(f"sent more than {MAX_CARRIED_BYTES >> 20} MB to one visit", _READ_REMEDY)
        if _PROXY_REFUSED in words and self._proxy.refused_host:
            return self._failed(
                f"leads to {self._proxy.refused_host}, an address that is not public",
                "If that is the site, put its address into the host of the domain's Airflow connection.",
            )
        if _DOWNLOAD in words:
            return self._failed(f"answered with a download where a page was expected ({host})", _READ_REMEDY)
        return self._http.no_answer(url, error)

    def _failed(self, words: str, remedy: str) -> PlatformError:
        return PlatformError(f"{self._http.platform}: the site {words}", platform=self._http.platform, remedy=remedy)

    async def _add_headers(self, headers: Mapping[str, str]) -> None:
        """Send the recipe's headers along, hop by hop, so that none follows a redirect to another host."""
        if headers and not self._headers:
            await self._session.send("Fetch.enable", {"patterns": [{"urlPattern": "*"}]})
        self._headers = headers

    def _pass(self, event: Mapping[str, Any]) -> None:
        passing = asyncio.ensure_future(self._let_pass(event["requestId"], event["request"]))
        self._passing.add(passing)
        passing.add_done_callback(self._passing.discard)

    async def _let_pass(self, request_id: str, request: Mapping[str, Any]) -> None:
        answer: dict[str, Any] = {"requestId": request_id}
        if self._http.is_own(request["url"]):
            headers = {**request["headers"], **self._headers}
            answer["headers"] = [{"name": name, "value": value} for name, value in headers.items()]
        with contextlib.suppress(Error):  # the page has gone on
            await self._session.send("Fetch.continueRequest", answer)

    async def _call(self, request: SiteRequest) -> Page:
        body = {"form": request.body["data"]} if "data" in request.body else {"data": request.body.get("json")}
        headers = dict(request.headers) if self._http.is_own(request.url) else {}
        answer = await self._context.request.fetch(
            request.url, method=request.method, headers=headers, max_redirects=0, **body
        )
        content = await answer.body()
        self._http.visit.count_bytes(len(content), len(content))
        return Page(self._http.platform, answer.url, answer.status, answer.headers, content)

    async def _shown(self) -> Page:
        """The tab's page, once the network is quiet; of a page that fails to load its parts, that part's answer."""
        await self._quiet()
        documents = [each for each in self._answers if self._is_page(each)]
        failed = [each for each in self._answers if each.status == 429 or each.status >= 500]
        answer = next(iter(failed), documents[-1] if documents else None)
        headers = answer.headers if answer else {}
        body = await self._html()
        if documents and "json" in documents[-1].headers.get("content-type", ""):
            body = await documents[-1].body()
        return Page(self._http.platform, self._tab.url, answer.status if answer else 200, headers, body)

    def _is_page(self, response: Response) -> bool:
        request = response.request
        return request.is_navigation_request() and request.frame == self._tab.main_frame and _is_answer(response)

    async def _html(self) -> bytes:
        """What the tab shows.

        :raises VisitTooLarge: it is more than a page, or a visit, may have.
        """
        frame = (await self._session.send("Page.getFrameTree"))["frameTree"]["frame"]["id"]
        world = await self._session.send("Page.createIsolatedWorld", {"frameId": frame})
        asked = {"expression": _READ_HTML % VisitLimits.page_bytes, "contextId": world["executionContextId"]}
        shown = (await self._session.send("Runtime.evaluate", asked | {"returnByValue": True}))["result"]["value"]
        self._http.visit.count_bytes(shown["length"], shown["length"])
        return str(shown["html"]).encode(errors="replace")

    async def _quiet(self) -> None:
        """Wait until nothing was under way for :data:`QUIET_S`; no longer than :data:`MAX_SETTLING_S`."""
        deadline_s = time.monotonic() + MAX_SETTLING_S
        quiet_since_s = time.monotonic()
        while (now_s := time.monotonic()) < deadline_s and now_s - quiet_since_s < QUIET_S:
            await asyncio.sleep(0.05)
            if self._running:
                quiet_since_s = time.monotonic()


async def _send(form: Locator, button: str) -> None:
    """Click a form's button; one that has none is sent all the same, as Return would."""
    if await form.locator(button).count():
        await form.locator(button).first.click()
    else:
        await form.evaluate("form => form.requestSubmit()")


async def _enter(control: Locator, value: str) -> None:
    """Fill in one control, whatever it is."""
    kind = await control.evaluate("element => element.type")
    if kind == "select-one":
        await control.select_option(value)
    elif kind in ("checkbox", "radio"):
        await control.set_checked(bool(value))
    elif kind == "hidden":
        await control.evaluate("(element, value) => { element.value = value }", value)
    else:
        await control.fill(value)


def _is_answer(response: Response) -> bool:
    """Whether a response is one to something that was sent: a page or data, after redirects."""
    return response.request.resource_type in ("document", "xhr", "fetch") and not 300 <= response.status < 400
