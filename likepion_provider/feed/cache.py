"""One fetch of a feed for all the accounts of a batch."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from likepion_provider.models import Feed

if TYPE_CHECKING:
    from likepion_provider.web.fetch import Fetcher, Validators

_Key = tuple[str, bool]


@dataclasses.dataclass(frozen=True)
class _Copy:
    feed: Feed = dataclasses.field(repr=False)
    target: int
    validators: Validators
    #: The monotonic clock's seconds when the copy was last known to be good.
    checked_at_s: float


class FeedCache:
    """Feeds in memory, for one event loop.

    Callers that ask for the same feed at the same time share one fetch. A copy that is older than ``fresh_s`` is asked
    after with a conditional GET, at the new address where the feed has moved for good.

    :param fresh_s: how long a copy is handed out without asking, in seconds; 0 asks every time.
    :param size: how many feeds are kept, at least 1; the one unused for longest goes first.
    :param clock: monotonic, in seconds.
    """

    def __init__(self, *, fresh_s: float = 300.0, size: int = 64, clock: Callable[[], float] = time.monotonic) -> None:
        self._fresh_s = fresh_s
        self._size = size
        self._clock = clock
        self._copies: OrderedDict[_Key, _Copy] = OrderedDict()
        self._locks: dict[_Key, tuple[asyncio.Lock, int]] = {}

    async def read(self, fetcher: Fetcher, url: str, *, target: int, key: _Key) -> Feed:
        """A feed with its newest episodes, from memory where that is good enough.

        :param key: the URL, and whether private addresses were allowed: what one may read is not for the other.
        :raises Transient: see :func:`~likepion_provider.feed.read.read_feed`.
        :raises FeedInvalid: see there.
        """
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                return await self._read(fetcher, url, target, key)
        finally:
            lock, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = (lock, users - 1)

    async def _read(self, fetcher: Fetcher, url: str, target: int, key: _Key) -> Feed:
        from likepion_provider.feed.read import read_answer

        copy = self._copies.get(key)
        # A copy with fewer episodes than it was asked for holds all there are.
        usable = copy if copy and (copy.target >= target or len(copy.feed.episodes) < copy.target) else None
        if usable and self._clock() - usable.checked_at_s < self._fresh_s:
            self._copies.move_to_end(key)
            return _shortened(usable.feed, target)
        address = (copy.feed.moved_to if copy else "") or url
        checked_at_s = self._clock()
        async with fetcher.open(address, usable.validators if usable else None) as answer:
            if answer.not_modified and usable:
                fresh = dataclasses.replace(usable, checked_at_s=checked_at_s)
            else:
                feed = await read_answer(fetcher, answer, url, target=target)
                # The address that was remembered stays remembered: asked there, no server says "moved" again.
                feed = dataclasses.replace(feed, moved_to=feed.moved_to or (copy.feed.moved_to if copy else ""))
                fresh = _Copy(feed, target, answer.validators, checked_at_s)
        self._store(key, fresh)
        return _shortened(fresh.feed, target)

    def _store(self, key: _Key, copy: _Copy) -> None:
        self._copies[key] = copy
        self._copies.move_to_end(key)
        while len(self._copies) > self._size:
            self._copies.popitem(last=False)


def _shortened(feed: Feed, target: int) -> Feed:
    return dataclasses.replace(feed, episodes=feed.episodes[:target])
