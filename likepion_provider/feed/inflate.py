"""Content encodings, inflated in small bounded steps: a few kilobytes can stand for hundreds of megabytes."""

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
        self._begin: bytes = b""
        self._engine: Any = None
        self._ended = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._engine is None:
            self._begin += data
            if len(self._begin) < len(_GZIP_MAGIC):
                return
            data, self._begin = self._begin, b""
            self._engine = zlib.decompressobj(_window_bits(data))
        while data and not self._ended:
            try:
                piece = self._engine.decompress(data, STEP)
            except zlib.error as error:
                raise ValueError(str(error)) from None
            data = self._engine.unconsumed_tail or self._next_member()
            if piece:
                yield piece

    def _next_member(self) -> bytes:
        rest: bytes = self._engine.unused_data
        if self._engine.eof:
            # Padding after the last member is common, and no content.
            self._ended = bool(rest) and not rest.startswith(_GZIP_MAGIC[: len(rest)])
            self._engine = zlib.decompressobj(31) if rest and not self._ended else self._engine
        return rest


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
