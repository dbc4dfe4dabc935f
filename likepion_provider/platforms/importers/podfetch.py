"""PodFetch servers, with their own users (``BASIC_AUTH``): one call adds a feed, one lists what is in it.

Source: SamTV12345/PodFetch (August 2026), in ``crates/podfetch-web/src``: ``auth_middleware.rs``,
``controllers/podcast_controller.rs``, ``controllers/podcast_episode_controller.rs``, ``services/podcast/service.rs``,
``podcast.rs``, ``podcast_episode_dto.rs``; ``ui/src/App.tsx``. ``POST api/v1/podcasts/feed`` takes ``rssFeedUrl``,
reads the feed while it is waited for, and answers 409 where a podcast has that feed already. ``GET api/v1/podcasts``
has all podcasts; ``GET api/v1/podcasts/{id}/episodes`` 75 episodes, newest first, and the next ones after
``last_podcast_episode``, a date. ``POST api/v1/podcasts/{id}/refresh`` reads a podcast's feed again.

**What is reported** is an episode's place in the server's own pages, ``/ui/podcasts/{id}/episodes/{id}``. It opens for
signed-in users only; the server has no public page of an episode.

Not verified: nothing of this was run against PodFetch. Servers that sign in by OIDC or a proxy are not supported.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

from likepion_provider.errors import LoginRefused
from likepion_provider.models import ImportState
from likepion_provider.platforms import (
    Job,
    JsonRow,
    ListedEpisode,
    LooksFirst,
    Page,
    Progress,
    Rereads,
    basic_auth,
    enough,
    paged,
    same_feed,
)

_EPISODES_PER_PAGE = 75


class PodFetch(LooksFirst):
    """Adds by feed URL, lists by the podcast's id."""

    name = "podfetch"
    title = "PodFetch"
    needs = ("username", "password")
    needs_connection = (
        "host: the server's address, or nothing: then https and the account's domain; extra: platform: podfetch"
    )
    max_concurrency = 2
    poll_s = (2, 5, 10, 20, 30)
    rereads = Rereads(on_request=True)

    async def add(self, job: Job) -> Progress:
        """One call."""
        page = await self._call(job, "POST", "podcasts/feed", json={"rssFeedUrl": job.feed.url})
        if page.status == 409:
            return Progress(ImportState.SUBMITTED)
        if page.status != 200:
            # The server's words may hold the feed's address.
            raise self.failed(f"refused the feed (status {page.status})")
        return Progress(ImportState.SUBMITTED, page.field("id"))

    async def collect(self, job: Job) -> Progress:
        """Find the podcast by its feed, then read its list of episodes."""
        reference = job.reference or await self._find(job)
        episodes = await self._episodes(job, reference) if reference else None
        if episodes is None:
            return Progress(ImportState.NEW)
        return Progress(ImportState.LISTED if episodes else ImportState.SUBMITTED, reference, episodes)

    async def refresh(self, job: Job) -> None:
        """One call, which the server answers once it has read the feed."""
        page = await self._call(job, "POST", f"podcasts/{job.reference}/refresh")
        if page.status != 200:
            raise self.failed(f"did not read the feed again (status {page.status})")

    async def _find(self, job: Job) -> str:
        for row in (await self._call(job, "GET", "podcasts")).rows():
            if same_feed(job.feed, row.field("rssfeed")):
                return str(row.field("id"))
        return ""

    async def _episodes(self, job: Job, reference: str) -> tuple[ListedEpisode, ...] | None:
        """What is listed; None where the podcast is gone."""
        found: list[ListedEpisode] = []

        async def read(before: str) -> Page:
            params = {"last_podcast_episode": before} if before else {}
            return await self._call(job, "GET", f"podcasts/{reference}/episodes", params=params)

        async for page in paged(job, read, "", _oldest):
            if page.status == 404:
                return None
            found += [_listed(job, row, reference) for row in page.rows()]
            if enough(job, found):
                break
        return tuple(found)

    async def _call(self, job: Job, method: str, path: str, **options: Any) -> Page:
        headers = basic_auth(job.credentials.username, job.credentials.password)
        page = await job.http.request(method, f"api/v1/{path}", headers=headers, allow_redirects=False, **options)
        if page.status in (401, 403):
            raise LoginRefused(
                f"{self.title} does not accept {job.task.label}, or does not let it add podcasts", platform=self.name
            )
        return page.expect(200, 400, 404, 409, what=f"an answer to {method} {urlsplit(page.url).path}")


def _oldest(page: Page, _: str) -> str | None:
    rows = page.rows()
    return str(rows[-1].field("podcastEpisode", "date_of_recording")) if len(rows) >= _EPISODES_PER_PAGE else None


def _listed(job: Job, row: JsonRow, reference: str) -> ListedEpisode:
    episode = row.field("podcastEpisode", "id")
    return ListedEpisode(
        url=urljoin(job.http.base_url, f"ui/podcasts/{reference}/episodes/{episode}"),
        guid=row.field("podcastEpisode", "guid"),
        enclosure_url=row.field("podcastEpisode", "url"),
    )
