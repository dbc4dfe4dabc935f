"""What every importer of a real server must hold, played as a run plays it: intake, import, delivery, one journal.

The feeds and their media files are served on loopback, each under a name of its own, so that a server that was used
before may be used again. A module beside this one has ``SERVER``, made by a function that :func:`chosen` is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib
import multiprocessing
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from urllib.parse import urlencode
from xml.sax.saxutils import escape, quoteattr

import pytest
from aiohttp import web

from likepion_provider.clock import SYSTEM_CLOCK
from likepion_provider.feed import read_feed
from likepion_provider.journal import open_journal
from likepion_provider.models import Feed, Outcome
from likepion_provider.platforms import Platform, PlatformSettings, Registry
from likepion_provider.sandbox.feeds import tone
from likepion_provider.sandbox.manager import SandboxManager
from likepion_provider.steps.delivery import Delivery
from likepion_provider.steps.importing import BatchImport, ImportOptions
from likepion_provider.steps.intake import Intake
from likepion_provider.steps.keeper import Keeper
from tests import MANAGER
from tests.fakes import InProcessClient

_NEWEST = datetime(2026, 3, 1, 6, 30, tzinfo=timezone.utc)
#: A worker in a process of its own is given up after so long.
_PROCESS_TIMEOUT_S = 240.0


@dataclasses.dataclass(frozen=True)
class RealServer:
    """A server that runs.

    :param module: the full name of the module that has it as ``SERVER``, for processes of their own.
    :param accounts: what opens it, by the manager's field names; two where two people's accounts matter.
    :param wrong: an account that it does not let in; None where it asks for none.
    :param unable: an account that it lets in, and that may not import; None where there are no such rights.
    :param count: how many episodes it has in all, asked in another way than the importer does; None where nothing says.
    :param refuses_in: what a report about ``unable`` must say of the remedy.
    :param collect_timeout_s: how long an import may take.
    """

    module: str
    importer: Callable[[], Platform]
    settings: PlatformSettings
    domain: str
    accounts: tuple[Mapping[str, str], ...]
    wrong: Mapping[str, str] | None = None
    unable: Mapping[str, str] | None = None
    refuses_in: str = ""
    count: Callable[[], Awaitable[int]] | None = None
    collect_timeout_s: float = 120.0


def chosen(variable: str, make: Callable[[str], RealServer]) -> RealServer | None:
    """The server whose address an environment variable holds."""
    address = os.environ.get(variable, "").rstrip("/")
    return make(address) if address else None


def all_flows(server: RealServer | None, variable: str, **unfit: str) -> pytest.MarkDecorator:
    """What parametrises a module's one test ``(flow, tmp_path)``.

    :param unfit: why a flow has no meaning for the platform, by the flow's name.
    """
    reasons = unfit if server else dict.fromkeys((each.__name__ for each in FLOWS), f"{variable} names no server")
    marked = [
        pytest.param(each, marks=pytest.mark.skip(reason=reasons[each.__name__]) if each.__name__ in reasons else ())
        for each in FLOWS
    ]
    return pytest.mark.parametrize("flow", marked, ids=[each.__name__ for each in FLOWS])


# --- the primary's side ---


@dataclasses.dataclass
class Show:
    """A podcast.

    :param files: each episode's file, oldest first, as path and query below the show's own address.
    :param titles: of the episodes; a number each by default.
    :param one_day: whether all of them appeared on one day.
    """

    title: str
    files: list[str]
    titles: list[str] = dataclasses.field(default_factory=list)
    locked: bool = False
    one_day: bool = False
    slug: str = dataclasses.field(default_factory=lambda: secrets.token_hex(5))

    def rss(self, origin: str) -> str:
        """The feed, newest episode first."""
        items = "".join(self._item(number, f"{origin}/{self.slug}") for number in reversed(range(len(self.files))))
        return (
            '<rss version="2.0" xmlns:podcast="https://podcastindex.org/namespace/1.0"'
            ' xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"><channel>'
            f"<title>{escape(self.title)}</title><link>{origin}/{self.slug}</link><description>Of a test.</description>"
            f"<itunes:name>{escape(self.title)}</itunes:name><itunes:author>Ada Harbor</itunes:author>"
            "<language>en</language><itunes:explicit>false</itunes:explicit>"
            f"<podcast:locked>{'yes' if self.locked else 'no'}</podcast:locked>{items}</channel></rss>"
        )

    def _item(self, number: int, base: str) -> str:
        title = self.titles[number] if self.titles else f"Letter {number + 1} & an ebb"
        day = _NEWEST - timedelta(days=0 if self.one_day else 400 - number)
        return (
            f'<item><title>{escape(title)}</title><guid isPermaLink="false">{self.slug}-{number:04d}</guid>'
            f"<pubDate>{day:%a, %d %b %Y %H:%M:%S} +0000</pubDate><description>Episode {number + 1}</description>"
            f'<enclosure url={quoteattr(f"{base}/{self.files[number]}")} type="audio/wav" length="{len(tone(1))}"/>'
            "</item>"
        )


def show(count: int, title: str = "", **fields: object) -> Show:
    """A podcast of so many episodes under a title that no other has."""
    files = [f"audio/{number + 1}.wav" for number in range(count)]
    return Show(title or f"Harbor {secrets.token_hex(4)}", files, **fields)  # type: ignore[arg-type]


class Primary:
    """Serves shows, until the end of ``async with``."""

    def __init__(self) -> None:
        self.url = ""
        self.shows: dict[str, Show] = {}
        #: Before a feed is answered, in seconds.
        self.delay_s = 0.0
        self._stack = contextlib.AsyncExitStack()

    def add(self, show: Show) -> str:
        """Publish a show; its feed's URL."""
        self.shows[show.slug] = show
        return f"{self.url}/{show.slug}/feed.xml"

    async def __aenter__(self) -> Primary:
        app = web.Application()
        app.add_routes([web.get("/{slug}/feed.xml", self._feed), web.get("/{slug}/{file:.*}", self._file)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _feed(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self.delay_s)
        text = self.shows[request.match_info["slug"]].rss(self.url)
        return web.Response(text=text, content_type="application/rss+xml")

    async def _file(self, request: web.Request) -> web.Response:
        return web.Response(body=tone(1), content_type="audio/wav")


# --- our side ---


class World:
    """A manager in process, a journal, and the steps of a run with real clocks and real connections."""

    def __init__(self, server: RealServer, primary: Primary, folder: Path) -> None:
        self.server = server
        self.primary = primary
        self.folder = folder
        self.journal = open_journal(f"sqlite:///{folder / 'journal.db'}", MANAGER)
        self.manager = SandboxManager()
        self.client = InProcessClient(self.manager, "ours")
        self.registry = Registry()
        self.registry.add(server.importer().name, server.importer)
        self.urls: dict[str, list[str]] = {}
        self._groups = 0

    def post(self, feed_url: str, *accounts: Mapping[str, str], target: int = 1000, group_id: str = "") -> str:
        """A post, and accounts of its group, the server's first one by default.

        :param group_id: an earlier post's, whose accounts it is for too.
        """
        if not group_id:
            self._groups += 1
            group_id = f"group-{self._groups}-{secrets.token_hex(4)}"
            self.manager.add_group(group_id)
            for each in accounts or self.server.accounts[:1]:
                self.manager.add_account(group_id, self.server.domain, each)
        return self.manager.add_post(group_id, target=target, link_rss=feed_url).group_id

    async def run(self, **options: object) -> list[tuple[Outcome, str]]:
        """Pull, claim, import, insert: how each account came out, and what the report says of it."""
        run = f"run-{secrets.token_hex(4)}"
        journal = self.journal
        keeper = partial(Keeper, self.client, journal, SYSTEM_CLOCK, run)
        intake = Intake(manager=self.client, journal=journal, clock=SYSTEM_CLOCK, scope=run, run_id=run)
        tasks = await intake.reaffirm(await intake.pull(1000))
        reports = {each.task.key: each for each in await self._batch(keeper("import"), options).run(tasks)}
        delivery = Delivery(manager=self.client, journal=journal, keeper=keeper("insert"), clock=SYSTEM_CLOCK)
        reports |= {each.task.key: each for each in await delivery.run(tasks)}
        assert not self.manager.duplicates(), "the manager got a URL twice"
        return [(each.outcome, f"{each.message} {each.remedy}") for each in reports.values()]

    def _batch(self, keeper: Keeper, options: Mapping[str, object]) -> BatchImport:
        within = {"collect_timeout_s": self.server.collect_timeout_s, "back_off_s": 0.0, "max_failures": 99}
        return BatchImport(
            manager=self.client,
            journal=self.journal,
            keeper=keeper,
            registry=self.registry,
            clock=SYSTEM_CLOCK,
            settings={self.server.domain: self.server.settings},
            options=ImportOptions(allow_private_feeds=True, **{**within, **options}),  # type: ignore[arg-type]
            read_feed=_read_feed,
        )

    def stored(self, group_id: str = "") -> list[str]:
        """The URLs that the manager has, of one group or in all."""
        ids = {each.request_id for each in self.manager.posts.values() if group_id in ("", each.group_id)}
        return [each.link_post for each in self.manager.rows if each.request_id in ids]

    async def count(self) -> int:
        """How many episodes the server has in all; the same always where it does not tell."""
        return await self.server.count() if self.server.count else 0

    async def assert_grown(self, before: int, episodes: int) -> None:
        """The server has so many more, no more and no less."""
        if self.server.count:
            assert await self.count() - before == episodes


async def _read_feed(url: str, *, target: int, allow_private: bool, timeout_s: float) -> Feed:
    return await read_feed(url, target=target, allow_private=allow_private, timeout_s=timeout_s)


@contextlib.asynccontextmanager
async def world(server: RealServer, folder: Path) -> AsyncIterator[World]:
    """A primary and a manager of a test's own, against a server that runs."""
    async with Primary() as primary:
        opened = World(server, primary, folder)
        yield opened
        opened.journal.database.close()


def _delivered(reports: list[tuple[Outcome, str]], accounts: int = 1) -> None:
    assert [each for each, _ in reports] == [Outcome.DELIVERED] * accounts, reports


# --- the flows ---


async def imports_and_does_nothing_more(world: World) -> None:
    """Three episodes: three pages at the manager; the next run has nothing to do."""
    before = await world.count()
    world.post(world.primary.add(show(3)))
    _delivered(await world.run())
    assert len(set(world.stored())) == 3
    assert await world.run() == []
    await world.assert_grown(before, 3)


async def tells_twins_apart(world: World) -> None:
    """Two of four episodes have one title and one day: four pages."""
    titles = ["Ebb", "Flow", "Ebb", "Surge"]
    world.post(world.primary.add(show(4, titles=titles, one_day=True)))
    _delivered(await world.run())
    assert len(set(world.stored())) == 4


async def tells_files_by_their_query(world: World) -> None:
    """The media files' URLs differ in their query only, and hold characters that need care."""
    files = [f"play.php?{urlencode({'id': number, 'name': 'a+b &c'})}" for number in range(4)]
    world.post(world.primary.add(dataclasses.replace(show(4), files=files)))
    _delivered(await world.run())
    assert len(set(world.stored())) == 4


async def keeps_shows_of_one_title_apart(world: World) -> None:
    """Two shows, one title, the same episodes' titles and days: each post has pages of its own."""
    before, title = await world.count(), f"News {secrets.token_hex(4)}"
    groups = []
    for _ in range(2):
        groups.append(world.post(world.primary.add(show(3, title))))
        _delivered(await world.run())
    english, vietnamese = (set(world.stored(each)) for each in groups)
    assert len(english) == len(vietnamese) == 3
    assert not english & vietnamese
    await world.assert_grown(before, 6)


async def works_two_posts_at_once(world: World) -> None:
    """Two shows, side by side in one batch: neither has a page of the other's."""
    before = await world.count()
    groups = [world.post(world.primary.add(show(9))) for _ in range(2)]
    _delivered(await world.run(), 2)
    first, second = (set(world.stored(each)) for each in groups)
    assert len(first) == len(second) == 9
    assert not first & second
    await world.assert_grown(before, 18)


async def works_two_accounts_with_one_feed(world: World) -> None:
    """Both accounts get every page, and the server has each episode once."""
    before = await world.count()
    accounts = (world.server.accounts * 2)[:2]
    world.post(world.primary.add(show(4)), *accounts)
    _delivered(await world.run(), 2)
    assert len(world.stored()) == 8
    if len({each["username"] for each in accounts}) == 1:
        await world.assert_grown(before, 4)


async def works_in_two_processes(world: World) -> None:
    """Two tasks that share the journal and nothing else import one feed for two accounts at once."""
    before = await world.count()
    feed_url = world.primary.add(show(12))
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_work_alone, args=(world.server.module, feed_url, str(world.folder), number))
        for number in range(2)
    ]
    for each in workers:
        each.start()
    for each in workers:
        await asyncio.to_thread(each.join, _PROCESS_TIMEOUT_S)
    assert [each.exitcode for each in workers] == [0, 0]
    await world.assert_grown(before, 12)


