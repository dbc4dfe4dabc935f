"""A recipe's steps in a real browser, for sites whose pages need JavaScript. Needs the extra ``browser`` and Chromium.

The account owner's own login, typed in as a person would; nothing is hidden from the site.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import time
import weakref
from collections.abc import AsyncIterator, Mapping
from typing import Any

from playwright.async_api import (
    BrowserContext,
    Error,
    Locator,
    Response,
    Route,
    async_playwright,
)
from playwright.async_api import Page as Tab

from likepion_provider.errors import PlatformError
from likepion_provider.platforms.base import Job
from likepion_provider.platforms.recipe.engine import Engine, SiteRequest
from likepion_provider.platforms.recipe.select import form_of, soup
from likepion_provider.platforms.recipe.shape import Form
from likepion_provider.web.page import Page

#: A browser takes some 300 MB; the accounts of a task share so many.
MAX_BROWSERS = 2
#: Names the browser's program where it is not ``chromium``.
CHROMIUM_VARIABLE = "LIKEPION_CHROMIUM"
#: A page is read when its network was quiet for so long; one that never is, after so long.
QUIET_S = 0.5
MAX_SETTLING_S = 20.0
_BUTTON = "[type=submit], button:not([type])"
ARGUMENTS = (
    # Chromium refuses to run as root with its sandbox, as in most containers.
    *(("--no-sandbox",) if os.geteuid() == 0 else ()),
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_SLOTS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()


@contextlib.asynccontextmanager
async def browser_engine(job: Job, state: dict[str, Any]) -> AsyncIterator[Engine]:
    """A browser for one visit; the next one begins with its cookies.

    :raises PlatformError: there is no Chromium, or it does not start.
    """
    slots = _SLOTS.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(MAX_BROWSERS))
    async with slots, async_playwright() as playwright:
        try:
            browser = await playwright.chromium.launch(executable_path=_chromium(job), args=list(ARGUMENTS))
        except Error as error:
            raise _unusable(job, str(error).splitlines()[0]) from None
        try:
            context = await browser.new_context(storage_state=state.get("storage"))
            context.set_default_timeout(job.http.timeout_s * 1000)
            if not state.get("storage"):
                await context.add_cookies(_cookies(job))
            engine = BrowserEngine(job, context, await context.new_page())
            await context.route(job.http.is_own, engine.add_headers)
            try:
                yield engine
            finally:
                state["storage"] = await context.storage_state()
        finally:
            await browser.close()


def _chromium(job: Job) -> str:
    """The browser's program.

    :raises PlatformError: there is none.
    """
    named = os.environ.get(CHROMIUM_VARIABLE)
    for name in (named,) if named else ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise _unusable(job, f"{named or 'chromium'} is not installed")


def _unusable(job: Job, why: str) -> PlatformError:
    return PlatformError(
        f"a recipe with engine: browser needs Chromium: {why}",
        remedy=f"Install it (Debian: apt-get install chromium) or name its program in {CHROMIUM_VARIABLE}.",
    )


def _cookies(job: Job) -> list[Any]:
    pairs = (each.partition("=") for each in job.http.cookie.split("; ") if "=" in each)
    return [{"name": name, "value": value, "url": job.http.base_url} for name, _, value in pairs]


class BrowserEngine:
    """One tab. What its page shows when the network has become quiet is what the recipe's selectors see."""

    def __init__(self, job: Job, context: BrowserContext, tab: Tab) -> None:
        self.cookie = job.http.cookie
        self._http = job.http
        self._context = context
        self._tab = tab
        self._headers: Mapping[str, str] = {}
        self._answers: list[Response] = []
        self._running: set[Any] = set()
        tab.on("request", lambda each: self._running.add(each))
        tab.on("requestfinished", lambda each: self._running.discard(each))
        tab.on("requestfailed", lambda each: self._running.discard(each))
        tab.on("response", lambda each: self._answers.append(each))

    async def send(self, request: SiteRequest) -> Page:
        """See :meth:`Engine.send`. What is not a plain GET goes out beside the tab, with its cookies."""
        self._headers = request.headers
        async with self._turn(request.url, writes=request.writes):
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
        self._headers = headers
        shown = self._tab.locator(form.css).nth(soup(page).select(form.css).index(tag))
        async with self._turn(page.url, writes=True):
            for name, value in fields.items():
                await _enter(shown.locator(f"[name={json.dumps(name)}]").first, value)
            self._answers.clear()
            async with self._tab.expect_response(_is_answer):
                await _send(shown, form.button or _BUTTON)
            answer = await self._shown()
        return self._http.accept(answer)

    @contextlib.asynccontextmanager
    async def _turn(self, url: str, *, writes: bool) -> AsyncIterator[None]:
        async with self._http.turn(writes=writes) as within_s:
            self._context.set_default_timeout(within_s * 1000)
            try:
                yield
            except Error as error:
                raise self._http.no_answer(url, error) from None
            cookies = await self._context.cookies(self._http.base_url)
            self.cookie = "; ".join(f"{each['name']}={each['value']}" for each in cookies)

    async def add_headers(self, route: Route) -> None:
        """Send the recipe's headers along; registered for the site's own host."""
        await route.continue_(headers={**route.request.headers, **self._headers})

    async def _call(self, request: SiteRequest) -> Page:
        body = {"form": request.body["data"]} if "data" in request.body else {"data": request.body.get("json")}
        headers = dict(request.headers) if self._http.is_own(request.url) else {}
        answer = await self._context.request.fetch(
            request.url, method=request.method, headers=headers, max_redirects=0, **body
        )
        return Page(self._http.platform, answer.url, answer.status, answer.headers, await answer.body())

    async def _shown(self) -> Page:
        """The tab's page, once the network is quiet; of a page that fails to load its parts, that part's answer."""
        await self._quiet()
        documents = [each for each in self._answers if each.request.is_navigation_request() and _is_answer(each)]
        failed = [each for each in self._answers if each.status == 429 or each.status >= 500]
        answer = next(iter(failed), documents[-1] if documents else None)
        headers = answer.headers if answer else {}
        if documents and "json" in documents[-1].headers.get("content-type", ""):
            body = await documents[-1].body()
        else:
            body = (await self._tab.content()).encode()
        return Page(self._http.platform, self._tab.url, answer.status if answer else 200, headers, body)

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
