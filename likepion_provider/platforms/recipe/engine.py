"""How a recipe's steps reach a site: over HTTP here, with a browser in ``browser.py``."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from likepion_provider.errors import PlatformError
from likepion_provider.platforms.base import Job
from likepion_provider.platforms.recipe.select import form_of, held
from likepion_provider.platforms.recipe.shape import Form
from likepion_provider.web.http import Page

#: A page is not looked for behind more redirects.
MAX_REDIRECTS = 10


@dataclasses.dataclass(frozen=True)
class Request:
    """What a step asks for; ``headers`` go to the site's own host only."""

    method: str
    url: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    body: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def writes(self) -> bool:
        """Whether it may change something there."""
        return self.method != "GET"


class Engine(Protocol):
    """What runs a recipe's steps; every page is the one after redirects."""

    @property
    def cookie(self) -> str:
        """The session's cookies, for a later run."""

    async def send(self, request: Request) -> Page:
        """Open an address, or call an API."""

    async def submit(self, page: Page, form: Form, fields: Mapping[str, str], headers: Mapping[str, str]) -> Page:
        """Fill in a form of the page that was opened last, and send it.

        :raises PlatformChanged: the page has no such form.
        """


class HttpEngine:
    """Plain requests; redirects are followed by hand, so that nothing secret follows one to another host."""

    def __init__(self, job: Job) -> None:
        self._http = job.http

    @property
    def cookie(self) -> str:
        """The session's cookies, for a later run."""
        return self._http.cookie

    async def send(self, request: Request) -> Page:
        """See :meth:`Engine.send`."""
        page = await self._once(request)
        for _ in range(MAX_REDIRECTS):
            if page.status not in (301, 302, 303, 307, 308) or "location" not in page.headers:
                return page
            if page.status in (307, 308) and request.writes:
                raise page.changed("a page at this address")
            request = Request("GET", urljoin(page.url, page.headers["location"]), request.headers)
            page = await self._once(request)
        raise page.changed(f"a page within {MAX_REDIRECTS} redirects")

    async def submit(self, page: Page, form: Form, fields: Mapping[str, str], headers: Mapping[str, str]) -> Page:
        """See :meth:`Engine.submit`."""
        tag = form_of(page, form)
        data = held(tag, form.button) | dict(fields)
        url = urljoin(page.url, str(tag.get("action") or page.url))
        if str(tag.get("method") or "get").lower() == "post":
            # Django and others want to see where an https form was.
            return await self.send(Request("POST", url, {"Referer": page.url, **headers}, {"data": data}))
        return await self.send(Request("GET", url, headers, {"params": data}))

    async def _once(self, request: Request) -> Page:
        headers = request.headers if urlsplit(request.url).netloc == urlsplit(self._http.base_url).netloc else {}
        return await self._http.request(
            request.method, request.url, headers=dict(headers), allow_redirects=False, **request.body
        )


@contextlib.asynccontextmanager
async def engine_for(job: Job, kind: str, state: dict[str, Any]) -> AsyncIterator[Engine]:
    """What runs the steps, ready for one visit.

    :param state: what a visit leaves for the account's next one.
    :raises PlatformError: a browser is asked for and cannot be had.
    """
    if kind == "http":
        yield HttpEngine(job)
        return
    try:
        from likepion_provider.platforms.recipe.browser import browser_engine
    except ImportError:
        raise PlatformError(
            "a recipe with engine: browser needs playwright",
            remedy="Install the extra: pip install 'airflow-provider-likepion[recipes,browser]', and Chromium.",
        ) from None
    async with browser_engine(job, state) as engine:
        yield engine
