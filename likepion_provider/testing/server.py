"""A platform on loopback, and an importer that is handed one feed there: what the contract's rules are played with.

A server module, one for each importer, has

``SERVER``
    a subclass of :class:`PlatformServer`, written from what the vendor published;
``settings(url)``
    the :class:`PlatformSettings` that point the importer at it;
``credentials()``
    the account's :class:`Credentials`. Every secret begins with :data:`CANARY`;
``IMPORTER``
    the importer's class, for :func:`likepion_provider.testing.contract`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta, timezone
from types import ModuleType
from typing import Any, ClassVar
from xml.sax.saxutils import escape, quoteattr

from aiohttp import web
from aiohttp.typedefs import Handler

from likepion_provider.aio import Gate
from likepion_provider.models import Credentials, Enclosure, Episode, Feed, ImportState, SecondaryTask
from likepion_provider.platforms import Job, Platform, PlatformHttp, PlatformSettings, Progress, match
from likepion_provider.web.http import connections

CANARY = "canary-"
FEED_TITLE = "Letters from the Tide"
FEED_AUTHOR = "Ada Harbor"
PODCAST_GUID = "917393e3-1b1e-5cef-ace4-edaa54e1f810"
#: How often a story looks before it gives up.
MAX_LOOKS = 60


#: What a hostile platform answers, given the request, what the honest one would do, and the request's number.
Trick = Callable[[web.Request, Handler, int], Awaitable[web.StreamResponse]]


@dataclasses.dataclass(frozen=True)
class ServerEpisode:
    """An episode that the platform has read from the feed."""

    guid: str
    title: str
    enclosure_url: str
    published: datetime


def episodes(count: int) -> list[ServerEpisode]:
    """So many episodes, newest first; two have the same title on different days."""
    newest = datetime(2026, 3, 1, 6, 30, tzinfo=timezone.utc)
    return [
        ServerEpisode(
            guid=f"tide-{number:04d}",
            title="Ebb & flow" if number in (1, 2) else f"Letter {number}",
            enclosure_url=f"https://media.feeds.example/tide/{number}.mp3",
            published=newest - timedelta(days=count - number),
        )
        for number in range(count, 0, -1)
    ]


#: An episode of somebody else's show that has the feed's title.
STRANGER = ServerEpisode(
    "other-0001", "Letter 1", "https://media.feeds.example/other/1.mp3", datetime(2001, 1, 1, tzinfo=timezone.utc)
)


def neighbours(listed: list[ServerEpisode]) -> list[ServerEpisode]:
    """Another show's: the same titles and days in another language, say."""
    media = "https://media.feeds.example/other/"
    return [ServerEpisode(f"o-{each.guid}", each.title, f"{media}{each.guid}", each.published) for each in listed]


