"""Pocket Casts: the import that its apps offer, and the public cache of shows.

Source: Automattic/pocket-casts-android. ``POST import/opml`` with ``urls``, then with ``poll_uuids`` until the show has
a uuid (``RefreshService``, ``OpmlImportTask``); ``POST podcasts/search`` and ``import/export_feed_urls`` (form, answers
``{status, message, result}``: ``ServiceManager``, ``DataParser``); ``GET mobile/podcast/full/{uuid}`` on the cache
server (``PodcastCacheService``, ``PodcastResponse``); ``GET api/v1/update_podcast`` has it read a feed again
(``RefreshService``, as ``PodcastManagerImpl.refreshPodcastFeed`` does); an episode's page ``https://pca.st/episode/{uuid}``
(``SharingClient``). The catalogue is everybody's, so the account's login is not used, and not looked at.

The forms may be answered with ``status: poll``; then the same is asked again (``ServiceManager.postToMainServer``).

Not verified: nothing of this was run against the real service, and no vendor documents it for other programs. Whether
the cache lists very long shows whole is open (``has_more_episodes``); what it leaves out is not reported.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from typing import Any, ClassVar

from likepion_provider.errors import Transient
from likepion_provider.models import ImportState
from likepion_provider.platforms import (
    Job,
    JsonRow,
    ListedEpisode,
    Page,
    Platform,
    Progress,
    Rereads,
    quoted,
    read_date,
    same_feed,
)

_CACHE_URL = "https://cache.pocketcasts.com"
#: What every request of the apps carries: version of the interface, kind of device.
_DEVICE = {"v": "1.7", "dt": "2", "av": "1.0", "ac": "1", "c": "US", "l": "en", "m": "airflow-provider-likepion"}
#: Begins the reference of an import that still runs.
_POLL = "poll:"
_MAX_CANDIDATES = 20
_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)


class PocketCasts(Platform):
    """Imports by feed URL, lists by the show's uuid."""

    name = "pocketcasts"
    title = "Pocket Casts"
    domains = ("pocketcasts.com", "play.pocketcasts.com", "pca.st")
    base_url = "https://refresh.pocketcasts.com"
    max_concurrency = 2
    #: As the apps do: a second longer each time.
    poll_s = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20)
    rereads = Rereads(on_request=True)
    #: Pauses, in seconds, before a form is sent again whose answer is not ready: those of the apps.
    form_poll_s: ClassVar[tuple[float, ...]] = (5, 5, 5, 5, 10)

    async def submit(self, job: Job) -> Progress:
        """Hand in the feed's URL; a known one is answered with its uuid at once."""
        seen = self._state(job, await self._import(job, {"urls": [job.feed.url]}))
        is_there = seen.reference and not seen.reference.startswith(_POLL)
        return await self._show(job, seen.reference) if is_there else seen

    async def collect(self, job: Job) -> Progress:
        """Ask how far the import is, then read the show from the cache."""
        uuid = job.reference or await self._find(job)
        if uuid.startswith(_POLL):
            page = await self._import(job, {"poll_uuids": [uuid.removeprefix(_POLL)]}, writes=False)
            seen = self._state(job, page)
            if not seen.reference or seen.reference.startswith(_POLL):
                # Not there yet. Were the poll lost, it would never be: so that the worker may hand the feed in again.
                return Progress(ImportState.NEW, seen.reference)
            uuid = seen.reference
        return await self._show(job, uuid) if uuid else Progress(ImportState.NEW)

    async def refresh(self, job: Job) -> None:
        """Have it look for an episode after the newest that it has; the show's list tells what came of it."""
        listed = (await self._cached(job, job.reference)).rows("podcast", "episodes")
        newest = max(listed, key=lambda row: read_date(row.text("published")) or _LONG_AGO, default=None)
        params = {"podcast_uuid": job.reference} | ({"last_episode_uuid": newest.field("uuid")} if newest else {})
        await job.http.request("GET", "api/v1/update_podcast", params=params, writes=True)

    async def _import(self, job: Job, what: dict[str, Any], *, writes: bool = True) -> Page:
        page = await job.http.request("POST", "import/opml", json=_DEVICE | what, writes=writes)
        return self._ok(job, page)

    def _state(self, job: Job, page: Page) -> Progress:
        """What an answer to an import says: a uuid, more to wait for, or a failure."""
        uuids, waiting = page.field("result", "uuids", kind=list), page.field("result", "poll_uuids", kind=list)
        if uuids:
            return Progress(ImportState.SUBMITTED, str(uuids[0]))
        if waiting:
            return Progress(ImportState.SUBMITTED, _POLL + str(waiting[0]))
        if page.field("result", "failed", kind=int):
            raise self.failed(f"could not import the feed of {job.task.label}")
        return Progress(ImportState.NEW)

    async def _find(self, job: Job) -> str:
        """The uuid of the show with this very feed, among those with its title."""
        page = await self._form(job, "podcasts/search", q=job.feed.title)
        result = page.row("result")
        # The exact hit, where there is one, is not among the others. It may be of another feed all the same.
        rows = [*([page.row("result", "podcast")] if result.get("podcast") else [])]
        rows += page.rows("result", "search_results") if result.get("search_results") else []
        uuids = [str(row["uuid"]) for row in rows if row.get("uuid")][:_MAX_CANDIDATES]
        if not uuids:
            return ""
        urls = (await self._form(job, "import/export_feed_urls", uuids=",".join(uuids))).field("result", kind=dict)
        return next((uuid for uuid in uuids if same_feed(job.feed, str(urls.get(uuid) or ""))), "")

    async def _form(self, job: Job, path: str, **fields: str) -> Page:
        data = _DEVICE | {"scope": "mobile"} | fields
        for pause_s in (*self.form_poll_s, None):
            page = await job.http.request("POST", path, data=data, writes=False)
            if page.status != 200 or page.field("status") != "poll":
                return self._ok(job, page)
            if pause_s is not None:
                await asyncio.sleep(pause_s)
        raise Transient(f"{self.title} has not finished its search")

    def _ok(self, job: Job, page: Page) -> Page:
        page.expect(200, what="an answer with status 200")
        if page.field("status") != "ok":
            raise self.failed(f"says: {quoted(job, page.row().text('message') or page.row().text('status'))}")
        return page

    async def _show(self, job: Job, uuid: str) -> Progress:
        page = await self._cached(job, uuid)
        if page.status == 404:
            return Progress(ImportState.SUBMITTED, uuid)
        episodes = tuple(map(_listed, page.rows("podcast", "episodes")))
        return Progress(ImportState.LISTED if episodes else ImportState.SUBMITTED, uuid, episodes)

    async def _cached(self, job: Job, uuid: str) -> Page:
        """The show as the cache server has it."""
        cache_url = str(job.settings.extra.get("cache_url") or job.settings.base_url or _CACHE_URL)
        return await job.http.get(f"{cache_url.rstrip('/')}/mobile/podcast/full/{uuid}")


def _listed(row: JsonRow) -> ListedEpisode:
    return ListedEpisode(
        url=f"https://pca.st/episode/{row.field('uuid')}",
        title=row.text("title"),
        enclosure_url=row.text("url"),
        published_at=read_date(row.text("published")),
    )
