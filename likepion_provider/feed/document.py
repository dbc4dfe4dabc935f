"""One document of a feed: read to its end, then its newest usable episodes chosen."""

from __future__ import annotations

import codecs
import contextlib
import heapq
import re
import time
from collections.abc import Callable, Iterable
from typing import TypedDict
from xml.parsers import expat

from likepion_provider.feed.bounds import DEFAULT_BOUNDS, Bounds, Refused
from likepion_provider.feed.entries import Entry, Fields, Parsed, parse
from likepion_provider.feed.walk import Item, Walker

_MB = 1024 * 1024
#: First bytes, the encoding that they mean, and how many of them are no part of the document.
_STARTS = (
    (codecs.BOM_UTF32_LE, "utf-32-le", 4),
    (codecs.BOM_UTF32_BE, "utf-32-be", 4),
    (b"<\0\0\0", "utf-32-le", 0),
    (b"\0\0\0<", "utf-32-be", 0),
    (codecs.BOM_UTF16_LE, "utf-16-le", 2),
    (codecs.BOM_UTF16_BE, "utf-16-be", 2),
    (b"<\0", "utf-16-le", 0),
    (b"\0<", "utf-16-be", 0),
    (codecs.BOM_UTF8, "utf-8", 3),
)
_SNIFFED_BYTES = 1024
#: Bytes that tell what kind of document it is.
_KIND_BYTES = 64 * 1024
_DECLARED = re.compile(r"<\?[^>]*?encoding=['\"]([\w.:-]{1,40})['\"]")
_WIDE = re.compile(r"(?:utf|u|ucs|iso-10646-ucs)[-_]?(?:16|32|2|4)$|csucs4$|csunicode$", re.IGNORECASE)
_ITEM_BEGINS = re.compile(rb"<(?:[\w.-]{1,40}:)?(?:item|entry)[\s/>]", re.IGNORECASE)
_ITEM_ENDS = re.compile(rb"</(?:[\w.-]{1,40}:)?(?:item|entry)\s{0,16}>", re.IGNORECASE)
_DOCUMENT_ENDS = re.compile(rb"</(?:[\w.-]{1,40}:)?(?:rss|feed|rdf)\s{0,16}>", re.IGNORECASE)
_OWNER = re.compile(
    rb"<podcast:locked(?:\s[^<>]{0,500}?owner\s*=\s*[\"']([^\"'<>]{0,300})[\"'])?[^<>]{0,500}>\s*(\w{1,10})",
    re.IGNORECASE,
)


class Read(TypedDict):
    """What a document says."""

    fields: Fields
    #: Usable ones, in the document's order, at most as many as were asked for.
    episodes: list[Entry]
    #: How many items there are, usable or not.
    items: int
    known: bool
    next_page: str
    #: Whether the document was read to its end.
    complete: bool
    #: Whether no newer episode than those given can be in it.
    certain: bool
    #: Whether its dates fall from the first item to the last.
    newest_first: bool
    #: Items that are too large, and why the reading stopped, in words.
    notes: list[str]


