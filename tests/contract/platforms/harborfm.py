"""HarborFM's API as LoganRickert/HarborFM has it: one import at a time, told of until its end has been read."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_AUTHOR, FEED_TITLE, PlatformServer, ServerEpisode, neighbours

KEY = f"hfm_{CANARY}key"
SHOW, OTHER = "nJakR9dPwUOjUhhlZvFiT", "zMteDfo7ogwqMA2kA50k"


class HarborFMServer(PlatformServer):
    """Keeps no address of a feed; the account has another show of the same name."""

    has_neighbours = True
    required = ("podcasts", "id", "slug", "episodes", "status", "podcastId")

    def __init__(self) -> None:
        super().__init__()
        #: Another import of the account that nobody has looked at since it ended.
        self.busy = False
        #: The server was started anew in the middle of the import, before the first episode.
        self.cut_off = False

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/podcasts", self._let_in(self._podcasts)),
            web.post("/api/podcasts/import", self._let_in(self._import)),
            web.get("/api/podcasts/import-status", self._let_in(self._active)),
            web.get("/api/podcasts/{id}", self._let_in(self._podcast)),
            web.get("/api/podcasts/{id}/import-status", self._let_in(self._status)),
            web.get("/api/podcasts/{id}/episodes", self._let_in(self._episodes)),
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"{self.url}/feed/letters-from-the-tide/{self._slugs()[episode.guid]}"

    def _slugs(self) -> dict[str, str]:
        """One for each episode; those of one title are counted, in the feed's order."""
        slugs: dict[str, str] = {}
        for each in self.listed + self.unread:
            base = re.sub("-+", "-", re.sub("[^a-z0-9-]", "", each.title.lower().replace(" ", "-")))
            taken = list(slugs.values())
            slugs[each.guid] = next(s for s in (base, *(f"{base}-{n}" for n in range(1, 99))) if s not in taken)
        return slugs

    def _let_in(self, handler: Any) -> Any:
        async def check(request: web.Request) -> web.Response:
            if not self.auth_ok or request.headers.get("Authorization") != f"Bearer {KEY}":
                return _error("Unauthorized", 401)
            return await handler(request)

        return check

    def _shows(self) -> dict[str, dict[str, Any]]:
        shows = {OTHER: self._show(OTHER, "letters-from-the-tide-1")}
        return shows | ({SHOW: self._show(SHOW, "letters-from-the-tide")} if self.there else {})

    def _show(self, show_id: str, slug: str) -> dict[str, Any]:
        return {"id": show_id, "title": FEED_TITLE, "slug": slug, "authorName": FEED_AUTHOR, "locked": 0}

    async def _podcasts(self, request: web.Request) -> web.Response:
        shows = list(self._shows().values())
        return web.json_response({"podcasts": shows, "total": len(shows)})

    async def _podcast(self, request: web.Request) -> web.Response:
        show = self._shows().get(request.match_info["id"])
        return web.json_response(show) if show else _error("Podcast not found", 404)

    async def _import(self, request: web.Request) -> web.Response:
        if self.busy:
            return _error("You already have an import in progress. Wait for it to finish.", 409)
        if (await request.json()).get("feedUrl") != self.feed_url:
            return _error(f"{self.feed_url}: HTTP 404: File not found", 400)
        self.take_in()
        return web.json_response({"podcastId": SHOW}, status=202)

    async def _active(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "done", "podcastId": OTHER} if self.busy else {"status": "idle"})

    async def _status(self, request: web.Request) -> web.Response:
        if request.match_info["id"] == OTHER:
            self.busy = False
            return web.json_response({"status": "done", "message": "Imported 1 episode."})
        done = self.look()
        if self.cut_off or self.already_there:
            return web.json_response({"status": "idle"})
        total = len(self.listed)
        if done:
            return web.json_response(
                {"status": "done", "message": f"Imported {total} episodes.", "totalEpisodes": total}
            )
        return web.json_response({"status": "importing", "currentEpisode": 1, "totalEpisodes": total})

    async def _episodes(self, request: web.Request) -> web.Response:
        if request.match_info["id"] not in self._shows():
            # What an administrator is answered for any id.
            return web.json_response({"episodes": []})
        self.count_page()
        if request.match_info["id"] == OTHER:
            rows = [self._row(each, f"other-{each.guid}") for each in neighbours(self.listed)]
            return web.json_response({"episodes": rows})
        through = self.already_there or self._looks > self.ready_after
        listed = self.listed if through else self.listed[:1]
        slugs = self._slugs()
        rows = [] if self.cut_off else [self._row(each, slugs[each.guid]) for each in listed]
        return web.json_response({"episodes": rows})

    def _row(self, episode: ServerEpisode, slug: str) -> dict[str, Any]:
        return {
            "id": f"id-of-{episode.guid}",
            "title": episode.title,
            "guid": episode.guid,
            "slug": slug,
            "publishAt": f"{episode.published:%Y-%m-%dT%H:%M:%S.000Z}",
            "status": "published",
            "audioFinalPath": "processed/final.mp3",
        }


def _error(words: str, status: int) -> web.Response:
    return web.json_response({"error": words}, status=status)


SERVER = HarborFMServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url)


def credentials() -> Credentials:
    """The account's; an API key opens it."""
    return Credentials(email="ada@feeds.example", username="ada", app_password=KEY)
