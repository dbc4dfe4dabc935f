"""expat over a document's bytes: keeps its newest items, and forgets the others.

What makes an item new, and one with another, is told as feedparser tells it: its own reading of dates, the names of
elements by namespace where the prefix is declared and by the usual prefix where it is not.
"""

from __future__ import annotations

import calendar
import contextlib
import dataclasses
import heapq
from collections.abc import Iterable
from typing import Any
from xml.parsers import expat

from likepion_provider.feed.bounds import Bounds, Refused
from likepion_provider.feed.links import choose_file

#: Namespaces by the prefix that stands for them here, compared without scheme and in lower case.
_SPACES = {
    "backend.userland.com/rss": "",
    "blogs.law.harvard.edu/tech/rss": "",
    "my.netscape.com/": "",
    "channel.netscape.com/rdf/simple/0.9": "",
    "purl.org/atom/": "",
    "purl.org/net/rss1.1": "",
    "purl.org/rss/1.0/": "",
    "www.w3.org/2005/atom": "",
    "purl.org/dc/": "dc:",
    "podcastindex.org/namespace/1.0": "podcast:",
    "github.com/podcastindex-org/podcast-namespace/": "podcast:",
}
_USUAL_PREFIXES = {"": "", "atom": "", "dc": "dc:", "dcterms": "dc:", "podcast": "podcast:"}
_PARENTS = frozenset({"rss", "rdf", "channel", "feed"})
_ITEMS = frozenset({"item", "entry"})
#: The texts that are noted of an item's own children; the last of each counts, but of titles the first.
_ITEM_TEXTS = {
    **dict.fromkeys(("guid", "id"), "guid"),
    **dict.fromkeys(("pubdate", "published", "issued", "dc:issued"), "published"),
    **dict.fromkeys(("updated", "modified", "lastbuilddate", "dc:date", "dc:modified"), "updated"),
    "title": "title",
}
_CHANNEL_TEXTS = {"title": "title", "podcast:locked": "locked"}
_MAX_TEXT = 64 * 1024
_MAX_NAMES = 2000
#: Near enough to 1970 to be a date: some two thousand years.
_MAX_S = 6e10


def timestamp(dates: Iterable[Any]) -> float | None:
    """The first of feedparser's dates that is one, as seconds since 1970 in UTC.

    :param dates: nine numbers each, or None.
    """
    for date in filter(None, dates):
        with contextlib.suppress(ValueError, OverflowError, TypeError):
            if abs(seconds := calendar.timegm(date)) < _MAX_S:
                return float(seconds)
    return None


@dataclasses.dataclass
class Item:
    """One item of the document."""

    number: int
    #: Where it begins in the document, in bytes, and how many elements are around it.
    start: int
    depth: int
    texts: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Address and media type of each enclosure.
    links: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    data: bytes = b""
    #: When it was published, or the item beside it, in seconds since 1970; None where no item before it has a date.
    rank: float | None = None

    @property
    def name(self) -> str:
        """The item for people."""
        return f"item {self.number} ({self.texts.get('title', '')[:80] or self.texts.get('guid', '')[:80]!r})"

    @property
    def age(self) -> tuple[float, int]:
        """The less, the older; of one date, what is later in the document."""
        return self.rank or 0.0, -self.number