class Document:
    """Takes a document's bytes in pieces of any size.

    :param want: how many episodes are wanted.
    :param url: its address, which relative links are joined to.
    :param charset: as HTTP announced it; empty where it did not.
    :param allow_cpu: called with the seconds of CPU after which the process is to be ended.
    """

    def __init__(
        self,
        want: int,
        *,
        url: str,
        charset: str = "",
        bounds: Bounds = DEFAULT_BOUNDS,
        allow_cpu: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._want = want
        self._url = url
        self._charset = charset
        self._bounds = bounds
        self._allow_cpu = allow_cpu
        self._walker = Walker(want, url=url, bounds=bounds)
        #: The document so far, as long as feedparser might have to read it as a whole.
        self._raw: bytearray | None = bytearray()
        self._began_s = time.process_time()
        self._cpu_s = bounds.cpu_s
        self._decoder: codecs.IncrementalDecoder | None = None
        self._begun = False
        self._malformed = False
        self._stopped = ""

    def feed(self, data: bytes) -> bool:
        """Take the next bytes.

        :return: whether more are wanted: its end was not seen, and no bound was passed.
        """
        self._spend(self._bounds.cpu_s_per_mb * len(data) / _MB)
        if self._raw is not None:
            self._raw += data
            if len(self._raw) > self._bounds.tolerant_bytes:
                self._pass_tolerance()
        if not self._malformed and not self._stopped:
            self._walk(data, final=False)
            if not self._walker.ended and time.process_time() - self._began_s > self._cpu_s:
                self._stopped = self._stopped or "it costs more CPU to read than a feed may"
        return not self._stopped and not self._walker.ended

    def finish(self, *, cut: bool = False) -> Read:
        """What was read.

        :param cut: whether the document may go on, but is not read on.
        """
        if not self._malformed and not self._stopped:
            self._walk(b"", final=not cut)
        if self._malformed:
            return self._tolerant()
        kept = self._walker.kept()
        parsed = self._parse_kept(kept)
        episodes, notes = self._usable(parsed["entries"])
        complete = self._walker.ended and not self._stopped
        certain = complete and (len(episodes) == len(kept) or not self._walker.chose)
        oldest = min((item.age for item in kept), default=None)
        for item in self._walker.left_out:
            notes.append(f"{item.name} is larger than {self._bounds.item_bytes} bytes")
            certain = certain and len(kept) == self._want and oldest is not None and item.age < oldest
        return Read(
            fields=parsed["fields"],
            episodes=episodes,
            items=self._walker.items,
            known=parsed["known"],
            next_page=parsed["next_page"],
            complete=complete,
            certain=certain and not (notes and len(episodes) < len(kept)),
            newest_first=self._walker.newest_first,
            notes=[*notes, *filter(None, [self._stopped])],
        )

    def _spend(self, cpu_s: float) -> None:
        self._cpu_s += cpu_s
        self._allow_cpu(self._cpu_s + self._bounds.spare_cpu_s)

    # --- well-formed ---

    def _walk(self, data: bytes, *, final: bool) -> None:
        try:
            if not self._begun:
                start = bytes(self._raw or b"")
                if len(start) < _SNIFFED_BYTES and not final:
                    return
                data = self._begin(start)
            self._walker.feed(self._decoder.decode(data, final).encode() if self._decoder else data)
            if final:
                self._walker.finish()
        except Refused as refused:
            self._stopped = str(refused)
        except (expat.ExpatError, UnicodeError) as error:
            self._malformed = self._raw is not None
            self._stopped = "" if self._malformed else f"it is malformed ({error})"

    def _begin(self, start: bytes) -> bytes:
        """Tell the encoding, and drop what may precede a document: white space there is common, and no XML."""
        self._begun = True
        name, skipped = next(((name, skip) for sign, name, skip in _STARTS if start.startswith(sign)), ("", 0))
        start = start[skipped:].lstrip(b" \t\r\n") if name in ("", "utf-8") else start[skipped:]
        declared = _DECLARED.match(start[:_SNIFFED_BYTES].decode(name or "latin-1", "replace"))
        said = declared[1] if declared else ""
        for candidate in (self._charset, name if name and _WIDE.match(said) else said, name):
            with contextlib.suppress(LookupError):
                codec = codecs.lookup("gb18030" if candidate.lower() == "gb2312" else candidate)
                if codec.name != "utf-8":
                    self._decoder = codecs.getincrementaldecoder(codec.name)("strict")
                break
        return start

    def _parse_kept(self, kept: list[Item]) -> Parsed:
        """Feedparser's reading of the items that were kept, each with its rank."""
        walker, url = self._walker, self._url
        self._spend(self._bounds.cpu_s_per_item * len(kept))
        head, rest = walker.frame[: max(0, walker.head_bytes)], walker.frame[max(0, walker.head_bytes) :]
        around, found = [bytes(head), bytes(rest + walker.closing_tags())], []
        for batch in self._batches(kept):
            data = around[0] + b"".join(item.data for item in batch) + around[1]
            found.append(parse(data, url=url, charset="utf-8", channel=walker.channel))
            if len(found[-1]["entries"]) == len(batch):
                for entry, item in zip(found[-1]["entries"], batch, strict=True):
                    entry["rank"] = item.rank
        return {**found[0], "entries": [entry for each in found for entry in each["entries"]]}

    def _batches(self, kept: list[Item]) -> Iterable[list[Item]]:
        batch: list[Item] = []
        size = 0
        for item in kept:
            if size > self._bounds.batch_bytes:
                yield batch
                batch, size = [], 0
            batch.append(item)
            size += len(item.data)
        yield batch

    def _usable(self, entries: list[Entry]) -> tuple[list[Entry], list[str]]:
        """Those with a file, repetitions left out, and what was left out for its length."""
        unique: dict[str, Entry] = {}
        notes = []
        for entry in entries:
            if max(len(entry["guid"]), len(entry["url"])) > self._bounds.address_characters:
                notes.append(f"an item ({entry['title'][:80]!r}) has an address or a guid that is too long")
            elif entry["url"]:
                unique.setdefault(entry["guid"], entry)
        return list(unique.values()), notes

    # --- malformed ---

    def _pass_tolerance(self) -> None:
        if self._malformed:
            self._stopped = f"it is malformed and larger than {self._bounds.tolerant_bytes} bytes"
        elif self._begun:
            self._raw = None

    def _tolerant(self) -> Read:
        """The whole document as feedparser reads what is no well-formed XML."""
        raw = bytes(self._raw or b"")
        plain = raw.replace(b"\0", b"")
        if not _ITEM_BEGINS.search(plain):
            raw = raw[:_KIND_BYTES]
        self._spend(self._bounds.cpu_s_per_malformed_mb * len(raw) / _MB)
        complete = not self._stopped and bool(_DOCUMENT_ENDS.search(plain))
        parsed = parse(raw.lstrip(b" \t\r\n"), url=self._url, charset=self._charset, channel=_locked(plain))
        entries = parsed["entries"]
        if not complete and entries and _is_half(plain):
            entries = entries[:-1]
        newest_first = _rank(entries)
        episodes, notes = self._usable(entries)
        chosen = set(heapq.nlargest(self._want, range(len(episodes)), key=lambda n: (_key(episodes[n]), -n)))
        return Read(
            fields=parsed["fields"],
            episodes=[episode for number, episode in enumerate(episodes) if number in chosen],
            items=len(entries),
            known=parsed["known"],
            next_page=parsed["next_page"],
            complete=complete,
            certain=complete and not notes,
            newest_first=newest_first,
            notes=[*notes, *filter(None, [self._stopped])],
        )


def _key(episode: Entry) -> float:
    return float("-inf") if episode["rank"] is None else episode["rank"]


def _rank(entries: list[Entry]) -> bool:
    """Give undated entries the rank of the one beside them; whether the dated ones come newest first."""
    dates = [entry["published"] for entry in entries if entry["published"] is not None]
    rank = dates[0] if dates else None
    for entry in entries:
        rank = entry["rank"] = rank if entry["published"] is None else entry["published"]
    return dates == sorted(dates, reverse=True)


def _is_half(data: bytes) -> bool:
    """Whether the last item has no end."""
    *_, begins = (-1, *(match.start() for match in _ITEM_BEGINS.finditer(data)))
    *_, ends = (-1, *(match.start() for match in _ITEM_ENDS.finditer(data)))
    return begins > ends


def _locked(data: bytes) -> dict[str, str]:
    match = _OWNER.search(data)
    return {"locked": _decoded(match[2]), "owner": _decoded(match[1] or b"")} if match else {}


def _decoded(value: bytes) -> str:
    return value.decode("utf-8", "replace").strip()
