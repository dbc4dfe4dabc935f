"""Importers that break one rule each: the sandbox's, spoiled. What lets one of them through is no rule."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any

import aiohttp

from likepion_provider.errors import (
    FeedLocked,
    LoginRefused,
    NeedsVerification,
    PlatformChanged,
    PlatformError,
    Transient,
)
from likepion_provider.models import Episode, ImportState
from likepion_provider.platforms import Job, ListedEpisode, Page, Platform, Progress, Rereads
from likepion_provider.platforms.importers.apple import Apple
from likepion_provider.platforms.importers.castopod import Castopod
from likepion_provider.platforms.importers.fyyd import Fyyd
from likepion_provider.platforms.importers.sandbox_site import SandboxSite
from likepion_provider.testing import rules

from . import apple, castopod, fyyd, sandbox_site

log = logging.getLogger(__name__)


class Needy(SandboxSite):
    needs = ("username", "passwort")


class Mistaken(SandboxSite):
    """Reports the show's page as every episode's."""

    async def collect(self, job: Job) -> Progress:
        seen = await super().collect(job)
        same = tuple(dataclasses.replace(each, url=each.url.rsplit("/episodes/")[0]) for each in seen.episodes)
        return dataclasses.replace(seen, episodes=same)


class Unheeding(SandboxSite):
    """Writes without a look at the claim."""

    async def submit(self, job: Job) -> Progress:
        request = job.http.request

        async def without_check(method: str, path: str, **options: Any) -> Page:
            return await request(method, path, **options | {"writes": False})

        job.http.request = without_check  # type: ignore[method-assign]
        return await super().submit(job)


class Impersonal(Apple):
    """Says nothing of what a person has to do."""

    async def submit(self, job: Job) -> Progress:
        raise PlatformError("not possible", platform=self.name)


class Taciturn(Apple):
    """Says that there is something to do, not what."""

    def instructions(self, job: Job) -> str:
        return NeedsVerification.remedy


class Credulous(Apple):
    """Takes the first show of the name."""

    async def _find(self, job: Job) -> str:
        page = await self._get(job, "search", {"term": job.feed.title, "media": "podcast", "limit": "1"})
        rows = page.field("results", kind=list)
        return str(rows[0]["collectionId"]) if rows else ""


class Forgetful(SandboxSite):
    """Cannot go on from a reference."""

    async def collect(self, job: Job) -> Progress:
        if job.reference and job.reference == getattr(self, "seen", ""):
            return Progress(ImportState.NEW)
        self.seen = job.reference
        return await super().collect(job)


class Dependent(SandboxSite):
    """Finds nothing without a reference."""

    async def collect(self, job: Job) -> Progress:
        return await super().collect(job) if job.reference else Progress(ImportState.NEW)


class Offended(SandboxSite):
    """Takes "already there" for a failure."""

    async def submit(self, job: Job) -> Progress:
        if (await self.collect(job)).state is not ImportState.NEW:
            raise PlatformError("already imported", platform=self.name)
        return await super().submit(job)


class Eager(SandboxSite):
    """Imports where it was asked to look."""

    async def collect(self, job: Job) -> Progress:
        seen = await super().collect(job)
        return await self.submit(job) if seen.state is ImportState.NEW else seen


class Stubborn(SandboxSite):
    """Takes a locked feed for one that runs."""

    async def submit(self, job: Job) -> Progress:
        try:
            return await super().submit(job)
        except FeedLocked:
            return Progress(ImportState.SUBMITTED)

    async def collect(self, job: Job) -> Progress:
        return await self.submit(job)


class Vague(SandboxSite):
    """Does not say that it was the password."""

    async def submit(self, job: Job) -> Progress:
        try:
            return await super().submit(job)
        except LoginRefused as error:
            raise PlatformError("the platform refuses", platform=self.name) from error


class Impatient(SandboxSite):
    """Drops what the platform asked to wait."""

    async def submit(self, job: Job) -> Progress:
        try:
            return await super().submit(job)
        except Transient as error:
            raise Transient("busy") from error


class Rude(SandboxSite):
    """Passes the domain's gate by."""

    async def submit(self, job: Job) -> Progress:
        async with aiohttp.ClientSession() as session, session.get(job.http.base_url + "import") as answer:
            if answer.status == 429:
                raise Transient("busy", retry_after_s=float(answer.headers["Retry-After"]))
        return await super().submit(job)


class Fatalist(SandboxSite):
    """Takes passing trouble for the end."""

    async def submit(self, job: Job) -> Progress:
        try:
            return await super().submit(job)
        except Transient as error:
            raise PlatformError("down", platform=self.name) from error


class Careless(SandboxSite):
    """Reads what is not there any more as nothing."""

    async def collect(self, job: Job) -> Progress:
        try:
            return await super().collect(job)
        except PlatformChanged:
            return Progress(ImportState.SUBMITTED)


class Superficial(SandboxSite):
    """Reads the first page only."""

    async def collect(self, job: Job) -> Progress:
        return await super().collect(dataclasses.replace(job, task=dataclasses.replace(job.task, target=1)))


