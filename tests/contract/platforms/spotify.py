"""Spotify's Web API as its reference and the migration guide of February 2026 describe it."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from aiohttp import web

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_AUTHOR, FEED_TITLE, PlatformServer, ServerEpisode

CLIENT, SECRET = "5fe01282e44241328a84e7c5cc169165", f"{CANARY}client-secret"
TOKEN = f"{CANARY}BQDBKJ5eo5jxbtpWjVOj7ryS84khybFpP"
SHOW_ID, OTHER_ID = "38bS44xjbVVZ3No3ByF1dJ", "5CfCWKI5pZ28U0uOzXkDHe"
AGAIN_ID = "4rOoJ6Egrf8K2IrywzwOMk"


class SpotifyServer(PlatformServer):
    """Accounts service and Web API at one address; the first show found is not told a publisher."""

    by_hand = True
    searched = True
    page_size = 50
    repeats_shows = True
    required = ("access_token", "shows", "id", "items", "external_urls", "name")

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/token", self._token),
            web.get("/v1/search", self._search),
            web.get("/v1/shows/{id}/episodes", self._episodes),
            # As spotipy writes it.
            web.get("/v1/shows/{id}/episodes/", self._episodes),
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"https://open.spotify.com/episode/{hashlib.sha256(episode.guid.encode()).hexdigest()[:22]}"

    async def _token(self, request: web.Request) -> web.Response:
        pair = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if not self.auth_ok or request.headers.get("Authorization") != f"Basic {pair}":
            return web.json_response({"error": "invalid_client", "error_description": "Invalid client"}, status=400)
        if (await request.post()).get("grant_type") != "client_credentials":
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        return web.json_response({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600})

    def _refused(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == f"Bearer {TOKEN}":
            return None
        return web.json_response({"error": {"status": 401, "message": "Invalid access token"}}, status=401)

    async def _search(self, request: web.Request) -> web.Response:
        if refusal := self._refused(request):
            return refusal
        if not 1 <= int(request.query.get("limit", "5")) <= 10:
            return web.json_response({"error": {"status": 400, "message": "Invalid limit"}}, status=400)
        found: list[dict[str, Any] | None] = [None]
        if self.lookalike:
            found.append({"id": OTHER_ID, "name": FEED_TITLE, "type": "show"})
            found.append({"id": OTHER_ID, "name": FEED_TITLE, "publisher": "Somebody Else", "type": "show"})
        if self.there and request.query["q"] == FEED_TITLE and self.look():
            ids = [SHOW_ID, *([AGAIN_ID] if self.twice else [])]
            found += [{"id": each, "name": FEED_TITLE, "publisher": FEED_AUTHOR, "type": "show"} for each in ids]
        return web.json_response({"shows": self._paged(found, request)})

    async def _episodes(self, request: web.Request) -> web.Response:
        if refusal := self._refused(request):
            return refusal
        show_id = request.match_info["id"]
        if show_id == OTHER_ID and self.lookalike:
            other = {"id": "x", "name": "Letter 1", "release_date": "2001-01-01", "release_date_precision": "day"}
            other["external_urls"] = {"spotify": "https://open.spotify.com/episode/somebody-else"}  # type: ignore[assignment]
            return web.json_response(self._paged([other] * 120, request))
        if show_id != SHOW_ID or not self.there:
            return web.json_response({"error": {"status": 404, "message": "Resource not found"}}, status=404)
        self.count_page()
        rows = [
            {
                "id": self.page_url(each).rsplit("/", 1)[1],
                "name": each.title,
                "release_date": f"{each.published:%Y-%m-%d}",
                "release_date_precision": "day",
                "external_urls": {"spotify": self.page_url(each)},
                "type": "episode",
            }
            for each in self.listed
        ]
        return web.json_response(self._paged(rows, request))

    def _paged(self, rows: list[Any], request: web.Request) -> dict[str, Any]:
        limit, offset = min(50, int(request.query.get("limit", "20"))), int(request.query.get("offset", "0"))
        more = offset + limit < len(rows)
        following = f"{request.url.origin()}{request.path}?offset={offset + limit}&limit={limit}" if more else None
        return {
            "items": rows[offset : offset + limit],
            "limit": limit,
            "offset": offset,
            "total": len(rows),
            "next": following,
        }


SERVER = SpotifyServer


def settings(url: str) -> PlatformSettings:
    """The client of an app."""
    return PlatformSettings(base_url=url, login=CLIENT, password=SECRET)


def credentials() -> Credentials:
    """The account's, for the person."""
    return Credentials(email="ada@feeds.example", username="ada", password=f"{CANARY}password")
