"""The first, or the newest, items of a feed's byte stream, without keeping the rest.

expat only finds where items end (:mod:`~likepion_provider.feed.walk`); the bytes up to there, closed with the tags
that are still open, are a small feed of their own that feedparser reads as it would read the whole. Malformed XML is
cut by a tolerant scan instead (:mod:`~likepion_provider.feed.scan`).
"""

from __future__ import annotations

import codecs
import dataclasses
import heapq
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from xml.parsers import expat

from likepion_provider.errors import FeedInvalid
from likepion_provider.feed.scan import Scanner
from likepion_provider.feed.walk import DEFAULT_BOUNDS, Bounds, Mark, RawFeed, RawItem, Refused, Walker, sniff

_SNIFFED = 4


@dataclasses.dataclass(frozen=True)
class Slice:
    """A small feed cut from a large one."""

    data: bytes = dataclasses.field(repr=False)
    feed: RawFeed
    #: One for each item of ``data``, in order; empty where the XML was malformed.
    items: tuple[RawItem, ...] = ()
    #: Encoding of ``data`` where it differs from what ``data`` itself declares.
    charset: str = ""
    #: Whether the feed's own end lies inside.
    complete: bool = False


class Cutter:
    """Takes a feed's bytes in pieces of any size until the first items are complete.

    :param want: how many items are asked for, at least 1.
    :param url: the feed's redacted address, for messages.
    :param bounds: what the feed may cost.
    """

    def __init__(self, want: int, *, url: str = "", bounds: Bounds = DEFAULT_BOUNDS) -> None:
        self._want = want
        #: What the bounds are reckoned by; asking for more later does not widen them.
        self._share = want
        self._url = url
        self._bounds = bounds
        self._buffer = bytearray()
        self._ended = False
        self._full = False
        self._walker: Walker | None = None
        self._scanner: Scanner | None = None

    @property
    def enough(self) -> bool:
        """Whether the items asked for are there, or no more can come."""
        return self._ended or self._full or self._found >= self._want

    @property
    def _found(self) -> int:
        if self._scanner:
            return len(self._scanner.ends)
        return len(self._walker.items) if self._walker else 0

    def ask(self, want: int) -> None:
        """Raise the number of items asked for; go on with :meth:`feed`."""
        self._want = max(want, self._want)

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes.

        :return: whether that is enough.
        :raises FeedInvalid: a bound of :class:`Bounds` was passed.
        """
        try:
            self._take(chunk)
            if not self.enough or self._scanner:
                self._check_kept()
        except Refused as refused:
            # What follows the items that were asked for may be as wild as it likes.
            if self._found < self._want:
                raise invalid(refused, self._url) from None
        return self.enough

    def finish(self) -> None:
        """Tell that the stream has ended."""
        self._ended = True

    def cut(self) -> Slice:
        """What has been found so far, as a feed of its own."""
        if self._scanner:
            return self._cut_tolerantly(self._scanner)
        walker = self._walker
        if walker is None or len(walker.items) < self._want:
            raw, items = (walker.raw, walker.raw_items()) if walker else (RawFeed(), ())
            return Slice(bytes(self._buffer), raw, items, complete=self._ended)
        data = bytes(memoryview(self._buffer)[: walker.items[self._want - 1].end]) + walker.closing_tags()
        return Slice(data, walker.raw, walker.raw_items()[: self._want])

    def newest(self) -> Newest | None:
        """Turn to the newest items of the same stream; this object takes no more bytes then.

        :return: None where only :meth:`ask` for more can help: the XML is malformed, or no item has been found.
        """
        if self._scanner or self._walker is None or not self._walker.items:
            return None
        return Newest(self._walker, self._buffer, keep=self._share, bounds=self._bounds)

    def _cut_tolerantly(self, scanner: Scanner) -> Slice:
        locked, owner = scanner.locked()
        found = min(self._want, len(scanner.ends)) if self._full else self._want
        complete = self._ended and len(scanner.ends) <= self._want
        raw = RawFeed(locked=locked, locked_owner=owner)
        return Slice(scanner.cut(found), raw, charset=scanner.charset, complete=complete)

    def _take(self, chunk: bytes) -> None:
        if self._scanner:
            self._scanner.feed(chunk)
            return
        self._buffer += chunk
        if self._walker is None:
            chunk = self._begin()
        if self._walker is None:
            return
        try:
            self._walker.feed(chunk)
        except expat.ExpatError:
            if self._found < self._want:
                self._fall_back()

    def _begin(self) -> bytes:
        """Drop what may precede the document: white space before ``<?xml`` is common, and no XML.

        :return: the bytes to begin with; empty until the encoding can be told.
        """
        bom = codecs.BOM_UTF8 if self._buffer.startswith(codecs.BOM_UTF8) else b""
        body = self._buffer[len(bom) :].lstrip(b" \t\r\n")
        if len(body) < _SNIFFED:
            self._buffer = bytearray(bom) + body
            return b""
        self._buffer = body
        self._walker = Walker(sniff(bytes(body[:_SNIFFED])), self._share, self._bounds)
        return bytes(body)

    def _fall_back(self) -> None:
        self._scanner = Scanner(sniff(bytes(self._buffer[:_SNIFFED])))
        data, self._buffer = bytes(self._buffer), bytearray()
        self._scanner.feed(data)

    def _check_kept(self) -> None:
        limit = self._bounds.kept(self._share)
        if self._scanner:
            if self._scanner.weight > self._bounds.kept_elements(self._share):
                raise Refused(f"after item {self._found}", "it is malformed and has more markup than a feed needs")
            # A feed that has served this far is read as far as it goes.
            self._full = len(self._scanner.data) > min(limit, self._bounds.tolerant_bytes)
            if self._full and not self._scanner.ends:
                raise Refused("start of the document", f"{len(self._scanner.data)} bytes hold no item")
        elif len(self._buffer) > limit:
            raise Refused(f"after item {self._found}", f"{self._found} of {self._want} items fill {limit} bytes")


class Newest:
    """Reads on where a :class:`Cutter` stopped and keeps the newest items only.

    Undated items stand with the dated one before them; of equals the later wins, since mostly this is needed for feeds
    that begin with their oldest item.

    :param walker: at the place where the stream goes on.
    :param buffer: what it has been given so far.
    :param keep: how many items to keep.
    :param bounds: what the feed may cost.
    """

    def __init__(self, walker: Walker, buffer: bytearray, *, keep: int, bounds: Bounds) -> None:
        self._walker = walker
        self._buffer = buffer
        self._keep = keep
        self._bounds = bounds
        #: Position in the stream of the buffer's first byte.
        self._base = 0
        self._head = bytes(buffer[: walker.items[0].start])
        self._kept: list[tuple[float, int, bytes, RawItem]] = []
        self._kept_bytes = len(self._head)
        self._count = 0
        self._rank = float("-inf")
        for mark in walker.items:
            self._offer(mark)
        walker.on_item = self._offer
        walker.weight_limit = bounds.weight
        self._trim()

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes.

        :return: whether reading on can help: False once the feed is malformed or passes a bound.
        """
        self._buffer += chunk
        try:
            self._walker.feed(chunk)
        except (expat.ExpatError, Refused):
            return False
        self._trim()
        kept = self._kept_bytes + len(self._buffer)
        return self._count <= self._bounds.items and kept <= self._bounds.kept(self._keep)

    def finish(self) -> None:
        """Tell that the stream has ended: an item that ends with it is complete."""
        if self._walker.pending:
            self._walker.pending.end = self._base + len(self._buffer)
            self._offer(self._walker.pending)

    def cut(self) -> Slice:
        """The items kept, in the feed's order, as a feed of their own."""
        kept = sorted(self._kept, key=lambda entry: entry[1])
        data = b"".join([self._head, *(entry[2] for entry in kept), self._walker.closing_tags()])
        return Slice(data, self._walker.raw, tuple(entry[3] for entry in kept))

    def _offer(self, mark: Mark) -> None:
        published = read_date(mark.raw.date)
        self._rank = published.timestamp() if published else self._rank
        self._count += 1
        if len(self._kept) == self._keep and self._rank < self._kept[0][0]:
            return
        data = bytes(memoryview(self._buffer)[mark.start - self._base : mark.end - self._base])
        heapq.heappush(self._kept, (self._rank, self._count, data, mark.raw))
        self._kept_bytes += len(data)
        if len(self._kept) > self._keep:
            self._kept_bytes -= len(heapq.heappop(self._kept)[2])

    def _trim(self) -> None:
        """Forget what no item needs: all before the one that is open, or the end of the last."""
        mark = self._walker.open_item or self._walker.pending
        start = mark.start if mark else self._walker.position
        if start > self._base:
            del self._buffer[: start - self._base]
            self._base = start


def read_date(text: str) -> datetime | None:
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


def invalid(refused: Refused, url: str) -> FeedInvalid:
    """The error for a bound that was passed.

    :param url: the feed's redacted address.
    """
    return FeedInvalid(
        f"the feed {url} is refused ({refused.where}): {refused.why}",
        url=url,
        where=refused.where,
        remedy="Check that the address serves a podcast feed; if it does, ask its host for a leaner one.",
    )
