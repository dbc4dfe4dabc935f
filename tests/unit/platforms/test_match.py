"""Which listed episodes are the feed's."""

from __future__ import annotations

import dataclasses
import sys
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_episodes_of_one_file_share_a_page_where_there_is_one() -> None:
    ours = feed(episode("a", "Bonus", "same"), episode("b", "Again", "same"))
    shared = ListedEpisode("1", enclosure_url="http://Feeds.example:80/same.mp3")
    assert pairs(ours, shared) == [("a", "1"), ("b", "1")]
    job = Job(SecondaryTask("a", "p", "g", "d", target=2), Credentials(), ours, PlatformSettings(), None)  # type: ignore[arg-type]
    assert enough(job, [shared])
    assert pairs(ours, shared, dataclasses.replace(shared, url="2")) == [("a", "1"), ("b", "2")]


def test_twins_are_taken_where_all_of_them_are_listed_always_the_same_way() -> None:
    listed = [ListedEpisode(url, title="Bonus", published_at=DAY) for url in ("2", "1")]
    ours = feed(episode("a", "Bonus"), episode("b", "bonus "))
    assert pairs(ours, *listed) == [("a", "1"), ("b", "2")]
    assert pairs(ours, *reversed(listed), listed[0]) == [("a", "1"), ("b", "2")]
    assert pairs(ours, listed[0]) == []
    assert pairs(feed(episode("a", "Bonus")), *listed) == []


def test_a_thousand_twins_are_compared_as_few_times_as_there_are_kinds_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    matching, compared = sys.modules[match.__module__], []
    differ = matching._differ
    monkeypatch.setattr(matching, "_differ", lambda a, b: compared.append(a) or differ(a, b))
    twins = [episode(f"g{number}", "Letter") for number in range(1000)]
    pages = [
        ListedEpisode(f"https://site.example/{number}", title="Letter", published_at=DAY) for number in range(1000)
    ]
    assert len(pairs(feed(*twins), *pages, target=1000)) == 1000
    assert len(compared) == 1000


def test_files_that_differ_in_their_query_only_are_each_their_own() -> None:
    ours = feed(*(episode(guid, file=f"play.php?id={guid}") for guid in "abc"))
    listed = [ListedEpisode(str(n), enclosure_url=f"https://feeds.example/play.php?id={n}.mp3") for n in "cab"]
    assert pairs(ours, *listed) == [("a", "a"), ("b", "b"), ("c", "c")]
    # The one that the platform lists besides is not the one that it does not list yet.
    listed[0] = dataclasses.replace(listed[0], enclosure_url="https://feeds.example/play.php?id=z.mp3")
    assert pairs(ours, *listed) == [("a", "a"), ("b", "b")]


def test_a_query_that_the_platform_adds_makes_no_difference() -> None:
    assert pairs(feed(episode("a")), ListedEpisode("1", enclosure_url="http://feeds.example/a.mp3?from=us")) == [
        ("a", "1")
    ]


def test_a_weak_clue_never_overrides_a_strong_one() -> None:
    ours = feed(episode("a", "News"))
    same = ListedEpisode("1", title="News", published_at=DAY)
    assert pairs(ours, same) == [("a", "1")]
    assert pairs(ours, dataclasses.replace(same, guid="z")) == []
    assert pairs(ours, dataclasses.replace(same, enclosure_url="https://feeds.example/vi.mp3")) == []
    assert pairs(ours, ListedEpisode("1", guid="z", enclosure_url="https://feeds.example/a.mp3?b")) == []


@pytest.mark.parametrize(("days", "found"), [(1, True), (-1, True), (2, False)])
def test_the_day_may_be_that_of_another_time_zone(days: int, found: bool) -> None:
    near = ListedEpisode("1", title="News", published_at=DAY + timedelta(days=days))
    assert bool(pairs(feed(episode("a", "News")), near)) is found
    assert pairs(feed(episode("a", "News"), episode("b", "News")), near) == []


