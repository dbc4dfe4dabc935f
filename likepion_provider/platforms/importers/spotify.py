"""Spotify: a person adds the feed in Spotify for Creators; the Web API tells when the show is listed.

Sources: Spotify's Web API reference (``POST accounts.spotify.com/api/token`` with client credentials, ``GET v1/search``
with ``type=show``, ``GET v1/shows/{id}/episodes``: up to 50 per page, ``external_urls.spotify``, ``release_date``) and
its migration guide of February 2026: apps in development mode get 10 search results at most and no ``publisher``, and
need an owner with Premium. The steps for a person: Spotify's support pages for creators.

The Web API shows neither feed URL nor guid. A show is taken for the feed's own only where its title is the feed's,
its publisher is the feed's author (where both are told), and two episodes (or the only one) agree in title and day.

Not verified: nothing of this was run against the real service, nor that new apps may read shows with client
credentials, nor how often Spotify reads a feed.
"""

from __future__ import annotations

from likepion_provider.models import Feed, ImportState
from likepion_provider.platforms import (
    ByHand,
    Job,
    JsonRow,
    ListedEpisode,
    Page,
    Progress,
    Rereads,
    address_for_person,
    basic_auth,
    enough,
    is_the_feeds,
    match,
    paged,
    plain,
    read_date,
)

_ACCOUNTS_URL = "https://accounts.spotify.com"
_MAX_RESULTS = 10
_PAGE_SIZE = 50


class Spotify(ByHand):
    """Collects by the show's id, which a search for its title finds."""

    name = "spotify"
    title = "Spotify"
    domains = ("spotify.com", "open.spotify.com", "anchor.fm", "creators.spotify.com", "podcasters.spotify.com")
    base_url = "https://api.spotify.com/"
    needs_connection = "login: the client id of a Spotify app; password: its client secret"
    max_concurrency = 2
    poll_s = (60, 300)
    rereads = Rereads(by_itself="reads its feeds again by itself, mostly within a day")

    def instructions(self, job: Job) -> str:
        """Spotify for Creators has no link that fills the feed in."""
        owner = job.feed.locked_owner or "the feed's owner (its itunes:email)"
        return (
            f"Open https://creators.spotify.com as {job.task.label} and add an existing show: paste"
            f" {address_for_person(job.feed)} there, enter the code that is mailed to {owner}, and submit. It is"
            " listed within hours or days."
        )

    async def collect(self, job: Job) -> Progress:
        """Try the shows of the feed's title, or the one that is known."""
        headers = {"Authorization": f"Bearer {await self._token(job)}"}
        for show_id in [job.reference] if job.reference else await self._candidates(job, headers):
            found = await self._episodes(job, show_id, headers)
            if is_the_feeds(job.feed, found):
                return Progress(ImportState.LISTED, show_id, found)
        return Progress(ImportState.NEW)

    async def _token(self, job: Job) -> str:
        if not job.settings.login or not job.settings.password:
            raise self.refused_key()
        accounts_url = str(job.settings.extra.get("accounts_url") or job.settings.base_url or _ACCOUNTS_URL)
        page = await job.http.request(
            "POST",
            f"{accounts_url.rstrip('/')}/api/token",
            data={"grant_type": "client_credentials"},
            headers=basic_auth(job.settings.login, job.settings.password),
            writes=False,
        )
        if page.status in (400, 401, 403):
            raise self.refused_key()
        return str(page.field("access_token"))

    async def _candidates(self, job: Job, headers: dict[str, str]) -> list[str]:
        params = {"q": job.feed.title, "type": "show", "limit": str(_MAX_RESULTS)} | _market(job)
        page = await self._get(job, "v1/search", params, headers)
        # A show that the market does not have is null.
        indices = [index for index, row in enumerate(page.field("shows", "items", kind=list)) if row]
        rows = [page.row("shows", "items", index) for index in indices]
        return [row.field("id") for row in rows if _may_be(job.feed, row.field("name"), row.text("publisher"))]

    async def _episodes(self, job: Job, show_id: str, headers: dict[str, str]) -> tuple[ListedEpisode, ...]:
        found: list[ListedEpisode] = []

        async def read(offset: int) -> Page:
            params = {"limit": str(_PAGE_SIZE), "offset": str(offset)} | _market(job)
            return await self._get(job, f"v1/shows/{show_id}/episodes", params, headers)

        async for page in paged(job, read, 0, _next_offset):
            if page.status == 404:
                return ()
            # An episode that the market does not have is null.
            there = [index for index, row in enumerate(page.field("items", kind=list)) if row]
            found += [_listed(page.row("items", index)) for index in there]
            stranger = not job.reference and not match(job.feed, found, len(job.feed.episodes) or 1)
            if stranger or enough(job, found):
                break
        return tuple(found)

    async def _get(self, job: Job, path: str, params: dict[str, str], headers: dict[str, str]) -> Page:
        page = await job.http.get(path, params=params, headers=headers)
        if page.status in (401, 403):
            raise self.refused_key()
        return page


def _next_offset(page: Page, offset: int) -> int | None:
    return offset + _PAGE_SIZE if page.field("items", kind=list) and page.row().get("next") else None


def _market(job: Job) -> dict[str, str]:
    return {"market": str(job.settings.extra.get("market") or "US")}


def _may_be(feed: Feed, name: str, publisher: str) -> bool:
    """Whether a show's title and publisher do not speak against it."""
    if plain(name) != plain(feed.title):
        return False
    return not publisher or not feed.author or plain(publisher) == plain(feed.author)


def _listed(row: JsonRow) -> ListedEpisode:
    return ListedEpisode(
        url=row.field("external_urls", "spotify"),
        title=row.field("name"),
        published_at=read_date(row.text("release_date"), "%Y-%m-%d"),
    )
