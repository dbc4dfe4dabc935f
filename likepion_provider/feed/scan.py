"""The first items of a feed that is no well-formed XML: a scan for end tags that skips what only looks like one."""

from __future__ import annotations

import codecs
import re

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
    """

    def __init__(self, encoding: str) -> None:
        self.data = bytearray()
        #: Ends of the items found, as positions in :attr:`data`.
        self.ends: list[int] = []
        #: Encoding of :attr:`data` where that is another than the document declares.
        self.charset = "" if encoding == "utf-8" else "utf-8"
        self._decoder = codecs.getincrementaldecoder(encoding)("replace") if self.charset else None
        #: Signs that begin a tag or an attribute, wherever they stand: what a lenient parser's time depends on.
        self.weight = 0
        self._position = 0
        self._closer = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        if self._decoder:
            chunk = self._decoder.decode(chunk).lstrip("\ufeff").encode()
        self.data += chunk
        self.weight += chunk.count(b"<") + chunk.count(b"=")
        while self._skip_to_closer():
            token = _TOKEN.search(self.data, self._position)
            if token is None:
                self._position = max(self._position, len(self.data) - _OVERLAP)
                return
            self._position = token.end()
            self._closer = _CLOSERS.get(token[0][:3]) or _CLOSERS.get(token[0][:2], b"")
            if not self._closer:
                self.ends.append(token.end())

    def cut(self, items: int) -> bytes:
        """The bytes up to the end of that many items; all there are where fewer were found."""
        end = self.ends[items - 1] if 0 < items <= len(self.ends) else len(self.data)
        return bytes(self.data[:end])

    def locked(self) -> tuple[str, str]:
        """Text and owner of ``podcast:locked``; both empty where it is not there."""
        match = _LOCKED.search(self.data)
        return (_text(match[2]), _text(match[1] or b"")) if match else ("", "")

    def _skip_to_closer(self) -> bool:
        """Go behind the CDATA or comment that is open, if one is; whether that succeeded."""
        if self._closer:
            found = self.data.find(self._closer, self._position)
            if found < 0:
                self._position = max(self._position, len(self.data) - len(self._closer) + 1)
                return False
            self._position = found + len(self._closer)
            self._closer = b""
        return True


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").strip()
