"""Apple Podcasts: a person submits the feed in Podcasts Connect; Apple's search and lookup tell when it is listed.

Sources: Apple's iTunes Search API documentation (``search``, ``lookup``, ``entity=podcastEpisode``, ``limit`` of 1 to
200, about 20 calls per minute); the link with the feed filled in, ``new-feed?submitfeed=``: Apple's page "Validate your
podcast" (podcasters.apple.com/support/829). The fields of an episode (``episodeGuid``, ``episodeUrl``,
``trackViewUrl``) are not in that documentation, but in answers that public projects keep.

A lookup gives the newest 200 results at most, and there is no paging; it is asked for all of them, since Apple may list
episodes that the feed has no more. Apple reads its feeds by itself, and shows what is new within a day; only then is
*Refresh Feed* for (its own words, at https://podnews.net/press-release/apple-show-availability).

Not verified: nothing of this was run against the real service. That Apple answers 403 to too many calls is taken from
others' reports; it is read as passing trouble.
"""

from __future__ import annotations

from urllib.parse import quote

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
    read_date,
    same_feed,
    shown_url,
)

_CONNECT = "https://podcastsconnect.apple.com/my-podcasts/new-feed"
_MAX_RESULTS = 200
_PAUSE_S = 60.0


class Apple(ByHand):
    """Collects by the show's id, which a search for its title finds by the feed's URL."""

    name = "apple"
    title = "Apple Podcasts"
    domains = ("podcasts.apple.com", "itunes.apple.com", "podcastsconnect.apple.com")
    base_url = "https://itunes.apple.com"
    max_concurrency = 1
    #: Reviews take days, and all accounts share about 20 calls per minute.
    poll_s = (60, 300)
    rereads = Rereads(
        by_itself="reads its feeds by itself, and shows what is new within a day",
        by_person="If it takes more than a day, press Refresh Feed at the show in Podcasts Connect.",
    )

    def instructions(self, job: Job) -> str:
        """Apple's own form, with the feed filled in where its address may be shown."""
        url = shown_url(job.feed)
        link = f"{_CONNECT}?submitfeed={quote(url, safe='')}" if url else _CONNECT
        paste = "" if url else f" paste {address_for_person(job.feed)},"
        return (
            f"Open {link} with the Apple Account of {job.task.label},{paste} press Add, complete the show's information"
            " and submit. Apple reviews it within a few days."
        )

    async def collect(self, job: Job) -> Progress:
        """The show's newest episodes."""
        reference = job.reference or await self._find(job)
        if not reference:
            return Progress(ImportState.NEW)
        params = {"id": reference, "entity": "podcastEpisode", "limit": str(_MAX_RESULTS)}
        rows = (await self._get(job, "lookup", params)).rows("results")
        if not rows:
            return Progress(ImportState.NEW)
        episodes = tuple(_listed(row) for row in rows if row.get("wrapperType") == "podcastEpisode")
        return Progress(ImportState.LISTED if episodes else ImportState.IN_REVIEW, reference, episodes)

    async def _find(self, job: Job) -> str:
        params = {"term": job.feed.title, "media": "podcast", "entity": "podcast", "limit": str(_MAX_RESULTS)}
        for row in (await self._get(job, "search", params)).rows("results"):
            if same_feed(job.feed, row.text("feedUrl")):
                return str(row.field("collectionId", kind=int))
        return ""

    async def _get(self, job: Job, path: str, params: dict[str, str]) -> Page:
        country = {"country": str(job.settings.extra.get("country") or "US")}
        page = await job.http.get(path, params=params | country)
        if page.status == 403:
            raise Transient(f"{self.title} wants fewer calls", retry_after_s=_PAUSE_S)
        return page.expect(200, what="an answer with status 200")


def _listed(row: JsonRow) -> ListedEpisode:
    return ListedEpisode(
        url=row.field("trackViewUrl"),
        guid=row.text("episodeGuid"),
        title=row.text("trackName"),
        enclosure_url=row.text("episodeUrl"),
        published_at=read_date(row.text("releaseDate")),
    )
