"""What a report says of how the new episodes of a known show come to its platform."""

from __future__ import annotations

import dataclasses
from datetime import datetime

from likepion_provider.errors import PlatformError, Transient
from likepion_provider.platforms import Platform


@dataclasses.dataclass(frozen=True)
class Rereading:
    """Whether the platform will read the feed again; nothing where it need not.

    :param words: they go on from what it lists.
    :param remedy: what a person can do.
    """

    words: str = ""
    remedy: str = ""


def asked(at: datetime) -> Rereading:
    """The platform was asked to."""
    return Rereading(f"it was asked at {at:%Y-%m-%d %H:%M}Z to read the feed again")


def refused(error: PlatformError | Transient) -> Rereading:
    """The platform did not take the question."""
    return Rereading(f"it could not be asked to read the feed again: {error.message}", error.remedy)


def not_asked(platform: Platform) -> Rereading:
    """The platform cannot be asked: it does so by itself, or a person has to."""
    rereads = platform.rereads
    if rereads.by_itself:
        return Rereading(f"it {rereads.by_itself}", rereads.by_person)
    unknown = f"Nothing says when {platform.title} reads a feed again: look there whether it can be asked to."
    return Rereading("it cannot be asked to read the feed again", rereads.by_person or unknown)
