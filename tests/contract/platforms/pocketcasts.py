"""Pocket Casts' refresh and cache servers as Automattic/pocket-casts-android calls and parses them.

https://github.com/Automattic/pocket-casts-android: a form that is answered with ``poll`` is sent again, six times in
all (``ServiceManager.postToMainServer``); ``podcast`` is a search's exact hit (``DataParser.parsePodcastSearch``);
``update_podcast`` answers 202 and reads the feed again (``RefreshServiceManagerImpl``).
"""

from __future__ import annotations

import uuid
from typing import Any

from aiohttp import web

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_AUTHOR, FEED_TITLE, STRANGER, PlatformServer, ServerEpisode

SHOW = "981d8691-5e1f-4009-adf4-ee5a204bd00c"
OTHER = "05ccf3c0-1b97-0132-18eb-5f4c86fd3263"
POLL = "a7a3f5f2-0d35-4b4f-9a3f-2f2f8c1a2b3c"


class PocketCastsServer(PlatformServer):
    """Both servers at one address."""

    authenticates = False
    searched = True
    required = ("status", "result", "uuids", "poll_uuids", "podcast", "episodes", "uuid")

    def __init__(self) -> None:
        super().__init__()
        #: How many answers to forms say that they are not ready.
        self.polls = 0
        #: The search finds the show exactly, and nothing else.
        self.exact = False
        #: What the newest episode was said to be, when the feed was to be read again.
        self.newest_known = ""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/import/opml", self._import),
            web.post("/podcasts/search", self._search),
            web.post("/import/export_feed_urls", self._export),
            web.get("/mobile/podcast/full/{uuid}", self._full),
            web.get("/api/v1/update_podcast", self._update),
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"https://pca.st/episode/{uuid.uuid5(uuid.NAMESPACE_URL, episode.guid)}"

    async def _import(self, request: web.Request) -> web.Response:
        asked = await request.json()
        result: dict[str, Any] = {"uuids": [], "poll_uuids": [], "failed": 0}
        if asked.get("urls") == [self.feed_url]:
            if self.already_there or (self.there and self.look()):
                result["uuids"] = [SHOW]
            else:
                if not self.there:
                    self.take_in()
                result["poll_uuids"] = [POLL]
        elif asked.get("poll_uuids") == [POLL] and self.there:
            result |= {"uuids": [SHOW]} if self.look() else {"poll_uuids": [POLL]}
        else:
            result["failed"] = 1
        return _ok(result)

    def _poll(self) -> web.Response | None:
        self.polls -= 1
        return web.json_response({"status": "poll", "message": None, "result": None}) if self.polls >= 0 else None

    async def _update(self, request: web.Request) -> web.Response:
        if request.query.get("podcast_uuid") != SHOW or not self.there:
            return web.Response(status=404)
        self.newest_known = request.query.get("last_episode_uuid", "")
        self.read_again()
        headers = {"Location": f"{self.url}/api/v1/update_podcast/1", "Retry-After": "1"}
        return web.Response(status=202, headers=headers)

    async def _search(self, request: web.Request) -> web.Response:
        if poll := self._poll():
            return poll
        found = [{"uuid": OTHER, "title": FEED_TITLE, "author": "Somebody Else"}] if self.lookalike else []
        if (await request.post()).get("q") == FEED_TITLE and self.there and self.look():
            show = {"uuid": SHOW, "title": FEED_TITLE, "author": FEED_AUTHOR}
            if self.exact:
                return _ok({"is_url": False, "podcast": show, "search_results": found or None})
            found.append(show)
        return _ok({"is_url": False, "search_results": found})

    async def _export(self, request: web.Request) -> web.Response:
        if poll := self._poll():
            return poll
        urls = {SHOW: self.feed_url, OTHER: "https://feeds.example/other.xml"}
        asked = str((await request.post()).get("uuids")).split(",")
        return _ok({each: urls[each] for each in asked if each in urls})

    async def _full(self, request: web.Request) -> web.Response:
        stranger = self.lookalike and request.match_info["uuid"] == OTHER
        if not stranger and (request.match_info["uuid"] != SHOW or not self.there):
            return web.Response(status=404)
        self.count_page()
        rows = [
            {
                "uuid": self.page_url(each).rsplit("/", 1)[1],
                "title": each.title,
                "url": each.enclosure_url,
                "file_type": "audio/mpeg",
                "published": f"{each.published:%Y-%m-%dT%H:%M:%SZ}",
                "type": "full",
            }
            for each in ([STRANGER] if stranger else self.listed)
        ]
        show = {"uuid": SHOW, "title": FEED_TITLE, "author": FEED_AUTHOR, "is_private": False, "episodes": rows}
        body = {"episode_frequency": "Daily", "episode_count": len(rows), "has_more_episodes": False, "podcast": show}
        return web.json_response(body)


def _ok(result: Any) -> web.Response:
    return web.json_response({"status": "ok", "message": None, "result": result})


SERVER = PocketCastsServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url)


def credentials() -> Credentials:
    """The account's, which the catalogue does not ask for."""
    return Credentials(email="ada@feeds.example", password=f"{CANARY}password")
