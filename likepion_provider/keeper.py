"""Keeps the claims of a batch: renews in bulk, and says before every write whether it may begin."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Iterable
from typing import Protocol

from likepion_provider.errors import LeaseLost, LikepionError, Transient
from likepion_provider.journal import Journal
from likepion_provider.journal.group import Together
from likepion_provider.lease import Clock, Lease, Moment, renewal_delay_s
from likepion_provider.models import PostAccount
from likepion_provider.protocol import CLAIM_TTL_S, Claimed

log = logging.getLogger(__name__)

#: A write has ended this long before the server would let its claim lapse.
LAPSE_MARGIN_S = 10.0
#: After a renewal that failed, in seconds.
RETRY_S = 20.0


class Claimer(Protocol):
    """What of the manager the keeper needs."""

    async def claim(self, account_ids: list[str]) -> Claimed:
        """Claim, or extend."""
        ...


class Keeper:
    """The claims that one task attempt works under.

    :param scope: the run the claims were given to.
    :param holder: the attempt that may write; None for a trigger, which only renews.
    """

    def __init__(self, manager: Claimer, journal: Journal, clock: Clock, scope: str, holder: str | None) -> None:
        self._manager = manager
        self._journal = journal
        self._clock = clock
        self.scope = scope
        self._holder = holder
        self._leases: dict[PostAccount, Lease] = {}
        self._fence: Together[PostAccount, None] = Together(self._refusals)
        #: Claims renewed so far.
        self.renewed = 0
        #: What the manager last gave; its pulls do not say.
        self._ttl_s = CLAIM_TTL_S
        self._renewing: asyncio.Task[None] | None = None
        #: The sleep before the next renewal; on the boot clock, when it ends and when the manager may be asked again.
        self._sleep: asyncio.Task[None] | None = None
        self._wakes_at_s = 0.0
        self._not_before_s = 0.0

    @property
    def holder(self) -> str:
        """The attempt that may write."""
        if self._holder is None:
            raise RuntimeError("a trigger's keeper only renews")
        return self._holder

    async def take_over(self, keys: Collection[PostAccount]) -> set[PostAccount]:
        """Become the attempt that works these accounts.

        :return: those whose claim still holds; no other may be touched.
        """
        now = Moment.read(self._clock)
        claims = self._journal.claims
        self._leases = await self._journal.commit(claims.take_over, self.scope, self.holder, keys, now)
        await self._journal.commit(self._journal.links.orphaned, set(self._leases), now.at)
        return set(self._leases)

    async def resume(self, keys: Collection[PostAccount]) -> None:
        """Renew from now on these too, as far as the scope still holds them, without becoming who may write."""
        now = Moment.read(self._clock)
        found = await asyncio.to_thread(self._journal.claims.leases, self.scope, keys, now)
        self._leases |= found
        if self._sleep and self._clock.boot_s() + self._due_s(found.values()) < self._wakes_at_s:
            self._sleep.cancel()

    def any_left(self, keys: Iterable[PostAccount]) -> bool:
        """Whether one of the claims still holds."""
        now = Moment.read(self._clock)
        return any(self._leases[key].holds(now) for key in keys if key in self._leases)

    def done(self, key: PostAccount) -> None:
        """Renew it no more."""
        self._leases.pop(key, None)

    async def check(self, key: PostAccount) -> float:
        """To be called right before a write.

        :return: the seconds within which it must have ended.
        :raises LeaseLost: it must not begin.
        """
        await self._fence.ask(key)
        return self.check_now(key)

    def _refusals(self, keys: list[PostAccount]) -> list[Exception | None]:
        return [*self._journal.claims.refusals(keys, self.holder, Moment.read(self._clock))]

    def check_now(self, key: PostAccount) -> float:
        """The part of :meth:`check` that needs no database: the very last look before a byte leaves.

        :return: the seconds within which the write must have ended.
        :raises LeaseLost: it must not.
        """
        lease, now = self._leases.get(key), Moment.read(self._clock)
        if lease is None or not lease.holds(now):
            raise LeaseLost(f"the claim on account {key.account_id} has lapsed")
        return lease.remaining_s(now) - LAPSE_MARGIN_S

    async def renew(self, keys: Collection[PostAccount] | None = None) -> None:
        """Renew what is still ours, in bulk; what the manager does not confirm keeps its old end.

        :param keys: all by default.
        :raises LikepionError: the manager or the journal failed; the leases stand as they were.
        """
        wanted = {key.account_id: key for key in (self._leases if keys is None else keys) if key in self._leases}
        asked = Moment.read(self._clock)
        claims = self._journal.claims
        ours = await asyncio.to_thread(claims.live, self.scope, list(wanted), asked, self._holder)
        for account_id in set(wanted) - ours:
            self.done(wanted[account_id])
        if not ours:
            return
        asked = Moment.read(self._clock)
        answer = await self._manager.claim(sorted(ours))
        lease = Lease.granted(asked, answer.ttl_s)
        self._ttl_s = answer.ttl_s
        self.renewed += len(answer.claimed)
        await self._journal.commit(claims.extend, self.scope, answer.claimed, lease)
        # What was done meanwhile stays done.
        self._leases |= {wanted[each]: lease for each in answer.claimed if wanted[each] in self._leases}
        log.info("Renewed %d of %d claims", len(answer.claimed), len(wanted))

    @contextlib.asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Renew beside the body, for as long as it takes."""
        self.start()
        try:
            yield
        finally:
            await self.stop()

    def start(self) -> None:
        """Renew from now on, until :meth:`stop`."""
        self._renewing = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Renew no more."""
        if self._renewing:
            self._renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._renewing

    async def _keep(self) -> None:
        while True:
            if not await self._slept():
                continue
            try:
                await self.renew()
            except LikepionError as error:  # not an error until a lease is lost; check() says so then
                log.warning("Claims could not be renewed: %s", error)
                pause_s = max(RETRY_S, (error.retry_after_s or 0) if isinstance(error, Transient) else 0)
                self._not_before_s = self._clock.boot_s() + pause_s

    async def _slept(self) -> bool:
        """Sleep until a renewal is due.

        :return: False if a claim joined that is due earlier.
        """
        delay_s = self._due_s(self._leases.values())
        self._wakes_at_s = self._clock.boot_s() + delay_s
        self._sleep = asyncio.create_task(self._clock.sleep(delay_s))
        try:
            await asyncio.wait([self._sleep])
        finally:
            interrupted = self._sleep.cancel() or self._sleep.cancelled()
            await asyncio.gather(self._sleep, return_exceptions=True)
        return not interrupted

    def _due_s(self, leases: Iterable[Lease]) -> float:
        """Until the shortest lease has used up a third of its TTL; at least a second, and not before it may be."""
        now = Moment.read(self._clock)
        shortest_s = min((lease.remaining_s(now) for lease in leases), default=self._ttl_s)
        due_s = shortest_s - self._ttl_s + renewal_delay_s(self._ttl_s)
        return max(1.0, due_s, self._not_before_s - self._clock.boot_s())
