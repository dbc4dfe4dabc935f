"""Listen Notes as the schemas in ListenNotes/podcast-api-python's README describe its API."""

from __future__ import annotations

import hashlib
from typing import Any

from aiohttp import web

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_AUTHOR, FEED_TITLE, PlatformServer, ServerEpisode

KEY = f"{CANARY}a6a1f7ae6a4a4cf7a208e5ba"
SHOW_ID = "4d3fe717742d4963a85562e9f84d8c79"


class ListenNotesServer(PlatformServer):
    """Reviews first; ten episodes per page."""

    page_size = 10
    #: Answers every submission so.
    rejects = False
    #: The plan's quota is used up.
    spent = False
    required = ("status", "podcasts", "episodes", "listennotes_url")

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/v2/podcasts/submit", self._keyed(self._submit)),
            web.post("/api/v2/podcasts", self._keyed(self._batch)),
            web.get("/api/v2/podcasts/{id}", self._keyed(self._show)),
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"https://www.listennotes.com/e/{hashlib.md5(episode.guid.encode()).hexdigest()}/"

    def _keyed(self, handler: Any) -> Any:
        async def check(request: web.Request) -> web.Response:
            if self.spent:
                return web.json_response({"message": "quota exceeded"}, status=429)
            if not self.auth_ok or request.headers.get("X-ListenAPI-Key") != KEY:
                return web.json_response({"message": "wrong api key"}, status=401)
            return await handler(request)

        return check

    def _described(self) -> dict[str, Any]:
        return {
            "id": SHOW_ID,
            "rss": self.feed_url,
            "title": FEED_TITLE,
            "publisher": FEED_AUTHOR,
            "total_episodes": len(self.listed),
            "listennotes_url": f"https://www.listennotes.com/c/{SHOW_ID}/",
        }

    async def _submit(self, request: web.Request) -> web.Response:
        if (await request.post()).get("rss") != self.feed_url:
            return web.json_response({"message": "rss is missing"}, status=400)
        if self.rejects:
            return web.json_response({"status": "rejected", "podcast": {}})
        if self.already_there or (self.there and self.look()):
            return web.json_response({"status": "found", "podcast": {"id": SHOW_ID, "title": FEED_TITLE}})
        if not self.there:
            self.take_in()
        return web.json_response({"status": "in review", "podcast": {}})

    async def _batch(self, request: web.Request) -> web.Response:
        asked = str((await request.post()).get("rsses")).split(",")
        shows = [self._described()] if self.feed_url in asked and self.look() else []
        return web.json_response({"podcasts": shows})

    async def _show(self, request: web.Request) -> web.Response:
        if request.match_info["id"] != SHOW_ID or not self.there:
            return web.json_response({"message": "podcast not exist"}, status=404)
        self.count_page()
        before_ms = int(request.query.get("next_episode_pub_date", "9" * 15))
        older = [each for each in self.listed if _ms(each) < before_ms]
        page = older[:10]
        body = self._described() | {
            "episodes": [
                {
                    "id": self.page_url(each)[-33:-1],
                    "title": each.title,
                    "audio": f"https://www.listennotes.com/e/p/{self.page_url(each)[-33:]}",
                    "pub_date_ms": _ms(each),
                    "guid_from_rss": each.guid,
                    "listennotes_url": self.page_url(each),
                }
                for each in page
            ],
            "next_episode_pub_date": _ms(page[-1]) if len(older) > 10 else None,
        }
        return web.json_response(body)


def _ms(episode: ServerEpisode) -> int:
    return int(episode.published.timestamp() * 1000)


SERVER = ListenNotesServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=f"{url}/api/v2", password=KEY)


def credentials() -> Credentials:
    """The account's: its address is told about the review's end."""
    return Credentials(email="ada@feeds.example", password=f"{CANARY}password")
