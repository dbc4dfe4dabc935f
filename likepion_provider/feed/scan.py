"""The first items of a feed that is no well-formed XML: a scan for end tags that skips what only looks like one."""

from __future__ import annotations

import codecs
import re

from likepion_provider.feed.bounds import Refused

_TOKEN = re.compile(
    rb"<!\[CDATA\[|<!--|<\?|</(?:[A-Za-z][\w.-]{0,40}:)?(?:item|entry)\s{0,16}>",
    re.IGNORECASE,
)
_CLOSERS = {b"<![": b"]]>", b"<!-": b"-->", b"<?": b"?>"}
#: Longer than any token, so that one cut by a chunk's edge is found with the next chunk.
_OVERLAP = 80
_LOCKED = re.compile(
    rb"<podcast:locked(?:\s[^<>]{0,500}?owner\s*=\s*[\"']([^\"'<>]{0,300})[\"'])?[^<>]{0,500}>\s*(\w{1,10})",
    re.IGNORECASE,
)


class Scanner:
    """Takes bytes in pieces of any size and finds where items end.

    CDATA, comments and processing instructions are skipped; one that is still open at the end of the buffer means
    "read more".

    :param encoding: of the document by its first bytes; what does not extend ASCII is read as UTF-8 from here on.
    :param max_bytes: with more than that it is full.
    :param max_weight: how many signs it may hold that begin a tag or an attribute, wherever they stand: a lenient
        parser's time depends on them.
    """

    def __init__(self, encoding: str, *, max_bytes: int, max_weight: int) -> None:
        #: Encoding of what is cut, where that is another than the document declares.
        self.charset = "" if encoding == "utf-8" else "utf-8"
        #: Ends of the items found, as positions in the data.
        self._ends: list[int] = []
        self._decoder = codecs.getincrementaldecoder(encoding)("replace") if self.charset else None
        self._max_bytes = max_bytes
        self._max_weight = max_weight
        self._data = bytearray()
        self._weight = 0
        self._position = 0
        self._closer = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        :raises Refused: there is more markup than a feed needs, or no item as far as it may be kept.
        """
        if self._decoder:
            chunk = self._decoder.decode(chunk).lstrip("\ufeff").encode()
        self._data += chunk
        self._weight += chunk.count(b"<") + chunk.count(b"=")
        self._scan()
        if self._weight > self._max_weight:
            raise Refused("it is malformed and has more markup than a feed needs", f"after item {len(self._ends)}")
        if self.is_full and not self._ends:
            raise Refused(f"{len(self._data)} bytes hold no item", "start of the document")

    @property
    def found(self) -> int:
        """How many items are complete."""
        return len(self._ends)

    @property
    def is_full(self) -> bool:
        """Whether it should be given no more: a feed that has served this far is read as far as it goes."""
        return len(self._data) > self._max_bytes

    def cut(self, items: int, *, ended: bool) -> bytes:
        """The bytes up to the end of that many items; where fewer were found, up to the end of the last.

        :param ended: whether the stream has ended: then fewer items mean all bytes, so that one that is cut off counts.
        """
        found = items if ended else min(items, len(self._ends))
        end = self._ends[found - 1] if 0 < found <= len(self._ends) else len(self._data)
        return bytes(memoryview(self._data)[:end])

    def locked(self) -> tuple[str, str]:
        """Text and owner of ``podcast:locked``; both empty where it is not there."""
        match = _LOCKED.search(self._data)
        return (_text(match[2]), _text(match[1] or b"")) if match else ("", "")

    def _scan(self) -> None:
        while self._skip_to_closer():
            token = _TOKEN.search(self._data, self._position)
            if token is None:
                self._position = max(self._position, len(self._data) - _OVERLAP)
                return
            self._position = token.end()
            self._closer = _CLOSERS.get(token[0][:3]) or _CLOSERS.get(token[0][:2], b"")
            if not self._closer:
                self._ends.append(token.end())

    def _skip_to_closer(self) -> bool:
        """Go behind the CDATA or comment that is open, if one is; whether that succeeded."""
        if self._closer:
            found = self._data.find(self._closer, self._position)
            if found < 0:
                self._position = max(self._position, len(self._data) - len(self._closer) + 1)
                return False
            self._position = found + len(self._closer)
            self._closer = b""
        return True


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").strip()
