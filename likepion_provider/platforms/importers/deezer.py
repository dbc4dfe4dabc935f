"""Deezer: a person adds the feed at Deezer for Podcasters; the open API lists the episodes.

Sources: https://developers.deezer.com/api (``search/podcast?q=``, ``podcast``, ``podcast/{id}/episodes``, ``episode``;
lists are ``data`` and ``next``, asked for by ``index`` and ``limit``; errors come with status 200 as ``error`` with
``code``: 4 quota, 700 busy, 800 no data; 50 requests within 5 seconds), and projects that call it. The page for people:
https://podcasters.deezer.com; Deezer mails a code to the feed's owner.

The API shows neither feed URL nor guid. A show of the feed's title is taken for the feed's only where two episodes (or
the only one) agree in title and day.

Not verified: nothing of this was run against the real service, and Deezer's pages could not be read: the error codes,
the quota, and that it reads feeds again by itself rest on no source. The zone of ``release_date`` is not known.
"""

from __future__ import annotations

from urllib.parse import urljoin

from likepion_provider.errors import Transient
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
    is_the_feeds,
    paged,
    plain,
)

_SITE = "https://www.deezer.com/"
_PAGE_SIZE = 100
_QUOTA, _BUSY, _NO_DATA = 4, 700, 800
#: The window of Deezer's quota.
_QUOTA_PAUSE_S = 5.0


class Deezer(ByHand):
    """Collects by the show's id, which a search for its title finds."""

    name = "deezer"
    title = "Deezer"
    domains = ("deezer.com", "podcasters.deezer.com")
    base_url = "https://api.deezer.com/"
    max_concurrency = 2
    poll_s = (60, 300)
    rereads = Rereads(by_itself="reads the feeds of its shows by itself")

    def instructions(self, job: Job) -> str:
        """The site takes no feed from a link."""
        return (
            f"Open https://podcasters.deezer.com, enter {address_for_person(job.feed)} and the code that Deezer mails"
            " to its owner. It is listed within days."
        )

    async def collect(self, job: Job) -> Progress:
        """Try the shows of the feed's title, or the one that is known."""
        for show_id in [job.reference] if job.reference else await self._candidates(job):
            found = await self._episodes(job, show_id)
            if is_the_feeds(job.feed, found):
                return Progress(ImportState.LISTED, show_id, found)
        return Progress(ImportState.NEW)

    async def _candidates(self, job: Job) -> list[str]:
        page = await self._get(job, "search/podcast", {"q": job.feed.title, "limit": str(_PAGE_SIZE)})
        named = [row for row in page.rows("data") if plain(row.field("title")) == plain(job.feed.title)]
        return [str(row.field("id", kind=int)) for row in named]

    async def _episodes(self, job: Job, show_id: str) -> tuple[ListedEpisode, ...]:
        found: list[ListedEpisode] = []

        async def read(index: int) -> Page:
            params = {"index": str(index), "limit": str(_PAGE_SIZE)}
            return await self._get(job, f"podcast/{show_id}/episodes", params)

        async for page in paged(job, read, 0, _next_index):
            if _error(page) == _NO_DATA:
                return ()
            found += map(_listed, page.rows("data"))
            if enough(job, found):
                break
        return tuple(found)

    async def _get(self, job: Job, path: str, params: dict[str, str]) -> Page:
        page = (await job.http.get(path, params=params)).expect(200, what="an answer of the API")
        code = _error(page)
        if code in (_QUOTA, _BUSY):
            raise Transient(f"{self.title} takes no more requests now (code {code})", retry_after_s=_QUOTA_PAUSE_S)
        if code not in (None, _NO_DATA):
            raise self.failed(f"answers with the error {code}")
        return page


def _error(page: Page) -> int | None:
    code: int | None = page.field("error", "code", kind=int) if page.row().get("error") else None
    return code


def _next_index(page: Page, index: int) -> int | None:
    return index + _PAGE_SIZE if page.row().get("next") and page.rows("data") else None


def _listed(row: JsonRow) -> ListedEpisode:
    return ListedEpisode(
        url=urljoin(_SITE, f"episode/{row.field('id', kind=int)}"),
        title=row.field("title"),
        published_at=row.date("release_date"),
    )
