"""Funkwhale as its channel, subscription and track views answer, and its tokens' scopes.

Read in the mirror https://github.com/mx2913/funkwhale: ``audio/views.py``, ``users/oauth/permissions.py``; the reasons
of 400: ``retrieve_feed`` in ``audio/serializers.py``.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_TITLE, PlatformServer, ServerEpisode

TOKEN = f"{CANARY}access-token"
CHANNEL, OTHER = "2f0c4e3a-7a39-4b1e-9a59-3d5f9d9be001", "2f0c4e3a-7a39-4b1e-9a59-3d5f9d9be002"


class FunkwhaleServer(PlatformServer):
    """The account follows another channel of the same title from the start."""

    page_size = 50
    required = ("results", "channel", "uuid", "id", "creation_date")

    def __init__(self) -> None:
        super().__init__()
        self.scopes = {"read:libraries", "write:libraries"}
        #: Why the pod cannot read the feed.
        self.trouble = ""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/subscriptions/", self._signed_in(self._subscriptions)),
            web.post("/api/v1/channels/rss-subscribe/", self._signed_in(self._subscribe)),
            web.get("/api/v1/tracks/", self._signed_in(self._tracks)),
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"{self.url}/library/tracks/{self._id(episode)}"

    def _id(self, episode: ServerEpisode) -> int:
        return 1000 + int(episode.guid.rsplit("-", 1)[1])

    def _signed_in(self, handler: Handler) -> Handler:
        async def check(request: web.Request) -> web.StreamResponse:
            if not self.auth_ok or request.headers.get("Authorization") != f"Bearer {TOKEN}":
                return web.json_response({"detail": "Authentication credentials were not provided."}, status=401)
            if f"{'read' if request.method == 'GET' else 'write'}:libraries" not in self.scopes:
                detail = "You do not have permission to perform this action."
                return web.json_response({"detail": detail}, status=403)
            return await handler(request)

        return check

    def _page(self, request: web.Request, rows: list[dict[str, Any]]) -> web.Response:
        number, size = int(request.query.get("page", "1")), min(int(request.query.get("page_size", "25")), 50)
        more = number * size < len(rows)
        return web.json_response(
            {
                "count": len(rows),
                "next": str(request.url.update_query(page=number + 1)) if more else None,
                "previous": None,
                "results": rows[(number - 1) * size : number * size],
            }
        )

    def _subscription(self, channel: str, feed: str) -> dict[str, Any]:
        return {
            "uuid": f"{channel[:-1]}9",
            "approved": True,
            "channel": {"uuid": channel, "rss_url": feed, "artist": {"name": FEED_TITLE}},
        }

    async def _subscriptions(self, request: web.Request) -> web.Response:
        rows = [self._subscription(OTHER, "https://feeds.example/other.xml")]
        return self._page(request, [*rows, *([self._subscription(CHANNEL, self.feed_url)] if self.there else [])])

    async def _subscribe(self, request: web.Request) -> web.Response:
        url = (await request.json()).get("url")
        if not url:
            return web.json_response({"url": ["This field is required."]}, status=400)
        if url != self.feed_url or self.trouble:
            reason = self.trouble or f"no feed at {url}"
            return web.json_response({"detail": f"Error while fetching feed: {reason}"}, status=400)
        if not self.there:
            self.take_in()
        return web.json_response(self._subscription(CHANNEL, url), status=201)

    async def _tracks(self, request: web.Request) -> web.Response:
        assert request.query["include_channels"] == "true"
        self.count_page()
        known = request.query["channel"] == CHANNEL and self.look()
        return self._page(request, [self._track(each) for each in self.listed] if known else [])

    def _track(self, episode: ServerEpisode) -> dict[str, Any]:
        return {
            "id": self._id(episode),
            "title": episode.title,
            "creation_date": f"{episode.published:%Y-%m-%dT%H:%M:%SZ}",
            "listen_url": f"/api/v1/listen/{episode.guid}/",
            "uploads": [],
        }


SERVER = FunkwhaleServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url, extra={"platform": "funkwhale"})


def credentials() -> Credentials:
    """The account's."""
    return Credentials(username="ada", app_password=TOKEN)