def _work_alone(module: str, feed_url: str, folder: str, number: int) -> None:
    server: RealServer = importlib.import_module(module).SERVER

    async def work() -> None:
        world = World(server, Primary(), Path(folder))
        world.post(feed_url, (server.accounts * 2)[number])
        for _ in range(3):
            # One that finds the site taken by the other is let go, and comes again.
            if len(set(world.stored())) < 12:
                await world.run()
                world.manager.clock.advance(901)
        assert len(set(world.stored())) == 12, world.stored()

    asyncio.run(work())


async def brings_a_new_episode_later(world: World) -> None:
    """A later post of the same group, with one more episode: all its pages, one of them new on the server."""
    before, tide = await world.count(), show(3)
    feed_url = world.primary.add(tide)
    group_id = world.post(feed_url)
    _delivered(await world.run())
    earlier = set(world.stored())
    tide.files.append("audio/new.wav")
    for post in world.manager.posts.values():
        post.status = "completed"
    world.post(feed_url, group_id=group_id)
    _delivered(await world.run())
    assert len(set(world.stored()) - earlier) == 1
    await world.assert_grown(before, 4)


async def goes_on_after_an_end_in_the_middle(world: World) -> None:
    """A run that was stopped while it imported: the next ones finish it, and nothing is there twice."""
    before = await world.count()
    world.post(world.primary.add(show(30)))
    stopped = asyncio.create_task(world.run())
    await asyncio.sleep(2.0)
    stopped.cancel()
    await asyncio.wait([stopped])
    world.manager.clock.advance(901)
    _delivered(await world.run())
    assert len(set(world.stored())) == 30
    await world.assert_grown(before, 30)


