"""Listen Notes: its API takes a submission, reviews it within hours, and lists episodes in pages of ten.

Sources: the vendor's client ListenNotes/podcast-api-python, whose README holds the schemas (``POST /podcasts/submit``:
``found``, ``in review`` or ``rejected``; ``POST /podcasts`` by ``rsses``; ``GET /podcasts/{id}`` with
``next_episode_pub_date``; header ``X-ListenAPI-Key``; 429: "for FREE plan, exceeding the quota limit; or for all plans,
sending too many requests too fast", ``listennotes/http_utils.py``).

Not verified: nothing of this was run against the real service. ``POST /podcasts`` is for paid plans only, by the
vendor's words; on a free plan a show can be collected only where the submission itself was answered with its id.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from likepion_provider.errors import TooManyRequests
from likepion_provider.models import ImportState
from likepion_provider.platforms import (
    Job,
    JsonRow,
    ListedEpisode,
    Page,
    Platform,
    Progress,
    Rereads,
    enough,
    paged,
    same_feed,
)

_QUOTA = (
    "Where it says so for longer: a free plan's quota is used up, as the vendor's API dashboard shows; it begins anew"
    " with the plan's next month, or with a larger plan."
)


class ListenNotes(Platform):
    """Submits for review, lists by the show's id."""

    name = "listennotes"
    title = "Listen Notes"
    domains = ("listennotes.com",)
    base_url = "https://listen-api.listennotes.com/api/v2/"
    needs_connection = "password: the Listen API key; a paid plan, to find shows by their feed"
    max_concurrency = 2
    #: A review takes up to 12 hours, and every look counts against the plan.
    poll_s = (5, 60, 300)
    rereads = Rereads(by_itself="reads its feeds again by itself")

    async def submit(self, job: Job) -> Progress:
        """Submit for review; a show that is there already is answered with its id."""
        fields = {"rss": job.feed.url} | ({"email": job.credentials.email} if job.credentials.email else {})
        page = await self._call(job, "POST", "podcasts/submit", data=fields)
        status = page.field("status")
        if status == "found":
            return await self.collect(dataclasses.replace(job, reference=page.field("podcast", "id")))
        if status == "in review":
            return Progress(ImportState.IN_REVIEW, message=f"{self.title} reviews the feed within 12 hours")
        raise self.failed(f"has not taken the feed: {status[:80]}")

    async def collect(self, job: Job) -> Progress:
        """Page by page, newest first, until every episode wanted is found."""
        reference = job.reference or await self._find(job)
        if not reference:
            return Progress(ImportState.NEW)
        found: list[ListedEpisode] = []

        async def read(after: str) -> Page:
            params = {"sort": "recent_first"} | ({"next_episode_pub_date": after} if after else {})
            return await self._call(job, "GET", f"podcasts/{reference}", params=params)

        async for page in paged(job, read, "", _next_date):
            if page.status == 404:
                return Progress(ImportState.NEW)
            found += map(_listed, page.rows("episodes"))
            if enough(job, found):
                break
        return Progress(ImportState.LISTED if found else ImportState.SUBMITTED, reference, tuple(found))

    async def _find(self, job: Job) -> str:
        page = await self._call(job, "POST", "podcasts", data={"rsses": job.feed.url}, writes=False)
        for row in page.rows("podcasts"):
            if same_feed(job.feed, row.text("rss")):
                return str(row.field("id"))
        return ""

    async def _call(self, job: Job, method: str, path: str, **options: Any) -> Page:
        if not job.settings.password:
            raise self.refused_key()
        headers = {"X-ListenAPI-Key": job.settings.password}
        try:
            page = await job.http.request(method, path, headers=headers, **options)
        except TooManyRequests as error:
            message = f"{self.title} takes no more calls of this key now: too many at a time, or its quota is used up"
            raise TooManyRequests(message, retry_after_s=error.retry_after_s, remedy=_QUOTA) from None
        if page.status in (401, 403):
            raise self.refused_key()
        if page.status == 400:
            raise self.failed("refused the request for the feed")
        return page


def _next_date(page: Page, date: str) -> str | None:
    after = page.row().text("next_episode_pub_date") if page.rows("episodes") else ""
    # The date of the last page may be told again.
    return after if after not in ("", date) else None


def _listed(row: JsonRow) -> ListedEpisode:
    # "audio" is the vendor's own address, no clue to the feed's.
    return ListedEpisode(
        url=row.field("listennotes_url"),
        guid=row.text("guid_from_rss"),
        title=row.text("title"),
        published_at=row.time("pub_date_ms", per_s=1000),
    )
