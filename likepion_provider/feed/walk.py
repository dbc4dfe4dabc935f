"""expat over a feed's bytes: where its items begin and end, and what feedparser would lose.

Only positions and a few short texts are kept. Names are matched as feedparser matches them: by namespace where the
prefix is declared, by the usual prefix where it is not.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import re
from typing import Any
from xml.parsers import expat

from likepion_provider.feed.bounds import Bounds, Refused

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
_SNIFFED_BYTES = 4
#: Namespaces, compared without scheme and in lower case.
_PODCAST = ("podcastindex.org/namespace/1.0", "github.com/podcastindex-org/podcast-namespace/")
#: Those whose names count without their prefix: feeds' own, and Dublin Core for its dates.
_PLAIN = (
    "backend.userland.com/rss",
    "blogs.law.harvard.edu/tech/rss",
    "channel.netscape.com/rdf/simple/0.9",
    "my.netscape.com/",
    "purl.org/atom/",
    "purl.org/dc/",
    "purl.org/net/rss1.1",
    "purl.org/rss/1.0/",
    "www.w3.org/2005/atom",
)
_USUAL_PREFIXES = {"podcast": "podcastindex.org/namespace/1.0", "atom": "www.w3.org/2005/atom", "dc": "purl.org/dc/"}
_PARENTS = frozenset({"rss", "rdf", "channel", "feed"})
_ITEMS = frozenset({"item", "entry"})
#: An item's own date beats the date of its last change.
_DATES = {"pubdate": 2, "published": 2, "issued": 2, "date": 1, "updated": 1, "modified": 1}
_CHANNEL_TEXTS = {"title": "title", "podcast:locked": "locked"}
_MAX_TEXT = 1000
_MAX_NAMES = 2000


@dataclasses.dataclass
class Channel:
    """What a channel's XML says where feedparser loses it; texts are stripped, at most 1,000 characters."""

    #: feedparser takes the title of a ``podcast:liveItem`` for the channel's.
    title: str = ""
    locked: str = ""
    locked_owner: str = ""


@dataclasses.dataclass
class Item:
    """One item by its positions in the stream, in bytes; it is open while ``end`` is -1."""

    start: int
    #: Tags of the elements around it, from outside in.
    around: tuple[str, ...]
    end: int = -1
    #: As the feed writes it, at most 1,000 characters.
    date: str = ""
    #: How much the date counts beside others of the same item.
    date_rank: int = 0


@dataclasses.dataclass
class _Text:
    """The text of an element that is open."""

    #: The element's depth.
    depth: int
    #: Where the text goes once the element ends.
    into: Channel | Item
    field: str
    characters: str = ""


