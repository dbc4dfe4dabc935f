"""Podcast Index: its API takes a feed by URL and lists the episodes it has read.

Sources: the API's specification, Podcastindex-org/docs-api (``add/byfeedurl``, ``episodes/byfeedurl``,
``episodes/byfeedid``, ``hub/pubnotify``, security schemes: a SHA-1 over key, secret and time, valid for three minutes);
the episode's page ``/podcast/{feedId}?episode={id}``: the site's own source, Podcastindex-org/web-ui.

Not verified: nothing of this was run against the real service. That an unknown feed is answered with 400 or
an empty list is not in the specification; both are read as "not there".
"""

from __future__ import annotations

import dataclasses
import hashlib
import time

from likepion_provider.models import ImportState
from likepion_provider.platforms import Job, JsonRow, ListedEpisode, Page, Platform, Progress, Rereads

#: The most that one answer holds; there is no paging. All are asked for: it may list some that the feed has no more.
_MAX_EPISODES = 1000


class PodcastIndex(Platform):
    """Adds by feed URL, lists by feed id."""

    name = "podcastindex"
    title = "Podcast Index"
    domains = ("podcastindex.org",)
    base_url = "https://api.podcastindex.org/api/1.0/"
    needs_connection = "login: the API key, with write permission; password: its secret"
    max_concurrency = 2
    poll_s = (2, 5, 15, 30, 60)
    rereads = Rereads(on_request=True)

    async def submit(self, job: Job) -> Progress:
        """Add the feed; one that the index has already is answered with its id."""
        page = await self._call(job, "POST", "add/byfeedurl", {"url": job.feed.url})
        if page.status == 400 or page.field("status") != "true":
            raise self.failed(f"refused the feed (status {page.status})")
        return await self.collect(dataclasses.replace(job, reference=str(page.field("feedId", kind=int))))

    async def collect(self, job: Job) -> Progress:
        """The newest episodes of the feed, by its id where that is known."""
        most = str(_MAX_EPISODES)
        if job.reference:
            page = await self._call(job, "GET", "episodes/byfeedid", {"id": job.reference, "max": most})
        else:
            page = await self._call(job, "GET", "episodes/byfeedurl", {"url": job.feed.url, "max": most})
        rows = [] if page.status in (400, 404) else page.rows("items")
        if not rows:
            return Progress(ImportState.SUBMITTED if job.reference else ImportState.NEW, job.reference)
        reference = job.reference or str(rows[0].field("feedId", kind=int))
        return Progress(ImportState.LISTED, reference, tuple(map(_listed, rows)))

    async def refresh(self, job: Job) -> None:
        """Tell the index that the feed has changed."""
        page = await self._call(job, "GET", "hub/pubnotify", {"id": job.reference}, writes=True)
        if page.status != 200 or page.field("status") != "true":
            raise self.failed(f"did not take the notice that the feed has changed (status {page.status})")

    async def _call(
        self, job: Job, method: str, path: str, params: dict[str, str], *, writes: bool | None = None
    ) -> Page:
        key, secret, now = job.settings.login, job.settings.password, str(int(time.time()))
        if not key or not secret:
            raise self.refused_key()
        digest = hashlib.sha1((key + secret + now).encode(), usedforsecurity=False).hexdigest()
        headers = {"X-Auth-Key": key, "X-Auth-Date": now, "Authorization": digest}
        page = await job.http.request(
            method, path, params=params, headers=headers, writes=writes, allow_redirects=False
        )
        if page.status in (401, 403):
            raise self.refused_key()
        # The specification gives "already there" the status 302, too, with the fields of 200.
        return page.expect(200, 302, 400, 404, what="a status of the specification")


def _listed(row: JsonRow) -> ListedEpisode:
    return ListedEpisode(
        url=f"https://podcastindex.org/podcast/{row.field('feedId', kind=int)}?episode={row.field('id', kind=int)}",
        guid=row.text("guid"),
        title=row.text("title"),
        enclosure_url=row.text("enclosureUrl"),
        published_at=row.time("datePublished"),
    )
