"""mygpo's API as ``mygpo/api/advanced/directory.py`` answers, with a task queue of one."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_AUTHOR, FEED_TITLE, PlatformServer, ServerEpisode

TASK = "0b4c0b7e-5c39-4a53-8f0e-6a0d5e3a8f11"
LINK = "http://gpodder.net/podcast/letters-from-the-tide"


class GpodderServer(PlatformServer):
    """Knows the podcast once the task is through."""

    authenticates = False
    required = ("mygpo_link",)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/2/podcasts/create", self._create),
            web.get("/api/2/task/{id}", self._task),
            web.get("/api/2/data/podcast.json", self._podcast),
            web.get("/api/2/data/episode.json", self._episode),
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"{LINK}/{episode.guid}"

    @property
    def through(self) -> bool:
        return self.already_there or (self.there and self._looks > self.ready_after)

    async def _create(self, request: web.Request) -> web.Response:
        url = (await request.json()).get("url", "")
        if url != self.feed_url:
            raise web.HTTPNotFound
        if self.through:
            return web.Response(status=302, headers={"Location": f"/api/2/data/podcast.json?url={url}"})
        if not self.there:
            self.take_in()
        return web.Response(status=202, headers={"Location": f"/api/2/task/{TASK}?url={url}"})

    async def _task(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = {"id": TASK, "type": "create-podcast", "url": request.query.get("url", "")}
        body["status"] = "successful" if self.through else "pending"
        return web.json_response(body)

    async def _podcast(self, request: web.Request) -> web.Response:
        if request.query.get("url") != self.feed_url or not self.look():
            raise web.HTTPNotFound
        link = {"url": self.feed_url, "title": FEED_TITLE, "author": FEED_AUTHOR, "subscribers": 0, "mygpo_link": LINK}
        return web.json_response(link)

    async def _episode(self, request: web.Request) -> web.Response:
        asked = request.query.get("url")
        for each in self.listed:
            if request.query.get("podcast") == self.feed_url and asked == each.enclosure_url and self.through:
                return web.json_response(
                    {
                        "title": each.title,
                        "url": each.enclosure_url,
                        "podcast_title": FEED_TITLE,
                        "podcast_url": self.feed_url,
                        "mygpo_link": self.page_url(each),
                        "released": f"{each.published:%Y-%m-%dT%H:%M:%S}",
                    }
                )
        raise web.HTTPNotFound


SERVER = GpodderServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url)


def credentials() -> Credentials:
    """The account's, which this part of the API does not ask for."""
    return Credentials(username="ada", password=f"{CANARY}password")
