"""What reading a feed may cost."""

from __future__ import annotations

import dataclasses


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

    def kept_bytes_of(self, items: int) -> int:
        """How many bytes may be kept for that many items."""
        return self.kept_bytes + self.kept_bytes_per_item * items

    def kept_weight_of(self, items: int) -> int:
        """How much all that is kept for that many items may weigh."""
        return self.kept_weight + self.kept_weight_per_item * items


DEFAULT_BOUNDS = Bounds()


class Refused(Exception):
    """A bound was passed.

    :param why: which bound, in words that end a sentence.
    :param where: the place in the feed, e.g. ``item 3``; empty until somebody knows it.
    """

    def __init__(self, why: str, where: str = "") -> None:
        super().__init__(why, where)
        self.why = why
        self.where = where
