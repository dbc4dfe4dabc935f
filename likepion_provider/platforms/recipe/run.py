"""An importer that a recipe describes."""

from __future__ import annotations

import contextlib
import logging
import re
import weakref
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar
from urllib.parse import quote, urljoin

from likepion_provider.errors import LoginRefused, PlatformError
from likepion_provider.models import ImportState
from likepion_provider.platforms.base import Job, ListedEpisode, Platform, Progress
from likepion_provider.platforms.match import enough, match, same_feed
from likepion_provider.platforms.recipe.engine import Engine, Request, engine_for
from likepion_provider.platforms.recipe.select import Scope, form_of, read_date, soup
from likepion_provider.platforms.recipe.shape import SECRET_PLACES, Detail, Listing, Recipe, Step, fill, places
from likepion_provider.platforms.totp import totp_code
from likepion_provider.web.http import Page, PlatformHttp

#: A list is not read beyond so many pages.
MAX_PAGES = 500

#: How a site says that it does not take a login; others show the form again.
_REFUSALS = (400, 401, 403, 422)

#: What a recipe does, step by step, at DEBUG; ``likepion platforms try`` shows it. Nothing secret is said.
log = logging.getLogger(__name__)


class ByRecipe(Platform):
    """Does what :attr:`recipe` says. Each visit signs in where the site asks for it, once."""

    recipe: ClassVar[Recipe]

    def __init__(self) -> None:
        #: What an account's visits keep, for as long as its client lives: a token, a browser's cookies.
        self._kept: weakref.WeakKeyDictionary[PlatformHttp, dict[str, Any]] = weakref.WeakKeyDictionary()

    async def submit(self, job: Job) -> Progress:
        """Do the recipe's ``submit``, unless the feed is there."""
        async with self._visit(job) as visit:
            seen = await visit.look()
            return seen if seen.state is not ImportState.NEW else await visit.submit()

    async def collect(self, job: Job) -> Progress:
        """Do the recipe's ``find``, ``poll`` and ``list``."""
        async with self._visit(job) as visit:
            return await visit.look()

    async def sign_in(self, job: Job) -> None:
        """Open what needs a login: the list of shows, and where the recipe's ``submit`` begins."""
        async with self._visit(job) as visit:
            await visit.sign_in()

    @contextlib.asynccontextmanager
    async def _visit(self, job: Job) -> AsyncIterator[_Visit]:
        kept = self._kept.setdefault(job.http, {})
        async with engine_for(job, self.recipe.engine, kept) as engine:
            yield _Visit(self, job, engine, kept.setdefault("values", {}))


def importer(recipe: Recipe) -> type[ByRecipe]:
    """The importer that a recipe describes."""
    where = "" if recipe.address else "host: the site's address, or nothing: then https and the account's domain; "
    chosen = "" if recipe.domains else f"extra: platform: {recipe.recipe}; "
    key = "password: the site's key; " if recipe.needs_key else ""
    described = {
        "recipe": recipe,
        "name": recipe.recipe,
        "title": recipe.title,
        "domains": recipe.domains,
        "base_url": recipe.address,
        "needs": recipe.needs,
        "needs_connection": (where + chosen + key).removesuffix("; "),
        "max_concurrency": recipe.max_concurrency,
        "poll_s": recipe.poll_s,
    }
    return type("Recipe_" + recipe.recipe, (ByRecipe,), described)


