"""Deezer's open API as developers.deezer.com documents it: errors come with status 200."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_TITLE, STRANGER, PlatformServer, ServerEpisode

SHOW_ID, OTHER_ID = 1002292972, 2027


class DeezerServer(PlatformServer):
    """Lists of ``data``, ``total`` and ``next``."""

    authenticates = False
    by_hand = True
    searched = True
    page_size = 100
    required = ("data", "title", "id")

    def __init__(self) -> None:
        super().__init__()
        #: The code of the error that the next answer is.
        self.error = 0

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/search/podcast", self._search), web.get("/podcast/{id}/episodes", self._episodes)]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"https://www.deezer.com/episode/{self._id(episode)}"

    def _id(self, episode: ServerEpisode) -> int:
        return 611_754_000 + int(episode.guid[-4:])

    async def _search(self, request: web.Request) -> web.Response:
        found = [{"id": 1, "title": f"More {FEED_TITLE}", "type": "podcast"}]
        found += [{"id": OTHER_ID, "title": FEED_TITLE, "type": "podcast"}] if self.lookalike else []
        if self.there and request.query["q"] == FEED_TITLE and self.look():
            found.append({"id": SHOW_ID, "title": FEED_TITLE, "type": "podcast"})
        return self._answer(found, request)

    async def _episodes(self, request: web.Request) -> web.Response:
        asked = request.match_info["id"]
        if asked == str(OTHER_ID) and self.lookalike:
            return self._answer([self._row(STRANGER)], request)
        if asked != str(SHOW_ID) or not self.there:
            return _error("DataException", "no data", 800)
        self.count_page()
        return self._answer([self._row(each) for each in self.listed], request)

    def _row(self, episode: ServerEpisode) -> dict[str, Any]:
        return {
            "id": self._id(episode),
            "title": episode.title,
            "release_date": f"{episode.published:%Y-%m-%d %H:%M:%S}",
            "duration": 1200,
            "type": "episode",
        }

    def _answer(self, rows: list[dict[str, Any]], request: web.Request) -> web.Response:
        code, self.error = self.error, 0
        if code:
            return _error("Exception", "Quota limit exceeded", code)
        index, limit = int(request.query.get("index", "0")), int(request.query.get("limit", "25"))
        body: dict[str, Any] = {"data": rows[index : index + limit], "total": len(rows)}
        if index + limit < len(rows):
            body["next"] = f"{request.url.origin()}{request.path}?limit={limit}&index={index + limit}"
        return web.json_response(body)


def _error(kind: str, message: str, code: int) -> web.Response:
    return web.json_response({"error": {"type": kind, "message": message, "code": code}})


SERVER = DeezerServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url)


def credentials() -> Credentials:
    """The account's, for the person."""
    return Credentials(email="ada@feeds.example", username="ada", password=f"{CANARY}password")
