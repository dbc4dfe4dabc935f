"""The sandbox's podcast site itself, with its clock held until it was looked at often enough."""

from __future__ import annotations

import hashlib

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.sandbox.clock import SandboxClock
from likepion_provider.sandbox.faults import Faults
from likepion_provider.sandbox.site import Site, SiteAccount, SiteSettings
from likepion_provider.sandbox.site_http import site_app
from likepion_provider.testing.server import CANARY, PlatformServer, ServerEpisode

DOMAIN = "tide.example"
TOTP_SECRET = "CANARYJBSWY3DPEHPK3PXPJBSWY3DPEH"


class SandboxServer(PlatformServer):
    """The site, and beside it the feed that it reads."""

    page_size = 20
    refuses_locked = True
    required = ("csrf", "imports", "pages", "episodes", "url")
    domain = DOMAIN
    look_pause_s = 0.02

    def __init__(self) -> None:
        super().__init__()
        self.site = Site(SiteSettings(import_latency_s=0, listing_delay_s=10_000), SandboxClock())
        self.account = SiteAccount(DOMAIN, "ada", "ada@tide.example", f"{CANARY}password", TOTP_SECRET)
        self.site.add_account(self.account)

    def app(self) -> web.Application:
        app = site_app(self.site, Faults(0))
        app.middlewares.append(self._watch)
        app.middlewares.insert(0, self._feed)
        return app

    async def __aenter__(self) -> PlatformServer:
        await super().__aenter__()
        self.feed_url = f"{self.url}/feed/{CANARY}feed-token.xml"
        return self

    @web.middleware
    async def _feed(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/feed/"):
            return await handler(request)
        self.requests.pop()
        return web.Response(text=self.rss(), content_type="application/rss+xml")

    @web.middleware
    async def _watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self.auth_ok:
            self.account.password = "changed"
        if self.already_there and not self.account.imports:
            await self._import_before()
        if request.path.endswith("/api/imports") and self.look():
            for job in self.account.imports.values():
                job.listed_at = job.listed_at and self.site.clock.now()
        self.pages += request.path.endswith("/episodes")
        answer = await handler(request)
        self.imports = sum(each.status == 202 for each in self.site.submissions)
        return answer

    async def _import_before(self) -> None:
        async with aiohttp.ClientSession() as client:
            job = self.site.submit(self.account, self.feed_url, client)
            assert job
            await job.settled.wait()

    def page_url(self, episode: ServerEpisode) -> str:
        show_id = _digest(DOMAIN, "ada", self.feed_url)
        return f"{self.url}/{DOMAIN}/shows/{show_id}/episodes/{_digest(show_id, episode.guid, episode.title)}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


SERVER = SandboxServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url)


def credentials() -> Credentials:
    """The account's."""
    return Credentials(email="ada@tide.example", username="ada", password=f"{CANARY}password", twofa=TOTP_SECRET)
