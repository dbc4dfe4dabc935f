"""Castopod as its import controller, its login and its REST API answer; the queue works one task off between looks."""

from __future__ import annotations

import secrets
from html import escape
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_TITLE, PlatformServer, ServerEpisode, neighbours

PASSWORD = f"{CANARY}password"
OTHER_FEED = "https://feeds.example/other.xml"


class CastopodServer(PlatformServer):
    """Has another podcast from the start, under the handle that the feed's title suggests.

    It checks neither that a handle nor that a feed is new (``addToQueueAction``).
    """

    page_size = 100
    repeats_shows = True
    has_neighbours = True
    required = ("csrf_test_name", "password", "imported_feed_url", "slug", "guid")

    def __init__(self) -> None:
        super().__init__()
        self.session = ""
        self.csrf = secrets.token_hex(16)
        self.handle = "letters"
        #: A handle that an import in the queue has, and no podcast yet.
        self.queued_handle = ""
        #: Older versions synchronize where they are asked for the form.
        self.syncs_at_once = False

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/cp-auth/login", self._login_form),
            web.post("/cp-auth/login", self._login),
            web.get("/cp-admin/imports", self._signed_in(self._queue)),
            web.get("/cp-admin/imports/add", self._signed_in(self._add_form)),
            web.post("/cp-admin/imports/add", self._signed_in(self._add)),
            web.get("/cp-admin/podcasts/{id}/sync-feeds", self._signed_in(self._sync_form)),
            web.post("/cp-admin/podcasts/{id}/sync-feeds", self._signed_in(self._sync)),
            web.get("/api/rest/v1/podcasts", self._podcasts),
            web.get("/api/rest/v1/episodes", self._episodes),
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"{self.url}/@{self.handle}/episodes/{episode.guid}-x1y2z"

    def _signed_in(self, handler: Handler) -> Handler:
        async def check(request: web.Request) -> web.StreamResponse:
            if not self.session or request.cookies.get("ci_session") != self.session:
                return web.Response(status=302, headers={"Location": f"{self.url}/cp-auth/login"})
            return await handler(request)

        return check

    def _form(self, body: str) -> web.Response:
        token = f'<input type="hidden" name="csrf_test_name" value="{self.csrf}">'
        html = f'<form method="POST">{token}{body}<button type="submit">Go</button></form>'
        return web.Response(text=html, content_type="text/html")

    async def _checked(self, request: web.Request) -> dict[str, str]:
        """The posted fields; a token is good for one of them."""
        fields = {name: str(value) for name, value in (await request.post()).items()}
        if fields.get("csrf_test_name") != self.csrf:
            raise web.HTTPForbidden(text="The action you requested is not allowed.")
        self.csrf = secrets.token_hex(16)
        return fields

    async def _login_form(self, request: web.Request) -> web.Response:
        return self._form('<input name="email" type="email"><input name="password" type="password">')

    async def _login(self, request: web.Request) -> web.Response:
        fields = await self._checked(request)
        if not self.auth_ok or (fields["email"], fields["password"]) != ("ada@feeds.example", PASSWORD):
            return web.Response(status=302, headers={"Location": f"{self.url}/cp-auth/login"})
        self.session = secrets.token_hex(16)
        answer = web.Response(status=302, headers={"Location": f"{self.url}/cp-admin"})
        answer.set_cookie("ci_session", self.session, httponly=True, samesite="Lax")
        return answer

    async def _queue(self, request: web.Request) -> web.Response:
        tasks = [(OTHER_FEED, self.queued_handle), *([(self.feed_url, self.handle)] if self.imports else [])]
        rows = "".join(
            f'<tr><td>...</td><td><a href="{escape(feed)}">{escape(feed)}</a><span>@{handle}</span></td></tr>'
            for feed, handle in tasks
        )
        return web.Response(text=f"<table>{rows}</table>", content_type="text/html")

    async def _add_form(self, request: web.Request) -> web.Response:
        return self._form(
            '<input name="imported_feed_url" type="url"><input name="handle">'
            '<select name="language"><option value="de">de</option><option value="en" selected>en</option></select>'
            '<select name="category"><option value="1">Arts</option><option value="2">Books</option></select>'
        )

    async def _add(self, request: web.Request) -> web.Response:
        fields = await self._checked(request)
        taken = fields["handle"].lower() == FEED_TITLE.replace(" ", "_").lower()
        wanted = (fields["imported_feed_url"], fields["language"], fields["category"])
        if taken or wanted != (self.feed_url, "en", "1") or not 1 <= len(fields["handle"]) <= 32:
            return web.Response(status=302, headers={"Location": f"{self.url}/cp-admin/imports/add"})
        self.handle = fields["handle"]
        self.take_in()
        return web.Response(status=302, headers={"Location": f"{self.url}/cp-admin/imports"})

    async def _sync_form(self, request: web.Request) -> web.Response:
        if not self.auth_ok or request.match_info["id"] != "2" or not self.there:
            raise web.HTTPForbidden
        if self.syncs_at_once:
            return self._synchronized()
        return self._form(f'<input name="feed_url" type="url" value="{escape(self.feed_url)}">')

    async def _sync(self, request: web.Request) -> web.Response:
        fields = await self._checked(request)
        if request.match_info["id"] != "2" or fields["feed_url"] != self.feed_url:
            return web.Response(status=302, headers={"Location": f"{self.url}/cp-admin/podcasts/2/sync-feeds"})
        return self._synchronized()

    def _synchronized(self) -> web.Response:
        self.read_again()
        return web.Response(status=302, headers={"Location": f"{self.url}/cp-admin/podcasts/2/imports"})

    async def _podcasts(self, request: web.Request) -> web.Response:
        other = {"id": 1, "handle": FEED_TITLE.replace(" ", "_"), "title": FEED_TITLE, "imported_feed_url": None}
        ours = {"id": 2, "handle": self.handle, "title": FEED_TITLE, "imported_feed_url": self.feed_url}
        again = {**ours, "id": 3, "handle": "again"}
        return web.json_response([other, *([ours, *([again] if self.twice else [])] if self.look() else [])])

    async def _episodes(self, request: web.Request) -> web.Response:
        self.count_page()
        # Without a podcast's id, those of all.
        asked = request.query.get("podcastIds", "1,2,3").split(",")
        shows = {"1": neighbours(self.listed), "2": self.listed, "3": neighbours(self.listed) if self.twice else []}
        rows = [each for podcast in asked for each in shows.get(podcast, [])]
        start, limit = int(request.query.get("offset", "0")), int(request.query.get("limit", "10"))
        return web.json_response([self._row(each) for each in rows[start : start + limit]])

    def _row(self, episode: ServerEpisode) -> dict[str, Any]:
        return {
            "id": 17,
            "podcast_id": 2,
            "guid": episode.guid,
            "slug": f"{episode.guid}-x1y2z",
            "title": episode.title,
            "is_premium": False,
            "published_at": {"date": f"{episode.published:%Y-%m-%d %H:%M:%S}.000000", "timezone": "UTC"},
        }


SERVER = CastopodServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url, extra={"platform": "castopod"})


def credentials() -> Credentials:
    """The account's."""
    return Credentials(email="ada@feeds.example", username="ada", password=PASSWORD)