async def names_a_wrong_password(world: World) -> None:
    """It is the account's matter, and nothing was imported."""
    if world.server.wrong is None:
        pytest.skip("the platform asks for no password")
    before = await world.count()
    world.post(world.primary.add(show(2)), world.server.wrong)
    ((outcome, words),) = await world.run()
    assert outcome is Outcome.FAILED
    assert "does not accept the credentials" in words
    await world.assert_grown(before, 0)


async def names_a_missing_right(world: World) -> None:
    """The report says what to give the account."""
    if world.server.unable is None:
        pytest.skip("the platform has no account without the right")
    before = await world.count()
    world.post(world.primary.add(show(2)), world.server.unable)
    ((outcome, words),) = await world.run()
    assert outcome is Outcome.FAILED
    assert world.server.refuses_in in words
    await world.assert_grown(before, 0)


async def leaves_a_locked_feed_alone(world: World) -> None:
    """``podcast:locked``: nothing is imported."""
    before = await world.count()
    world.post(world.primary.add(show(2, locked=True)))
    ((outcome, words),) = await world.run()
    assert outcome is Outcome.FAILED
    assert "podcast:locked" in words
    await world.assert_grown(before, 0)


async def imports_a_slow_feed(world: World) -> None:
    """A primary that takes six seconds for its feed."""
    world.primary.delay_s = 6.0
    world.post(world.primary.add(show(2)))
    _delivered(await world.run())
    assert len(set(world.stored())) == 2


async def reports_the_newest_100_of_300(world: World) -> None:
    """A target that is smaller than the feed."""
    world.post(world.primary.add(show(300)), target=100)
    _delivered(await world.run())
    assert len(set(world.stored())) == 100
    assert await world.run() == []


async def imports_201_episodes(world: World) -> None:
    """More than two of the pages that platforms list by."""
    world.post(world.primary.add(show(201)))
    _delivered(await world.run())
    assert len(set(world.stored())) == 201


Flow = Callable[[World], Awaitable[None]]
FLOWS: tuple[Flow, ...] = (
    imports_and_does_nothing_more,
    tells_twins_apart,
    tells_files_by_their_query,
    keeps_shows_of_one_title_apart,
    works_two_posts_at_once,
    works_two_accounts_with_one_feed,
    works_in_two_processes,
    brings_a_new_episode_later,
    goes_on_after_an_end_in_the_middle,
    names_a_wrong_password,
    names_a_missing_right,
    leaves_a_locked_feed_alone,
    imports_a_slow_feed,
    reports_the_newest_100_of_300,
    imports_201_episodes,
)
