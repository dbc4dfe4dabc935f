"""Content encodings, inflated in small bounded steps: a few kilobytes can stand for hundreds of megabytes.

aiohttp's own inflating is bounded from 3.14 on, but it fails on padding behind gzip, and hands on an encoding that it
does not know as if it were content.
"""

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Iterator
from typing import Any, Protocol

#: Bytes that one step gives at most.
STEP = 64 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
#: What is written into ``Content-Encoding``, and changes nothing about the body.
_NO_CODINGS = frozenset({"", "identity", "none", "binary", "8bit", "7bit", "aws-chunked", "utf-8", "utf8"})
_SNIFFED_BYTES = 16
_PLAIN = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!DOCTYPE|!--|rss|feed|rdf:RDF)", re.IGNORECASE)


class Inflater(Protocol):
    """Turns a body's bytes into its content, in steps of at most 64 KB."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes from the wire.

        :raises ValueError: they are not in the encoding that was announced.
        """
        ...

    def finish(self) -> Iterator[bytes]:
        """Tell that there are no more.

        :raises ValueError: as for :meth:`feed`.
        """
        yield from ()


class _Identity(Inflater):
    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), STEP):
            yield data[start : start + STEP]


class _Zlib(Inflater):
    """gzip, of any number of members, and deflate with or without zlib's header."""

    def __init__(self) -> None:
        self._held = b""
        self._engine: Any = None
        self._members = 0
        self._ended = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        data, self._held = self._held + data, b""
        # A step that is full may have left output inside zlib, although all input is used up.
        full = False
        while (data or full) and not self._ended:
            if self._engine is None and not self._begin(data):
                return
            piece = self._step(data)
            full = len(piece) >= STEP
            data = self._engine.unconsumed_tail
            if self._engine.eof:
                data, full, self._engine = self._engine.unused_data, False, None
            if piece:
                yield piece

    def _begin(self, data: bytes) -> bool:
        """Start the first or the next member; whether there is one to read."""
        if len(data) < len(_GZIP_MAGIC):
            self._held = data
            return False
        # Padding after the last member is common, and no content.
        self._ended = self._members > 0 and not data.startswith(_GZIP_MAGIC)
        self._engine = zlib.decompressobj(_window_bits(data))
        self._members += 1
        return not self._ended

    def _step(self, data: bytes) -> bytes:
        try:
            piece: bytes = self._engine.decompress(data, STEP)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        return piece


def _window_bits(start: bytes) -> int:
    if start.startswith(_GZIP_MAGIC):
        return 31
    has_zlib_header = start[0] & 0x0F == 8 and int.from_bytes(start[:2], "big") % 31 == 0
    return 15 if has_zlib_header else -15


class _Brotli(Inflater):
    def __init__(self, module: Any) -> None:
        self._error = module.error
        self._engine = module.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            try:
                piece = self._engine.process(data, output_buffer_limit=STEP)
            except self._error as error:
                raise ValueError(str(error)) from None
            data = b""
            if piece:
                yield piece
            elif self._engine.can_accept_more_data():
                return


def _brotli() -> Any:
    """The brotli module if it is there and can bound its output (1.2 or newer), else None."""
    try:
        module = importlib.import_module("brotli")
    except ImportError:
        return None
    return module if hasattr(module.Decompressor, "can_accept_more_data") else None


def accepted() -> str:
    """The value of ``Accept-Encoding``: what can be inflated here."""
    return "gzip, deflate, br" if _brotli() else "gzip, deflate"


def inflater(encoding: str) -> Inflater:
    """The inflater for a ``Content-Encoding``.

    Hosts and caches say what is not so: what begins as gzip is gzip, what begins as XML is that, whatever is said.

    :param encoding: the header's value; empty means none. What is no coding of its own, such as ``aws-chunked``, is
        left out.
    """
    return _Sniffing(encoding)


class _Sniffing(Inflater):
    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._start = b""
        self._engine: Inflater | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._engine is None:
            self._start += data
            if len(self._start) < _SNIFFED_BYTES and not self._start.startswith(_GZIP_MAGIC):
                return
            self._engine, data = _told(self._encoding, self._start), self._start
        yield from self._engine.feed(data)

    def finish(self) -> Iterator[bytes]:
        if self._engine is None and self._start:
            yield from _told(self._encoding, self._start).feed(self._start)


def _told(encoding: str, start: bytes) -> Inflater:
    """The inflater for a body by its first bytes, and else by what is said of it."""
    names = [name for each in encoding.split(",") if (name := each.strip().lower()) not in _NO_CODINGS]
    if start.startswith(_GZIP_MAGIC):
        return _Zlib()
    if not names or _PLAIN.match(start):
        return _Identity()
    if len(names) == 1 and names[0] in ("gzip", "x-gzip", "deflate"):
        return _Zlib()
    module = _brotli() if names == ["br"] else None
    if module is None:
        raise ValueError(f"the content encoding {', '.join(names)[:40]!r} was not offered")
    return _Brotli(module)
