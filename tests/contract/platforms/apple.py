"""Apple's search and lookup: the documented parameters, and the fields of answers that public projects keep."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_AUTHOR, FEED_TITLE, STRANGER, PlatformServer, ServerEpisode

SHOW_ID, OTHER_ID = 1470039059, 1251196416


class AppleServer(PlatformServer):
    """JSON as ``text/javascript``, the show before its episodes."""

    authenticates = False
    by_hand = True
    searched = True
    required = ("results", "collectionId", "trackViewUrl")

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/search", self._search), web.get("/lookup", self._lookup)]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"https://podcasts.apple.com/us/podcast/letter/id{SHOW_ID}?i={self._track(episode)}&uo=4"

    def _track(self, episode: ServerEpisode) -> int:
        return 1_000_500_000_000 + int(episode.guid[-4:])

    def _show(self, show_id: int, feed_url: str, author: str) -> dict[str, Any]:
        return {
            "wrapperType": "track",
            "kind": "podcast",
            "collectionId": show_id,
            "trackId": show_id,
            "artistName": author,
            "collectionName": FEED_TITLE,
            "trackName": FEED_TITLE,
            "feedUrl": feed_url,
            "collectionViewUrl": f"https://podcasts.apple.com/us/podcast/id{show_id}?uo=4",
            "trackViewUrl": f"https://podcasts.apple.com/us/podcast/id{show_id}?uo=4",
            "trackCount": len(self.listed),
        }

    async def _search(self, request: web.Request) -> web.Response:
        assert request.query["media"] == "podcast"
        assert 1 <= int(request.query["limit"]) <= 200
        found = []
        if self.lookalike:
            found.append(self._show(OTHER_ID, "https://feeds.example/other.xml", "Somebody Else"))
        if self.there and request.query["term"] == FEED_TITLE and self.look():
            found.append(self._show(SHOW_ID, self.feed_url, FEED_AUTHOR))
        return _answer(found)

    async def _lookup(self, request: web.Request) -> web.Response:
        assert request.query["entity"] == "podcastEpisode"
        stranger = self.lookalike and request.query["id"] == str(OTHER_ID)
        if not stranger and (request.query["id"] != str(SHOW_ID) or not self.there):
            return _answer([])
        self.count_page()
        rows = [
            {
                "wrapperType": "podcastEpisode",
                "kind": "podcast-episode",
                "collectionId": SHOW_ID,
                "trackId": self._track(each),
                "trackName": each.title,
                "releaseDate": f"{each.published:%Y-%m-%dT%H:%M:%SZ}",
                "episodeGuid": each.guid,
                "episodeUrl": each.enclosure_url,
                "trackViewUrl": self.page_url(each),
            }
            for each in ([STRANGER] if stranger else self.listed)
        ]
        found = [self._show(SHOW_ID, self.feed_url, FEED_AUTHOR), *rows]
        return _answer(found[: int(request.query.get("limit", "50"))])


def _answer(results: list[dict[str, Any]]) -> web.Response:
    return web.json_response({"resultCount": len(results), "results": results}, content_type="text/javascript")


SERVER = AppleServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url)


def credentials() -> Credentials:
    """The account's, for the person."""
    return Credentials(email="ada@feeds.example", username="ada", password=f"{CANARY}password")
