"""Content encodings, inflated in small bounded steps: a few kilobytes can stand for hundreds of megabytes.

aiohttp's own inflating is bounded from 3.14 on, but it fails on padding behind gzip, and hands on an encoding that it
does not know as if it were content.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Iterator
from typing import Any, Protocol

#: Bytes that one step gives at most.
STEP = 64 * 1024
_GZIP_MAGIC = b"\x1f\x8b"


class Inflater(Protocol):
    """Turns a body's bytes into its content, in steps of at most 64 KB."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes from the wire.

        :raises ValueError: they are not in the encoding that was announced.
        """
        ...


class _Identity:
    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), STEP):
            yield data[start : start + STEP]


class _Zlib:
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


class _Brotli:
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

    :param encoding: the header's value; empty means none.
    :raises ValueError: the encoding is none that was offered, or more than one.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return _Identity()
    if name in ("gzip", "x-gzip", "deflate"):
        return _Zlib()
    module = _brotli() if name == "br" else None
    if module is None:
        raise ValueError(f"the content encoding {name[:40]!r} was not offered")
    return _Brotli(module)
