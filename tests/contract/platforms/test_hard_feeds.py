"""Feeds as some publishers write them, over every importer: none of their episodes may be missed or mixed up."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from likepion_provider.models import Feed, ImportState
from likepion_provider.platforms import registry

from . import (
    apple,
    audiobookshelf,
    funkwhale,
    gpodder,
    listennotes,
    pocketcasts,
    podcast_analyzer,
    podcastindex,
)
from .base import PlatformServer, ServerEpisode, episodes, opened

SERVERS = [apple, audiobookshelf, funkwhale, gpodder, listennotes, pocketcasts, podcast_analyzer, podcastindex]


def _query_only(all_: list[ServerEpisode]) -> list[ServerEpisode]:
    """Media files that one script serves, told apart by its query."""
    url = "https://media.feeds.example/play.php?id="
    return [dataclasses.replace(each, enclosure_url=f"{url}{each.guid}") for each in all_]


def _twins(all_: list[ServerEpisode]) -> list[ServerEpisode]:
    """Two episodes of one title and day."""
    first, second, *rest = all_
    return [first, dataclasses.replace(second, title=first.title, published=first.published), *rest]


@pytest.mark.parametrize("hard", [_query_only, _twins], ids=lambda hard: hard.__name__)
@pytest.mark.parametrize("module", SERVERS, ids=lambda module: module.SERVER.__name__)
async def test_a_hard_feed_is_listed_whole(
    module: object, hard: Callable[[list[ServerEpisode]], list[ServerEpisode]]
) -> None:
    name = module.__name__.rsplit(".", 1)[1]  # type: ignore[attr-defined]
    async with opened(registry().platforms[name], module) as case:  # type: ignore[arg-type]
        case.server.listed = hard(episodes(5))
        progress = await case.bring_in()
        assert sorted(case.urls(progress)) == sorted(case.server.expected())


@pytest.mark.parametrize("module", SERVERS, ids=lambda module: module.SERVER.__name__)
async def test_a_newer_episode_that_the_feed_has_no_more_takes_nobodys_place(module: object) -> None:
    name = module.__name__.rsplit(".", 1)[1]  # type: ignore[attr-defined]
    async with opened(registry().platforms[name], module) as case:  # type: ignore[arg-type]
        _lists_more_than_the_feed(case.server)
        progress = await case.bring_in()
        assert progress.state is ImportState.LISTED
        assert case.urls(progress) == case.server.expected()[1:]


@pytest.mark.parametrize("module", [pocketcasts, podcastindex], ids=lambda module: module.SERVER.__name__)
async def test_a_new_episode_of_a_known_show_is_asked_for(module: object) -> None:
    name = module.__name__.rsplit(".", 1)[1]  # type: ignore[attr-defined]
    async with opened(registry().platforms[name], module) as case:  # type: ignore[arg-type]
        case.server.unread, case.server.listed = case.server.listed[:1], case.server.listed[1:]
        reference = (await case.bring_in()).reference
        writes = len(case.writes)
        assert case.platform.rereads.on_request
        await case.platform.refresh(case.job(reference))
        assert len(case.writes) == writes + 1, "it acts there, so the claim is checked"
        seen = await case.platform.collect(case.job(reference))
        assert case.urls(seen) == case.server.expected()
        assert len(seen.episodes) == 3


def _lists_more_than_the_feed(server: PlatformServer) -> None:
    server.listed = episodes(4)
    whole = server.feed

    def without_newest() -> Feed:
        feed = whole()
        return dataclasses.replace(feed, episodes=feed.episodes[1:])

    server.feed = without_newest  # type: ignore[method-assign]
