"""From an address to a podcast's newest episodes."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from likepion_provider.errors import BadRequest, FeedInvalid, LikepionError, Transient
from likepion_provider.feed.document import Read
from likepion_provider.feed.entries import Entry
from likepion_provider.feed.process import Reader, TimeUp, readers
from likepion_provider.models import Enclosure, Episode, Feed
from likepion_provider.redact import redact

if TYPE_CHECKING:
    from likepion_provider.web.fetch import FeedResponse, Fetcher

log = logging.getLogger(__name__)
MAX_TARGET = 10_000
_MAX_PAGES = 100
#: Pages one after another without any new episode; then nobody can tell whether the chain has an end.
_MAX_IDLE_PAGES = 3
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


async def read_feed(url: str, *, target: int, allow_private: bool = False, timeout_s: float = 60.0) -> Feed:
    """Fetch a feed and return its newest episodes.

    It is read to its end in a process of its own, within :class:`~likepion_provider.feed.bounds.Bounds` and
    :class:`~likepion_provider.web.fetch.Limits`. Past them, and after four fifths of the time, the reading stops:
    ``newest_certain`` is False then.

    :param url: http or https; may hold user info or a token, which no message shows.
    :param target: how many episodes are wanted, 1 to 10,000; a shorter feed gives fewer.
    :param allow_private: whether loopback and private addresses may be reached.
    :param timeout_s: deadline for everything together, in seconds, more than 0; it begins with the feed's turn, since
        four are read at a time.
    :raises Transient: not reachable, too slow, 429 or 5xx.
    :raises FeedInvalid: the address is refused, what it serves is no podcast feed, or it costs too much to read.
    :raises BadRequest: ``target`` or ``timeout_s`` is out of bounds.
    :raises LikepionError: no process to read it in can be had.
    """
    if not 1 <= target <= MAX_TARGET or not timeout_s > 0:
        raise BadRequest(f"target {target} must be 1 to {MAX_TARGET}, and timeout_s {timeout_s} more than 0")
    # Here, so that importing this package costs a DAG file nothing.
    from likepion_provider.web.fetch import Fetcher

    async with readers() as pool, pool.reader() as reader, Fetcher(allow_private=allow_private) as fetcher:
        reading = _Reading(reader, fetcher, url, target, timeout_s)
        try:
            return await asyncio.wait_for(reading.feed(), timeout_s)
        except (asyncio.TimeoutError, TimeUp):
            raise Transient(f"the feed {redact(url)} was not there after {timeout_s:g} s") from None


class _Reading:
    """The first document of a feed, and the pages that it names as far as they are needed."""

    def __init__(self, reader: Reader, fetcher: Fetcher, url: str, target: int, timeout_s: float) -> None:
        self._reader = reader
        self._fetcher = fetcher
        self._url = url
        self._target = target
        self._until_s = asyncio.get_running_loop().time() + timeout_s
        self._episodes: dict[str, Entry] = {}
        self._certain = True
        #: Whether the pages so far come newest first.
        self._newest_first = True
        self._oldest: float | None = None
        self._notes: list[str] = []

    async def feed(self) -> Feed:
        """The feed with its newest episodes."""
        async with self._fetcher.open(self._url) as response:
            first, ended = await self._document(response)
            base, moved_to = response.final_url, response.moved_to
        self._take(first, ended)
        await self._pages(base, first["next_page"])
        chosen = sorted(self._episodes.values(), key=_rank, reverse=True)[: self._target]
        shown = redact(self._url)
        if not chosen:
            raise ended or _useless(first, shown)
        if self._notes:
            log.warning("feed %s: %s", shown, "; ".join(self._notes))
        return Feed(
            url=self._url,
            display_url=shown,
            episodes=tuple(_episode(each) for each in chosen),
            moved_to=moved_to,
            newest_certain=self._certain,
            left_out=tuple(self._notes),
            **first["fields"],
        )

    async def _document(self, response: FeedResponse) -> tuple[Read, LikepionError | None]:
        found, ended = await self._reader.read(
            response.chunks(),
            url=response.final_url,
            shown=redact(response.final_url),
            want=self._target,
            charset=response.charset,
            within_s=self._until_s - asyncio.get_running_loop().time(),
        )
        if isinstance(ended, Transient) and not isinstance(ended, TimeUp) and not found["complete"]:
            raise ended
        return found, ended

    def _take(self, document: Read, ended: LikepionError | None) -> bool:
        """Add a document's episodes; whether one of them is new."""
        before = len(self._episodes)
        for entry in document["episodes"]:
            self._episodes.setdefault(entry["guid"], entry)
        ranks = [entry["rank"] for entry in document["episodes"] if entry["rank"] is not None]
        follows = self._oldest is None or max(ranks, default=self._oldest) <= self._oldest
        self._newest_first = self._newest_first and document["newest_first"] and follows
        self._oldest = min(ranks, default=self._oldest)
        self._notes += document["notes"]
        if not document["certain"]:
            self._certain = False
            if not document["complete"] and not document["notes"]:
                self._doubt(ended.message if ended else "the end of the document is missing")
        return len(self._episodes) > before

    async def _pages(self, base: str, next_page: str) -> None:
        """Take the further pages until the episodes are there, newest first, or the pages end."""
        from likepion_provider.web.fetch import carry_credentials

        seen, idle = {base}, 0
        while next_page and next_page not in seen:
            if self._newest_first and len(self._episodes) >= self._target:
                break
            if len(seen) >= _MAX_PAGES or idle >= _MAX_IDLE_PAGES:
                self._doubt(f"it goes on after {len(seen)} pages")
                break
            seen.add(next_page)
            try:
                async with self._fetcher.open(carry_credentials(base, next_page)) as response:
                    page, ended = await self._document(response)
            except FeedInvalid as error:  # the pages before it serve all the same
                self._doubt(error.message)
                break
            idle = 0 if self._take(page, ended) else idle + 1
            next_page = page["next_page"]

    def _doubt(self, why: str) -> None:
        self._certain = False
        self._notes.append(why)


def _rank(entry: Entry) -> float:
    """What an episode is sorted by; where none is dated, the feed's order stays."""
    return float("inf") if entry["rank"] is None else entry["rank"]


def _episode(entry: Entry) -> Episode:
    published_at = None
    if entry["published"] is not None:
        published_at = _EPOCH + timedelta(seconds=entry["published"])
    return Episode(entry["guid"], entry["title"], Enclosure(entry["url"]), published_at)


def _useless(document: Read, shown: str) -> FeedInvalid:
    """Why a feed can serve no account: it was not read, is none, has no items, or none with a file."""
    if document["notes"]:
        message = f"the feed {shown} cannot be read: {document['notes'][0]} (document)"
        return FeedInvalid(message, url=shown, where="document")
    if not document["known"]:
        remedy = "Put the address of the RSS feed itself, not of a web page, into the post at the primary site."
        return FeedInvalid(f"what {shown} serves is no feed (document)", url=shown, where="document", remedy=remedy)
    count = document["items"]
    if not count:
        remedy = "Publish an episode at the primary site and run again."
        return FeedInvalid(f"the feed {shown} has no episodes (channel)", url=shown, where="channel", remedy=remedy)
    where = "item 1, enclosure" if count == 1 else f"items 1 to {count}, enclosure"
    remedy = "Add the audio or video file of each episode as an http(s) enclosure at the primary site and run again."
    return FeedInvalid(f"the feed {shown} has no episode with a file ({where})", url=shown, where=where, remedy=remedy)