class PlatformServer:
    """A platform's server, from ``async with`` to its end.

    Subclasses answer as the vendor says in :meth:`routes`, and ask here: :meth:`take_in` when they are handed the
    feed, :meth:`look` when they are asked how far it is, :meth:`count_page` for each page of episodes given out.
    """

    #: Episodes in one page of the platform's list; 0 where it gives all at once.
    page_size: ClassVar[int] = 0
    #: The platform asks for a password or a key.
    authenticates: ClassVar[bool] = True
    #: The platform refuses a feed that says ``podcast:locked``.
    refuses_locked: ClassVar[bool] = False
    #: Only a person can hand it a feed: :meth:`Platform.submit` says so until the show is there.
    by_hand: bool = False
    #: It is searched, so that somebody else's show of the same name can turn up.
    searched: ClassVar[bool] = False
    #: It can have one show twice: :attr:`twice`.
    repeats_shows: ClassVar[bool] = False
    #: It always has another show, whose episodes have the titles and days of the feed's: :func:`neighbours`.
    has_neighbours: ClassVar[bool] = False
    #: Fields (JSON keys, names of inputs) that the importer cannot do without, each tried on its own.
    required: ClassVar[tuple[str, ...]] = ()
    #: The domain of the account.
    domain: ClassVar[str] = ""
    #: Between two looks, for servers whose clock cannot be moved.
    look_pause_s: ClassVar[float] = 0.0

    def __init__(self) -> None:
        self.url = ""
        #: Episodes of the feed that it lists once it has read that again, newest first.
        self.unread: list[ServerEpisode] = []
        self.feed_url = f"https://feeds.example/tide.xml?token={CANARY}feed-token"
        #: What the platform lists once it has read the feed.
        self.listed = episodes(3)
        self.auth_ok = True
        self.already_there = False
        self.locked = False
        #: Also has, and finds first, a show of the same name that is somebody else's.
        self.lookalike = False
        #: Of :attr:`listed`, what the feed has no more.
        self.gone: list[ServerEpisode] = []
        #: Has the show a second time, after the first one, with the same feed.
        self.twice = False
        #: How many looks see the import still running.
        self.ready_after = 0
        self.delay_s = 0.0
        #: Left out of every JSON answer at any depth; of HTML forms, renamed.
        self.drop_field: str | None = None
        #: Answers in the platform's place: see :data:`Trick`.
        self.trick: Trick | None = None
        #: Given every answer; what it makes of it is sent.
        self.spoil: Callable[[web.StreamResponse], web.StreamResponse] = lambda answer: answer
        #: Feeds taken in: more than one is a second import.
        self.imports = 0
        #: Method and path of every request; pages of episodes given out.
        self.requests: list[str] = []
        self.pages = 0
        self._looks = 0
        self._failures: list[tuple[int, int, dict[str, str]]] = []
        self._stack = contextlib.AsyncExitStack()

    # --- for subclasses ---

    def routes(self) -> list[web.RouteDef]:
        """What the platform answers."""
        raise NotImplementedError

    def app(self) -> web.Application:
        """The platform."""
        app = web.Application()
        app.add_routes(self.routes())
        return app

    def page_url(self, episode: ServerEpisode) -> str:
        """An episode's public page there, as the vendor writes it."""
        raise NotImplementedError

    @property
    def there(self) -> bool:
        """Whether the platform knows the feed."""
        return self.already_there or self.imports > 0

    def take_in(self) -> None:
        """The feed was handed over, and was not there."""
        self.imports += 1

    def look(self) -> bool:
        """Whether the import is through, as seen by one more look."""
        self._looks += 1
        return self.there and (self.already_there or self._looks > self.ready_after)

    def count_page(self) -> None:
        """A page of episodes is given out."""
        self.pages += 1

    def read_again(self) -> None:
        """The feed is read once more."""
        self.listed, self.unread = self.unread + self.listed, []

    # --- for tests ---

    def fail_next(self, status: int, headers: dict[str, str] | None = None, skip: int = 0) -> None:
        """Answer one request with an error that does nothing.

        :param skip: how many requests are first let pass.
        """
        self._failures.append((len(self.requests) + skip, status, headers or {}))

    @property
    def in_feed(self) -> list[ServerEpisode]:
        """The feed's episodes, newest first."""
        return [each for each in self.unread + self.listed if each not in self.gone]

    def expected(self, target: int = 0) -> list[str]:
        """The pages that are to be reported."""
        return [self.page_url(each) for each in self.in_feed[: target or None]]

    def feed(self) -> Feed:
        """The feed as this package has read it."""
        return Feed(
            url=self.feed_url,
            display_url="https://feeds.example/tide.xml?token=***",
            title=FEED_TITLE,
            author=FEED_AUTHOR,
            episodes=tuple(
                Episode(each.guid, each.title, Enclosure(each.enclosure_url), published_at=each.published)
                for each in self.in_feed
            ),
        )

    def rss(self, owner: str = "host@feeds.example") -> str:
        """The feed as XML, for servers that read it themselves; with what it will have no more."""
        items = "".join(
            f"<item><title>{escape(each.title)}</title><guid>{each.guid}</guid>"
            f"<pubDate>{each.published:%a, %d %b %Y %H:%M:%S +0000}</pubDate>"
            f'<enclosure url={quoteattr(each.enclosure_url)} type="audio/mpeg" length="1"/></item>'
            for each in self.unread + self.listed
        )
        locked = f'<podcast:locked owner="{owner}">yes</podcast:locked>' if self.locked else ""
        return (
            '<rss version="2.0" xmlns:podcast="https://podcastindex.org/namespace/1.0"><channel>'
            f"<title>{FEED_TITLE}</title>{locked}{items}</channel></rss>"
        )

    async def __aenter__(self) -> PlatformServer:
        app = self.app()
        app.middlewares.insert(0, self._around)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        number = len(self.requests)
        self.requests.append(f"{request.method} {request.path}")
        await asyncio.sleep(self.delay_s)
        for at, status, headers in self._failures:
            if at == number:
                return web.json_response({"message": "not now"}, status=status, headers=headers)
        # The feed is not the platform's, where its server serves that too.
        trick = None if CANARY in request.path else self.trick
        try:
            answer = await (trick(request, handler, number) if trick else handler(request))
        except web.HTTPException as error:
            answer = web.Response(status=error.status, text=error.text, headers=error.headers)
        return self.spoil(self._without_dropped(answer) if self.drop_field else answer)

    def _without_dropped(self, answer: web.StreamResponse) -> web.StreamResponse:
        if isinstance(answer, web.Response) and answer.text:
            if answer.content_type in ("application/json", "text/javascript"):
                answer.text = json.dumps(_without(json.loads(answer.text), self.drop_field))
            elif answer.content_type == "text/html":
                answer.text = answer.text.replace(f'name="{self.drop_field}"', 'name="renamed"')
        return answer