class _Names(dict[str, str]):
    """Names in lower case by tags as the feed writes them.

    Prefixes are left out in the namespaces of :data:`_PLAIN`; Podcasting 2.0 always has ``podcast:``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._spaces = dict(_USUAL_PREFIXES)

    def declare(self, attribute: str, uri: str) -> None:
        """Take an ``xmlns`` attribute; it holds from here on, not in its element alone."""
        prefix, space = attribute[6:], uri.lower().partition("://")[2] or uri.lower()
        if self._spaces.get(prefix) != space:
            self._spaces[prefix] = space
            self.clear()

    def __missing__(self, tag: str) -> str:
        prefix, _, local = tag.rpartition(":")
        space = self._spaces.get(prefix, prefix)
        name = tag.lower()
        if space.startswith(_PODCAST):
            name = "podcast:" + local.lower()
        elif not prefix or space.startswith(_PLAIN):
            name = local.lower()
        if len(self) < _MAX_NAMES:
            self[tag] = name
        return name


class _Scale:
    """Weighs elements: all of them, and those of one part, which is an item or what stands between items.

    :param limit: what all may weigh.
    """

    def __init__(self, bounds: Bounds, limit: int) -> None:
        self.limit = limit
        self._bounds = bounds
        self._weight = 0
        self.begin_part(bounds.head_weight)

    def begin_part(self, limit: int) -> None:
        self._part_weight, self._part_limit = 0, limit

    def add(self, attributes: int) -> None:
        """Weigh an element.

        :raises Refused: it has too many attributes, or a limit was passed.
        """
        if attributes > self._bounds.attributes:
            raise Refused(f"an element has more than {self._bounds.attributes} attributes")
        self._weight += 1 + attributes
        self._part_weight += 1 + attributes
        if self._part_weight > self._part_limit or self._weight > self.limit:
            raise Refused("it has more elements and attributes than a feed needs")


class Walker:
    """Keeps a stream's bytes and finds the items in them.

    :param bounds: what the feed may cost.
    :param max_weight: what all that is read may weigh.
    """

    def __init__(self, bounds: Bounds, max_weight: int) -> None:
        #: The stream's bytes from position :attr:`base` on.
        self.data = bytearray()
        self.base = 0
        self.channel = Channel()
        #: Complete items, in order; whoever has dealt with them may take them away.
        self.items: list[Item] = []
        self._bounds = bounds
        self._scale = _Scale(bounds, max_weight)
        self._names = _Names()
        #: Of the document; empty until it has begun.
        self._encoding = ""
        #: Tags of the elements that are open.
        self._stack: list[str] = []
        #: The item and the text that are open, if any are.
        self._item: Item | None = None
        self._text: _Text | None = None
        #: Ended the walk: expat would go on without a word.
        self._failure: Refused | expat.ExpatError | None = None
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.XmlDeclHandler = self._declaration
        self._parser.EntityDeclHandler = self._entity

    @property
    def found(self) -> int:
        """How many items are complete, without those that were taken away."""
        return len(self.items)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; once that has failed it fails again.

        :raises Refused: a bound was passed.
        :raises xml.parsers.expat.ExpatError: the XML is malformed.
        """
        self.data += chunk
        if self._failure:
            raise self._failure
        try:
            self._parse(chunk if self._encoding else self._begin())
        except Refused as failure:
            failure.where = failure.where or self._where()
            self._failure = failure
            raise
        except expat.ExpatError as failure:
            self._failure = failure
            raise

    def finish(self) -> None:
        """Parse what expat (from 2.6 on) puts off until more bytes come. A document that is cut off is no error."""
        if not self._failure:
            with contextlib.suppress(Refused, expat.ExpatError):
                self._parser.Parse(b"", True)

    def allow(self, max_weight: int) -> None:
        """Change what all that is read may weigh."""
        self._scale.limit = max_weight

    def between(self, start: int, end: int) -> bytes:
        """The bytes between two positions in the stream, which must not be forgotten yet."""
        return bytes(memoryview(self.data)[start - self.base : end - self.base])

    def closing_tags(self, item: Item) -> bytes:
        """What closes the elements around an item, in the document's encoding."""
        return "".join(f"</{tag}>" for tag in reversed(item.around)).encode(self._encoding, "replace")

    def forget(self) -> None:
        """Drop the bytes before the open item, or before the last event where none is open."""
        start = self._item.start if self._item else self._parser.CurrentByteIndex
        if start > self.base:
            del self.data[: start - self.base]
            self.base = start

    def _begin(self) -> bytes:
        """Drop what may precede the document: white space before ``<?xml`` is common, and no XML.

        :return: the bytes to begin with; empty until the encoding can be told.
        """
        bom = codecs.BOM_UTF8 if self.data.startswith(codecs.BOM_UTF8) else b""
        body = self.data[len(bom) :].lstrip(b" \t\r\n")
        if len(body) < _SNIFFED_BYTES:
            self.data = bytearray(bom) + body
            return b""
        self.data = body
        self._encoding = sniff(body)
        return bytes(body)

    def _parse(self, chunk: bytes) -> None:
        self._parser.Parse(chunk, False)
        # expat holds an unfinished tag back: its index stays where that tag began.
        unfinished_bytes = self.base + len(self.data) - self._parser.CurrentByteIndex
        if unfinished_bytes > self._bounds.markup_bytes + len(chunk):
            raise Refused(f"one tag or comment is longer than {self._bounds.markup_bytes} bytes")

    def _where(self) -> str:
        if self._item:
            return f"item {len(self.items) + 1}"
        return "channel" if self._stack else "start of the document"

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding and self._encoding == "utf-8":
            with contextlib.suppress(LookupError):
                self._encoding = codecs.lookup(encoding).name

    def _entity(self, name: str, parameter: int, value: str | None, *_ids: Any) -> None:
        """Refuse an entity of entities, and one so long that repeating it is the attack."""
        if value is None:
            return
        nested = parameter or "<" in value or re.search(r"[&%][^#\s]", value)
        if nested or len(value) > self._bounds.entity_characters:
            raise Refused(f"the entity {name[:40]!r} is nested, holds markup or is too long", "document type")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._scale.add(len(attributes))
        self._stack.append(tag)
        depth = len(self._stack)
        if depth > self._bounds.depth:
            raise Refused(f"elements are nested more than {self._bounds.depth} deep")
        for attribute in attributes:
            if attribute.startswith("xmlns"):
                self._names.declare(attribute, attributes[attribute])
        name = self._names[tag]
        if self._item:
            if name in _DATES and depth == len(self._item.around) + 2:
                self._note_date(self._item, _DATES[name])
        elif depth <= 3:
            if name in _ITEMS and all(_local(parent) in _PARENTS for parent in self._stack[:-1]):
                self._open_item()
            elif name in _CHANNEL_TEXTS:
                self._note_text(_CHANNEL_TEXTS[name], attributes)

    def _end(self, tag: str) -> None:
        if self._text and self._text.depth == len(self._stack):
            setattr(self._text.into, self._text.field, self._text.characters.strip())
            self._text = None
        self._stack.pop()
        if self._item and len(self._stack) == len(self._item.around):
            self._close_item(self._item, tag)

    def _characters(self, data: str) -> None:
        if self._text:
            self._text.characters = (self._text.characters + data)[:_MAX_TEXT]

    def _open_item(self) -> None:
        self._item = Item(self._parser.CurrentByteIndex, tuple(self._stack[:-1]))
        self._scale.begin_part(self._bounds.item_weight)

    def _close_item(self, item: Item, tag: str) -> None:
        item.end = self._end_of(tag)
        self.items.append(item)
        self._item = None
        self._scale.begin_part(self._bounds.head_weight)

    def _end_of(self, tag: str) -> int:
        """Where the element that is just being closed ends: expat stands before its end tag, or behind an empty one."""
        position = self._parser.CurrentByteIndex
        end_tag, sign = f"</{tag}".encode(self._encoding, "replace"), ">".encode(self._encoding)
        if not self.data.startswith(end_tag, position - self.base):
            return position
        return self.base + self.data.index(sign, position - self.base + len(end_tag)) + len(sign)

    def _note_date(self, item: Item, rank: int) -> None:
        if rank > item.date_rank:
            item.date_rank = rank
            self._text = _Text(len(self._stack), item, "date")

    def _note_text(self, field: str, attributes: dict[str, str]) -> None:
        if not getattr(self.channel, field):
            if field == "locked":
                self.channel.locked_owner = attributes.get("owner", "")[:_MAX_TEXT]
            self._text = _Text(len(self._stack), self.channel, field)


def _local(tag: str) -> str:
    return tag.rpartition(":")[2].lower()


def sniff(start: bytes | bytearray) -> str:
    """A document's encoding by its first four bytes; ``utf-8`` stands for all that extend ASCII."""
    return next((name for bom, name in _BOMS if start.startswith(bom)), "utf-8")
