"""Keeps the claims of a batch: renews them in bulk, and says before every write whether the write may begin."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable

from likepion_provider.aio import Together, within
from likepion_provider.clock import Clock, Moment
from likepion_provider.errors import LeaseLost, LikepionError
from likepion_provider.journal import Journal
from likepion_provider.manager.client import Manager
from likepion_provider.manager.lease import Lease, renewal_delay_s
from likepion_provider.manager.protocol import CLAIM_TTL_S
from likepion_provider.models import PostAccount

log = logging.getLogger(__name__)

#: A write has ended this long before the server would let its claim lapse.
LAPSE_MARGIN_S = 10.0
#: After a renewal that failed, in seconds.
RETRY_S = 20.0


class Keeper:
    """The claims that one task attempt works under.

    :param scope: the run the claims were given to.
    :param holder: the attempt that may write; None for a trigger, which only renews.
    """

    def __init__(self, manager: Manager, journal: Journal, clock: Clock, scope: str, holder: str | None) -> None:
        self._manager = manager
        self._journal = journal
        self._clock = clock
        self.scope = scope
        self._holder = holder
        self._leases: dict[PostAccount, Lease] = {}
        self._fence: Together[PostAccount, None] = Together(self._refusals)
        #: Claims renewed so far.
        self.renewed = 0
        #: The TTL that the manager last gave, in seconds; its pulls do not tell one.
        self._ttl_s = CLAIM_TTL_S
        #: Accounts whose insert has begun or is about to, and what keeps a renewal and an insert apart.
        self._inserting: set[PostAccount] = set()
        self._renewing = asyncio.Lock()
        #: Set when a claim joins that is due before the keeper would wake.
        self._joined = asyncio.Event()
        #: On the boot clock: when the next renewal is due, and when the manager may be asked again.
        self._wakes_at_s = 0.0
        self._not_before_s = 0.0

    @property
    def holder(self) -> str:
        """The attempt that may write."""
        if self._holder is None:
            raise RuntimeError("a trigger's keeper only renews")
        return self._holder

    async def take_over(self, keys: Collection[PostAccount]) -> set[PostAccount]:
        """Become the attempt that works these accounts, also such as the run had let go: a task may have been cleared.

        :return: those whose claim still holds, with no insert begun under it; no other may be touched.
        """
        now = Moment.read(self._clock)
        claims = self._journal.claims
        rows = await self._journal.commit(claims.take_over, self.scope, self.holder, keys, now)
        if (left := set(keys) - rows.keys()) and (
            taken_up := await self._journal.commit(claims.take_up, self.scope, left, now)
        ):
            rows |= await self._journal.commit(claims.take_over, self.scope, self.holder, taken_up, now)
        await self._journal.commit(self._journal.links.orphaned, set(rows), now.at)
        self._leases = {key: row.lease for key, row in rows.items() if not row.is_spent}
        return set(self._leases)

    async def resume(self, keys: Collection[PostAccount]) -> None:
        """Renew these claims too from now on, as far as the scope still holds them, without becoming the writer."""
        now = Moment.read(self._clock)
        found = await asyncio.to_thread(self._journal.claims.leases, self.scope, keys, now)
        self._leases |= found
        if self._clock.boot_s() + self._due_s(found.values()) < self._wakes_at_s:
            self._joined.set()

    def any_left(self, keys: Iterable[PostAccount]) -> bool:
        """Whether one of the claims still holds."""
        now = Moment.read(self._clock)
        return any(self._leases[key].holds(now) for key in keys if key in self._leases)

    def done(self, key: PostAccount) -> None:
        """Stop renewing this claim."""
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

    async def before_insert(self, key: PostAccount) -> None:
        """Renew this claim no more, and wait for the renewal that may be under way.

        An insert ends a claim at the manager, whatever it stores: claimed after it, the account might be a stranger's.
        """
        self._inserting.add(key)
        async with self._renewing:
            pass

    async def renew(self) -> None:
        """Renew what is still ours, in bulk; what the manager does not confirm keeps its old end.

        :raises LikepionError: the manager or the journal failed; the leases stand as they were.
        """
        async with self._renewing:
            wanted = {key.account_id: key for key in self._leases if key not in self._inserting}
            claims, asked = self._journal.claims, Moment.read(self._clock)
            live = await asyncio.to_thread(claims.live, self.scope, list(wanted), asked, self._holder)
            asked = Moment.read(self._clock)
            ours = {each for each, row in live.items() if not row.is_spent and row.lease.holds(asked)}
            for account_id in wanted.keys() - ours:
                self.done(wanted[account_id])
            ours -= {key.account_id for key in self._inserting}
            if not ours:
                return
            answer = await self._manager.claim(sorted(ours))
            lease = Lease.granted(asked, answer.ttl_s)
            self._ttl_s = answer.ttl_s
            self.renewed += len(answer.claimed)
            await self._journal.commit(claims.extend, self.scope, answer.claimed, lease)
            # An account that was done meanwhile stays done.
            self._leases |= {wanted[each]: lease for each in answer.claimed if wanted[each] in self._leases}
            log.info("Renewed %d of %d claims", len(answer.claimed), len(wanted))

    async def claim_served(self, key: PostAccount) -> None:
        """Claim again an account of which the manager has confirmed a record: it is handed out to nobody.

        :raises LeaseLost: nothing is confirmed, so the insert that ended the claim may have left it to anybody.
        """
        if key not in await asyncio.to_thread(self._journal.claims.served, [key]):
            raise LeaseLost(f"the insert before ended the claim on account {key.account_id} and stored nothing")
        asked = Moment.read(self._clock)
        answer = await self._manager.claim([key.account_id])
        if key.account_id not in answer.claimed:
            raise LeaseLost(f"the manager does not find account {key.account_id}")
        lease = Lease.granted(asked, answer.ttl_s)
        await self._journal.commit(self._journal.claims.claim_anew, self.scope, self.holder, key.account_id, lease)
        self._leases[key] = lease

    async def keep(self) -> None:
        """Renew each claim when it is due, for ever; to be run beside the work.

        A failed renewal is no error until a lease is lost, and :meth:`check` tells that.
        """
        while True:
            await self._sleep_until_due()
            try:
                await self.renew()
            except LikepionError as error:
                log.warning("Claims could not be renewed: %s", error)
                pause_s = max(RETRY_S, min(error.retry_after_s or 0.0, CLAIM_TTL_S))
                self._not_before_s = self._clock.boot_s() + pause_s

    async def _sleep_until_due(self) -> None:
        """Sleep until a renewal is due; a claim that joins meanwhile can make that earlier."""
        while True:
            self._joined.clear()
            delay_s = self._due_s(lease for key, lease in self._leases.items() if key not in self._inserting)
            self._wakes_at_s = self._clock.boot_s() + delay_s
            try:
                await within(self._joined.wait(), self._clock, delay_s)
            except asyncio.TimeoutError:
                return

    def _due_s(self, leases: Iterable[Lease]) -> float:
        """Until the shortest lease has used up a third of its TTL; at least a second, and not before it may be."""
        now = Moment.read(self._clock)
        shortest_s = min((lease.remaining_s(now) for lease in leases), default=self._ttl_s)
        due_s = shortest_s - self._ttl_s + renewal_delay_s(self._ttl_s)
        return max(1.0, due_s, self._not_before_s - self._clock.boot_s())