@st.composite
def platforms(draw: st.DrawFn) -> tuple[Feed, list[ListedEpisode], set[str]]:
    """A feed whose episodes share what they may share, what a platform makes of it, and the pages that can be told.

    Each page of an episode of ours is named by its guid; other episodes of the show, and doubled pages, stand between.
    """
    names, files = st.sampled_from(("News", "Bonus", "Trailer")), st.sampled_from(("play.php?id=", "a/", "b/"))
    days = st.integers(0, 3).map(lambda number: DAY + timedelta(days=3 * number))
    everything = [
        Episode(f"g{number}", draw(names), Enclosure(f"https://f.example/{draw(files)}{number}"), draw(days))
        for number in range(draw(st.integers(1, 9)))
    ]
    ours = everything[: draw(st.integers(1, len(everything)))]
    keeps = draw(st.sampled_from(("guid", "file", "query added", "title")))
    pages = []
    for each in draw(st.permutations(everything)):
        if each in ours and not draw(st.integers(0, 4)):
            continue
        assert each.enclosure is not None
        added = each.enclosure.url + ("&" if "?" in each.enclosure.url else "?") + "x=1"
        page = ListedEpisode(
            each.guid,
            guid=each.guid if keeps == "guid" else "",
            title=each.title if draw(st.booleans()) or keeps == "title" else "Renamed",
            enclosure_url={"file": each.enclosure.url, "query added": added}.get(keeps, ""),
            published_at=each.published_at if draw(st.booleans()) or keeps == "title" else None,
        )
        pages += [page] * draw(st.integers(1, 2))
    strong = {page.url for page in pages} & {each.guid for each in ours}
    if keeps == "title":
        by_name: dict[tuple[str, datetime | None], tuple[set[str], set[str]]] = {}
        for each in ours:
            by_name.setdefault((each.title, each.published_at), (set(), set()))[0].add(each.guid)
        for page in pages:
            by_name.setdefault((page.title, page.published_at), (set(), set()))[1].add(page.url)
        # Nobody can tell where another episode of the show stands under the name and day of one that is not listed.
        strong = {url for mine, theirs in by_name.values() if mine == theirs for url in theirs}
    elif keeps == "query added":
        strong = {url for url in strong if "play.php" not in everything[int(url[1:])].enclosure.url}  # type: ignore[union-attr]
    return Feed("https://f.example", "https://f.example", "A podcast", tuple(ours)), pages, strong


@settings(max_examples=500, deadline=None)
@given(platforms())
def test_whatever_a_platform_makes_of_them_nothing_is_foreign_and_nothing_missed(
    made: tuple[Feed, list[ListedEpisode], set[str]],
) -> None:
    ours, pages, sure = made
    found = match(ours, pages, len(ours.episodes))
    urls = [page.url for _, page in found]
    assert len(urls) == len(set(urls))
    assert sure <= set(urls)
    named = {(each.title, each.published_at) for each in ours.episodes}
    for url in set(urls) - {each.guid for each in ours.episodes}:
        assert {(page.title, page.published_at) for page in pages if page.url == url} <= named
    assert found == match(ours, list(reversed(pages)), len(ours.episodes))


def test_a_title_alone_tells_an_episode_where_one_has_it_and_the_page_says_nothing_else() -> None:
    ours = feed(episode("a", "One"), episode("b", "Two"), episode("c", "Two"))
    assert pairs(ours, ListedEpisode("1", title="one"), ListedEpisode("2", title="Two")) == [("a", "1")]
    assert pairs(ours, ListedEpisode("1", title="One"), ListedEpisode("2", title="One")) == []
    elsewhere = {"guid": "x", "enclosure_url": "https://f.example/x", "published_at": DAY + timedelta(days=9)}
    for name, value in elsewhere.items():
        assert pairs(ours, ListedEpisode("1", title="One", **{name: value})) == [], name  # type: ignore[arg-type]


def test_an_episode_without_a_page_is_not_listed() -> None:
    assert pairs(feed(episode("a")), ListedEpisode("", guid="a")) == []