class Greedy(SandboxSite):
    """Reads every page whatever is wanted."""

    async def collect(self, job: Job) -> Progress:
        more = dataclasses.replace(job.feed, episodes=(*job.feed.episodes, Episode("none", "not there", None)))
        return await super().collect(
            dataclasses.replace(job, feed=more, task=dataclasses.replace(job.task, target=1000))
        )


class Shortening(SandboxSite):
    """Takes a file's address without its query for the file."""

    async def collect(self, job: Job) -> Progress:
        return _without(await super().collect(job), lambda each: each.enclosure_url.split("?")[0])


class Merging(SandboxSite):
    """Takes title and day for the episode."""

    async def collect(self, job: Job) -> Progress:
        return _without(await super().collect(job), lambda each: (each.title, each.published_at))


def _without(seen: Progress, key: Callable[[ListedEpisode], object]) -> Progress:
    """Only the last of those that share a key."""
    return dataclasses.replace(seen, episodes=tuple({key(each): each for each in seen.episodes}.values()))


class Everything(Castopod):
    """Lists the episodes of all the site's podcasts."""

    async def _api(self, job: Job, path: str, **options: Any) -> Page:
        options.get("params", {}).pop("podcastIds", None)
        return await super()._api(job, path, **options)


class Exact(SandboxSite):
    """Reads exactly as many as are wanted."""

    async def collect(self, job: Job) -> Progress:
        seen = await super().collect(job)
        return dataclasses.replace(seen, episodes=seen.episodes[: job.task.target or None])


class Doubling(Fyyd):
    """Takes another of two equal shows each time."""

    async def _find(self, job: Job) -> str:
        found = await super()._find(job)
        self.times = getattr(self, "times", 0) + 1
        return str(fyyd.AGAIN_ID) if found and self.times % 2 else found


class Forgotten(SandboxSite):
    """Says that it asks, and does not."""

    async def refresh(self, job: Job) -> None:
        return


class Silent(SandboxSite):
    """Says nothing of how a new episode comes there."""

    rereads = Rereads()


class Secretive(SandboxSite):
    """Does not tell what is there already."""

    async def submit(self, job: Job) -> Progress:
        seen = await super().submit(job)
        return dataclasses.replace(seen, state=ImportState.LISTED, episodes=())


class Unguarded(Castopod):
    """Adds what it did not find a while ago."""

    one_at_a_time = False

    async def add(self, job: Job) -> Progress:
        await asyncio.sleep(0.2)
        return await super().add(job)


class Short(SandboxSite):
    """Reads two pages."""

    async def collect(self, job: Job) -> Progress:
        seen = await super().collect(job)
        return dataclasses.replace(seen, episodes=seen.episodes[:40])


class Talkative(SandboxSite):
    """Logs the feed's URL."""

    async def submit(self, job: Job) -> Progress:
        log.info("importing %s", job.feed.url)
        return await super().submit(job)


class Indiscreet(SandboxSite):
    """Logs the password."""

    async def submit(self, job: Job) -> Progress:
        try:
            return await super().submit(job)
        except LoginRefused as error:
            logging.getLogger(__name__).info("%s is refused", job.credentials.password)
            raise LoginRefused("refused", platform=self.name) from error


def server_of(broken: type[Platform]) -> ModuleType:
    """The server that a broken importer is played against."""
    servers = {Apple: apple, Castopod: castopod, Fyyd: fyyd}
    return next((server for importer, server in servers.items() if issubclass(broken, importer)), sandbox_site)


#: What each rule must not let through.
BROKEN: tuple[tuple[rules.Rule, type[Platform]], ...] = (
    (rules.describes_itself, Needy),
    (rules.lists_what_it_submits, Mistaken),
    (rules.lists_what_it_submits, Unheeding),
    (rules.asks_for_a_person, Impersonal),
    (rules.asks_for_a_person, Taciturn),
    (rules.resumes_by_reference, Forgetful),
    (rules.resumes_without_reference, Dependent),
    (rules.resumes_without_reference, Credulous),
    (rules.takes_already_there_as_success, Offended),
    (rules.submits_twice_without_harm, Offended),
    (rules.collecting_changes_nothing, Eager),
    (rules.collecting_changes_nothing, Credulous),
    (rules.gives_up_on_locked, Stubborn),
    (rules.names_refused_credentials, Vague),
    (rules.honours_retry_after, Impatient),
    (rules.honours_retry_after, Rude),
    (rules.takes_server_errors_as_passing, Fatalist),
    (rules.takes_timeouts_as_passing, Fatalist),
    (rules.names_what_changed, Careless),
    (rules.reads_every_page, Superficial),
    (rules.reads_no_more_than_wanted, Greedy),
    (rules.tells_query_only_addresses_apart, Shortening),
    (rules.takes_twins_for_two, Merging),
    (rules.takes_nothing_from_a_neighbour_show, Everything),
    (rules.lets_no_newer_episode_take_a_place, Exact),
    (rules.takes_one_of_two_equal_shows, Doubling),
    (rules.brings_a_new_episode, Forgotten),
    (rules.brings_a_new_episode, Silent),
    (rules.brings_a_new_episode, Secretive),
    (rules.serves_two_accounts_at_once, Unguarded),
    (rules.lists_the_wanted_of_many, Short),
    (rules.shows_no_secret, Talkative),
    (rules.shows_no_secret, Indiscreet),
)
