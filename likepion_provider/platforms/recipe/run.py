"""An importer that a recipe describes."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import weakref
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from likepion_provider.errors import PlatformError
from likepion_provider.models import ImportState
from likepion_provider.platforms.base import Job, ListedEpisode, Platform, Progress, Rereads
from likepion_provider.platforms.match import clues_of, enough, plain, same_feed, telling
from likepion_provider.platforms.recipe.braces import places
from likepion_provider.platforms.recipe.engine import Engine
from likepion_provider.platforms.recipe.http import HttpEngine
from likepion_provider.platforms.recipe.select import Scope
from likepion_provider.platforms.recipe.session import SiteSession
from likepion_provider.platforms.recipe.shape import Detail, Listing, Recipe, Selector
from likepion_provider.web.http import PlatformHttp
from likepion_provider.web.page import read_date

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

    async def refresh(self, job: Job) -> None:
        """Do the recipe's ``refresh``."""
        async with self._visit(job) as visit:
            await visit.refresh()

    async def sign_in(self, job: Job) -> None:
        """Open what needs a login: the list of shows, and where the recipe's ``submit`` begins."""
        async with self._visit(job) as visit:
            await visit.sign_in()

    @contextlib.asynccontextmanager
    async def _visit(self, job: Job) -> AsyncIterator[_Visit]:
        kept = self._kept.setdefault(job.http, {})
        async with engine_for(job, self.recipe.engine, kept) as engine:
            session = SiteSession(self, self.recipe, job, engine, kept.setdefault("values", {}))
            yield _Visit(self.recipe, job, session)


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
        "rereads": Rereads(on_request=bool(recipe.refresh), by_itself=recipe.rereads),
        "one_at_a_time": recipe.one_at_a_time,
        "poll_s": recipe.poll_s,
    }
    return type("Recipe_" + recipe.recipe, (ByRecipe,), described)


