"""The first, or the newest, items of a feed's byte stream, without keeping the rest.

expat only finds where items end (:mod:`~likepion_provider.feed.walk`); the bytes up to there, closed with the tags
that are still open, are a small feed of their own that feedparser reads as it would read the whole. Malformed XML is
cut by a tolerant scan instead (:mod:`~likepion_provider.feed.scan`).
"""

from __future__ import annotations

import dataclasses
import heapq
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from xml.parsers import expat

from likepion_provider.errors import FeedInvalid
from likepion_provider.feed.bounds import DEFAULT_BOUNDS, Bounds, Refused
from likepion_provider.feed.scan import Scanner
from likepion_provider.feed.walk import Channel, Item, Walker, sniff


@dataclasses.dataclass(frozen=True)
class Slice:
    """A small feed cut from a large one."""

    data: bytes = dataclasses.field(repr=False)
    channel: Channel
    #: Encoding of ``data`` where it differs from what ``data`` itself declares.
    charset: str = ""
    #: Whether the feed's own end lies inside.
    complete: bool = False


class Cutter:
    """Takes a feed's bytes in pieces of any size until the first items are complete.

    :param want: how many items are asked for, at least 1. The bounds are reckoned by it, also after :meth:`ask`.
    :param url: the feed's redacted address, for messages.
    :param bounds: what the feed may cost.
    """

    def __init__(self, want: int, *, url: str = "", bounds: Bounds = DEFAULT_BOUNDS) -> None:
        self._want = want
        self._url = url
        self._bounds = bounds
        self._max_bytes = bounds.kept_bytes_of(want)
        self._max_weight = bounds.kept_weight_of(want)
        #: Finds the items: a walker as long as the XML is well-formed, then a scanner.
        self._finder: Walker | Scanner = Walker(bounds, self._max_weight)
        self._ended = False

    @property
    def enough(self) -> bool:
        """Whether the items asked for are there, or no more can come."""
        is_full = isinstance(self._finder, Scanner) and self._finder.is_full
        return self._ended or is_full or self._finder.found >= self._want

    def ask(self, want: int) -> None:
        """Raise the number of items asked for; go on with :meth:`feed`."""
        self._want = max(want, self._want)

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes.

        :return: whether that is enough.
        :raises FeedInvalid: a bound of :class:`~likepion_provider.feed.bounds.Bounds` was passed.
        """
        try:
            self._take(chunk)
        except Refused as refused:
            # What follows the items that were asked for may be as wild as it likes.
            if self._finder.found < self._want:
                raise self._invalid(refused) from None
        return self.enough

    def finish(self) -> None:
        """Tell that the stream has ended."""
        self._ended = True

    def cut(self) -> Slice:
        """The items found so far, at most as many as were asked for, as a feed of their own."""
        finder, want = self._finder, self._want
        if isinstance(finder, Scanner):
            complete = self._ended and self._finder.found <= want
            return Slice(finder.cut(want, ended=self._ended), Channel("", *finder.locked()), finder.charset, complete)
        if self._finder.found < want:
            return Slice(bytes(finder.data), finder.channel, complete=self._ended)
        last = finder.items[want - 1]
        return Slice(finder.between(0, last.end) + finder.closing_tags(last), finder.channel)

    def newest(self, keep: int) -> Newest | None:
        """Turn to the newest items of the same stream; this object takes no more bytes then.

        :param keep: how many.
        :return: None where only :meth:`ask` for more can help: the XML is malformed, or no item has been found.
        """
        if isinstance(self._finder, Scanner) or not self._finder.found:
            return None
        return Newest(self._finder, keep=keep, bounds=self._bounds)

    def _take(self, chunk: bytes) -> None:
        try:
            self._finder.feed(chunk)
        except expat.ExpatError:
            if self._finder.found < self._want and isinstance(self._finder, Walker):
                self._scan(bytes(self._finder.data))
        if isinstance(self._finder, Walker) and len(self._finder.data) > self._max_bytes:
            why = f"{self._finder.found} of {self._want} items fill {self._max_bytes} bytes"
            raise Refused(why, f"after item {self._finder.found}")

    def _scan(self, data: bytes) -> None:
        max_bytes = min(self._max_bytes, self._bounds.tolerant_bytes)
        self._finder = Scanner(sniff(data), max_bytes=max_bytes, max_weight=self._max_weight)
        self._finder.feed(data)

    def _invalid(self, refused: Refused) -> FeedInvalid:
        return FeedInvalid(
            f"the feed {self._url} is refused ({refused.where}): {refused.why}",
            url=self._url,
            where=refused.where,
            remedy="Check that the address serves a podcast feed; if it does, ask its host for a leaner one.",
        )


class Newest:
    """Reads on where a :class:`Cutter` stopped and keeps the newest items only.

    Undated items stand with the dated one before them; of equals the later wins, since mostly this is needed for feeds
    that begin with their oldest item.

    :param walker: at the place where the stream goes on, with all its items so far.
    :param keep: how many items to keep.
    :param bounds: what the feed may cost.
    """

    def __init__(self, walker: Walker, *, keep: int, bounds: Bounds) -> None:
        self._walker = walker
        self._keep = keep
        self._max_items = bounds.items
        self._max_bytes = bounds.kept_bytes_of(keep)
        first = walker.items[0]
        self._head = walker.between(0, first.start)
        self._tail = walker.closing_tags(first)
        #: A heap of rank, place in the feed and bytes: the oldest item comes first.
        self._kept: list[tuple[float, int, bytes]] = []
        self._kept_bytes = len(self._head)
        self._count = 0
        #: The last date, as a timestamp.
        self._rank = float("-inf")
        walker.allow(bounds.weight)
        self._take_items()

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes.

        :return: whether reading on can help: False once the feed is malformed or passes a bound.
        """
        try:
            self._walker.feed(chunk)
        except (expat.ExpatError, Refused):
            return False
        finally:
            self._take_items()
        return self._count <= self._max_items and self._kept_bytes + len(self._walker.data) <= self._max_bytes

    def finish(self) -> None:
        """Tell that the stream has ended."""
        self._walker.finish()
        self._take_items()

    def cut(self) -> Slice:
        """The items kept, in the feed's order, as a feed of their own."""
        kept = sorted(self._kept, key=lambda entry: entry[1])
        return Slice(b"".join([self._head, *(entry[2] for entry in kept), self._tail]), self._walker.channel)

    def _take_items(self) -> None:
        for item in self._walker.items:
            self._offer(item)
        self._walker.items.clear()
        self._walker.forget()

    def _offer(self, item: Item) -> None:
        published = _date(item.date)
        self._rank = published.timestamp() if published else self._rank
        self._count += 1
        if len(self._kept) == self._keep and self._rank < self._kept[0][0]:
            return
        data = self._walker.between(item.start, item.end)
        heapq.heappush(self._kept, (self._rank, self._count, data))
        self._kept_bytes += len(data)
        if len(self._kept) > self._keep:
            self._kept_bytes -= len(heapq.heappop(self._kept)[2])


def _date(text: str) -> datetime | None:
    """An item's date, to compare it with others; feedparser reads more forms for the value that is reported.

    :param text: RFC 822 or ISO 8601.
    :return: aware; what names no zone counts as UTC. None where it cannot be read.
    """
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        try:
            date = datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
        except ValueError:
            return None
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)
