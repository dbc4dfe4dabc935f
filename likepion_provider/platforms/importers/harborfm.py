"""HarborFM: imports a feed into a show of the account's own, and serves its episodes' pages.

Sources: https://github.com/LoganRickert/HarborFM, version 1.28 (``server/src/modules/import/routes.import.ts`` and
``routes.status.ts``: ``POST api/podcasts/import`` with ``feedUrl`` answers 202 with ``podcastId``, an account has one
import at a time, and one that has ended holds the account until its status is read; ``podcasts/routes.core.ts``;
``episodes/routes.core.ts``; ``services/rss.ts`` for the pages' addresses). Keys are made under Profile, API Keys.

The server keeps the episodes' guids, not the feed's address, and downloads every file. It reads a feed once.

Verified: on loopback against the server of that version; its web pages were not built, so no page was opened.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urljoin

from likepion_provider.errors import Transient
from likepion_provider.models import ImportState
from likepion_provider.platforms import (
    Job,
    JsonRow,
    ListedEpisode,
    LooksFirst,
    Page,
    Progress,
    Rereads,
    match,
    plain,
    quoted,
)

_RUNNING = ("pending", "importing")


class HarborFM(LooksFirst):
    """Imports by feed URL, lists by the show's id."""

    name = "harborfm"
    title = "HarborFM"
    needs = ("app_password",)
    needs_connection = (
        "host: the server's address, or nothing: then https and the account's domain; extra: platform: harborfm"
    )
    max_concurrency = 2
    poll_s = (2, 5, 10, 20, 30)
    # Two imports of one feed would make two shows.
    one_at_a_time = True
    rereads = Rereads(by_person="HarborFM reads a feed only once: add the new episodes to the show there.")

    async def add(self, job: Job) -> Progress:
        """Start an import."""
        page = await self._call(job, "POST", "podcasts/import", json={"feedUrl": job.feed.url})
        if page.status == 409:
            await self._let_go(job)
            raise Transient(f"{self.title} is busy with another import of {job.task.label}")
        if page.status != 202:
            raise self.failed(f"refused the feed: {quoted(job, page.row().text('error'))}")
        return Progress(ImportState.SUBMITTED, page.field("podcastId"))

    async def collect(self, job: Job) -> Progress:
        """Find the show by its episodes, then list them."""
        reference = job.reference or await self._find(job)
        show = await self._call(job, "GET", f"podcasts/{reference}") if reference else None
        if show is None or show.status == 404:
            return Progress(ImportState.NEW)
        # Asked before the episodes are: what it says was done is then among them.
        state = (await self._call(job, "GET", f"podcasts/{reference}/import-status")).row()
        status, said = state.field("status"), quoted(job, state.text("error") or state.text("message"))
        episodes = await self._episodes(job, show.row())
        if status in _RUNNING:
            return Progress(ImportState.SUBMITTED, reference, episodes, message=said)
        if not episodes:
            raise self.failed(
                f"has the show, without an episode: {said or 'its import was cut off'}",
                remedy="Delete the show there; the next run imports it again.",
            )
        return Progress(ImportState.LISTED, reference, episodes, message=said)

    async def _find(self, job: Job) -> str:
        """A show is the feed's by its episodes; without any, its import has just begun or was cut off."""
        for row in (await self._call(job, "GET", "podcasts")).rows("podcasts"):
            if plain(row.field("title")) == plain(job.feed.title):
                listed = await self._episodes(job, row)
                if not listed or match(job.feed, listed, len(job.feed.episodes) or 1):
                    return str(row.field("id"))
        return ""

    async def _episodes(self, job: Job, show: JsonRow) -> tuple[ListedEpisode, ...]:
        page = await self._call(job, "GET", f"podcasts/{show.field('id')}/episodes")
        # A show with a domain of its own has its pages there.
        own = show.text("canonicalFeedUrl")
        folder = own or urljoin(job.http.base_url, f"feed/{_segment(show.field('slug'))}/")
        rows = page.rows("episodes") if page.status != 404 else []
        return tuple(_listed(row, folder) for row in rows if row.text("status") in ("published", ""))

    async def _let_go(self, job: Job) -> None:
        """Read the status of what holds the account; that ends it where it is done."""
        if busy := (await self._call(job, "GET", "podcasts/import-status")).row().text("podcastId"):
            await self._call(job, "GET", f"podcasts/{busy}/import-status")

    async def _call(self, job: Job, method: str, path: str, **options: Any) -> Page:
        headers = {"Authorization": f"Bearer {job.credentials.app_password}"}
        page = await job.http.request(method, f"api/{path}", headers=headers, allow_redirects=False, **options)
        if page.status == 401 or (page.status == 403 and method == "GET"):
            raise self.refused_login(job)
        return page.expect(200, 202, 400, 403, 404, 409, what=f"an answer to {method} api/{path}")


def _segment(text: str) -> str:
    return quote(text, safe="", errors="replace")


def _listed(row: JsonRow, folder: str) -> ListedEpisode:
    # Its file is the server's own copy, and has another address than the feed's.
    return ListedEpisode(
        url=folder + _segment(row.field("slug")),
        guid=row.text("guid"),
        title=row.text("title"),
        published_at=row.date("publishAt"),
    )
