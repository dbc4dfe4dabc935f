"""The turns of a batch's accounts at sites that are worked by one account at a time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

from likepion_provider.aio import within
from likepion_provider.clock import Clock, Moment
from likepion_provider.errors import Transient
from likepion_provider.journal import Journal
from likepion_provider.models import PostAccount
from likepion_provider.steps.keeper import Keeper

#: Between two questions whether the turn of another task's account is over, in seconds; the last one repeats.
ASK_AFTER_S = (1.0, 2.0, 5.0, 10.0)


class Turns:
    """Lets one account of all tasks at a time work a site.

    Those of this batch wait for each other here, so that one of them at a time asks the journal.
    """

    def __init__(self, journal: Journal, keeper: Keeper, clock: Clock) -> None:
        self._journal = journal
        self._keeper = keeper
        self._clock = clock
        self._here: dict[str, asyncio.Lock] = {}

    @contextlib.asynccontextmanager
    async def turn(self, site: str, key: PostAccount, patience_s: float) -> AsyncIterator[None]:
        """The account's turn at a site, for as long as the body runs; without a site, nobody waits.

        :param patience_s: how long it is waited for, at most until the claim as it is now would lapse.
        :raises Transient: another account had the turn all the time.
        :raises LeaseLost: the claim has lapsed.
        """
        if not site:
            yield
            return
        ends_s = self._clock.boot_s() + min(patience_s, self._keeper.check_now(key))
        here = self._here.setdefault(site, asyncio.Lock())
        try:
            await within(here.acquire(), self._clock, ends_s - self._clock.boot_s())
        except asyncio.TimeoutError:
            raise _busy(site) from None
        try:
            await self._take(site, key, ends_s)
            try:
                yield
            finally:
                await self._journal.commit(self._journal.sites.free, site, key, self._keeper.holder)
        finally:
            here.release()

    async def _take(self, site: str, key: PostAccount, ends_s: float) -> None:
        take, holder = self._journal.sites.take, self._keeper.holder
        for wait_s in itertools.chain(ASK_AFTER_S, itertools.repeat(ASK_AFTER_S[-1])):
            if await self._journal.commit(take, site, key, holder, Moment.read(self._clock)):
                return
            if self._clock.boot_s() + wait_s > ends_s:
                raise _busy(site)
            await self._clock.sleep(wait_s)

    async def check(self, site: str, key: PostAccount) -> float:
        """To be called right before a write: :meth:`Keeper.check`, and that the turn is still the account's."""
        if site:
            await asyncio.to_thread(self._journal.sites.require, site, key, self._keeper.holder)
        return await self._keeper.check(key)


def _busy(site: str) -> Transient:
    return Transient(
        f"another account is being worked at {site}, which takes one at a time",
        remedy="Nothing to do: a later run takes the account again.",
    )
