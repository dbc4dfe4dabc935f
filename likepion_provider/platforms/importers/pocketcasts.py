"""Pocket Casts: the import that its apps offer, and the public cache of shows.

Source: Automattic/pocket-casts-android. ``POST import/opml`` with ``urls``, then with ``poll_uuids`` until the show has
a uuid (``RefreshService``, ``OpmlImportTask``); ``POST podcasts/search`` and ``import/export_feed_urls`` (form, answers
``{status, message, result}``: ``ServiceManager``, ``DataParser``); ``GET mobile/podcast/full/{uuid}`` on the cache
server (``PodcastCacheService``, ``PodcastResponse``); an episode's page ``https://pca.st/episode/{uuid}``
(``SharingClient``). The catalogue is everybody's, so the account's login is not used.

Not verified: nothing of this was run against the real service, and no vendor documents it for other programs. Whether
the cache lists very long shows whole is open (``has_more_episodes``); what it leaves out is not reported.
"""

from __future__ import annotations

from typing import Any

from likepion_provider.models import ImportState
from likepion_provider.platforms import Job, JsonRow, ListedEpisode, Page, Platform, Progress, read_date, same_feed

_CACHE_URL = "https://cache.pocketcasts.com"
#: What every request of the apps carries: version of the interface, kind of device.
_DEVICE = {"v": "1.7", "dt": "2", "av": "1.0", "ac": "1", "c": "US", "l": "en", "m": "airflow-provider-likepion"}
#: Begins the reference of an import that still runs.
_POLL = "poll:"
_MAX_CANDIDATES = 20


class PocketCasts(Platform):
    """Imports by feed URL, lists by the show's uuid."""

    name = "pocketcasts"
    title = "Pocket Casts"
    domains = ("pocketcasts.com", "play.pocketcasts.com", "pca.st")
    base_url = "https://refresh.pocketcasts.com"
    max_concurrency = 2
    #: As the apps do: a second longer each time.
    poll_s = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20)

    async def submit(self, job: Job) -> Progress:
        """Hand in the feed's URL; a known one is answered with its uuid at once."""
        return self._state(job, await self._import(job, {"urls": [job.feed.url]}))

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

    async def _import(self, job: Job, what: dict[str, Any], *, writes: bool = True) -> Page:
        page = await job.http.request("POST", "import/opml", json=_DEVICE | what, writes=writes)
        return self._ok(page)

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
        rows = page.rows("result", "search_results")[:_MAX_CANDIDATES]
        uuids = [str(row["uuid"]) for row in rows if row.get("uuid")]
        if not uuids:
            return ""
        urls = (await self._form(job, "import/export_feed_urls", uuids=",".join(uuids))).field("result", kind=dict)
        return next((uuid for uuid in uuids if same_feed(job.feed, str(urls.get(uuid) or ""))), "")

    async def _form(self, job: Job, path: str, **fields: str) -> Page:
        data = _DEVICE | {"scope": "mobile"} | fields
        return self._ok(await job.http.request("POST", path, data=data, writes=False))

    def _ok(self, page: Page) -> Page:
        page.expect(200, what="an answer with status 200")
        if page.field("status") != "ok":
            raise self.failed(f"says: {page.row().text('message')[:120]}")
        return page

    async def _show(self, job: Job, uuid: str) -> Progress:
        cache_url = str(job.settings.extra.get("cache_url") or job.settings.base_url or _CACHE_URL)
        page = await job.http.get(f"{cache_url.rstrip('/')}/mobile/podcast/full/{uuid}")
        if page.status == 404:
            return Progress(ImportState.SUBMITTED, uuid)
        episodes = tuple(map(_listed, page.rows("podcast", "episodes")))
        return Progress(ImportState.LISTED if episodes else ImportState.SUBMITTED, uuid, episodes)


def _listed(row: JsonRow) -> ListedEpisode:
    return ListedEpisode(
        url=f"https://pca.st/episode/{row.field('uuid')}",
        title=row.text("title"),
        enclosure_url=row.text("url"),
        published_at=read_date(row.text("published")),
    )
