"""expat over a feed's bytes: where its items begin and end, and what feedparser would lose.

Only positions and a few short texts are kept. Names are matched as feedparser matches them: by namespace where the
prefix is declared, by the usual prefix where it is not.
"""

from __future__ import annotations

import codecs
import dataclasses
import re
from collections.abc import Callable
from typing import Any
from xml.parsers import expat

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
#: Namespaces, compared without scheme and in lower case.
_PODCAST = ("podcastindex.org/namespace/1.0", "github.com/podcastindex-org/podcast-namespace/")
_ITUNES = ("www.itunes.com/dtds/podcast-1.0.dtd", "example.com/dtds/podcast-1.0.dtd")
#: Those whose ``item`` or ``entry`` may carry a prefix.
_FEED = (
    "backend.userland.com/rss",
    "blogs.law.harvard.edu/tech/rss",
    "channel.netscape.com/rdf/simple/0.9",
    "my.netscape.com/",
    "purl.org/atom/",
    "purl.org/net/rss1.1",
    "purl.org/rss/1.0/",
    "www.w3.org/2005/atom",
)
_DUBLIN_CORE = ("purl.org/dc/",)
_PARENTS = frozenset({"rss", "rdf", "channel", "feed"})
_ITEMS = frozenset({"item", "entry"})
#: An item's own date beats the date of its last change.
_DATES = {"pubdate": 2, "published": 2, "issued": 2, "date": 1, "updated": 1, "modified": 1}
_ITEM_TEXTS = {"itunes:explicit": "explicit", "podcast:season": "season", "podcast:episode": "episode"}
_CHANNEL_TEXTS = {
    "itunes:explicit": "explicit",
    "podcast:guid": "guid",
    "podcast:locked": "locked",
    "title": "title",
}
_MAX_TEXT = 1000
_MAX_KEPT_TAGS = 200
_MAX_NAMES = 2000


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What a feed may cost; a refusal names the bound that was passed.

    Weight counts elements: each weighs one plus its number of attributes.
    """

    #: Attributes of one element.
    attributes: int = 128
    #: Elements inside each other.
    depth: int = 64
    #: Bytes of one tag, comment or declaration; stops a tag of 300,000 attributes before expat has built it.
    markup_bytes: int = 512 * 1024
    #: Weight of what stands before or between items.
    head_weight: int = 30_000
    #: Weight of one item.
    item_weight: int = 5_000
    #: Weight before the items asked for are complete: a base, and a share for each of them.
    kept_weight: int = 20_000
    kept_weight_per_item: int = 500
    #: Weight of all that is read while the newest items are looked for.
    weight: int = 500_000
    #: Items that are read while the newest are looked for.
    items: int = 30_000
    #: Bytes that may be kept: a base, and a share for each item asked for.
    kept_bytes: int = 4 * 1024 * 1024
    kept_bytes_per_item: int = 64 * 1024
    #: Bytes kept of a feed that is no well-formed XML, which feedparser reads at a quarter of the speed.
    tolerant_bytes: int = 2 * 1024 * 1024
    #: Characters of one declared entity; nested ones are refused.
    entity_characters: int = 256

    def kept(self, items: int) -> int:
        """How many bytes may be kept for that many items."""
        return self.kept_bytes + self.kept_bytes_per_item * items

    def kept_elements(self, items: int) -> int:
        """What all that is kept for that many items may weigh."""
        return self.kept_weight + self.kept_weight_per_item * items


DEFAULT_BOUNDS = Bounds()


class Refused(Exception):
    """A bound was passed.

    :param where: the place in the feed, e.g. ``item 3``.
    :param why: which bound, in words that end a sentence.
    """

    def __init__(self, where: str, why: str) -> None:
        super().__init__(where, why)
        self.where = where
        self.why = why


@dataclasses.dataclass
class RawItem:
    """What an item's XML says in places where feedparser loses it; texts are stripped, at most 1,000 characters."""

    explicit: str = ""
    season: str = ""
    episode: str = ""
    date: str = ""
    #: Attributes of each ``podcast:transcript``.
    transcripts: list[dict[str, str]] = dataclasses.field(default_factory=list)
    #: Attributes of each ``podcast:person``, and its text as ``name``.
    persons: list[dict[str, str]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class RawFeed:
    """The same for the channel."""

    #: feedparser takes the title of a ``podcast:liveItem`` for the channel's.
    title: str = ""
    #: ``podcast:guid``; feedparser files it under whatever prefix the feed has chosen.
    guid: str = ""
    explicit: str = ""
    locked: str = ""
    locked_owner: str = ""
    persons: list[dict[str, str]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Mark:
    """One item by its positions in the stream, in bytes; ``end`` is known once the next event has come."""

    start: int
    raw: RawItem = dataclasses.field(default_factory=RawItem)
    end: int = -1


class Walker:
    """Feeds a stream to expat.

    :param encoding: of the document, by its first bytes.
    :param want: how many items are asked for, which the bounds are reckoned by.
    :param bounds: what the feed may cost.
    """

    def __init__(self, encoding: str, want: int, bounds: Bounds) -> None:
        self.raw = RawFeed()
        #: Complete items, in order.
        self.items: list[Mark] = []
        #: Receives each complete item.
        self.on_item: Callable[[Mark], None] = self.items.append
        #: The weight that may be read in all.
        self.weight_limit = bounds.kept_elements(want)
        self.open_item: Mark | None = None
        #: The item whose end tag was the last event: it ends where the next event begins.
        self.pending: Mark | None = None
        self._encoding = encoding
        self._bounds = bounds
        self._stack: list[str] = []
        self._item_stack: tuple[str, ...] = ()
        self._names: dict[str, str] = {}
        self._spaces = {"podcast": _PODCAST[0], "itunes": _ITUNES[0], "atom": _FEED[-1], "dc": _DUBLIN_CORE[0]}
        self._text: list[str] | None = None
        self._text_depth = 0
        self._store: Callable[[str], None] | None = None
        self._date_rank = 0
        self._weight = 0
        self._part_weight = 0
        self._fed = 0
        self._failure: Exception | None = None
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.XmlDeclHandler = self._declaration
        self._parser.EntityDeclHandler = self._entity

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes; once it has failed it fails again.

        :raises Refused: a bound was passed.
        :raises xml.parsers.expat.ExpatError: the XML is malformed.
        """
        if self._failure:
            raise self._failure
        try:
            self._parse(chunk)
        except (Refused, expat.ExpatError) as failure:
            self._failure = failure
            raise

    @property
    def position(self) -> int:
        """Where the last event began, in bytes of the stream; all before it has been dealt with."""
        return int(self._parser.CurrentByteIndex)

    def raw_items(self) -> tuple[RawItem, ...]:
        """The raw values of all items that have begun, in order."""
        marks = [*self.items, self.pending, self.open_item]
        return tuple(mark.raw for mark in marks if mark)

    def closing_tags(self) -> bytes:
        """What closes the elements that are open around an item, in the document's encoding."""
        return "".join(f"</{name}>" for name in reversed(self._item_stack)).encode(self._encoding, "replace")

    def _parse(self, chunk: bytes) -> None:
        self._fed += len(chunk)
        self._parser.Parse(chunk, False)
        # expat holds an unfinished tag back: its index stays where that tag began.
        if self._fed - self._parser.CurrentByteIndex > self._bounds.markup_bytes + len(chunk):
            raise Refused(self._where(), f"one tag or comment is longer than {self._bounds.markup_bytes} bytes")

    def _where(self) -> str:
        if self.open_item:
            return f"item {len(self.items) + 1}"
        return "channel" if self._stack else "start of the document"

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding and self._encoding == "utf-8":
            try:
                self._encoding = codecs.lookup(encoding).name
            except LookupError:
                return

    def _entity(self, name: str, parameter: int, value: str | None, *_ids: Any) -> None:
        """Refuse an entity of entities, and one so long that repeating it is the attack."""
        if value is None:
            return
        nested = parameter or "<" in value or re.search(r"[&%][^#\s]", value)
        if nested or len(value) > self._bounds.entity_characters:
            raise Refused("document type", f"the entity {name[:40]!r} is nested, holds markup or is too long")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if self.pending:
            self._close_item()
        self._weigh(len(attributes))
        self._stack.append(tag)
        depth = len(self._stack)
        if depth > self._bounds.depth:
            raise Refused(self._where(), f"elements are nested more than {self._bounds.depth} deep")
        for name in attributes:
            if name.startswith("xmlns"):
                self._declare(name, attributes[name])
        name = self._names.get(tag) or self._name(tag)
        if self.open_item:
            if depth == len(self._item_stack) + 2:
                self._note_in_item(name, attributes, self.open_item.raw)
        elif depth <= 3 and name in _ITEMS and all(_local(tag) in _PARENTS for tag in self._stack[:-1]):
            self._open_item()
        elif depth <= 3:
            self._note_in_channel(name, attributes)

    def _end(self, _tag: str) -> None:
        if self.pending:
            self._close_item()
        if self._text is not None and len(self._stack) == self._text_depth:
            self._finish_text()
        self._stack.pop()
        if self.open_item and len(self._stack) == len(self._item_stack):
            self.pending, self.open_item = self.open_item, None
            self._part_weight = 0
            # What is no tag counts as the next event too; only now, because handlers cost time. The expanding default
            # handler, because the plain one would stop expat from reading entities.
            self._parser.DefaultHandlerExpand = self._other
            self._parser.CharacterDataHandler = self._other

    def _other(self, _data: str) -> None:
        if self.pending:
            self._close_item()

    def _open_item(self) -> None:
        self._item_stack = tuple(self._stack[:-1])
        self._part_weight = self._date_rank = 0
        self.open_item = Mark(self._parser.CurrentByteIndex)

    def _close_item(self) -> None:
        mark, self.pending = self.pending, None
        self._parser.DefaultHandlerExpand = None
        self._parser.CharacterDataHandler = None
        if mark:
            mark.end = self._parser.CurrentByteIndex
            self.on_item(mark)

    def _weigh(self, attributes: int) -> None:
        if attributes > self._bounds.attributes:
            raise Refused(self._where(), f"an element has more than {self._bounds.attributes} attributes")
        self._weight += 1 + attributes
        self._part_weight += 1 + attributes
        limit = self._bounds.item_weight if self.open_item else self._bounds.head_weight
        if self._part_weight > limit or self._weight > self.weight_limit:
            raise Refused(self._where(), "it has more elements and attributes than a feed needs")

    def _declare(self, attribute: str, uri: str) -> None:
        prefix, space = attribute[6:], uri.lower().partition("://")[2] or uri.lower()
        if self._spaces.get(prefix) != space:
            self._spaces[prefix] = space
            self._names.clear()

    def _name(self, tag: str) -> str:
        """A tag's name in lower case: with a fixed prefix in the namespaces that matter, as it is in all others."""
        prefix, _, local = tag.rpartition(":")
        space = self._spaces.get(prefix, prefix)
        name = tag.lower()
        if space.startswith(_PODCAST):
            name = "podcast:" + local.lower()
        elif space.startswith(_ITUNES):
            name = "itunes:" + local.lower()
        elif not prefix or space.startswith(_FEED) or space.startswith(_DUBLIN_CORE):
            name = local.lower()
        if len(self._names) < _MAX_NAMES:
            self._names[tag] = name
        return name

    def _note_in_item(self, name: str, attributes: dict[str, str], raw: RawItem) -> None:
        field = _ITEM_TEXTS.get(name)
        if field:
            if not getattr(raw, field):
                self._take_text(lambda text: setattr(raw, field, text))
        elif name == "podcast:transcript":
            _keep(raw.transcripts, attributes)
        elif name == "podcast:person":
            self._note_person(raw.persons, attributes)
        elif _DATES.get(name, 0) > self._date_rank:
            self._date_rank = _DATES[name]
            self._take_text(lambda text: setattr(raw, "date", text))

    def _note_in_channel(self, name: str, attributes: dict[str, str]) -> None:
        raw, field = self.raw, _CHANNEL_TEXTS.get(name)
        if field and not getattr(raw, field):
            raw.locked_owner = attributes.get("owner", "")[:_MAX_TEXT] if field == "locked" else raw.locked_owner
            self._take_text(lambda text: setattr(raw, field, text))
        elif name == "podcast:person":
            self._note_person(raw.persons, attributes)

    def _note_person(self, persons: list[dict[str, str]], attributes: dict[str, str]) -> None:
        person = _keep(persons, attributes)
        self._take_text(lambda text: person.update(name=text))

    def _take_text(self, store: Callable[[str], None]) -> None:
        self._text, self._text_depth, self._store = [], len(self._stack), store
        self._parser.CharacterDataHandler = self._character_data

    def _character_data(self, data: str) -> None:
        if self._text is not None and len(self._text) < _MAX_TEXT:
            self._text.append(data[:_MAX_TEXT])

    def _finish_text(self) -> None:
        text, self._text = "".join(self._text or ())[:_MAX_TEXT].strip(), None
        self._parser.CharacterDataHandler = None
        if self._store:
            self._store(text)


def _keep(into: list[dict[str, str]], attributes: dict[str, str]) -> dict[str, str]:
    kept = {key.lower()[:40]: value[:_MAX_TEXT] for key, value in attributes.items()}
    if len(into) < _MAX_KEPT_TAGS:
        into.append(kept)
    return kept


def _local(tag: str) -> str:
    return tag.rpartition(":")[2].lower()


def sniff(start: bytes) -> str:
    """A document's encoding by its first four bytes; ``utf-8`` stands for all that extend ASCII."""
    return next((name for bom, name in _BOMS if start.startswith(bom)), "utf-8")
