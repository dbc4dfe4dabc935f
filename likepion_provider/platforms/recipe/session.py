"""One visit's requests to a recipe's site: its steps, and the login where the site asks for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from likepion_provider.errors import PlatformError
from likepion_provider.platforms.base import Job, Platform, quoted
from likepion_provider.platforms.recipe import css
from likepion_provider.platforms.recipe.braces import SECRET_PLACES, Values, places
from likepion_provider.platforms.recipe.engine import Engine, SiteRequest
from likepion_provider.platforms.recipe.select import Scope, form_of
from likepion_provider.platforms.recipe.shape import ApiCall, Form, Recipe, Step
from likepion_provider.web.page import Page

#: How a site says that it does not take a login; others show the form again.
_REFUSALS = (400, 401, 403, 422)

#: What a recipe does, step by step, at DEBUG; ``likepion platforms try`` shows it. Nothing secret is said.
log = logging.getLogger(__name__)


class SiteSession:
    """Opens pages and does steps; signs in at most once.

    :param kept: what the account's earlier visits have kept; it is added to.
    """

    def __init__(self, platform: Platform, recipe: Recipe, job: Job, engine: Engine, kept: dict[str, str]) -> None:
        self._platform = platform
        self._recipe = recipe
        self._job = job
        self._engine = engine
        self.values = Values(platform, job, kept)
        self.has_signed_in = False

    @property
    def cookie(self) -> str:
        """The session's cookies, for a later run."""
        return self._engine.cookie

    async def open(self, part: str, template: str, address: str = "") -> Page:
        """A page, signed in; one that is missing (404, 410) is the caller's matter.

        :param part: the part of the recipe that it is opened for.
        :param template: the address in the recipe.
        :param address: the address itself, where the template's own values are not enough.
        :raises LoginRefused: the site takes no login of the account.
        :raises PlatformChanged: the page has another status.
        """

        def request() -> SiteRequest:
            return SiteRequest("GET", address or self.values.address(template), self._headers())

        page = await self._send(part, f"open {template}", request)
        return page.expect(200, 404, 410, what=f"a page for {part}")

    async def steps(self, part: str, steps: tuple[Step, ...], page: Page | None = None) -> None:
        """Do a part's steps in order.

        :param page: what the first one finds open.
        :raises LoginRefused: the site takes no login of the account.
        :raises PlatformError: a page says what the recipe calls a refusal.
        :raises PlatformChanged: a page lacks what a step needs.
        """
        for number, step in enumerate(steps):
            place = f"{part}[{number}]"
            if step.when and not (page and Scope(page).has(step.when)):
                log.debug("%s: left out, the page has no %s", place, step.when)
                continue
            page = await self._step(place, step, page)
            self._check(place, step, Scope(page))

    def refused(self, words: str) -> PlatformError:
        """The error for a feed that the site refuses in these words."""
        return self._platform.failed(f"refused the feed: {quoted(self._job, words)}")

    # --- steps ---

    async def _step(self, place: str, step: Step, page: Page | None) -> Page:
        if step.form:
            if page is None:
                raise PlatformError(f"{place}: there is no page to fill in a form of", platform=self._platform.name)
            return await self._submit(place, step.form, page)
        call = step.call or ApiCall(method="GET", path=step.open or "")
        self._guard(self.values.address(call.path), [call.json_body, call.data])
        return await self._send(place, f"{call.method} {call.path}", lambda: self._request(call))

    async def _submit(self, place: str, form: Form, page: Page) -> Page:
        self._guard(page.join(form_of(page, form).get("action")), form.fields)
        answer = await self._engine.submit(page, form, self.values.texts(form.fields), self._headers())
        log.debug("%s: form %s with %s -> %d", place, form.css, ", ".join(form.fields), answer.status)
        return answer

    def _request(self, call: ApiCall) -> SiteRequest:
        body: dict[str, Any] = {}
        if call.json_body is not None:
            body["json"] = self.values.structure(call.json_body)
        if call.data is not None:
            body["data"] = self.values.texts(call.data)
        return SiteRequest(call.method, self.values.address(call.path), self._headers(), body)

    def _headers(self) -> dict[str, str]:
        return self.values.known(self._recipe.headers)

    def _guard(self, url: str, sent: object) -> None:
        """Send what opens an account to the site itself only."""
        if SECRET_PLACES.intersection(places(sent)):
            self._platform.refuse_login_elsewhere(self._job, url)

    def _check(self, place: str, step: Step, scope: Scope) -> None:
        """Hold a page against what its step expects, and keep what it says."""
        if step.refused and (words := scope.value(step.refused)):
            log.debug("%s: refused at %s", place, step.refused)
            raise self._refused_login() if _signs_in(place) else self.refused(words)
        if step.expect and not scope.has(step.expect):
            raise scope.page.changed(f"{step.expect} ({place})")
        if _signs_in(place) and scope.page.status in _REFUSALS:
            raise self._refused_login()
        if scope.page.status >= 400:
            raise scope.page.changed(f"a page after {place}")
        for name, selector in step.keep.items():
            value = self.values.kept[name] = scope.needed(f"{place}.keep.{name}", selector)
            log.debug("%s: kept %s, %d characters at %s", place, name, len(value), selector)

    # --- the login ---

    async def _send(self, place: str, shown: str, request: Callable[[], SiteRequest]) -> Page:
        """Send a request, and once more after a login where the site asks for one.

        :param request: made anew after the login, which may have kept what it needs.
        """
        page = await self._engine.send(request())
        log.debug("%s: %s -> %d", place, shown, page.status)
        if _signs_in(place) or not self._asks_for_login(page):
            return page
        await self._sign_in(page)
        page = await self._engine.send(request())
        log.debug("%s: %s -> %d", place, shown, page.status)
        if self._asks_for_login(page):
            log.debug("login: the site asks for it again")
            raise self._refused_login()
        return page

    def _asks_for_login(self, page: Page) -> bool:
        needed = self._recipe.login.needed if self._recipe.login else None
        if needed is None:
            return False
        return page.status in needed.status or bool(needed.css and css.select(page.html, needed.css))

    async def _sign_in(self, page: Page) -> None:
        log.debug("login: the site asks for it")
        if self.has_signed_in or not self._recipe.login or not self._recipe.login.steps:
            raise self._refused_login()
        self.has_signed_in = True
        await self.steps("login", self._recipe.login.steps, page)

    def _refused_login(self) -> PlatformError:
        return self._platform.refused_login(self._job) if self._platform.needs else self._platform.refused_key()


def _signs_in(place: str) -> bool:
    return place.startswith("login")
