"""Audiobookshelf as the controllers, managers and models of advplyr/audiobookshelf answer.

https://github.com/advplyr/audiobookshelf, release 2.36.0: who may do what, ``server/controllers/``; bodies of 10 MB at
most, ``server/Server.js``; downloads in memory, ``server/managers/PodcastManager.js``. Beside it ran the real server.
"""

from __future__ import annotations

import functools
import json
import secrets
import uuid
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_AUTHOR, FEED_TITLE, PlatformServer, ServerEpisode

PASSWORD = f"{CANARY}password"
LIBRARY, FOLDER = "lib-podcasts", "fol-podcasts"
ITEM, OTHER = "4f0b4a16-6a53-4c9b-9ae4-13d1ce3f6a01", "4f0b4a16-6a53-4c9b-9ae4-13d1ce3f6a02"
RIVAL = "4f0b4a16-6a53-4c9b-9ae4-13d1ce3f6a04"
FEED_ID = "7a1d0c11-6a53-4c9b-9ae4-13d1ce3f6a03"
SLUG = "letters"
MAX_BODY_BYTES = 10 * 1024 * 1024


class AudiobookshelfServer(PlatformServer):
    """A server with a library of books, and one of podcasts that holds another podcast of the same title."""

    required = ("accessToken", "libraries", "results", "episodes", "enclosure")

    def __init__(self) -> None:
        super().__init__()
        #: Of every session.
        self.tokens: set[str] = set()
        self.user_type = "admin"
        #: Another task adds the podcast while ours does, and is the first.
        self.raced = False
        #: The podcasts of the feed, by id; what is downloaded is the first one's.
        self.items: list[str] = []
        #: How many downloads are through at a look; and how many looks pass before the first is.
        self.at_a_time = 1000
        self._until_through = 0
        #: Long notes of each episode, which come with what is downloaded.
        self.notes = ""
        self.queue: list[dict[str, Any]] = []
        self.downloaded: list[dict[str, Any]] = []
        self.slug = ""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/login", self._login),
            web.get("/api/libraries", self._signed_in(self._libraries)),
            web.get("/api/libraries/{id}/items", self._signed_in(self._items)),
            web.get("/api/items/{id}", self._signed_in(self._item)),
            web.delete("/api/items/{id}", self._signed_in(self._delete)),
            web.post("/api/podcasts/feed", self._admin(self._read_feed)),
            web.post("/api/podcasts", self._admin(self._create)),
            web.post("/api/podcasts/{id}/download-episodes", self._admin(self._download)),
            web.post("/api/feeds/item/{id}/open", self._admin(self._open)),
            web.get("/api/feeds", self._admin(self._feeds)),
            web.get("/feed/{slug}", self._feed),
        ]

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes(self.routes())
        return app

    def restart(self) -> None:
        """As a crash does: what was queued is forgotten, and nobody is told."""
        self.queue.clear()

    @property
    def item(self) -> str:
        """The podcast that holds what is downloaded."""
        return self.items[0] if self.items else ITEM

    def page_url(self, episode: ServerEpisode) -> str:
        return f"{self.url}{self._media(episode.guid)}"

    def _media(self, guid: str) -> str:
        # A podcast that was there before has a feed that somebody opened under a name of their own.
        slug = SLUG if self.already_there else self.item
        return f"/feed/{slug}/item/{uuid.uuid5(uuid.UUID(FEED_ID), guid)}/media.mp3"

    def _signed_in(self, handler: Handler) -> Handler:
        async def check(request: web.Request) -> web.StreamResponse:
            if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
                return web.Response(status=401, text="Unauthorized")
            if self.already_there and not self.items:
                self.items = [ITEM]
                self.downloaded, self.slug = [self._rss_episode(each) for each in self.listed], SLUG
            return await handler(request)

        return check

    def _admin(self, handler: Handler) -> Handler:
        async def check(request: web.Request) -> web.StreamResponse:
            if self.user_type not in ("root", "admin"):
                return web.Response(status=403, text="Forbidden")
            return await handler(request)

        return self._signed_in(check)

    async def _login(self, request: web.Request) -> web.Response:
        fields = await request.json()
        if not self.auth_ok or (fields.get("username"), fields.get("password")) != ("ada", PASSWORD):
            return web.Response(status=401, text="Unauthorized")
        token = f"{CANARY}{secrets.token_hex(8)}"
        self.tokens.add(token)
        wants = request.headers.get("x-return-tokens") == "true"
        user = {"id": "usr", "username": "ada", "type": self.user_type, "token": "old", "accessToken": token}
        answer = web.json_response({"user": user | {"refreshToken": f"{CANARY}refresh" if wants else None}})
        if not wants:
            answer.set_cookie("refresh_token", f"{CANARY}refresh", httponly=True)
        return answer

    async def _libraries(self, request: web.Request) -> web.Response:
        folder = {"id": FOLDER, "fullPath": "/podcasts", "libraryId": LIBRARY, "addedAt": 1}
        books = {"id": "lib-books", "name": "Books", "mediaType": "book", "folders": []}
        podcasts = {"id": LIBRARY, "name": "Podcasts", "mediaType": "podcast", "folders": [folder]}
        return web.json_response({"libraries": [books, podcasts]})

    def _minified(self, item: str, feed_url: str) -> dict[str, Any]:
        media = {"id": f"media-{item}", "metadata": {"title": FEED_TITLE, "author": FEED_AUTHOR, "feedUrl": feed_url}}
        there = {"libraryId": LIBRARY, "folderId": FOLDER, "mediaType": "podcast"}
        # The rival came first.
        return {"id": item, "addedAt": 1_767_000_000_000 + (item != RIVAL), **there, "media": media}

    async def _items(self, request: web.Request) -> web.Response:
        rows = [self._minified(OTHER, "https://feeds.example/other.xml")]
        # The order is the library's, by title: one of the other kind comes first.
        rows += [self._minified(each, self.feed_url) for each in reversed(self.items)]
        limit, page = int(request.query.get("limit", "0")), int(request.query.get("page", "0"))
        chosen = rows[page * limit :][:limit] if limit else rows
        return web.json_response({"results": chosen, "total": len(rows), "limit": limit, "page": page})

    async def _item(self, request: web.Request) -> web.Response:
        if request.match_info["id"] not in self.items:
            return web.Response(status=404, text="Not Found")
        if request.match_info["id"] != self.item:
            return web.json_response(self._expanded(request, [], [], ""))
        if self.look() and self.queue:
            self._until_through -= 1
            if self._until_through <= 0:
                self.downloaded += self.queue[: self.at_a_time]
                del self.queue[: self.at_a_time]
        return _answer(self._expanded(request, self.downloaded, self.queue, self.slug))

    def _expanded(
        self, request: web.Request, downloaded: list[dict[str, Any]], queue: list[dict[str, Any]], slug: str
    ) -> dict[str, Any]:
        item = self._minified(request.match_info["id"], self.feed_url)
        item["media"]["episodes"] = [self._episode(each) for each in downloaded]
        if "rssfeed" in request.query.get("include", ""):
            minified = {"id": FEED_ID, "entityType": "libraryItem", "entityId": item["id"], "feedUrl": f"/feed/{slug}"}
            item["rssFeed"] = minified if slug else None
        if "downloads" in request.query.get("include", ""):
            rows = [
                {
                    "id": each["guid"],
                    "libraryItemId": item["id"],
                    "url": _media_of(each),
                    "guid": each["guid"],
                    "episodeDisplayTitle": each["title"],
                }
                for each in queue
            ]
            item["episodeDownloadsQueued"] = rows[1:]
            if rows:
                item["episodesDownloading"] = rows[:1]
        return item

    async def _delete(self, request: web.Request) -> web.Response:
        if request.match_info["id"] not in self.items:
            return web.Response(status=404, text="Not Found")
        self.items.remove(request.match_info["id"])
        return web.Response(text="OK")

    def _rss_episode(self, each: ServerEpisode) -> dict[str, Any]:
        return {
            "title": each.title,
            "subtitle": "",
            "description": self.notes,
            "pubDate": f"{each.published:%a, %d %b %Y %H:%M:%S +0000}",
            "publishedAt": int(each.published.timestamp() * 1000),
            "enclosure": {"url": each.enclosure_url, "type": "audio/mpeg", "length": "1"},
            "guid": each.guid,
        }

    def _episode(self, read: dict[str, Any]) -> dict[str, Any]:
        path = f"/podcasts/{FEED_TITLE}/{read['guid']}.mp3"
        audio = {"ino": "1", "metadata": {"filename": f"{read['guid']}.mp3", "ext": ".mp3", "path": path}}
        return {**read, "id": f"ep-{read['guid']}", "libraryItemId": self.item, "chapters": [], "audioFile": audio}

    async def _read_feed(self, request: web.Request) -> web.Response:
        if (await request.json()).get("rssFeed") != self.feed_url:
            return web.Response(status=404, text="Podcast RSS feed request failed or invalid response data")
        metadata = {"title": FEED_TITLE, "author": FEED_AUTHOR, "feedUrl": self.feed_url, "categories": ["Arts"]}
        self.read_again()
        podcast = {"metadata": metadata, "episodes": [self._rss_episode(each) for each in self.listed]}
        return _answer({"podcast": podcast})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        metadata = body.get("media", {}).get("metadata", {})
        if (body.get("libraryId"), body.get("folderId")) != (LIBRARY, FOLDER):
            return web.Response(status=404, text="Library not found")
        if not str(body.get("path")).startswith("/podcasts/") or metadata.get("feedUrl") != self.feed_url:
            return web.Response(status=400, text="Podcast path must be inside the selected library folder")
        # The folder of that name is the other podcast's.
        if self.items or body["path"] == f"/podcasts/{FEED_TITLE}":
            return web.Response(status=400, text="Podcast already exists")
        self.take_in()
        self.items = [RIVAL, ITEM] if self.raced else [ITEM]
        item = self._minified(ITEM, self.feed_url)
        item["media"]["episodes"] = []
        return web.json_response(item)

    async def _download(self, request: web.Request) -> web.Response:
        episodes = await request.json()
        if request.match_info["id"] != self.item or not isinstance(episodes, list) or not episodes:
            return web.Response(status=400, text="Bad Request")
        self._until_through = 3
        for each in episodes:
            # It looks at what is queued, not at what it has.
            if _media_of(each) not in map(_media_of, self.queue):
                self.queue.append(each)
        return web.Response(text="OK")

    async def _open(self, request: web.Request) -> web.Response:
        body = await request.json()
        if not body.get("slug") or not body.get("serverAddress"):
            return web.Response(status=400, text="Invalid request body")
        if not self.downloaded:
            return web.Response(status=400, text="Item has no audio tracks")
        if self.slug:
            return web.Response(status=400, text="Slug already in use")
        self.slug = body["slug"]
        feed = {"id": FEED_ID, "entityType": "libraryItem", "entityId": self.item, "feedUrl": f"/feed/{self.slug}"}
        return web.json_response({"feed": feed})

    async def _feeds(self, request: web.Request) -> web.Response:
        self.count_page()
        episodes = [
            {
                "id": str(uuid.uuid5(uuid.UUID(FEED_ID), each["guid"])),
                "title": each["title"],
                "enclosure": {"url": self._media(each["guid"]), "type": "audio/mpeg", "size": 1},
                "link": f"/item/{self.item}",
                "fullPath": f"/podcasts/{FEED_TITLE}/{each['guid']}.mp3",
            }
            for each in self.downloaded
        ]
        feed = {"id": FEED_ID, "slug": self.slug, "entityId": self.item, "feedUrl": f"/feed/{self.slug}"}
        # Every feed that is open on the server, whoever opened it.
        other = {"id": "another", "slug": "other", "entityId": OTHER, "feedUrl": "/feed/other", "episodes": []}
        ours = [feed | {"episodes": episodes}] if self.slug else []
        return web.json_response({"feeds": [other, *ours], "minified": []})

    async def _feed(self, request: web.Request) -> web.Response:
        if request.match_info["slug"] != self.slug:
            raise web.HTTPNotFound
        return web.Response(text="<rss/>", content_type="text/xml")


def _answer(body: dict[str, Any]) -> web.Response:
    # As Node writes it: in UTF-8, which is shorter than what Python makes of the same when it is sent back.
    return web.json_response(body, dumps=functools.partial(json.dumps, ensure_ascii=False))


def _media_of(episode: dict[str, Any]) -> str:
    return str(episode.get("enclosure", {}).get("url", ""))


SERVER = AudiobookshelfServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url, extra={"platform": "audiobookshelf"})


def credentials() -> Credentials:
    """An admin's."""
    return Credentials(email="ada@feeds.example", username="ada", password=PASSWORD)
