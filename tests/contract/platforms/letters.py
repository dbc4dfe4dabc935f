"""A site made up for recipes: an API with a session, a code, a token, an import to poll, and pages by a cursor."""

from __future__ import annotations

import pyotp
from aiohttp import web
from aiohttp.typedefs import Handler

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, PlatformServer, ServerEpisode, neighbours

PASSWORD = f"{CANARY}password"
TOKEN = f"{CANARY}token"
TOTP = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
SHOW = 7


class LettersServer(PlatformServer):
    """Asks for a code as well."""

    page_size = 10
    has_neighbours = True
    refuses_locked = True
    required = ("session", "token", "shows", "episodes", "page")

    def __init__(self) -> None:
        super().__init__()
        self._coded = False

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/session", self._session),
            web.post("/api/session/s1/code", self._code),
            web.post("/api/session/s1/token", self._token),
            web.get("/api/shows", self._signed_in(self._shows)),
            web.post("/api/shows", self._signed_in(self._add)),
            web.get("/api/shows/{id}", self._signed_in(self._show)),
            web.post("/api/shows/{id}/refresh", self._signed_in(self._refresh)),
            web.get("/api/shows/{id}/episodes", self._signed_in(self._episodes)),
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"https://letters.example/{episode.guid}"

    def _signed_in(self, handler: Handler) -> Handler:
        async def check(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Authorization") != f"Bearer {TOKEN}":
                return web.json_response({"error": "sign in"}, status=401)
            return await handler(request)

        return check

    async def _session(self, request: web.Request) -> web.Response:
        if not self.auth_ok or await request.json() != {"name": "ada", "password": PASSWORD}:
            return web.json_response({"error": "wrong name or password"}, status=403)
        self._coded = False
        return web.json_response({"session": "s1", "next": "code"})

    async def _code(self, request: web.Request) -> web.Response:
        self._coded = pyotp.TOTP(TOTP).verify((await request.json())["code"], valid_window=1)
        return web.json_response({} if self._coded else {"error": "wrong code"})

    async def _token(self, request: web.Request) -> web.Response:
        return web.json_response({"token": TOKEN} if self._coded else {"error": "no code"})

    async def _shows(self, request: web.Request) -> web.Response:
        shows = [{"id": 1, "feed": "https://feeds.example/other.xml"}]
        return web.json_response({"shows": [*shows, *([{"id": SHOW, "feed": self.feed_url}] if self.there else [])]})

    async def _add(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        if wanted["feed"] != self.feed_url or wanted["options"]["notify"] is not False:
            return web.json_response({"error": f"cannot read {wanted['feed']}"}, status=400)
        if self.locked:
            return web.json_response({"error": f"{self.feed_url} is locked"}, status=400)
        self.take_in()
        return web.json_response({"show": {"id": SHOW}}, status=201)

    async def _show(self, request: web.Request) -> web.Response:
        if not self.there:
            raise web.HTTPNotFound
        return web.json_response({"id": SHOW, "state": "ready" if self.look() else "importing", "error": None})

    async def _refresh(self, request: web.Request) -> web.Response:
        if request.match_info["id"] != str(SHOW) or not self.there:
            raise web.HTTPNotFound
        self.read_again()
        return web.json_response({"id": SHOW}, status=202)

    async def _episodes(self, request: web.Request) -> web.Response:
        self.count_page()
        start = int(request.query.get("after", "0"))
        end = start + self.page_size
        listed = self.listed if request.match_info["id"] == str(SHOW) else neighbours(self.listed)
        rows = [{"page": self.page_url(each), "guid": each.guid} for each in listed[start:end]]
        more = f"/api/shows/{SHOW}/episodes?after={end}" if end < len(self.listed) else None
        return web.json_response({"episodes": rows, "next": more})


SERVER = LettersServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url)


def credentials() -> Credentials:
    """The account's."""
    return Credentials(username="ada", password=PASSWORD, twofa=TOTP)
