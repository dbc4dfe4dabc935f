"""Which of a platform's shows and episodes are the feed's own."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from likepion_provider.models import Episode, Feed
from likepion_provider.platforms.base import Job, ListedEpisode


def same_feed(feed: Feed, url: str) -> bool:
    """Whether a URL is the feed's own, or one that it moved to; http and https are one."""
    known = (feed.url, feed.moved_to, feed.new_feed_url)
    return bool(url) and _feed_key(url) in {_feed_key(each) for each in known if each}


def _feed_key(url: str) -> tuple[str, str, str]:
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return "", url, ""
    return parts.netloc.lower(), parts.path.rstrip("/"), parts.query


def enough(job: Job, listed: Sequence[ListedEpisode]) -> bool:
    """Whether every episode wanted is among those listed, so that no further page need be read."""
    wanted = len(job.wanted)
    return wanted == 0 or len(match(job.feed, listed, wanted)) >= wanted


def plain(title: str) -> str:
    """A title as it is compared: without case, with single spaces."""
    return " ".join(title.casefold().split())


def bare_url(url: str) -> str:
    """A media file's URL as it is compared: without scheme and query."""
    return url.split("?")[0].removeprefix("https://").removeprefix("http://")


def match(feed: Feed, listed: Sequence[ListedEpisode], target: int) -> list[tuple[Episode, ListedEpisode]]:
    """The feed's episodes that are listed, each with the page that it has there, in the feed's order.

    By guid; else by the media file's URL without its query; else by title and day of publication. Two episodes share a
    page only where the platform has no other for them.

    :param target: at most so many episodes; at least 1.
    """
    by_clue: defaultdict[Any, deque[ListedEpisode]] = defaultdict(deque)
    for each in listed:
        for clue in _clues(each.guid, each.enclosure_url, each.title, each.published_at):
            by_clue[clue].append(each)
    found: list[tuple[Episode, ListedEpisode]] = []
    taken: set[str] = set()
    for episode in feed.episodes[:target]:
        hits = next((by_clue[clue] for clue in _episode_clues(episode) if clue in by_clue), None)
        if hits is None:
            continue
        while len(hits) > 1 and hits[0].url in taken:
            hits.popleft()
        if hits[0].url:
            taken.add(hits[0].url)
            found.append((episode, hits[0]))
    return found


def _episode_clues(episode: Episode) -> list[Any]:
    enclosure_url = episode.enclosure.url if episode.enclosure else ""
    return _clues(episode.guid, enclosure_url, episode.title, episode.published_at)


def _clues(guid: str, enclosure_url: str, title: str, published_at: datetime | None) -> list[Any]:
    day = published_at.date() if published_at else None
    clues: list[Any] = [("guid", guid)] if guid else []
    if enclosure_url:
        clues.append(("enclosure", bare_url(enclosure_url)))
    if title and day:
        clues.append(("title", plain(title), day))
    return clues
