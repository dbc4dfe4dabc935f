"""From an address to a podcast's newest episodes."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
from typing import TYPE_CHECKING

from likepion_provider.errors import BadRequest, FeedInvalid, Transient
from likepion_provider.feed.cut import Cutter, Newest, Slice
from likepion_provider.feed.entries import Document, fold, parse
from likepion_provider.models import Episode, Feed
from likepion_provider.web.redact import redact

if TYPE_CHECKING:
    from likepion_provider.web.fetch import FeedResponse, Fetcher

log = logging.getLogger(__name__)
MAX_TARGET = 10_000
_MAX_PAGES = 20
#: With fewer items nobody can tell in which order a feed is.
_MIN_ITEMS = 4
#: How many times more items are asked for where too few can be used, and how often; parsing grows with each.
_MORE = 3
_ROUNDS = 3
#: Bytes handed to a thread at once where the whole stream is read; crumbs would cost more than their parsing.
_BATCH_BYTES = 64 * 1024


async def read_feed(url: str, *, target: int, allow_private: bool = False, timeout_s: float = 60.0) -> Feed:
    """Fetch a feed and return its newest episodes.

    Reading stops, and the connection is closed, as soon as they are there.

    :param url: http or https; may hold user info or a token, which no message shows.
    :param target: how many episodes are wanted, 1 to 10,000; a shorter feed gives fewer.
    :param allow_private: whether loopback and private addresses may be reached.
    :param timeout_s: deadline for everything together, in seconds, more than 0.
    :raises Transient: not reachable, too slow, 429 or 5xx.
    :raises FeedInvalid: the address is refused, or what it serves is no podcast feed.
    :raises BadRequest: ``target`` or ``timeout_s`` is out of bounds.
    """
    if not 1 <= target <= MAX_TARGET or not timeout_s > 0:
        raise BadRequest(f"target {target} must be 1 to {MAX_TARGET}, and timeout_s {timeout_s} more than 0")
    # Here, so that importing this package costs a DAG file nothing.
    from likepion_provider.web.fetch import Fetcher

    async def fetch() -> Feed:
        async with Fetcher(allow_private=allow_private) as fetcher, fetcher.open(url) as response:
            return await _newest_episodes(fetcher, response, url, target)

    try:
        return await asyncio.wait_for(fetch(), timeout_s)
    except asyncio.TimeoutError:
        raise Transient(f"the feed {redact(url)} was not there after {timeout_s:g} s") from None


async def _newest_episodes(fetcher: Fetcher, response: FeedResponse, url: str, target: int) -> Feed:
    """The first document, and the pages that it names as far as they are needed."""
    first, certain = await _parse_document(response, url, target)
    episodes, next_page, seen = first.episodes, first.next_page, {response.final_url}
    while next_page and first.complete and len(seen) < _MAX_PAGES:
        if (_is_newest_first(episodes) and len(episodes) >= target) or next_page in seen:
            break
        seen.add(next_page)
        page, page_certain = await _parse_page(fetcher, response, next_page, target)
        if page is None:
            break
        certain = certain and page_certain
        episodes, next_page = fold((*episodes, *page.episodes)), page.next_page if page.complete else ""
    certain = certain and (_is_newest_first(episodes) or not next_page or next_page in seen)
    chosen = choose_newest(episodes, target)
    _check(first, chosen, url)
    if not certain:
        log.warning(
            "feed %s passes the bounds before its newest episodes are certain; some may be missing", redact(url)
        )
    return dataclasses.replace(
        first.feed,
        url=url,
        display_url=redact(url),
        episodes=chosen,
        moved_to=response.moved_to,
        newest_certain=certain,
    )


def choose_newest(episodes: tuple[Episode, ...], target: int) -> tuple[Episode, ...]:
    """The newest episodes that have an enclosure, newest first; an undated one stays behind the one it follows.

    :param target: how many at most.
    """
    dates: dict[str, float] = {}
    # Undated episodes at the top count as newest, since that is where new ones appear.
    rank = float("inf")
    for episode in episodes:
        rank = episode.published_at.timestamp() if episode.published_at else rank
        dates[episode.guid] = rank
    playable = [episode for episode in episodes if episode.enclosure]
    return tuple(sorted(playable, key=lambda episode: dates[episode.guid], reverse=True)[:target])


async def _parse_page(fetcher: Fetcher, response: FeedResponse, page: str, target: int) -> tuple[Document | None, bool]:
    """A further page; one that cannot be parsed ends the feed, for the first page has served."""
    from likepion_provider.web.fetch import carry_credentials

    try:
        async with fetcher.open(carry_credentials(response.final_url, page)) as further:
            return await _parse_document(further, page, target)
    except FeedInvalid as error:
        log.warning("%s", error.advice)
        return None, True


async def _parse_document(response: FeedResponse, url: str, target: int) -> tuple[Document, bool]:
    """One document as far as needed, and whether its newest episodes are certainly among those parsed."""
    return await _Parsing(response, redact(url), max(target, _MIN_ITEMS)).newest()


class _Parsing:
    """Parses one document: a first slice, more where episodes repeat, all where it is not newest first.

    :param shown: the document's address, redacted.
    :param want: how many episodes are asked for.
    """

    def __init__(self, response: FeedResponse, shown: str, want: int) -> None:
        self._response = response
        self._chunks = response.chunks()
        self._want = want
        self._cutter = Cutter(want, url=shown)

    async def newest(self) -> tuple[Document, bool]:
        """The newest episodes among others, and whether they are certainly there."""
        first, certain = await self._first()
        if first.complete or _is_newest_first(first.episodes):
            return first, certain
        newest = self._cutter.newest(self._want)
        if newest is None:
            return first, False
        certain = await self._go_on(newest)
        late = await self._parse(newest.cut())
        episodes = fold((*first.episodes, *late.episodes))
        return dataclasses.replace(first, episodes=episodes, complete=certain, next_page=late.next_page), certain

    async def _first(self) -> tuple[Document, bool]:
        """The first items, more than asked for where some repeat or have no file; whether that gave as many."""
        document = await self._first_items()
        for ask in (self._want * _MORE**power for power in range(1, _ROUNDS)):
            usable = sum(1 for episode in document.episodes if episode.enclosure)
            if document.complete or usable >= self._want:
                return document, True
            self._cutter.ask(ask)
            try:
                document = await self._first_items()
            except FeedInvalid:
                # The bound was passed by asking for more; what was there before still serves.
                return document, False
        return document, document.complete

    async def _first_items(self) -> Document:
        while not self._cutter.enough:
            chunk = await anext(self._chunks, b"")
            if chunk:
                await asyncio.to_thread(self._cutter.feed, chunk)
            else:
                self._cutter.finish()
        return await self._parse(self._cutter.cut())

    async def _parse(self, piece: Slice) -> Document:
        response = self._response
        return await asyncio.to_thread(parse, piece, url=response.final_url, charset=response.charset)

    async def _go_on(self, newest: Newest) -> bool:
        """Whether the end was reached within the bounds."""
        try:
            batch = bytearray()
            async for chunk in self._chunks:
                batch += chunk
                if len(batch) >= _BATCH_BYTES:
                    if not await asyncio.to_thread(newest.feed, bytes(batch)):
                        return False
                    batch.clear()
        except FeedInvalid:
            return False
        within = await asyncio.to_thread(newest.feed, bytes(batch))
        newest.finish()
        return within


def _is_newest_first(episodes: tuple[Episode, ...]) -> bool:
    dates = [episode.published_at for episode in episodes if episode.published_at]
    return all(later <= earlier for earlier, later in itertools.pairwise(dates))


def _check(document: Document, chosen: tuple[Episode, ...], url: str) -> None:
    """Refuse what can serve no account.

    :raises FeedInvalid: no feed, no items, or none with an enclosure.
    """
    shown = redact(url)
    if chosen:
        return
    if not document.known:
        remedy = "Put the address of the RSS feed itself, not of a web page, into the post at the primary site."
        raise FeedInvalid(f"what {shown} serves is no feed (document)", url=shown, where="document", remedy=remedy)
    if not document.episodes:
        remedy = "Publish an episode at the primary site and run again."
        raise FeedInvalid(f"the feed {shown} has no episodes (channel)", url=shown, where="channel", remedy=remedy)
    count = len(document.episodes)
    where = "item 1, enclosure" if count == 1 else f"items 1 to {count}, enclosure"
    remedy = "Add the audio or video file of each episode as an http(s) enclosure at the primary site and run again."
    raise FeedInvalid(f"the feed {shown} has no episode with a file ({where})", url=shown, where=where, remedy=remedy)
