"""What single importers do beside the contract."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from types import ModuleType

import pytest

from likepion_provider.errors import NeedsVerification, PlatformError, Transient
from likepion_provider.models import Feed, ImportState
from likepion_provider.platforms import PlatformSettings, match, registry
from likepion_provider.platforms.match import same_feed
from likepion_provider.testing.server import CANARY, episodes, opened

from . import apple, gpodder, listennotes, pocketcasts, podcastindex, spotify

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
    async with opened(registry().platforms["gpodder"], gpodder) as case:
        case.server.already_there = True
        case.server.listed = episodes(20)
        job = case.job()
        case.server.listed = []
        seen = await case.platform.collect(job)
        assert (seen.state, len(case.server.requests)) == (ImportState.SUBMITTED, 4)


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


async def test_pocketcasts_says_that_an_import_failed() -> None:
    async with opened(registry().platforms["pocketcasts"], pocketcasts) as case:
        with pytest.raises(PlatformError, match="could not import"):
            await case.platform.collect(case.job("poll:unknown"))
