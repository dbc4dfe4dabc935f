"""A recipe's steps by plain HTTP requests."""

from __future__ import annotations

from collections.abc import Mapping

from likepion_provider.platforms.base import Job
from likepion_provider.platforms.recipe.engine import SiteRequest
from likepion_provider.platforms.recipe.select import form_of, held
from likepion_provider.platforms.recipe.shape import Form
from likepion_provider.web.page import Page


class HttpEngine:
    """Plain requests; what is secret goes to the site's own origin only."""

    def __init__(self, job: Job) -> None:
        self._http = job.http

    @property
    def cookie(self) -> str:
        """The session's cookies, for a later run."""
        return self._http.cookie

    async def send(self, request: SiteRequest) -> Page:
        """See :meth:`Engine.send <likepion_provider.platforms.recipe.engine.Engine.send>`."""
        headers = request.headers if self._http.is_own(request.url) else {}
        return await self._http.request(request.method, request.url, headers=dict(headers), **request.body)

    async def submit(self, page: Page, form: Form, fields: Mapping[str, str], headers: Mapping[str, str]) -> Page:
        """See :meth:`Engine.submit <likepion_provider.platforms.recipe.engine.Engine.submit>`."""
        tag = form_of(page, form)
        data = held(page, tag, form.button) | dict(fields)
        url = page.join(tag.get("action") or page.url)
        if tag.get("method").lower() == "post":
            # Django and others want to see where an https form was.
            return await self.send(SiteRequest("POST", url, {"Referer": page.url, **headers}, {"data": data}))
        return await self.send(SiteRequest("GET", url, headers, {"params": data}))
