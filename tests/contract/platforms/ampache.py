"""Ampache's JSON API as ampache/ampache documents it: one address, errors in the body."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus

from aiohttp import web

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_TITLE, PlatformServer, ServerEpisode

KEY = f"{CANARY}000111112233334444455556667777788888899aaaaabbbbcccccdddeeeeeeff"
PODCAST = "12"


class AmpacheServer(PlatformServer):
    """Answers 200 whatever it says, as it does before its API's version 8."""

    page_size = 100
    required = ("id", "catalog", "podcast", "podcast_episode", "feed_url", "public_url")

    def __init__(self) -> None:
        super().__init__()
        self.has_catalog = True
        #: The account may not add podcasts.
        self.plain_user = False
        #: How often it was asked to read the feed again.
        self.updates = 0

    def routes(self) -> list[web.RouteDef]:
        return [web.route(each, "/server/json.server.php", self._answer) for each in ("GET", "POST")]

    def page_url(self, episode: ServerEpisode) -> str:
        number = 600 + int(episode.guid[-4:])
        return f"{self.url}/podcast_episode.php?action=show&podcast_episode={number}"

    async def _answer(self, request: web.Request) -> web.Response:
        given = {**request.query, **(await request.post())}
        action = given["action"]
        if not self.auth_ok or request.headers.get("Authorization") != f"Bearer {KEY}":
            return _error(4701, action, "Session Expired")
        answers: dict[str, Any] = {
            "catalogs": self._catalogs,
            "podcasts": self._podcasts,
            "podcast_create": self._create,
            "podcast_episodes": self._episodes,
            "update_podcast": self._update,
        }
        # Writes change something, reads are asked for by GET.
        assert (request.method == "POST") == (action in ("podcast_create", "update_podcast"))
        return web.json_response(answers[action](given))

    def _catalogs(self, given: dict[str, Any]) -> dict[str, Any]:
        rows = [{"id": "3", "name": "Podcasts", "type": "local", "gather_types": "podcast", "enabled": True}]
        return {"total_count": 1, "catalog": rows} if self.has_catalog else _body(4704, "catalogs", "Not Found")

    def _podcasts(self, given: dict[str, Any]) -> dict[str, Any]:
        others = [self._podcast(str(number), f"https://feeds.example/{number}.xml") for number in range(100, 203)]
        rows = [*others, *([self._podcast(PODCAST, self.feed_url)] if self.there else [])]
        start, size = int(given["offset"]), int(given["limit"])
        return {"total_count": len(rows), "podcast": rows[start : start + size]}

    def _podcast(self, podcast_id: str, feed_url: str) -> dict[str, Any]:
        return {"id": podcast_id, "name": FEED_TITLE, "feed_url": feed_url, "public_url": f"{self.url}/podcast.php"}

    def _create(self, given: dict[str, Any]) -> dict[str, Any]:
        if self.plain_user:
            return _body(4742, "podcast_create", "Require: 75")
        if unquote_plus(given["url"]) != self.feed_url or given["catalog"] != "3":
            return _body(4710, "podcast_create", "Bad Request")
        # A feed that is there is not created again.
        if not self.there:
            self.take_in()
        return {"podcast": [self._podcast(PODCAST, self.feed_url)]}

    def _episodes(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["filter"] != PODCAST or not self.look():
            return _body(4704, "podcast_episodes", "Not Found")
        self.count_page()
        start, size = int(given["offset"]), int(given["limit"])
        rows = [
            {
                "id": self.page_url(each).rsplit("=", 1)[1],
                "title": each.title,
                "pubdate": each.published.isoformat(),
                "state": "completed",
                "public_url": self.page_url(each),
                "url": f"{self.url}/play/index.php?ssid={CANARY}session",
            }
            for each in self.listed[start : start + size]
        ]
        return {"total_count": len(self.listed), "podcast_episode": rows}

    def _update(self, given: dict[str, Any]) -> dict[str, Any]:
        assert given["filter"] == PODCAST
        self.updates += 1
        self.read_again()
        return {"success": "Synced episodes for podcast: 12"}


def _body(code: int, action: str, message: str) -> dict[str, Any]:
    error = {"errorCode": str(code), "errorAction": action, "errorType": "system", "errorMessage": message}
    return {"error": error}


def _error(code: int, action: str, message: str) -> web.Response:
    return web.json_response(_body(code, action, message))


SERVER = AmpacheServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url)


def credentials() -> Credentials:
    """The account's; an API key opens it."""
    return Credentials(email="ada@feeds.example", username="ada", app_password=KEY)
