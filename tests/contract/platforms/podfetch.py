"""PodFetch as the controllers of SamTV12345/PodFetch answer, with users of its own."""

from __future__ import annotations

import base64
import uuid
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_TITLE, PlatformServer, ServerEpisode, neighbours

PASSWORD = f"{CANARY}password"
PODCAST, OTHER = "0198a1b2-0000-7000-8000-000000000001", "0198a1b2-0000-7000-8000-000000000002"


class PodFetchServer(PlatformServer):
    """Has another podcast of the same title from the start."""

    page_size = 75
    has_neighbours = True
    required = ("id", "rssfeed", "podcastEpisode", "guid")

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/podcasts", self._signed_in(self._podcasts)),
            web.post("/api/v1/podcasts/feed", self._signed_in(self._add)),
            web.post("/api/v1/podcasts/{id}/refresh", self._signed_in(self._refresh)),
            web.get("/api/v1/podcasts/{id}/episodes", self._signed_in(self._episodes)),
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"{self.url}/ui/podcasts/{PODCAST}/episodes/{uuid.uuid5(uuid.UUID(PODCAST), episode.guid)}"

    def _signed_in(self, handler: Handler) -> Handler:
        login = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()

        async def check(request: web.Request) -> web.StreamResponse:
            given = request.headers.get("Authorization")
            if given is None:
                raise web.HTTPUnauthorized(text="You are not authorized to perform this action.")
            if not self.auth_ok or given != f"Basic {login}":
                raise web.HTTPForbidden(text="You are forbidden to access requested file.")
            return await handler(request)

        return check

    def _podcast(self, podcast: str, feed: str) -> dict[str, Any]:
        return {"id": podcast, "legacyId": None, "name": FEED_TITLE, "rssfeed": feed, "active": True, "tags": []}

    async def _podcasts(self, request: web.Request) -> web.Response:
        rows = [self._podcast(OTHER, "https://feeds.example/other.xml")]
        return web.json_response([*rows, *([self._podcast(PODCAST, self.feed_url)] if self.there else [])])

    async def _add(self, request: web.Request) -> web.Response:
        feed = (await request.json())["rssFeedUrl"]
        if feed != self.feed_url:
            raise web.HTTPBadRequest(text=f"error with {feed}")
        if self.there:
            raise web.HTTPConflict(text=f"Podcast with feed url {feed} already exists")
        self.take_in()
        return web.json_response(self._podcast(PODCAST, feed))

    async def _refresh(self, request: web.Request) -> web.Response:
        if request.match_info["id"] != PODCAST or not self.there:
            raise web.HTTPNotFound(text="Requested file was not found")
        self.read_again()
        return web.Response()

    async def _episodes(self, request: web.Request) -> web.Response:
        other = request.match_info["id"] == OTHER
        if not other and (request.match_info["id"] != PODCAST or not self.there):
            raise web.HTTPNotFound(text="Requested file was not found")
        self.count_page()
        before = request.query.get("last_podcast_episode", "9999")
        listed = neighbours(self.listed) if other else self.listed if self.look() else []
        rows = [each for each in listed if each.published.isoformat() < before][: self.page_size]
        return web.json_response([{"podcastEpisode": self._row(each), "podcastHistoryItem": None} for each in rows])

    def _row(self, episode: ServerEpisode) -> dict[str, Any]:
        return {
            "id": str(uuid.uuid5(uuid.UUID(PODCAST), episode.guid)),
            "podcast_id": PODCAST,
            "episode_id": "123",
            "name": episode.title,
            "url": episode.enclosure_url,
            "date_of_recording": episode.published.isoformat(),
            "guid": episode.guid,
            "status": False,
        }


SERVER = PodFetchServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url, extra={"platform": "podfetch"})


def credentials() -> Credentials:
    """The account's."""
    return Credentials(username="ada", password=PASSWORD)
