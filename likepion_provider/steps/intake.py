"""Finds the accounts that a run works: by a pull, from the journal's leftovers, or by a person's choice.

Every account that leaves here is claimed, at the manager and in the journal. A pull also proves something about
inserts whose outcome is unknown; that is concluded here, too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from likepion_provider.aio import Gate, patiently
from likepion_provider.clock import Clock, Moment
from likepion_provider.errors import BadRequest, LikepionError, NotAuthorised, Rejected
from likepion_provider.journal import Journal
from likepion_provider.manager.client import Manager
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import MAX_PULL
from likepion_provider.models import Account, LinkState, PostAccount, SecondaryTask

log = logging.getLogger(__name__)

#: Accounts read side by side.
READS = 16


@dataclasses.dataclass(frozen=True)
class Choice:
    """The accounts that a person, or a backfill, asked for; an empty choice means whatever the manager hands out.

    A run with a choice does not pull: that would claim other accounts for nothing.
    """

    group_id: str = ""
    domains: tuple[str, ...] = ()
    account_ids: tuple[str, ...] = ()
    #: A person says that links of these accounts, sent before then, are missing at the manager: send them again.
    resend_before: datetime | None = None

    def __bool__(self) -> bool:
        return bool(self.group_id or self.domains or self.account_ids or self.resend_before)


class Intake:
    """Finds a run's accounts and claims them.

    :param scope: the run that the claims are for.
    :param run_id: the run's name in the journal, for people.
    """

    def __init__(self, *, manager: Manager, journal: Journal, clock: Clock, scope: str, run_id: str) -> None:
        self._manager = manager
        self._journal = journal
        self._clock = clock
        self._scope = scope
        self._run_id = run_id

    async def pull(self, limit: int) -> list[SecondaryTask]:
        """Pull, settle what the pull proves, and take leftovers along.

        :param limit: 1 to 1,000.
        :raises OutcomeUnknown: the answer was lost; do not pull again at once.
        """
        asked = Moment.read(self._clock)
        pulled = [account.task for account in await self._manager.pull(limit)]
        lease = Lease.granted(asked)
        if lease.holds(Moment.read(self._clock)):
            await self._journal.commit(self._journal.claims.grant, self._scope, {task.key: lease for task in pulled})
            await self._journal.commit(self._journal.submissions.note, pulled, self._run_id, asked.at, pulled=True)
            await self._settle(pulled, asked, exhaustive=len(pulled) < limit)
        else:
            log.warning("The claims of %d pulled accounts were over before this run could go on: let go", len(pulled))
            pulled = []
        leftovers = await self._leftovers({task.account_id for task in pulled})
        log.info("Pulled %d accounts (limit %d) and took %d leftovers along", len(pulled), limit, len(leftovers))
        return pulled + leftovers

    async def choose(self, choice: Choice) -> list[SecondaryTask]:
        """Take accounts that the journal knows, or that are named, without pulling.

        :raises BadRequest: links are to be sent again, but neither a group nor accounts are named; or the
            journal has never seen the group or the domain; or the manager knows no such account.
        """
        if choice.resend_before and not (choice.group_id or choice.account_ids):
            raise BadRequest("resend needs group_id or account_ids", remedy="Name whose links are missing.")
        ids = await asyncio.to_thread(self._chosen_ids, choice)
        accounts = await self._read(ids, strict=bool(choice.account_ids))
        tasks = [account.task for account in accounts if _wanted(account.task, choice)]
        chosen = [task.account_id for task in tasks]
        await self._journal.commit(self._journal.settling.forgive, chosen, self._clock.now())
        if choice.resend_before:
            await self._resend(tasks, choice.resend_before)
        done = await self._done(tasks)
        for task in tasks:
            if not task.request_id:
                log.info("Left alone: %s, no post runs in its group", task.label)
            elif task.key in done:
                log.info("Left alone: %s, all its links are stored", task.label)
        return await self._claim([task for task in tasks if task.request_id and task.key not in done])

    async def reaffirm(self, tasks: Sequence[SecondaryTask]) -> list[SecondaryTask]:
        """Claim again, in bulk, what this run still holds.

        :return: the accounts to go on with; what lapsed or is not found is let go.
        :raises LikepionError: the manager failed; nothing changed.
        """
        asked = Moment.read(self._clock)
        ids = [task.account_id for task in tasks]
        live = await asyncio.to_thread(self._journal.claims.live, self._scope, ids, asked)
        claimed = await self._confirm(live)
        for task in tasks:
            if task.account_id not in claimed:
                reason = "the manager does not find it" if task.account_id in live else "its claim has lapsed"
                log.warning("Dropped %s: %s", task.label, reason)
        return [task for task in tasks if task.account_id in claimed]

    async def _confirm(self, account_ids: Collection[str]) -> frozenset[str]:
        if not account_ids:
            return frozenset()
        asked = Moment.read(self._clock)
        answer = await self._manager.claim(sorted(account_ids))
        await self._journal.commit(
            self._journal.claims.extend, self._scope, answer.claimed, Lease.granted(asked, answer.ttl_s)
        )
        await self._journal.commit(self._journal.claims.let_go, self._scope, set(account_ids) - answer.claimed)
        return answer.claimed

    async def _claim(self, tasks: Sequence[SecondaryTask]) -> list[SecondaryTask]:
        """Take accounts without a pull: first in the journal, against our own other runs, then at the manager."""
        asked = Moment.read(self._clock)
        lease = Lease.granted(asked)
        wanted = {task.key: lease for task in tasks}
        reserved = await self._journal.commit(self._journal.claims.reserve, self._scope, wanted, asked)
        for task in tasks:
            if task.key not in reserved:
                log.info("Left alone: %s, another run works it", task.label)
        try:
            claimed = await self._confirm({key.account_id for key in reserved})
        except LikepionError:
            await self._journal.commit(self._journal.claims.let_go, self._scope, {key.account_id for key in reserved})
            raise
        taken = [task for task in tasks if task.account_id in claimed]
        await self._journal.commit(self._journal.submissions.note, taken, self._run_id, asked.at)
        return taken

    # --- by hand ---

    def _chosen_ids(self, choice: Choice) -> list[str]:
        if choice.account_ids:
            return list(dict.fromkeys(choice.account_ids))
        submissions = self._journal.submissions
        known = submissions.of_groups([choice.group_id]) if choice.group_id else submissions.of_domains(choice.domains)
        if not known:
            what = f"group {choice.group_id!r}" if choice.group_id else f"domains {', '.join(choice.domains)}"
            raise BadRequest(
                f"the journal has never seen {what}",
                remedy="Let a scheduled run pull it first, or name its accounts in account_ids.",
            )
        return list(dict.fromkeys(each.key.account_id for each in known))

    async def _read(self, account_ids: Iterable[str], *, strict: bool) -> list[Account]:
        gate = Gate(READS, clock=self._clock)

        async def read(account_id: str) -> Account | None:
            async with gate.passage():
                try:
                    return await patiently(lambda: self._manager.account(account_id), self._clock)
                except NotAuthorised:
                    raise
                except Rejected as error:
                    if strict:
                        message = f"account {account_id!r} cannot be read: {error.message}"
                        raise BadRequest(message, remedy="Check account_ids against the manager.") from error
                    log.warning("Left alone: account %s, %s", account_id, error)
                    return None

        return [each for each in await asyncio.gather(*map(read, account_ids)) if each]

    async def _resend(self, tasks: Sequence[SecondaryTask], sent_before: datetime) -> None:
        keys = [task.key for task in tasks]
        by = f"run {self._run_id}"
        resent = await self._journal.commit(self._journal.settling.resend, keys, sent_before, by, self._clock.now())
        log.warning("%d links that the manager had confirmed are sent again, as this run was asked to", resent)

    async def _done(self, tasks: Sequence[SecondaryTask]) -> set[PostAccount]:
        """All links stored, and no more to come."""
        keys = [task.key for task in tasks]
        states = await asyncio.to_thread(self._journal.links.states, keys)
        known = await asyncio.to_thread(self._journal.submissions.get, keys)
        growing = {key for key, each in known.items() if each.state.is_under_way}
        return {key for key, count in states.items() if set(count) == {LinkState.STORED}} - growing

    # --- with a pull ---

    async def _settle(self, pulled: Sequence[SecondaryTask], asked: Moment, *, exhaustive: bool) -> None:
        settling = self._journal.settling
        keys = {task.key for task in pulled}
        if parked := await self._journal.commit(settling.park_stale, asked.at):
            log.warning("%d links are parked: their task ended between the request and its answer", parked)
        again, proof = await self._journal.commit(settling.reappeared, keys, asked.at)
        if again:
            log.warning("%d links with an unknown outcome were not stored: they are sent again", again)
        if proof:
            log.error(
                "The manager handed out %d accounts whose links it had confirmed: unknown outcomes are settled by "
                "hand from now on (likepion journal list --state unknown)",
                len(proof),
            )
        if not exhaustive:
            return
        silent = await asyncio.to_thread(settling.presumable, keys, asked.at)
        for account in await self._read([key.account_id for key in silent[:MAX_PULL]], strict=False):
            if account.task.key in silent:
                await self._journal.commit(settling.presume, account.task.key, asked.at)
                log.warning("%s: links with an unknown outcome are taken for stored", account.task.label)

    async def _leftovers(self, pulled: Collection[str]) -> list[SecondaryTask]:
        """Accounts with a stored link and something left to send or to find: no pull brings them back for that post."""
        keys = await asyncio.to_thread(self._journal.links.leftovers, MAX_PULL)
        submissions, now = self._journal.submissions, self._clock.now()
        incomplete = await asyncio.to_thread(submissions.incomplete, MAX_PULL, now)
        await self._journal.commit(submissions.looked_at, incomplete, now)
        keys += incomplete
        ids = dict.fromkeys(key.account_id for key in keys if key.account_id not in pulled)
        wanted = set(keys)
        accounts = await self._read(ids, strict=False)
        return await self._claim([account.task for account in accounts if account.task.key in wanted])


def _wanted(task: SecondaryTask, choice: Choice) -> bool:
    return (not choice.group_id or task.group_id == choice.group_id) and (
        not choice.domains or task.domain in choice.domains
    )