class Walker:
    """Takes a document in UTF-8, in pieces of any size, and keeps its newest usable items.

    An item is usable if it has a file, and is no repetition of one before it. An undated one stands with the dated one
    before it, those at the top with the first dated one.

    :param want: how many items to keep.
    :param url: what relative addresses are joined to.
    """

    def __init__(self, want: int, *, url: str, bounds: Bounds) -> None:
        # Here, since it takes long to import.
        from feedparser.datetimes import _parse_date

        self._parse_date = _parse_date
        self._want = want
        self._url = url
        self._bounds = bounds
        #: What stands outside of items, and how much of it before the first.
        self.frame = bytearray()
        self.head_bytes = -1
        #: Texts of the channel that feedparser loses.
        self.channel: dict[str, str] = {}
        #: How many items the document has, as far as it was read.
        self.items = 0
        self.ended = False
        #: Whether the dated items come newest first.
        self.newest_first = True
        #: Items that are too large.
        self.left_out: list[Item] = []
        #: Whether usable items were let go for newer ones.
        self.chose = False
        self._kept: list[tuple[tuple[float, int], Item]] = []
        self._kept_bytes = 0
        #: Usable items before the first dated one.
        self._leading: list[Item] = []
        self._rank: float | None = None
        self._seen: set[int] = set()
        #: The document's bytes from position ``base`` on; those before ``done`` are dealt with.
        self._data = bytearray()
        self._base = self._done = 0
        self._stack: list[str] = []
        self._names: dict[str, str] = {}
        self._prefixes = dict(_USUAL_PREFIXES)
        self._item: Item | None = None
        #: What the text that is open is for.
        self._text: tuple[int, dict[str, str], str] | None = None
        self._characters: list[str] = []
        self._heard = 0
        self._parser = expat.ParserCreate("utf-8")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        :raises Refused: a bound was passed.
        :raises xml.parsers.expat.ExpatError: it is malformed.
        """
        if self.ended:
            return
        self._data += data
        try:
            self._parser.Parse(data, False)
        except expat.ExpatError:
            if not self.ended:  # what follows the document is no part of it
                raise
        else:
            self._forget()

    def finish(self) -> None:
        """Tell that there is no more: from 2.6 on, expat puts off what may go on."""
        if not self.ended:
            try:
                self._parser.Parse(b"", True)
            except expat.ExpatError:
                return

    def kept(self) -> list[Item]:
        """The newest items, in the document's order."""
        self._settle_leading()
        return sorted((item for _, item in self._kept), key=lambda item: item.number)

    def closing_tags(self) -> bytes:
        """What ends the document where it stands."""
        around = self._stack[: self._item.depth] if self._item else self._stack
        return "".join(f"</{tag}>" for tag in reversed(around)).encode()

    # --- expat's events ---

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._stack.append(tag)
        for name in attributes:
            if name.startswith("xmlns"):
                self._declare(name[6:], attributes[name].lower())
        name = self._names.get(tag) or self._name(tag)
        if self._item:
            self._start_inside(self._item, name, attributes)
        elif len(self._stack) > 3:
            return
        elif name in _ITEMS and all(_local(each) in _PARENTS for each in self._stack[:-1]):
            self._open(attributes)
        elif name in _CHANNEL_TEXTS and _CHANNEL_TEXTS[name] not in self.channel:
            self._note(self.channel, _CHANNEL_TEXTS[name])
            if name == "podcast:locked":
                self.channel["owner"] = attributes.get("owner", "")[:_MAX_TEXT]

    def _start_inside(self, item: Item, name: str, attributes: dict[str, str]) -> None:
        if len(self._stack) == item.depth + 2 and name in _ITEM_TEXTS:
            self._note(item.texts, _ITEM_TEXTS[name])
        elif name in ("enclosure", "link"):
            given = {key.lower(): value for key, value in attributes.items()}
            if name == "enclosure" or given.get("rel", "").lower() == "enclosure":
                href = given.get("url", given.get("uri", given.get("href", "")))
                item.links.append((href, given.get("type", "")))
                if not href:  # some write it as the element's text
                    self._note(item.texts, "file")

    def _end(self, tag: str) -> None:
        depth = len(self._stack)
        if self._text and self._text[0] == depth:
            _, into, field = self._text
            text = "".join(self._characters).strip()
            if field != "title" or not into.get(field):
                into[field] = text
            self._text = self._parser.CharacterDataHandler = None
        self._stack.pop()
        if self._item and depth == self._item.depth + 1:
            self._close(self._item, self._end_of(tag))
        self.ended = depth == 1
        if self.ended:
            self._outside(self._end_of(tag))

    def _hear(self, text: str) -> None:
        if self._heard < _MAX_TEXT:
            self._characters.append(text[:_MAX_TEXT])
            self._heard += len(text)

    def _note(self, into: dict[str, str], field: str) -> None:
        self._text, self._characters, self._heard = (len(self._stack), into, field), [], 0
        self._parser.CharacterDataHandler = self._hear

    def _open(self, attributes: dict[str, str]) -> None:
        start = self._parser.CurrentByteIndex
        self._outside(start)
        if self.head_bytes < 0:
            self.head_bytes = len(self.frame)
        self.items += 1
        self._item = Item(self.items, start, len(self._stack) - 1, {"guid": attributes.get("rdf:about", "")})
        if self.items > self._bounds.items:
            raise Refused(f"it has more than {self._bounds.items} items")

    def _close(self, item: Item, end: int) -> None:
        self._item = None
        self._place(item)
        if item.start < self._done or end - item.start > self._bounds.item_bytes:
            self.left_out.append(item)
        elif file := choose_file(item.links, self._url) or choose_file([(item.texts.get("file", ""), "")], self._url):
            key = hash(item.texts.get("guid") or f"{file} {item.texts.get('title', '')}")
            if key not in self._seen:
                self._seen.add(key)
                item.data = bytes(memoryview(self._data)[item.start - self._base : end - self._base])
                self._offer(item)
        self._done = end

    # --- choosing ---

    def _place(self, item: Item) -> None:
        texts = item.texts
        published = timestamp(self._parse_date(texts.get(name)) for name in ("published", "updated"))
        if published is not None:
            self.newest_first = self.newest_first and (self._rank is None or published <= self._rank)
            self._rank = published
            self._settle_leading()
        item.rank = self._rank

    def _offer(self, item: Item) -> None:
        self._kept_bytes += len(item.data)
        if item.rank is not None:
            self._keep(item)
        elif len(self._leading) < self._want:
            self._leading.append(item)
        else:
            self._let_go(item)
        if self._kept_bytes > self._bounds.kept_bytes:
            raise Refused(f"its newest {self._want} items fill more than {self._bounds.kept_bytes} bytes")

    def _settle_leading(self) -> None:
        for item in self._leading:
            item.rank = self._rank
            self._keep(item)
        self._leading = []

    def _keep(self, item: Item) -> None:
        if len(self._kept) < self._want:
            heapq.heappush(self._kept, (item.age, item))
        else:
            self._let_go(heapq.heappushpop(self._kept, (item.age, item))[1])

    def _let_go(self, item: Item) -> None:
        self._kept_bytes -= len(item.data)
        self.chose = True

    # --- bytes ---

    def _outside(self, end: int) -> None:
        """Keep what stands outside of items, up to a position."""
        if end > self._done:
            self.frame += memoryview(self._data)[self._done - self._base : end - self._base]
            self._done = end
        if len(self.frame) > self._bounds.frame_bytes:
            raise Refused(f"what stands outside of its items fills more than {self._bounds.frame_bytes} bytes")

    def _forget(self) -> None:
        """Drop what was dealt with: expat's index stays where an unfinished tag began."""
        done = self._parser.CurrentByteIndex
        if self._item is None:
            self._outside(done)
        elif done - self._item.start > self._bounds.item_bytes:
            self._done = done
        if self._base + len(self._data) - done > self._bounds.tag_bytes:
            raise Refused(f"one tag or comment is longer than {self._bounds.tag_bytes} bytes")
        del self._data[: self._done - self._base]
        self._base = self._done

    def _end_of(self, tag: str) -> int:
        """Where the element that is just being closed ends: expat stands before its end tag, or behind an empty one."""
        position = self._parser.CurrentByteIndex
        end_tag = f"</{tag}".encode()
        if not self._data.startswith(end_tag, position - self._base):
            return position
        return self._base + self._data.index(b">", position - self._base + len(end_tag)) + 1

    # --- names ---

    def _declare(self, prefix: str, uri: str) -> None:
        """Take an ``xmlns`` attribute; it holds from here on, not in its element alone."""
        space = uri.partition("://")[2] or uri
        known = next((short for start, short in _SPACES.items() if space.startswith(start)), None)
        short = known if known is not None else f"{prefix}:" if prefix else ""
        if self._prefixes.get(prefix) != short:
            self._prefixes[prefix] = short
            self._names.clear()

    def _name(self, tag: str) -> str:
        prefix, _, local = tag.rpartition(":")
        name = (self._prefixes.get(prefix, f"{prefix}:") + local).lower()
        if len(self._names) < _MAX_NAMES:
            self._names[tag] = name
        return name


def _local(tag: str) -> str:
    return tag.rpartition(":")[2].lower()
