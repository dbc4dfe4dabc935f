"""What a run works on: a pull with what it proves about unknown outcomes, the journal's leftovers, or a choice by hand.

Everything that leaves here is claimed, at the manager and in the journal.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol

from likepion_provider.errors import BadRequest, LikepionError, NotAuthorised, Rejected
from likepion_provider.journal import Journal
from likepion_provider.journal.links import BY_REAPPEARANCE
from likepion_provider.keeper import Claimer
from likepion_provider.lease import Clock, Lease, Moment
from likepion_provider.models import Account, LinkState, PostAccount, SecondaryTask
from likepion_provider.protocol import MAX_PULL
from likepion_provider.worker import patiently

log = logging.getLogger(__name__)

#: Accounts read side by side.
READS = 16
#: A batch costs Airflow two task instances, each some 0.4 s of CPU whatever it does: as few as fill the usual slots;
#: and accounts that are worth a batch of their own.
MAX_BATCHES = 8
MIN_BATCH = 25


class Manager(Claimer, Protocol):
    """What of the manager an intake needs."""

    async def pull(self, limit: int) -> list[Account]:
        """Pull and claim."""
        ...

    async def account(self, account_id: str) -> Account:
        """Read one account."""
        ...


@dataclasses.dataclass(frozen=True)
class Choice:
    """What a person, or a backfill, asked for; empty means everything that the manager has to give.

    A run with a choice does not pull: that would claim other accounts for nothing.
    """

    group_id: str = ""
    domains: tuple[str, ...] = ()
    account_ids: tuple[str, ...] = ()
    #: A person says that links of these accounts, sent before then, are missing at the manager: send them again.
    resend_before: datetime | None = None

    def __bool__(self) -> bool:
        return bool(self.group_id or self.domains or self.account_ids or self.resend_before)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Accounts that one mapped task works.

    :param waits: whether their post's feed was not set yet; then all are of one post.
    """

    name: str
    waits: bool
    tasks: tuple[SecondaryTask, ...]

    def to_public(self) -> dict[str, Any]:
        """A JSON-ready copy for XCom."""
        return {"name": self.name, "waits": self.waits, "tasks": [task.to_public() for task in self.tasks]}

    @classmethod
    def from_public(cls, fields: dict[str, Any]) -> Batch:
        """Undo :meth:`to_public`."""
        tasks = tuple(SecondaryTask.from_public(each) for each in fields["tasks"])
        return cls(fields["name"], fields["waits"], tasks)


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
        await self._journal.commit(self._journal.submissions.forgive, chosen, self._clock.now())
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
        slots = asyncio.Semaphore(READS)

        async def read(account_id: str) -> Account | None:
            async with slots:
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
        resent = await self._journal.commit(self._journal.links.resend, keys, sent_before, by, self._clock.now())
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
        links = self._journal.links
        keys = {task.key for task in pulled}
        if parked := await self._journal.commit(links.park_stale, asked.at):
            log.warning("%d links are parked: their task ended between the request and its answer", parked)
        again, proof = await self._journal.commit(links.reappeared, keys, asked.at)
        if again:
            log.warning("%d links with an unknown outcome were not stored: they are sent again", again)
        if proof:
            log.error(
                "The manager handed out %d accounts whose links it had confirmed: unknown outcomes are settled by "
                "hand from now on (likepion journal list --state unknown)",
                len(proof),
            )
        if await asyncio.to_thread(links.settling) == BY_REAPPEARANCE:
            await self._journal.commit(self._journal.failures.reappeared, keys, asked.at)
        if not exhaustive:
            return
        silent = await asyncio.to_thread(links.presumable, keys, asked.at)
        for account in await self._read([key.account_id for key in silent[:MAX_PULL]], strict=False):
            if account.task.key in silent:
                await self._journal.commit(links.presume, account.task.key, asked.at)
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


def batches(tasks: Sequence[SecondaryTask], batch_size: int | None = None) -> list[Batch]:
    """Cut a run's accounts into what its mapped tasks work.

    A post that still waits for its feed has batches of its own, so that it holds nobody else up. Ready posts keep
    to themselves while that makes few enough batches, and share them otherwise.

    :param batch_size: accounts a batch; by default as many as keep ready posts to about 8 batches.
    """
    size = batch_size or max(MIN_BATCH, math.ceil(len(tasks) / MAX_BATCHES))
    by_post: dict[tuple[bool, str], list[SecondaryTask]] = {}
    for task in tasks:
        by_post.setdefault((task.feed_ready, task.request_id), []).append(task)
    pieces = [(ready, piece) for (ready, _), each in by_post.items() for piece in _pieces(each, size)]
    ready_pieces = [piece for ready, piece in pieces if ready]
    if len(ready_pieces) > MAX_BATCHES and not batch_size:
        ready_pieces = _pieces([task for piece in ready_pieces for task in piece], size)
    waiting = [piece for ready, piece in pieces if not ready]
    return [_batch(piece, waits=False) for piece in ready_pieces] + [_batch(piece, waits=True) for piece in waiting]


def _pieces(tasks: list[SecondaryTask], size: int) -> list[list[SecondaryTask]]:
    return [tasks[start : start + size] for start in range(0, len(tasks), size)]


def _batch(tasks: Sequence[SecondaryTask], *, waits: bool) -> Batch:
    groups = list(dict.fromkeys(task.group_id for task in tasks))
    where = f"group {groups[0][:8]}" if len(groups) == 1 else f"{len(groups)} groups"
    count = f"{len(tasks)} account{'s' if len(tasks) > 1 else ''}"
    return Batch(f"{where}, {count}{', waits for feed' if waits else ''}", waits, tuple(tasks))
