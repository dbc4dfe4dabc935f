"""fyyd's API 0.2 as eazyliving/fyyd-api documents it."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_TITLE, STRANGER, PlatformServer, ServerEpisode

PODCAST_ID, OTHER_ID, AGAIN_ID = 85, 36645, 36646


class FyydServer(PlatformServer):
    """Everything in an envelope; pages count from 0."""

    authenticates = False
    by_hand = True
    searched = True
    page_size = 50
    repeats_shows = True
    required = ("data", "id", "episodes", "url_fyyd", "next_page")

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/0.2/search/podcast", self._search), web.get("/0.2/podcast/episodes", self._episodes)]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"https://fyyd.de/episode/{self._id(episode)}"

    def _id(self, episode: ServerEpisode) -> int:
        return 1_597_000 + int(episode.guid[-4:])

    def _podcast(self, podcast_id: int, feed_url: str) -> dict[str, Any]:
        url = f"https://fyyd.de/podcast/{podcast_id}"
        return {"title": FEED_TITLE, "id": podcast_id, "xmlURL": feed_url, "status": 390, "url_fyyd": url}

    async def _search(self, request: web.Request) -> web.Response:
        found = [self._podcast(OTHER_ID, "https://feeds.example/other.xml")] if self.lookalike else []
        asked = request.query.get("url") == self.feed_url or request.query.get("title") == FEED_TITLE
        if asked and self.there and self.look():
            found += [self._podcast(each, self.feed_url) for each in (PODCAST_ID, *([AGAIN_ID] if self.twice else []))]
        return web.json_response(_envelope(found, None))

    async def _episodes(self, request: web.Request) -> web.Response:
        asked = request.query.get("podcast_id")
        listed = [STRANGER] if self.lookalike and asked == str(OTHER_ID) else self.listed
        if listed is self.listed and (asked != str(PODCAST_ID) or not self.there):
            body = {"errors": {"code": 0, "message": "podcast not found", "http_code": 400}}
            return web.json_response(body, status=400)
        self.count_page()
        number, size = int(request.query.get("page", "0")), int(request.query.get("count", "50"))
        last = max(0, -(-len(listed) // size) - 1)
        rows = [
            {
                "title": each.title,
                "id": self._id(each),
                "guid": each.guid,
                "url": f"https://tide.example/{each.guid}",
                "enclosure": each.enclosure_url,
                "podcast_id": PODCAST_ID,
                "pubdate": f"{each.published:%Y-%m-%d %H:%M:%S}",
                "url_fyyd": self.page_url(each),
            }
            for each in listed[number * size : (number + 1) * size]
        ]
        paging = {
            "count": size,
            "page": number,
            "first_page": 0,
            "last_page": last,
            "next_page": number + 1 if number < last else None,
            "prev_page": number - 1 if number else None,
        }
        data = self._podcast(PODCAST_ID, self.feed_url) | {"episodes": rows}
        return web.json_response(_envelope(data, paging))


def _envelope(data: Any, paging: dict[str, Any] | None) -> dict[str, Any]:
    meta: dict[str, Any] = {"API_INFO": {"API_VERSION": 0.2}}
    return {"status": 1, "msg": "ok", "meta": meta | ({"paging": paging} if paging else {}), "data": data}


SERVER = FyydServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=f"{url}/0.2")


def credentials() -> Credentials:
    """The account's, which nothing asks for."""
    return Credentials(email="ada@feeds.example", username="ada", password=f"{CANARY}password")
