"""YouTube: a person submits the feed in YouTube Studio; the Data API lists the podcast's videos.

Sources: https://developers.google.com/youtube/v3/docs (``channels.list`` with ``forHandle``, ``playlists.list`` with
``status.podcastStatus``, ``playlistItems.list`` with ``contentDetails.videoId``: up to 50 per page, ``nextPageToken``,
one unit of the quota each, of 10,000 a day; 403 with the reason ``quotaExceeded``), and Google's help for submitting a
feed in YouTube Studio.

A podcast is a playlist of the account's own channel. The API tells neither guid nor file, and the day that it tells is
the upload's, not the episode's; so episodes are matched by their titles, where these are unique.

Not verified: nothing of this was run against the real service; ``podcastStatus`` and that new episodes come by
themselves could not be looked up. The order of a podcast's playlist is not documented, so it is read until all episodes
wanted are found.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

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

_PAGE_SIZE = 50
_CHANNEL_ID = re.compile("UC[A-Za-z0-9_-]{22}")
#: Where the day's quota is used up, which begins anew at midnight in California.
_QUOTA_PAUSE_S = 3600.0


class YouTube(ByHand):
    """Collects by the playlist's id, which the account's channel and the feed's title find."""

    name = "youtube"
    title = "YouTube"
    domains = ("youtube.com", "music.youtube.com", "studio.youtube.com")
    base_url = "https://www.googleapis.com/youtube/v3/"
    needs_connection = "password: an API key of the YouTube Data API v3"
    max_concurrency = 2
    poll_s = (60, 300)
    rereads = Rereads(by_itself="uploads new episodes of a submitted feed by itself")

    def instructions(self, job: Job) -> str:
        """YouTube Studio has no link that fills the feed in."""
        return (
            f"Sign in at https://studio.youtube.com as {job.task.label}, choose Create, New podcast, Submit RSS feed,"
            f" and enter {address_for_person(job.feed)} and the code that YouTube mails to its owner. Publish the"
            " podcast when its episodes are uploaded, which takes days."
        )

    async def collect(self, job: Job) -> Progress:
        """Try the channel's podcasts of the feed's title, or the one that is known."""
        for playlist_id in [job.reference] if job.reference else await self._candidates(job):
            found = await self._episodes(job, playlist_id)
            if is_the_feeds(job.feed, found):
                return Progress(ImportState.LISTED, playlist_id, found)
        return Progress(ImportState.NEW)

    async def _candidates(self, job: Job) -> list[str]:
        params = {"part": "snippet,status", "channelId": await self._channel(job)}
        rows = [row async for page in self._pages(job, "playlists", params) for row in page.rows("items")]
        return [row.field("id") for row in rows if _may_be(row, job.feed.title)]

    async def _channel(self, job: Job) -> str:
        username = job.credentials.username.strip()
        if _CHANNEL_ID.fullmatch(username):
            return username
        if not username.startswith("@"):
            raise self.failed(
                f"has no channel that is called {job.task.label}",
                remedy="Put the channel's handle (@name) or its id (UC...) into the account's username.",
            )
        page = await self._get(job, "channels", {"part": "id", "forHandle": username})
        rows = page.rows("items") if page.row().get("items") else []
        if not rows:
            raise self.failed(f"knows no channel of {job.task.label}", remedy="Correct the account's username.")
        return str(rows[0].field("id"))

    async def _episodes(self, job: Job, playlist_id: str) -> tuple[ListedEpisode, ...]:
        found: list[ListedEpisode] = []
        params = {"part": "snippet,contentDetails,status", "playlistId": playlist_id}
        async for page in self._pages(job, "playlistItems", params):
            if page.status == 404:
                return ()
            public = [row for row in page.rows("items") if row.field("status", "privacyStatus") == "public"]
            found += map(_listed, public)
            if enough(job, found):
                break
        return tuple(found)

    def _pages(self, job: Job, path: str, params: dict[str, str]) -> AsyncIterator[Page]:
        async def read(token: str) -> Page:
            place = {"pageToken": token} if token else {}
            return await self._get(job, path, params | {"maxResults": str(_PAGE_SIZE)} | place)

        return paged(job, read, "", lambda page, _: page.row().text("nextPageToken") or None)

    async def _get(self, job: Job, path: str, params: dict[str, str]) -> Page:
        if not job.settings.password:
            raise self.refused_key()
        # In a header: an address is shown in errors.
        page = await job.http.get(path, params=params, headers={"X-Goog-Api-Key": job.settings.password})
        if page.status == 403 and "quotaExceeded" in page.text:
            raise Transient(f"{self.title} has no quota left for the key today", retry_after_s=_QUOTA_PAUSE_S)
        if page.status in (400, 401, 403):
            raise self.refused_key()
        return page.expect(200, 404, what=f"an answer to {path}")


def _may_be(row: JsonRow, title: str) -> bool:
    is_podcast = row.field("status", "podcastStatus") == "enabled"
    return is_podcast and plain(row.field("snippet", "title")) == plain(title)


def _listed(row: JsonRow) -> ListedEpisode:
    video_id = row.field("contentDetails", "videoId")
    return ListedEpisode(url=f"https://www.youtube.com/watch?v={video_id}", title=row.field("snippet", "title"))
