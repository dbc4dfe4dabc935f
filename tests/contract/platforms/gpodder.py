"""mygpo's API as ``mygpo/api/advanced/directory.py`` answers, with a task queue of one; and its pages of episodes.

https://github.com/gpodder/mygpo: URLs are looked for as ``normalize_feed_url`` rewrites them (``mygpo/utils.py``), and
kept as the feed has them; the newest 200 are kept (``mygpo/data/feeddownloader.py``).
"""

from __future__ import annotations

import base64
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit, urlunsplit

from aiohttp import web

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_AUTHOR, FEED_TITLE, PlatformServer, ServerEpisode

PASSWORD = f"{CANARY}password"
TASK = "0b4c0b7e-5c39-4a53-8f0e-6a0d5e3a8f11"
LINK = "http://gpodder.net/podcast/letters-from-the-tide"


class GpodderServer(PlatformServer):
    """Knows the podcast once the task is through."""

    required = ("mygpo_link",)

    def __init__(self) -> None:
        super().__init__()
        #: The site cannot read the feed, which its tasks do not say.
        self.unreadable = False
        #: The feeds that the account is subscribed to.
        self.subscriptions: list[str] = []

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/2/podcasts/create", self._create),
            web.get("/api/2/task/{id}", self._task),
            web.get("/api/2/data/podcast.json", self._podcast),
            web.get("/api/2/data/episode.json", self._episode),
            web.post("/api/2/subscriptions/{user}/{device}.json", self._subscribe),
            web.get("/podcast/letters-from-the-tide/-episodes", self._list),
            web.get("/podcast/letters-from-the-tide/{slug}", self._page),
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"{LINK}/{episode.guid}"

    @property
    def kept(self) -> list[ServerEpisode]:
        """What it has of the feed, newest first."""
        return self.listed[:200] if self.through and not self.unreadable else []

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
        ready = self.look() and not self.unreadable
        if request.query.get("url") != self.feed_url or not (ready or self.subscriptions):
            raise web.HTTPNotFound
        # Who subscribes to what it does not have gets an empty podcast.
        title = FEED_TITLE if ready else ""
        link = {"url": self.feed_url, "title": title, "author": FEED_AUTHOR, "subscribers": 0, "mygpo_link": LINK}
        return web.json_response(link)

    async def _episode(self, request: web.Request) -> web.Response:
        asked = _rewritten(request.query.get("url", ""))
        for each in self.kept:
            if request.query.get("podcast") == self.feed_url and asked == each.enclosure_url:
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

    async def _subscribe(self, request: web.Request) -> web.Response:
        login = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
        if not self.auth_ok or request.headers.get("Authorization") != f"Basic {login}":
            return web.Response(status=401)
        self.subscriptions += (await request.json())["add"]
        return web.json_response({"timestamp": 1, "update_urls": []})

    async def _list(self, request: web.Request) -> web.Response:
        first = (int(request.query.get("page", "1")) - 1) * 20
        links = "".join(
            f'<span class="title"><a href="{urlsplit(self.page_url(each)).path}">{escape(each.title)}</a></span>'
            for each in self.kept[first : first + 20]
        )
        head = f'<h1><a href="{urlsplit(LINK).path}">{FEED_TITLE}</a></h1>'
        return web.Response(text=f"<html><body>{head}{links}</body></html>", content_type="text/html")

    async def _page(self, request: web.Request) -> web.Response:
        for each in self.kept:
            if each.guid == request.match_info["slug"]:
                link = f'<a href="{escape(each.enclosure_url)}" title="Download">Download</a>'
                about = '<a href="https://github.com/gpodder/mygpo">Source</a>'
                text = f"<html><body><h1>{escape(each.title)}</h1>{link}{about}</body></html>"
                return web.Response(text=text, content_type="text/html")
        raise web.HTTPNotFound


def _rewritten(url: str) -> str:
    scheme, netloc, path, query, fragment = urlsplit(url.strip())
    path = quote(path, "/%") or "/"
    host = netloc.lower().rsplit("@", 1)[-1]
    return urlunsplit((scheme.lower(), host, path, quote_plus(query, ":&="), fragment))


SERVER = GpodderServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url)


def credentials() -> Credentials:
    """The account's, which is subscribed."""
    return Credentials(username="ada", password=PASSWORD)