class _Visit:
    """One submit or collect."""

    def __init__(self, recipe: Recipe, job: Job, session: SiteSession) -> None:
        self._recipe = recipe
        self._job = job
        self._session = session
        self._titles = {plain(each.title) for each in job.feed.episodes}

    async def look(self) -> Progress:
        """How far the site is with the feed."""
        reference = self._session.values.reference = self._job.reference or await self._find()
        if not reference:
            return self._progress(ImportState.NEW)
        if not await self._is_ready():
            return self._progress(ImportState.SUBMITTED, reference)
        episodes = await self._episodes()
        if episodes is None:
            return self._progress(ImportState.NEW)
        return self._progress(ImportState.LISTED if episodes else ImportState.SUBMITTED, reference, tuple(episodes))

    async def sign_in(self) -> None:
        """Sign in where the site asks for it."""
        await self._find()
        if not self._session.has_signed_in and (form := self._recipe.submit[0].open):
            await self._session.open("submit[0]", form)

    async def refresh(self) -> None:
        """Ask the site to read the feed again."""
        self._session.values.reference = self._job.reference
        await self._session.steps("refresh", self._recipe.refresh)

    async def submit(self) -> Progress:
        """Hand the feed over."""
        kept = self._session.values.kept
        kept.pop("reference", None)
        await self._session.steps("submit", self._recipe.submit)
        return self._progress(ImportState.SUBMITTED, kept.get("reference", ""))

    def _progress(self, state: ImportState, reference: str = "", episodes: tuple[ListedEpisode, ...] = ()) -> Progress:
        return Progress(state, reference, episodes, cookie=self._session.cookie)

    # --- the show ---

    async def _find(self) -> str:
        """The site's name for the show that has the feed; empty where there is none."""
        find = self._recipe.find
        async for rows in self._pages("find", find):
            for row in rows:
                if await self._is_feed(row):
                    reference = row.needed("reference", find.fields["reference"])
                    log.debug("find: the feed's show is %s", reference)
                    return reference
        log.debug("find: the feed is not there")
        return ""

    async def _is_feed(self, row: Scope) -> bool:
        """Whether a show is the feed's own: by its title, then by its feed, as far as the site shows them."""
        find = self._recipe.find
        seen = _read(row, find.fields)
        if "title" in find.fields and plain(seen["title"]) != plain(self._job.feed.title):
            return False
        if find.detail and seen["reference"]:
            seen |= await self._detail("find", find.detail, seen)
        return "feed" not in find.every_field or same_feed(self._job.feed, seen.get("feed", ""))

    async def _is_ready(self) -> bool:
        """Whether the import is through, where the site says so."""
        if not (poll := self._recipe.poll):
            return True
        page = Scope(await self._session.open("poll", poll.open))
        if poll.failed and (words := page.value(poll.failed)):
            raise self._session.refused(words)
        return not (poll.working and page.has(poll.working))

    # --- its episodes ---

    async def _episodes(self) -> list[ListedEpisode] | None:
        """What is listed; None where the show is gone."""
        found: list[ListedEpisode] | None = None
        async for rows in self._pages("list", self._recipe.list):
            found = found or []
            found += [await self._episode(row) for row in rows]
            if log.isEnabledFor(logging.DEBUG):
                log.debug("list: %d of %d episodes are the feed's", sum(map(self._knows, found)), len(found))
            if enough(self._job, found):
                break
        return found

    async def _episode(self, row: Scope) -> ListedEpisode:
        """A row's episode, read from its own page where the row is not enough and may be the feed's."""
        listing = self._recipe.list
        seen = _read(row, listing.fields)
        each = self._listed(row, seen)
        if listing.detail and not self._knows(each) and self._may_be_ours(seen):
            seen |= await self._detail("list", listing.detail, seen | {"url": each.url})
            each = self._listed(row, seen)
        if not each.url and self._may_be_ours(seen):
            raise row.page.changed(f"url ({listing.fields['url']})")
        return each

    def _may_be_ours(self, seen: Mapping[str, str]) -> bool:
        return "title" not in seen or plain(seen["title"]) in self._titles

    @functools.cached_property
    def _telling(self) -> set[Any]:
        return telling(self._job.feed)

    def _knows(self, listed: ListedEpisode) -> bool:
        """Whether a row alone tells which of the feed's episodes it is."""
        return bool(listed.url) and not self._telling.isdisjoint(clues_of(listed))

    def _listed(self, row: Scope, seen: Mapping[str, str]) -> ListedEpisode:
        date = self._recipe.list.every_field.get("published")
        return ListedEpisode(
            url=row.page.join(seen["url"]) if seen.get("url") else "",
            guid=seen.get("guid", ""),
            title=seen.get("title", ""),
            enclosure_url=seen.get("enclosure", ""),
            published_at=read_date(seen.get("published", ""), date.date) if date else None,
        )

    # --- lists ---

    async def _pages(self, part: str, listing: Listing) -> AsyncIterator[list[Scope]]:
        """A list's rows, page by page; nothing where its first page is missing."""
        counted = "page" in places(listing.open)
        address, before = self._address(listing.open, {"page": "1"}), None
        visited: set[str] = set()
        for number in itertools.count(1):
            self._job.http.visit.count_page()
            page = await self._session.open(part, listing.open, address)
            if address in visited:
                raise page.changed("a next page that was not there before")
            visited.add(address)
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
            address = page.join(follows) if follows else self._address(listing.open, {"page": str(number + 1)})

    async def _detail(self, part: str, detail: Detail, row: Mapping[str, str]) -> dict[str, str]:
        known = {f"row.{name}": value for name, value in row.items()}
        page = Scope(await self._session.open(f"{part}.detail", detail.open, self._address(detail.open, known)))
        return {name: page.value(each) or page.there(name, each) for name, each in detail.fields.items()}

    def _address(self, template: str, more: Mapping[str, str]) -> str:
        return self._session.values.address(template, more)


def _read(row: Scope, fields: Mapping[str, Selector]) -> dict[str, str]:
    return {name: row.value(selector) for name, selector in fields.items()}
