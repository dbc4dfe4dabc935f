"""Buzzsprout's API as buzzsprout/buzzsprout-api documents it: episodes one by one, into a podcast that is there."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_TITLE, PlatformServer, ServerEpisode

TOKEN = f"{CANARY}ApV99yzvwApV99yzvw"
PODCAST, OTHER = 140447, 140448


class BuzzsproutServer(PlatformServer):
    """The account has a podcast of the feed's title, empty at first, and another one."""

    required = ("title", "id", "guid")

    def __init__(self) -> None:
        super().__init__()
        #: What was added, newest first.
        self.added: list[dict[str, Any]] = []
        self.titles = {OTHER: "Youth Podcast", PODCAST: FEED_TITLE}
        self.keeps_guids = True

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/podcasts.json", self._podcasts),
            web.get("/api/{podcast}/episodes.json", self._episodes),
            web.post("/api/{podcast}/episodes.json", self._add),
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"{self.url}/{PODCAST}/episodes/{self._id(episode.guid)}"

    def _id(self, guid: str) -> int:
        return 788_000 + int(guid[-4:])

    def _refuses(self, request: web.Request) -> bool:
        return not self.auth_ok or request.headers.get("Authorization") != f"Token token={TOKEN}"

    async def _podcasts(self, request: web.Request) -> web.Response:
        if self._refuses(request):
            return web.Response(text="HTTP Token: Access denied.\n", status=401)
        return web.json_response([{"id": each, "title": title} for each, title in self.titles.items()])

    async def _episodes(self, request: web.Request) -> web.Response:
        if self._refuses(request):
            return web.Response(text="HTTP Token: Access denied.\n", status=401)
        self.count_page()
        if request.match_info["podcast"] != str(PODCAST):
            return web.json_response([])
        if not self.already_there:
            return web.json_response(self.added)
        sent = ({"guid": each.guid, "title": each.title, "at": each.published.isoformat()} for each in self.listed)
        return web.json_response([self._row(each["guid"], each["title"], each["at"]) for each in sent])

    async def _add(self, request: web.Request) -> web.Response:
        if self._refuses(request):
            return web.Response(text="HTTP Token: Access denied.\n", status=401)
        assert request.match_info["podcast"] == str(PODCAST)
        sent = await request.json()
        if any(each.guid == sent["guid"] for each in self.unread):
            self.read_again()
        files = {each.guid: each.enclosure_url for each in self.listed}
        if files.get(sent["guid"]) != sent["audio_url"]:
            return web.json_response({"audio_url": ["cannot be read"]}, status=422)
        # An episode that is there already is a second import.
        if not self.added or any(each["guid"] == sent["guid"] for each in self.added):
            self.take_in()
        row = self._row(sent["guid"], sent["title"], sent["published_at"])
        self.added.append(row)
        self.added.sort(key=lambda each: str(each["published_at"]), reverse=True)
        return web.json_response(row, status=201)

    def _row(self, guid: str, title: str, published_at: str) -> dict[str, Any]:
        number = self._id(guid)
        return {
            "id": number,
            "title": title,
            "audio_url": f"https://www.buzzsprout.com/{PODCAST}/{number}-filename.mp3",
            "published_at": published_at,
            "guid": guid if self.keeps_guids else f"Buzzsprout{number}",
            "inactive_at": None,
            "private": False,
        }


SERVER = BuzzsproutServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url)


def credentials() -> Credentials:
    """The account's; an API token opens it."""
    return Credentials(email="ada@feeds.example", username="ada", app_password=TOKEN)