class _Visit:
    """One submit or collect."""

    def __init__(self, platform: ByRecipe, job: Job, engine: Engine, kept: dict[str, str]) -> None:
        self._platform = platform
        self._recipe = platform.recipe
        self._job = job
        self._engine = engine
        self._kept = kept
        self._reference = job.reference
        self._signed_in = False

    # --- what the recipe's parts do ---

    async def look(self) -> Progress:
        """How far the site is with the feed."""
        self._reference = self._job.reference or await self._find()
        if not self._reference or not await self._ready():
            state = ImportState.SUBMITTED if self._reference else ImportState.NEW
            return Progress(state, self._reference, cookie=self._engine.cookie)
        episodes = await self._episodes()
        if episodes is None:
            return Progress(ImportState.NEW, cookie=self._engine.cookie)
        state = ImportState.LISTED if episodes else ImportState.SUBMITTED
        return Progress(state, self._reference, episodes, cookie=self._engine.cookie)

    async def sign_in(self) -> None:
        """Sign in where the site asks for it."""
        await self._find()
        if not self._signed_in and (form := self._recipe.submit[0].open):
            await self._open("submit[0]", form)

    async def submit(self) -> Progress:
        """Hand the feed over."""
        self._kept.pop("reference", None)
        await self._steps("submit", self._recipe.submit)
        return Progress(ImportState.SUBMITTED, self._kept.get("reference", ""), cookie=self._engine.cookie)

    async def _find(self) -> str:
        """The site's name for the show that has the feed; empty where there is none."""
        find = self._recipe.find
        async for rows in self._pages("find", find):
            for row in rows:
                seen = _read(row, find.fields)
                if "title" in find.fields and _plain(seen["title"]) != _plain(self._job.feed.title):
                    continue
                if find.detail and seen["reference"]:
                    seen |= await self._detail("find", find.detail, seen)
                if "feed" not in find.names or same_feed(self._job.feed, seen.get("feed", "")):
                    log.debug("find: the feed's show is %s", seen["reference"])
                    return row.needed("reference", find.fields["reference"])
        log.debug("find: the feed is not there")
        return ""

    async def _ready(self) -> bool:
        """Whether the import is through, where the site says so."""
        if not (poll := self._recipe.poll):
            return True
        page = Scope(await self._open("poll", poll.open))
        if poll.failed and (words := page.value(poll.failed)):
            raise self._refused(words)
        return not (poll.working and page.has(poll.working))

    async def _episodes(self) -> tuple[ListedEpisode, ...] | None:
        """What is listed; None where the show is gone."""
        listing = self._recipe.list
        titles = {_plain(each.title) for each in self._job.feed.episodes}
        found: tuple[ListedEpisode, ...] | None = None
        async for rows in self._pages("list", listing):
            found = (*(found or ()), *[await self._episode(row, titles) for row in rows])
            log.debug("list: %d of %d episodes are the feed's", len(self._matched(found)), len(found))
            if enough(self._job, found):
                break
        return found

    async def _episode(self, row: Scope, titles: set[str]) -> ListedEpisode:
        """A row's episode, read from its own page where the row is not enough and may be the feed's."""
        listing = self._recipe.list
        seen = _read(row, listing.fields)
        each = self._listed(row, seen)
        if listing.detail and not self._matched((each,)) and ("title" not in seen or _plain(seen["title"]) in titles):
            seen |= await self._detail("list", listing.detail, seen | {"url": each.url})
            each = self._listed(row, seen)
        if not each.url and ("title" not in seen or _plain(seen["title"]) in titles):
            raise row.page.changed(f"url ({listing.fields['url']})")
        return each

    def _matched(self, listed: tuple[ListedEpisode, ...]) -> list[ListedEpisode]:
        return match(self._job.feed, listed, max(len(self._job.feed.episodes), 1))

    def _listed(self, row: Scope, seen: Mapping[str, str]) -> ListedEpisode:
        fields = self._recipe.list.fields | (self._recipe.list.detail.fields if self._recipe.list.detail else {})
        published = read_date(seen.get("published", ""), fields["published"].date) if "published" in fields else None
        return ListedEpisode(
            url=urljoin(row.page.url, seen["url"]) if seen.get("url") else "",
            guid=seen.get("guid", ""),
            title=seen.get("title", ""),
            enclosure_url=seen.get("enclosure", ""),
            published_at=published,
        )

    async def _pages(self, part: str, listing: Listing) -> AsyncIterator[list[Scope]]:
        """A list's rows, page by page; nothing where its first page is missing."""
        counted = "page" in places(listing.open)
        address, before = self._address(listing.open, {"page": "1"}), None
        for number in range(1, MAX_PAGES + 1):
            page = await self._open(part, listing.open, address)
            if page.status in (404, 410):
                return
            rows = Scope(page).rows(listing.rows)
            log.debug("%s: %d rows at %s", part, len(rows), listing.rows)
            seen = [_read(row, listing.fields) for row in rows]
            # A site that has no such page may show its last or first one again.
            if counted and number > 1 and (not rows or seen == before):
                return
            yield rows
            before = seen
            follows = Scope(page).value(listing.next) if listing.next else ""
            if not counted and not follows:
                return
            address = urljoin(page.url, follows) if follows else self._address(listing.open, {"page": str(number + 1)})
        raise page.changed(f"an end within {MAX_PAGES} pages")

    async def _detail(self, part: str, detail: Detail, row: Mapping[str, str]) -> dict[str, str]:
        known = {f"row.{name}": value for name, value in row.items()}
        page = Scope(await self._open(f"{part}.detail", detail.open, self._address(detail.open, known)))
        return {name: page.value(each) or page.there(name, each) for name, each in detail.fields.items()}

    # --- steps ---

    async def _steps(self, part: str, steps: tuple[Step, ...], page: Page | None = None) -> Page | None:
        for number, step in enumerate(steps):
            place = f"{part}[{number}]"
            if step.when and not (page and Scope(page).has(step.when)):
                log.debug("%s: left out, the page has no %s", place, step.when)
                continue
            page = await self._step(place, step, page)
            self._check(place, step, Scope(page))
        return page

    async def _step(self, place: str, step: Step, page: Page | None) -> Page:
        signing_in = place.startswith("login")
        if step.form:
            if page is None:
                raise PlatformError(f"{place}: there is no page to fill in a form of", platform=self._platform.name)
            fields = {name: self._text(text) for name, text in step.form.fields.items()}
            self._guard(urljoin(page.url, str(form_of(page, step.form).get("action") or "")), step)
            answer = await self._engine.submit(page, step.form, fields, self._headers())
            log.debug("%s: form %s with %s -> %d", place, step.form.css, ", ".join(fields), answer.status)
            return answer
        request = self._request(step)
        self._guard(request.url, step)
        answer = await self._engine.send(request)
        log.debug("%s: %s %s -> %d", place, request.method, step.open or (step.call and step.call.path), answer.status)
        if signing_in or not self._asks_for_login(answer):
            return answer
        await self._sign_in(answer)
        answer = await self._engine.send(self._request(step))
        return self._signed(answer)

    def _request(self, step: Step) -> Request:
        if not step.call:
            return Request("GET", self._address(step.open or ""), self._headers())
        call = step.call
        body: dict[str, Any] = {}
        if call.json_body is not None:
            body["json"] = self._deep(call.json_body)
        if call.data is not None:
            body["data"] = {name: self._text(text) for name, text in call.data.items()}
        return Request(call.method, self._address(call.path), self._headers(), body)

    def _check(self, place: str, step: Step, page: Scope) -> None:
        """Hold a page against what its step expects, and keep what it says."""
        if step.refused and (words := page.value(step.refused)):
            log.debug("%s: refused at %s", place, step.refused)
            raise self._login_refused() if place.startswith("login") else self._refused(words)
        if step.expect and not page.has(step.expect):
            raise page.page.changed(f"{step.expect} ({place})")
        if place.startswith("login") and page.page.status in _REFUSALS:
            raise self._login_refused()
        if page.page.status >= 400:
            raise page.page.changed(f"a page after {place}")
        for name, selector in step.keep.items():
            self._kept[name] = page.needed(f"{place}.keep.{name}", selector)
            log.debug("%s: kept %s, %d characters at %s", place, name, len(self._kept[name]), selector)

    # --- the login ---

    async def _open(self, part: str, template: str, address: str = "") -> Page:
        """A page, signed in; 404 and 410 are the caller's."""
        request = Request("GET", address or self._address(template), self._headers())
        page = await self._engine.send(request)
        log.debug("%s: open %s -> %d", part, template, page.status)
        if self._asks_for_login(page):
            await self._sign_in(page)
            again = Request("GET", request.url, self._headers())
            page = self._signed(await self._engine.send(again))
            log.debug("%s: open %s -> %d", part, template, page.status)
        if page.status not in (200, 404, 410):
            raise page.changed(f"a page for {part}")
        return page

    def _asks_for_login(self, page: Page) -> bool:
        needed = self._recipe.login.needed if self._recipe.login else None
        if needed is None:
            return False
        return page.status in needed.status or bool(needed.css and soup(page).select_one(needed.css))

    async def _sign_in(self, page: Page) -> None:
        log.debug("login: the site asks for it")
        if self._signed_in or not self._recipe.login or not self._recipe.login.steps:
            raise self._login_refused()
        self._signed_in = True
        await self._steps("login", self._recipe.login.steps, page)

    def _signed(self, page: Page) -> Page:
        if self._asks_for_login(page):
            log.debug("login: the site asks for it again")
            raise self._login_refused()
        return page

    def _login_refused(self) -> PlatformError:
        if not self._platform.needs:
            return self._platform.refused_key()
        return LoginRefused(
            f"{self._platform.title} does not accept the credentials of {self._job.task.label}",
            platform=self._platform.name,
        )

    def _refused(self, words: str) -> PlatformError:
        """The site's words, without addresses: they may repeat the feed's."""
        said = re.sub(r"\S+://\S+", "<address>", words)
        for secret in self._job.credentials.secrets():
            said = said.replace(secret, "***")
        return PlatformError(f"{self._platform.title} refused the feed: {said[:300]}", platform=self._platform.name)

    def _guard(self, url: str, step: Step) -> None:
        """Send what opens an account to the site itself only."""
        texts = [*(step.form.fields.values() if step.form else ())]
        if step.call:
            texts += [str(step.call.json_body), *(step.call.data or {}).values()]
        if any(SECRET_PLACES & set(places(text)) for text in texts):
            self._platform.refuse_login_elsewhere(self._job, url)

    # --- what stands in braces ---

    def _value(self, place: str) -> str:
        kind, _, name = place.partition(".")
        if kind == "account":
            return totp_code(self._platform, self._job) if name == "totp" else str(getattr(self._job.credentials, name))
        if kind == "kept":
            return self._kept.get(name, "")
        feed, settings = self._job.feed, self._job.settings
        known = {
            "feed.url": feed.url,
            "feed.title": feed.title or feed.display_url,
            "reference": self._reference,
            "domain": self._job.task.domain,
            "connection.login": settings.login,
            "connection.password": settings.password,
        }
        return known.get(place, "")

    def _text(self, text: str) -> str:
        return fill(text, self._value)

    def _deep(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._deep(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._deep(each) for each in value]
        return self._text(value) if isinstance(value, str) else value

    def _headers(self) -> dict[str, str]:
        """The recipe's headers, without those whose values are not known yet."""
        known = {name: text for name, text in self._recipe.headers.items() if all(map(self._value, places(text)))}
        return {name: self._text(text) for name, text in known.items()}

    def _address(self, template: str, more: Mapping[str, str] | None = None) -> str:
        """An absolute address; what is filled in is quoted, but for one that is the whole of it."""
        known = more or {}
        if [template] == [f"{{{place}}}" for place in places(template)]:
            return urljoin(self._job.http.base_url, known.get(template[1:-1]) or self._value(template[1:-1]))
        path = fill(template, lambda place: quote(known.get(place) or self._value(place), safe=""))
        return urljoin(self._job.http.base_url, path)


def _read(row: Scope, fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: row.value(selector) for name, selector in fields.items()}


def _plain(title: str) -> str:
    return " ".join(title.lower().split())
