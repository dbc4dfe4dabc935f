"""YouTube's Data API v3 as developers.google.com documents it."""

from __future__ import annotations

import dataclasses
from typing import Any

from aiohttp import web

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import (
    CANARY,
    FEED_TITLE,
    STRANGER,
    PlatformServer,
    ServerEpisode,
)

KEY = f"{CANARY}AIzaSy"
HANDLE, CHANNEL_ID = "@tide", "UC" + "x" * 22
PLAYLIST, OTHER, NO_PODCAST = "PLtide", "PLother", "PLmusic"


class YouTubeServer(PlatformServer):
    """A channel with playlists, of which some are podcasts; what is not public yet has its place in them."""

    by_hand = True
    searched = True
    page_size = 50
    required = ("items", "id", "podcastStatus", "title", "videoId", "privacyStatus")

    def __init__(self) -> None:
        super().__init__()
        #: The day's quota is used up.
        self.exhausted = False

    @property
    def listed(self) -> list[ServerEpisode]:
        """Each has a title of its own: nothing else tells them apart there."""
        return self._listed

    @listed.setter
    def listed(self, listed: list[ServerEpisode]) -> None:
        self._listed = [dataclasses.replace(each, title=f"Letter {each.guid}") for each in listed]

    def routes(self) -> list[web.RouteDef]:
        lists = {"channels": self._channels, "playlists": self._playlists, "playlistItems": self._items}
        return [web.get(f"/youtube/v3/{name}", self._keyed(handler)) for name, handler in lists.items()]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"https://www.youtube.com/watch?v={self._id(episode)}"

    def _id(self, episode: ServerEpisode) -> str:
        return f"v{episode.guid}"

    def _keyed(self, handler: Any) -> Any:
        async def check(request: web.Request) -> web.Response:
            if not self.auth_ok or request.headers.get("X-Goog-Api-Key") != KEY:
                return _error(400, "API key not valid. Please pass a valid API key.", "badRequest")
            if self.exhausted:
                return _error(403, "The request cannot be completed.", "quotaExceeded")
            answer: web.Response = handler(request)
            return answer

        return check

    def _channels(self, request: web.Request) -> web.Response:
        if request.query.get("forHandle") != HANDLE:
            return web.json_response({"kind": "youtube#channelListResponse", "pageInfo": {"totalResults": 0}})
        return web.json_response({"items": [{"id": CHANNEL_ID}]})

    def _playlists(self, request: web.Request) -> web.Response:
        assert request.query["channelId"] == CHANNEL_ID
        found = [_playlist(NO_PODCAST, "unspecified")]
        found += [_playlist(OTHER, "enabled")] if self.lookalike else []
        found += [_playlist(PLAYLIST, "enabled")] if self.there and self.look() else []
        return web.json_response(_page(found, request))

    def _items(self, request: web.Request) -> web.Response:
        asked = request.query["playlistId"]
        if asked == OTHER and self.lookalike:
            return web.json_response(_page([self._row(STRANGER)], request))
        if asked != PLAYLIST or not self.there:
            return _error(404, "The playlist cannot be found.", "playlistNotFound")
        self.count_page()
        hidden = {"snippet": {"title": "Private video"}, "contentDetails": {"videoId": "hidden"}}
        rows = [self._row(each) for each in self.listed]
        return web.json_response(_page([*rows, hidden | {"status": {"privacyStatus": "private"}}], request))

    def _row(self, episode: ServerEpisode) -> dict[str, Any]:
        return {
            "snippet": {"title": episode.title, "publishedAt": "2026-11-29T00:00:00Z"},
            "contentDetails": {"videoId": self._id(episode), "videoPublishedAt": "2026-11-29T00:00:00Z"},
            "status": {"privacyStatus": "public"},
        }


def _playlist(playlist_id: str, status: str) -> dict[str, Any]:
    return {"id": playlist_id, "snippet": {"title": FEED_TITLE}, "status": {"podcastStatus": status}}


def _page(rows: list[Any], request: web.Request) -> dict[str, Any]:
    size, start = int(request.query.get("maxResults", "5")), int(request.query.get("pageToken", "0"))
    following = {"nextPageToken": str(start + size)} if start + size < len(rows) else {}
    return {"items": rows[start : start + size], "pageInfo": {"totalResults": len(rows)}} | following


def _error(status: int, message: str, reason: str) -> web.Response:
    error = {"code": status, "message": message, "errors": [{"message": message, "reason": reason}]}
    return web.json_response({"error": error}, status=status)


SERVER = YouTubeServer


def settings(url: str) -> PlatformSettings:
    """The API's key."""
    return PlatformSettings(base_url=f"{url}/youtube/v3", password=KEY)


def credentials() -> Credentials:
    """The account's; its username is the channel's id, or the handle."""
    return Credentials(email="ada@feeds.example", username=CHANNEL_ID, password=f"{CANARY}password")
