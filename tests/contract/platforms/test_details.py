"""What single importers do beside the contract."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from types import ModuleType

import pytest

from likepion_provider.errors import LoginRefused, NeedsVerification, PlatformError, Transient
from likepion_provider.models import Feed, ImportState
from likepion_provider.platforms import PlatformSettings, match, registry
from likepion_provider.platforms.match import same_feed
from likepion_provider.testing.server import CANARY, Case, episodes, opened

from . import apple, gpodder, listennotes, pocketcasts, podcastindex, sandbox_site, spotify

FEED = Feed(url="https://Feeds.example/tide.xml?a=1", display_url="", title="", episodes=())


@pytest.mark.parametrize("url", ["https://feeds.example/tide.xml?a=1", "http://feeds.example/tide.xml/?a=1"])
def test_the_same_feed_in_another_spelling(url: str) -> None:
    assert same_feed(FEED, url)


@pytest.mark.parametrize(
    "url", ["", "https://feeds.example/tide.xml", "https://other.example/tide.xml?a=1", "http://[x"]
)
def test_another_feed(url: str) -> None:
    assert not same_feed(FEED, url)
    assert same_feed(dataclasses.replace(FEED, moved_to=url), url) is bool(url)


@pytest.mark.parametrize("module", [listennotes, podcastindex, spotify], ids=lambda module: module.SERVER.__name__)
async def test_without_a_key_nothing_is_asked(module: ModuleType) -> None:
    name = module.__name__.rsplit(".", 1)[1]
    async with opened(registry().platforms[name], module) as case:
        job = dataclasses.replace(case.job(), settings=PlatformSettings(base_url=case.server.url))
        with pytest.raises(PlatformError, match=f"likepion_platform_{name}"):
            await case.platform.submit(job)
        assert not case.server.requests


async def test_apple_fills_in_only_a_feed_that_may_be_shown() -> None:
    async with opened(registry().platforms["apple"], apple) as case:
        with pytest.raises(NeedsVerification) as hidden:
            await case.platform.submit(case.job())
        job = case.job()
        url = "https://feeds.example/podcast.xml"
        shown = dataclasses.replace(job.feed, url=url, display_url=url)
        with pytest.raises(NeedsVerification) as filled:
            await case.platform.submit(dataclasses.replace(job, feed=shown))
    assert CANARY not in hidden.value.remedy
    assert "new-feed?submitfeed=https%3A%2F%2Ffeeds.example%2Fpodcast.xml " in filled.value.remedy


async def test_the_sandbox_sites_owner_is_asked_and_what_they_did_lets_the_import_go_on() -> None:
    async with opened(registry().platforms["sandbox_site"], sandbox_site) as case:
        server = case.server
        assert isinstance(server, sandbox_site.SandboxServer)
        server.account.verified = False
        with pytest.raises(NeedsVerification) as raised:
            await case.platform.submit(case.job())
        assert f"Open {server.url}/tide.example/verify/ada and press" in raised.value.remedy
        server.account.verified = True
        assert (await case.bring_in()).state is ImportState.LISTED


async def test_apple_reads_403_as_too_many_calls() -> None:
    async with opened(registry().platforms["apple"], apple) as case:
        case.server.fail_next(403)
        with pytest.raises(Transient):
            await case.platform.collect(case.job())


async def test_spotify_takes_the_day_before_for_a_title_of_its_own() -> None:
    class Earlier(spotify.SpotifyServer):
        """Its days are those of another time zone."""

        def feed(self) -> Feed:
            feed = super().feed()
            later = [
                dataclasses.replace(each, published_at=each.published_at and each.published_at + timedelta(days=1))
                for each in feed.episodes
            ]
            return dataclasses.replace(feed, episodes=tuple(later))

    async with opened(registry().platforms["spotify"], spotify) as case:
        server = Earlier()
        server.listed = [each for each in episodes(6) if each.title.startswith("Letter")]
        case.server.listed, case.server.already_there = server.listed, True
        job = dataclasses.replace(case.job(), feed=server.feed())
        seen = await case.platform.collect(job)
    assert seen.state is ImportState.LISTED
    matched = [(episode.guid, each.url) for episode, each in match(job.feed, seen.episodes, 10)]
    assert matched == [(each.guid, server.page_url(each)) for each in server.listed]


async def test_spotify_finds_its_show_although_the_newest_is_not_up_yet() -> None:
    async with opened(registry().platforms["spotify"], spotify) as case:
        case.server.already_there = True
        job = case.job()
        case.server.listed = case.server.listed[1:]
        seen = await case.platform.collect(job)
    assert (seen.state, len(seen.episodes)) == (ImportState.LISTED, 2)


async def test_gpodder_does_not_ask_for_every_episode_that_is_not_there() -> None:
    async with _mygpo() as (case, server):
        server.already_there = True
        server.listed = episodes(50)
        job = case.job()
        oldest, server.listed = server.listed[-1], []
        seen = await case.platform.collect(job)
        assert (seen.state, len(server.requests)) == (ImportState.SUBMITTED, 21)
        # Those that it was not asked for have their turn.
        server.listed = [oldest]
        for _ in range(2):
            seen = await case.platform.collect(job)
        assert [each.guid for each in seen.episodes] == [oldest.guid]


async def test_gpodder_asks_for_no_episode_twice() -> None:
    async with _mygpo() as (case, server):
        server.listed = episodes(205)
        progress = await case.bring_in()
        assert case.urls(progress) == server.expected(200), "it keeps the newest 200"
        before = len(server.requests)
        await case.platform.collect(case.job(progress.reference))
        assert len(server.requests) - before == 1 + 5


@pytest.mark.parametrize(
    "url",
    [
        "https://media.feeds.example/a%2Bb.mp3",
        "https://media.feeds.example/a+b.mp3",
        "https://Media.Feeds.example/capitals.mp3",
        "https://op3.dev/e/https://media.feeds.example/3.mp3",
        "https://media.feeds.example/4.mp3?sig=a%2Bb%2F&t=1",
        "https://media.feeds.example/play?name=a+b",
        "https://media.feeds.example/play?name=a%20b",
        "https://media.feeds.example/play?for=ada@feeds.example",
        "https://user:word@media.feeds.example/5.mp3",
        "https://media.feeds.example/\u1eadp.mp3",
    ],
)
async def test_gpodder_finds_a_media_url_that_the_site_rewrites(url: str) -> None:
    async with _mygpo() as (case, server):
        server.listed = episodes(25)
        server.listed[21] = dataclasses.replace(server.listed[21], enclosure_url=url)
        progress = await case.bring_in()
        assert case.urls(progress) == server.expected()


async def test_gpodder_says_that_the_site_could_not_read_the_feed() -> None:
    async with _mygpo() as (case, server):
        server.unreadable, server.ready_after = True, 1
        submitted = await case.platform.submit(case.job())
        with pytest.raises(PlatformError, match="could not read the feed"):
            await case.look(submitted)
        assert server.subscriptions == []


async def test_gpodder_subscribes_the_account() -> None:
    async with _mygpo() as (case, server):
        await case.bring_in()
        assert server.subscriptions == [server.feed_url]
        server.auth_ok = False
        with pytest.raises(LoginRefused):
            await case.platform.sign_in(case.job())


@contextlib.asynccontextmanager
async def _mygpo() -> AsyncIterator[tuple[Case, gpodder.GpodderServer]]:
    async with opened(registry().platforms["gpodder"], gpodder) as case:
        assert isinstance(case.server, gpodder.GpodderServer)
        yield case, case.server


@pytest.mark.parametrize("module", [gpodder, pocketcasts], ids=lambda module: module.SERVER.__name__)
async def test_an_import_that_never_ends_can_be_handed_in_again(module: ModuleType) -> None:
    async with opened(registry().platforms[module.__name__.rsplit(".", 1)[1]], module) as case:
        case.server.ready_after = 100
        submitted = await case.platform.submit(case.job())
        seen = await case.platform.collect(case.job(submitted.reference))
        assert (submitted.state, seen.state) == (ImportState.SUBMITTED, ImportState.NEW)
        assert seen.reference == submitted.reference


async def test_listennotes_says_that_it_reviews_and_that_it_rejects() -> None:
    async with opened(registry().platforms["listennotes"], listennotes) as case:
        assert (await case.platform.submit(case.job())).state is ImportState.IN_REVIEW
        assert isinstance(case.server, listennotes.ListenNotesServer)
        case.server.rejects = True
        with pytest.raises(PlatformError, match="rejected"):
            await case.platform.submit(case.job())


async def test_listennotes_says_that_its_quota_is_used_up() -> None:
    async with opened(registry().platforms["listennotes"], listennotes) as case:
        assert isinstance(case.server, listennotes.ListenNotesServer)
        case.server.spent = True
        with pytest.raises(Transient, match="quota is used up") as raised:
            await case.platform.collect(case.job())
        assert "plan" in raised.value.remedy


@contextlib.asynccontextmanager
async def _pocketcasts() -> AsyncIterator[tuple[Case, pocketcasts.PocketCastsServer]]:
    async with opened(registry().platforms["pocketcasts"], pocketcasts) as case:
        assert isinstance(case.server, pocketcasts.PocketCastsServer)
        case.platform.form_poll_s = (0.01,) * 5  # type: ignore[attr-defined]
        yield case, case.server
        del case.platform.form_poll_s  # type: ignore[attr-defined]


async def test_pocketcasts_sends_a_form_again_that_is_not_ready() -> None:
    async with _pocketcasts() as (case, server):
        server.already_there, server.polls = True, 5
        seen = await case.platform.collect(case.job())
        assert case.urls(seen) == server.expected()
        server.polls = 6
        with pytest.raises(Transient, match="not finished its search"):
            await case.platform.collect(case.job())
        assert server.requests[-6:] == ["POST /podcasts/search"] * 6


@pytest.mark.parametrize("lookalike", [False, True])
async def test_pocketcasts_takes_the_exact_hit(lookalike: bool) -> None:
    async with _pocketcasts() as (case, server):
        server.already_there = server.exact = True
        server.lookalike = lookalike
        seen = await case.platform.collect(case.job())
        assert (seen.reference, case.urls(seen)) == (pocketcasts.SHOW, server.expected())


async def test_pocketcasts_tells_which_episode_was_the_newest() -> None:
    async with _pocketcasts() as (case, server):
        progress = await case.bring_in()
        server.listed.reverse()
        await case.platform.refresh(case.job(progress.reference))
        assert server.newest_known == server.page_url(server.listed[-1]).rsplit("/", 1)[1]


async def test_pocketcasts_says_that_an_import_failed() -> None:
    async with opened(registry().platforms["pocketcasts"], pocketcasts) as case:
        with pytest.raises(PlatformError, match="could not import"):
            await case.platform.collect(case.job("poll:unknown"))
