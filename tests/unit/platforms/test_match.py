"""Which listed episodes are the feed's."""

from __future__ import annotations

from datetime import datetime, timezone

from likepion_provider.models import Credentials, Enclosure, Episode, Feed, SecondaryTask
from likepion_provider.platforms import ListedEpisode, enough, match
from likepion_provider.platforms.base import Job, PlatformSettings

DAY = datetime(2026, 3, 1, tzinfo=timezone.utc)


def feed(*episodes: Episode) -> Feed:
    return Feed("https://feeds.example/1", "https://feeds.example/1", "A podcast", episodes)


def episode(guid: str, title: str = "", file: str = "") -> Episode:
    return Episode(guid, title, Enclosure(f"https://feeds.example/{file or guid}.mp3"), DAY)


def pairs(feed: Feed, *listed: ListedEpisode, target: int = 10) -> list[tuple[str, str]]:
    return [(episode.guid, each.url) for episode, each in match(feed, listed, target)]


def test_each_episode_comes_with_its_page_in_the_feeds_order() -> None:
    listed = [ListedEpisode("2", guid="b"), ListedEpisode("9", guid="stranger"), ListedEpisode("1", guid="a")]
    assert pairs(feed(episode("a"), episode("b"), episode("c")), *listed) == [("a", "1"), ("b", "2")]
    assert pairs(feed(episode("a"), episode("b")), *listed, target=1) == [("a", "1")]


def test_two_episodes_may_share_a_page() -> None:
    shared = ListedEpisode("1", title="Bonus", published_at=DAY)
    ours = feed(episode("a", "Bonus"), episode("b", "Bonus"))
    assert pairs(ours, shared) == [("a", "1"), ("b", "1")]
    job = Job(SecondaryTask("a", "p", "g", "d", target=2), Credentials(), ours, PlatformSettings(), None)  # type: ignore[arg-type]
    assert enough(job, [shared])


def test_episodes_that_look_alike_get_a_page_each_where_there_are_as_many() -> None:
    listed = [ListedEpisode(url, title="Bonus", published_at=DAY) for url in ("1", "2")]
    ours = feed(episode("a", "Bonus"), episode("b", "Bonus"), episode("c", "bonus"))
    assert pairs(ours, *listed) == [("a", "1"), ("b", "2"), ("c", "2")]


def test_an_episode_without_a_page_is_not_listed() -> None:
    assert pairs(feed(episode("a")), ListedEpisode("", guid="a")) == []
