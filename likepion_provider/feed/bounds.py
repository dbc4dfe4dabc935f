"""What reading a feed may cost."""

from __future__ import annotations

import dataclasses

_MB = 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Past these the reading stops, and the feed is not certain; what cannot be stopped ends the reader's process.

    How many bytes of a document are fetched at most is said by :class:`likepion_provider.web.fetch.Limits`.
    """

    #: Items of one document.
    items: int = 100_000
    #: Bytes of one item; a larger one is left out, and named.
    item_bytes: int = _MB
    #: Bytes of one tag or comment, which expat reads again from its beginning with each piece.
    tag_bytes: int = 2 * _MB
    #: Bytes of all that stands outside of items.
    frame_bytes: int = 2 * _MB
    #: Bytes of the items that are kept to be chosen from.
    kept_bytes: int = 64 * _MB
    #: Bytes of a document that is no well-formed XML, which feedparser reads as a whole.
    tolerant_bytes: int = 4 * _MB
    #: Characters of a guid or an address; an item with a longer one is left out, and named.
    address_characters: int = 16 * 1024
    #: Bytes of items that feedparser is handed at a time.
    batch_bytes: int = 4 * _MB
    #: Bytes of memory beyond what the reader's process has when it is ready. macOS does not hold it to that.
    memory_bytes: int = 256 * _MB
    #: Seconds of CPU: for each document; for each MB of it; for each item, and for each malformed MB, parsed.
    cpu_s: float = 2.0
    cpu_s_per_mb: float = 0.125
    cpu_s_per_item: float = 0.005
    cpu_s_per_malformed_mb: float = 2.0
    #: Seconds of CPU past these, after which the process ends.
    spare_cpu_s: float = 2.0


DEFAULT_BOUNDS = Bounds()


class Refused(Exception):
    """A bound was passed; the message says which, in words that end a sentence."""