def _without(value: Any, key: str | None) -> Any:
    if isinstance(value, dict):
        return {name: _without(each, key) for name, each in value.items() if name != key}
    return [_without(each, key) for each in value] if isinstance(value, list) else value


class WatchedGate(Gate):
    """Keeps what it was closed for, in seconds, and lets everybody through."""

    def __init__(self) -> None:
        super().__init__(8)
        self.closings_s: list[float] = []

    def close_for(self, pause_s: float) -> None:
        """Take a note."""
        self.closings_s.append(pause_s)


@dataclasses.dataclass
class Case:
    """One importer, one account, one server."""

    platform: Platform
    server: PlatformServer
    settings: PlatformSettings
    credentials: Credentials
    http: PlatformHttp
    gate: WatchedGate
    #: How often the claim was checked before a write.
    writes: list[str]
    #: What a client is made with.
    client: Callable[[], PlatformHttp]

    def beside(self) -> Case:
        """Another account's work at the same site; it has the same login, and a session of its own."""
        return dataclasses.replace(self, http=self.client())

    def job(self, reference: str = "", target: int = 0) -> Job:
        """What the worker hands over."""
        feed = self.server.feed()
        if target:
            feed = dataclasses.replace(feed, episodes=feed.episodes[:target])
        task = self.task(target)
        return Job(task, self.credentials, feed, self.settings, self.http, reference)

    def task(self, target: int = 0) -> SecondaryTask:
        """The account's task."""
        return task_for(self.platform, self.server, self.credentials, target)

    def urls(self, progress: Progress, target: int = 0) -> list[str]:
        """What would be reported of it."""
        return [each.url for _, each in match(self.server.feed(), progress.episodes, target or 1000)]

    async def bring_in(self, target: int = 0) -> Progress:
        """Submit, where a person need not, and look until the episodes are listed, as the worker does."""
        if self.server.by_hand:
            self.server.already_there = True
        progress = await self.platform.submit(self.job(target=target))
        return await self.look(progress, target)

    async def look(self, last: Progress, target: int = 0) -> Progress:
        """Look until every episode wanted is listed, or too often."""
        wanted = target or len(self.server.in_feed)
        for _ in range(MAX_LOOKS):
            if last.state is ImportState.LISTED and len(self.urls(last, target)) >= wanted:
                return last
            await asyncio.sleep(self.server.look_pause_s)
            seen = await self.platform.collect(self.job(last.reference, target))
            last = dataclasses.replace(seen, reference=seen.reference or last.reference)
        return last


def task_for(platform: Platform, server: PlatformServer, credentials: Credentials, target: int = 0) -> SecondaryTask:
    """An account's task on a platform."""
    domain = server.domain or (platform.domains[0] if platform.domains else "podcasts.self.example")
    return SecondaryTask("a1b2c3d4e5f6", "request-1", "group-1", domain, username=credentials.username, target=target)


@contextlib.asynccontextmanager
async def opened(
    platform: Platform, module: ModuleType, *, timeout_s: float = 10.0, cookie: str = "", allow_private: bool = False
) -> AsyncIterator[Case]:
    """A server that runs, and an importer's account on it.

    :param module: the platform's server module.
    :param timeout_s: for one request of the importer.
    :param cookie: what an earlier run has handed on.
    :param allow_private: what the connection says of addresses that the platform names.
    """
    gate = WatchedGate()
    writes: list[str] = []

    async def before_write() -> float:
        writes.append("")
        return timeout_s

    async with module.SERVER() as server, connections() as shared:
        settings, credentials = module.settings(server.url), module.credentials()

        def client() -> PlatformHttp:
            return PlatformHttp(
                platform=platform.name,
                base_url=platform.address(task_for(platform, server, credentials), settings),
                connections=shared,
                gate=gate,
                before_write=before_write,
                cookie=cookie or credentials.cookie,
                named=settings.addresses,
                allow_private=allow_private or settings.allow_private,
                timeout_s=timeout_s,
            )

        yield Case(platform, server, settings, credentials, client(), gate, writes, client)
