"""Buzzsprout: takes no feed, but episodes one by one; a podcast there gets those of the feed that it lacks.

Sources: https://github.com/buzzsprout/buzzsprout-api (``README.md``: ``Authorization: Token token=``;
``sections/podcasts.md``: ``GET api/podcasts.json``; ``sections/episodes.md``: ``GET`` and ``POST
api/{podcast}/episodes.json`` with ``title``, ``guid``, ``audio_url`` and ``published_at``; 201, with the episode). The
address of an episode's page is that of the vendor's own players; the API does not tell it.

Not verified: nothing of this was run against the real service, nor that it keeps a guid that it is given; where it does
not, the importer stops at the first episode.
"""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import urljoin

from likepion_provider.errors import NeedsVerification
from likepion_provider.models import Episode, ImportState
from likepion_provider.platforms import (
    Job,
    JsonRow,
    ListedEpisode,
    Page,
    Platform,
    Progress,
    Rereads,
    match,
    plain,
    quoted,
)


class Buzzsprout(Platform):
    """Adds the episodes that the account's podcast of the feed's title lacks, newest first.

    So what an import that broke off has left stands below what is listed, and what is new above it: the first is for
    :meth:`submit`, the second for :meth:`refresh`.
    """

    name = "buzzsprout"
    title = "Buzzsprout"
    domains = ("buzzsprout.com",)
    base_url = "https://www.buzzsprout.com/"
    needs = ("app_password",)
    max_concurrency = 2
    poll_s = (5, 10, 20, 30)
    # Two accounts at once would add an episode twice.
    one_at_a_time = True
    rereads = Rereads(on_request=True)

    async def submit(self, job: Job) -> Progress:
        """Add what is missing below the newest that is listed; without any, all.

        :raises NeedsVerification: the account has no podcast of the feed's title; the API makes none.
        """
        reference = job.reference or await self._podcast(job)
        if not reference:
            raise NeedsVerification(
                f"{self.title} has no podcast {job.feed.title!r} of {job.task.label}",
                platform=self.name,
                remedy=f"Sign in at https://www.buzzsprout.com as {job.task.label} and add a podcast with the title"
                f" {job.feed.title!r}; the next run adds its episodes.",
            )
        listed = await self._listed(job, reference) or ()
        missing = _missing(job, listed)
        newer = list(itertools.takewhile(lambda each: each in missing, job.wanted))
        left = missing if len(newer) == len(job.wanted) else missing[len(newer) :]
        await self._add(job, reference, left)
        known = len(missing) < len(job.wanted) and not left
        return Progress(ImportState.LISTED if known else ImportState.SUBMITTED, reference, listed if known else ())

    async def collect(self, job: Job) -> Progress:
        """The podcast's episodes; it is the feed's only where one of them is."""
        reference = job.reference or await self._podcast(job)
        listed = await self._listed(job, reference) if reference else None
        if not listed or not match(job.feed, listed, len(job.wanted) or 1):
            return Progress(ImportState.NEW)
        return Progress(ImportState.LISTED, reference, listed)

    async def refresh(self, job: Job) -> None:
        """Add whatever is missing."""
        listed = await self._listed(job, job.reference) or ()
        await self._add(job, job.reference, _missing(job, listed))

    async def _podcast(self, job: Job) -> str:
        rows = (await self._call(job, "GET", "podcasts.json")).rows()
        named = [row for row in rows if plain(row.field("title")) == plain(job.feed.title)]
        if len(named) > 1:
            raise self.failed(
                f"has {len(named)} podcasts {job.feed.title!r} of {job.task.label}",
                remedy="Give those that are not the feed's another title there.",
            )
        return str(named[0].field("id", kind=int)) if named else ""

    async def _listed(self, job: Job, reference: str) -> tuple[ListedEpisode, ...] | None:
        """What is public of it; None where the podcast is gone."""
        page = await self._call(job, "GET", f"{reference}/episodes.json")
        if page.status == 404:
            return None
        folder = urljoin(job.http.base_url, f"{reference}/episodes/")
        rows = [row for row in page.rows() if not row.get("private") and not row.get("inactive_at")]
        return tuple(_listed(row, folder) for row in rows)

    async def _add(self, job: Job, reference: str, missing: list[Episode]) -> None:
        """One at a time: what is not answered is looked for before it is added again."""
        for episode in missing:
            page = await self._call(job, "POST", f"{reference}/episodes.json", json=_fields(episode))
            if page.status != 201:
                raise self.failed(f"refused an episode (status {page.status}): {quoted(job, page.text)}")
            if page.field("guid") != episode.guid:
                # What it lists could not be told from what is missing.
                raise page.changed("guid, as it was sent")

    async def _call(self, job: Job, method: str, path: str, **options: Any) -> Page:
        headers = {"Authorization": f"Token token={job.credentials.app_password}"}
        page = await job.http.request(method, f"api/{path}", headers=headers, allow_redirects=False, **options)
        if page.status in (401, 403):
            raise self.refused_login(job)
        return page if method == "POST" else page.expect(200, 404, what=f"an answer to {method} api/{path}")


def _missing(job: Job, listed: tuple[ListedEpisode, ...]) -> list[Episode]:
    """What is not listed of the episodes wanted, newest first."""
    there = {episode.guid for episode, _ in match(job.feed, listed, len(job.wanted) or 1)}
    return [each for each in job.wanted if each.guid not in there]


def _fields(episode: Episode) -> dict[str, Any]:
    fields = {
        "title": episode.title,
        "guid": episode.guid,
        "audio_url": episode.enclosure.url if episode.enclosure else "",
        "private": False,
        "email_user_after_audio_processed": False,
    }
    return fields | ({"published_at": episode.published_at.isoformat()} if episode.published_at else {})


def _listed(row: JsonRow, folder: str) -> ListedEpisode:
    # Its file is the host's own copy, and has another address than the feed's.
    return ListedEpisode(
        url=f"{folder}{row.field('id', kind=int)}",
        guid=row.field("guid"),
        title=row.text("title"),
        published_at=row.date("published_at"),
    )
