"""fyyd: a person submits the feed on the site; its open API lists the episodes.

Sources: the vendor's documentation, eazyliving/fyyd-api (``GET search/podcast`` with ``title`` and ``url`` as "or",
``GET podcast/episodes`` with ``podcast_id``, ``page`` from 0 and ``count``; ``xmlURL``, ``url_fyyd``, ``meta.paging``).
The page ``fyyd.de/add-feed`` and that it is a form which has to be posted: other projects' links to it.

Not verified: nothing of this was run against the real service. The order of the episodes and the time zone of
``pubdate`` are not documented, so episodes are matched by guid and media URL, and read until all wanted are found.
"""

from __future__ import annotations

from likepion_provider.models import ImportState
from likepion_provider.platforms import (
    ByHand,
    Job,
    JsonRow,
    ListedEpisode,
    Page,
    Progress,
    Rereads,
    address_for_person,
    enough,
    paged,
    same_feed,
)

_ADD = "https://fyyd.de/add-feed"
_PAGE_SIZE = 50


class Fyyd(ByHand):
    """Collects by the podcast's id, which a search finds by the feed's URL."""

    name = "fyyd"
    title = "fyyd"
    domains = ("fyyd.de",)
    base_url = "https://api.fyyd.de/0.2/"
    max_concurrency = 2
    poll_s = (30, 120, 300)
    rereads = Rereads(by_itself="reads its feeds again by itself; how often is not documented")

    def instructions(self, job: Job) -> str:
        """The site's form; it takes no feed from a link."""
        return f"Open {_ADD}, paste {address_for_person(job.feed)} and submit it; no account is needed."

    async def collect(self, job: Job) -> Progress:
        """Page by page, until every episode wanted is found."""
        reference = job.reference or await self._find(job)
        if not reference:
            return Progress(ImportState.NEW)
        found: list[ListedEpisode] = []

        async def read(number: int) -> Page:
            params = {"podcast_id": reference, "page": str(number), "count": str(_PAGE_SIZE)}
            return await job.http.get("podcast/episodes", params=params)

        async for page in paged(job, read, 0, _next_number):
            if page.status in (400, 404):
                return Progress(ImportState.NEW)
            found += map(_listed, page.rows("data", "episodes"))
            if enough(job, found):
                break
        return Progress(ImportState.LISTED if found else ImportState.IN_REVIEW, reference, tuple(found))

    async def _find(self, job: Job) -> str:
        params = {"title": job.feed.title, "url": job.feed.url, "count": str(_PAGE_SIZE)}
        page = await job.http.get("search/podcast", params=params)
        if page.status == 404:
            return ""
        for row in page.rows("data"):
            if same_feed(job.feed, row.text("xmlURL")):
                return str(row.field("id", kind=int))
        return ""


def _next_number(page: Page, number: int) -> int | None:
    following: int | None = page.field("meta", "paging", "next_page", kind=(int, type(None)))
    # Whatever it says, an empty page or one that does not go on is the last.
    return following if page.rows("data", "episodes") and following and following > number else None


def _listed(row: JsonRow) -> ListedEpisode:
    return ListedEpisode(
        url=row.field("url_fyyd"),
        guid=row.text("guid"),
        title=row.text("title"),
        enclosure_url=row.text("enclosure"),
    )
