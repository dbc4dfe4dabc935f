"""Podcast Index as Podcastindex-org/docs-api specifies it; episode pages as Podcastindex-org/web-ui links them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, PODCAST_GUID, PlatformServer, ServerEpisode

KEY, SECRET = "UXKCGDSYGUUEVQJSYDZH", f"{CANARY}yzJe2eE7XV-3eY576dyRZ6wXyAbndh6LUrCZ8KN|"
FEED_ID = 75075
Answer = Callable[[dict[str, str]], web.Response]


class PodcastIndexServer(PlatformServer):
    """Asks every request for the three headers and a User-Agent."""

    required = ("status", "feedId", "items", "id")

    def routes(self) -> list[web.RouteDef]:
        answers = {
            "add/byfeedurl": self._add,
            "hub/pubnotify": self._notified,
            "episodes/byfeedurl": self._episodes,
            "episodes/byfeedid": self._episodes,
        }
        # The vendor's own clients write what they ask for into a form, whatever it is.
        return [
            method(f"/api/1.0/{path}", self._signed(answer))
            for path, answer in answers.items()
            for method in (web.get, web.post)
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"https://podcastindex.org/podcast/{FEED_ID}?episode={self._id(episode)}"

    def _id(self, episode: ServerEpisode) -> int:
        return 15_576_000_000 + int(episode.guid[-4:])

    def _signed(self, answer: Answer) -> Handler:
        async def check(request: web.Request) -> web.StreamResponse:
            given = {name: request.headers.get(name, "") for name in ("X-Auth-Key", "X-Auth-Date", "Authorization")}
            date = given["X-Auth-Date"]
            digest = hashlib.sha1(f"{KEY}{SECRET}{date}".encode()).hexdigest()
            fresh = date.isdigit() and abs(time.time() - int(date)) < 180
            signed = given["X-Auth-Key"] == KEY and given["Authorization"] == digest
            if not (self.auth_ok and fresh and signed and request.headers.get("User-Agent")):
                return web.json_response("Authorization header value either not set or blank.", status=401)
            asked = {name: str(value) for name, value in (*request.query.items(), *(await request.post()).items())}
            return answer(asked)

        return check

    def _notified(self, asked: dict[str, str]) -> web.Response:
        if asked.get("id") != str(FEED_ID):
            return web.json_response({"status": "false", "description": "Invalid feed id."}, status=400)
        self.read_again()
        return web.json_response({"status": "true", "description": "Feed marked for immediate update."})

    def _add(self, asked: dict[str, str]) -> web.Response:
        if asked.get("url") != self.feed_url:
            return web.json_response({"status": "false", "description": "Invalid parameters"}, status=400)
        existed = self.there
        if not existed:
            self.take_in()
        body = {"status": "true", "feedId": FEED_ID, "existed": str(existed).lower(), "description": "Feed added."}
        return web.json_response(body)

    def _episodes(self, asked: dict[str, str]) -> web.Response:
        is_ours = asked.get("url") == self.feed_url or asked.get("id") == str(FEED_ID)
        if not is_ours or not self.look():
            return web.json_response({"status": "false", "description": "Feed url not found."}, status=400)
        self.count_page()
        rows = [
            {
                "id": self._id(each),
                "title": each.title,
                "guid": each.guid,
                "datePublished": int(each.published.timestamp()),
                "enclosureUrl": each.enclosure_url,
                "feedId": FEED_ID,
                "feedUrl": self.feed_url,
                "podcastGuid": PODCAST_GUID,
            }
            for each in self.listed[: int(asked.get("max", "10"))]
        ]
        return web.json_response({"status": "true", "items": rows, "count": len(rows), "description": "Found."})


SERVER = PodcastIndexServer


def settings(url: str) -> PlatformSettings:
    """Key and secret of the specification's example."""
    return PlatformSettings(base_url=f"{url}/api/1.0", login=KEY, password=SECRET)


def credentials() -> Credentials:
    """The account's, which the API does not ask for."""
    return Credentials(email="ada@feeds.example", username="ada", password=f"{CANARY}password")
