"""Finds the accounts that a run works: by a pull, from the journal's leftovers, or by a person's choice.

Every account that leaves here is claimed, at the manager and in the journal. A pull also proves something about
inserts whose outcome is unknown; that is concluded here, too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from likepion_provider.aio import all_of, patiently
from likepion_provider.clock import Clock, Moment
from likepion_provider.errors import BadRequest, LeaseLost, LikepionError, NotAuthorised, Rejected
from likepion_provider.journal import Journal
from likepion_provider.journal.claims import HANDED_OVER
from likepion_provider.journal.submissions import LOOK_AGAIN_AFTER
from likepion_provider.journal.unfinished import ASK_AFTER, Left
from likepion_provider.manager.client import Manager
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import CLAIM_TTL_S, MAX_PULL
from likepion_provider.models import Account, LinkState, PostAccount, SecondaryTask
from likepion_provider.plurals import counted
from likepion_provider.steps.reports import AccountReport, failed
from likepion_provider.steps.unclaimed import unclaimed

log = logging.getLogger(__name__)

#: Accounts, or domains, that a person may choose for one run.
MAX_CHOICE = 1000
#: Accounts of posts that did not run, and accounts of unknown outcomes, that one run asks about.
DOUBTFUL = 50


@dataclasses.dataclass(frozen=True)
class Choice:
    """The accounts that a person, or a backfill, asked for; an empty choice means whatever the manager hands out.

    :raises BadRequest: more than :data:`MAX_CHOICE` are named.
    """

    group_id: str = ""
    domains: tuple[str, ...] = ()
    account_ids: tuple[str, ...] = ()
    #: A person says that links of these accounts, sent before then, are missing at the manager: send them again.
    resend_before: datetime | None = None

    def __post_init__(self) -> None:
        for what, named in (("account_ids", self.account_ids), ("domains", self.domains)):
            if len(named) > MAX_CHOICE:
                message = f"{what} names {len(named)}, and a run takes at most {MAX_CHOICE}"
                raise BadRequest(message, remedy="Name fewer, in several runs.")

    def __bool__(self) -> bool:
        return bool(self.group_id or self.domains or self.account_ids or self.resend_before)

    def has(self, task: SecondaryTask) -> bool:
        """Whether the account of a task was asked for."""
        return (
            (not self.account_ids or task.account_id in self.account_ids)
            and (not self.group_id or task.group_id == self.group_id)
            and (not self.domains or task.domain in self.domains)
        )


@dataclasses.dataclass(frozen=True)
class Refusal:
    """An account that was asked for and is not to be had.

    :param name: its label where one is known, else its id.
    :param reason: why, as a clause.
    """

    name: str
    account_id: str
    reason: str


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
        #: The ``link_rss`` of the posts of this intake's accounts, by post; secret. It is the pull's word where a pull
        #: brought the account: a later answer about the account names its group's newest post, which may be another.
        self.feeds: dict[str, str] = {}
        #: What was asked for and is not to be had.
        self.refusals: list[Refusal] = []
        #: What was handed out although the manager had confirmed links of it: it has lost them, or counts otherwise.
        self.handed_out_again: list[SecondaryTask] = []
        #: What :meth:`reaffirm` could not go on with.
        self.dropped: list[AccountReport] = []

    async def pull(self, limit: int, *, again: bool = False) -> list[SecondaryTask]:
        """Take up what was handed over, pull the rest, settle what the pull proves, and take leftovers along.

        :param limit: 1 to 1,000.
        :param again: the run has pulled before: what it took then comes first, where the manager still holds it for us.
        :raises OutcomeUnknown: the answer was lost; do not pull again at once.
        """
        adopted = await self._adopt(limit, again=again)
        pulled = await self._pull(limit - len(adopted), lambda _: True) if len(adopted) < limit else []
        leftovers = await self._leftovers(adopted, pulled)
        log.info(
            "Pulled %s (limit %d), took up %d claimed before and %s",
            *(counted(len(pulled), "account"), limit, len(adopted), counted(len(leftovers), "leftover")),
        )
        return _beside(adopted, pulled) + pulled + leftovers

    async def choose(self, choice: Choice, limit: int = MAX_PULL, *, pulls: bool = True) -> list[SecondaryTask]:
        """Take the accounts that were asked for: what the claim rule allows at once, the rest by one pull.

        The manager does not say who holds an account, so what is nobody's by our journal comes from a pull or not at
        all. The accounts that the pull brings beside are handed over to the next ordinary run.

        :param limit: of the pull, 1 to 1,000.
        :param pulls: False for a dry run, which asks the manager for no claim: it takes only what a claim of ours holds
            already, and forgives and resends nothing.
        :raises BadRequest: links are to be sent again, but neither a group nor accounts are named; or neither journal
            nor pull knows the group or the domain; or the manager knows no such account.
        """
        if choice.resend_before and not (choice.group_id or choice.account_ids):
            raise BadRequest("resend needs group_id or account_ids", remedy="Name whose links are missing.")
        ids = await asyncio.to_thread(self._known_ids, choice)
        tasks = await self._asked_for(ids, choice)
        if pulls:
            await self._journal.commit(self._journal.settling.forgive, [task.key for task in tasks], self._clock.now())
            posts = {task.request_id for task in tasks if task.request_id}
            await self._journal.commit(self._journal.unfinished.revive, posts)
        done = set() if choice.resend_before else await self._done(tasks)
        open_tasks = [task for task in tasks if task.request_id and task.key not in done]
        taken, busy = await self.take(open_tasks, confirmed_counts=pulls and not choice.resend_before, asks=pulls)
        claimed = {task.account_id for task in taken}
        rest = [task for task in open_tasks if task.account_id not in claimed and task.key not in busy]
        pulled: list[SecondaryTask] = []
        # A pull may also bring accounts of the group, or of the domain, that the journal has never seen.
        if pulls and (rest or not choice.account_ids):
            pulled = await self._pull(limit, choice.has, choice.resend_before)
        if not ids and not pulled:
            raise _unknown(choice)
        if pulls and choice.resend_before:
            await self._resend(taken, choice.resend_before)
        self._refuse(tasks, done, busy, claimed | {task.account_id for task in pulled}, pulls=pulls)
        return _beside(taken, pulled) + pulled

    async def reaffirm(self, tasks: Sequence[SecondaryTask]) -> list[SecondaryTask]:
        """Claim again, in bulk, what this run still holds, or had let go.

        :return: the accounts to go on with; what lapsed or is not found is let go, and is in :attr:`dropped`.
        :raises LikepionError: the manager failed; nothing changed.
        """
        asked, claims = Moment.read(self._clock), self._journal.claims
        rows = await asyncio.to_thread(claims.live, self._scope, [task.account_id for task in tasks], asked)
        leases = {account_id: row.lease for account_id, row in rows.items() if not row.is_spent}
        others = [task.key for task in tasks if task.account_id not in rows]
        if others:
            taken_up = await self._journal.commit(claims.take_up, self._scope, others, asked, handed_over=True)
            leases |= {key.account_id: lease for key, lease in taken_up.items()}
        claimed = await self._confirm(leases)
        left = [task for task in tasks if task.account_id not in claimed]
        reports = await asyncio.to_thread(unclaimed, self._journal, self._scope, left, asked)
        for task in left:
            report = reports[task.key]
            if task.account_id in leases:
                report = failed(task, LeaseLost(f"the manager does not find account {task.account_id}"))
            self.dropped.append(report)
            log.warning("Dropped %s: %s", task.label, report.message or "it is delivered")
        return [task for task in tasks if task.account_id in claimed]

    async def _confirm(self, leases: Mapping[str, Lease]) -> frozenset[str]:
        """Claim at the manager what the journal says is ours to claim.

        :param leases: for how long it says so, by account id; this process may have stood still since it was asked.
        """
        claims, asked = self._journal.claims, self._now()
        ours = [account_id for account_id, lease in sorted(leases.items()) if lease.holds(asked)]
        claimed: frozenset[str] = frozenset()
        if ours:
            answer = await self._manager.claim(ours)
            claimed = answer.claimed
            await self._journal.commit(claims.confirm, self._scope, claimed, Lease.granted(asked, answer.ttl_s))
        if left := leases.keys() - claimed:
            await self._journal.commit(claims.let_go, self._scope, left)
        return claimed

    async def take(
        self, tasks: Sequence[SecondaryTask], *, confirmed_counts: bool = True, asks: bool = True
    ) -> tuple[list[SecondaryTask], set[PostAccount]]:
        """Take accounts without a pull, as far as the claim rule allows: first in the journal, then at the manager.

        :param confirmed_counts: whether a confirmed record lets an account be claimed.
        :param asks: False leaves it at what the journal says.
        :return: the accounts that were taken, and those that another run of ours works.
        """
        asked = self._now()
        reserve = functools.partial(self._journal.claims.reserve, confirmed_counts=confirmed_counts)
        reserved = await self._journal.commit(
            reserve, self._scope, [task.key for task in tasks], Lease.granted(asked), asked
        )
        leases = {key.account_id: lease for key, lease in reserved.taken.items()}
        try:
            claimed = await self._confirm(leases) if asks else leases.keys()
        except LikepionError:
            await self._journal.commit(self._journal.claims.let_go, self._scope, leases)
            raise
        taken = [task for task in tasks if task.account_id in claimed]
        await self._journal.commit(self._journal.submissions.note, taken, self._run_id, asked.at)
        return taken, reserved.busy

    # --- by a person's choice ---

    def _known_ids(self, choice: Choice) -> list[str]:
        if choice.account_ids:
            return list(dict.fromkeys(choice.account_ids))
        known = self._journal.submissions.account_ids(
            group_id=choice.group_id, domains=choice.domains, limit=MAX_CHOICE + 1
        )
        if len(known) > MAX_CHOICE:
            log.warning(
                "The journal knows more than %d such accounts: the next such run takes more of them", MAX_CHOICE
            )
        return sorted(known[:MAX_CHOICE])

    async def _asked_for(self, ids: Sequence[str], choice: Choice) -> list[SecondaryTask]:
        """The accounts with the post that they are worked for: the one of our claim, else their group's newest."""
        ours = {key.account_id: key for key in await asyncio.to_thread(self._journal.claims.ours, ids, self._now())}
        tasks = [account.task for account in await self._read(ids, strict=bool(choice.account_ids))]
        asked = [task for task in tasks if choice.has(task)]
        return [_of_post(task, ours[task.account_id].request_id) if task.account_id in ours else task for task in asked]

    def _refuse(
        self,
        tasks: Sequence[SecondaryTask],
        done: Collection[PostAccount],
        busy: Collection[PostAccount],
        taken: Collection[str],
        *,
        pulls: bool,
    ) -> None:
        """Name what was asked for and is not to be had, with the reason."""
        for task in tasks:
            if task.account_id in taken:
                continue
            if not task.request_id:
                reason = "no post runs in its group"
            elif task.key in done:
                reason = "all its links are stored"
            elif task.key in busy:
                reason = "another run works it"
            elif not pulls:
                reason = "no claim of ours holds it, and a dry run pulls nothing"
            else:
                reason = "the manager did not hand it out: somebody else holds it, or it has what it needs"
            self.refusals.append(Refusal(task.label, task.account_id, reason))
            log.warning("Not taken: %s, %s", task.label, reason)

    async def _read(self, account_ids: Iterable[str], *, strict: bool) -> list[Account]:
        async def read(account_id: str) -> Account | None:
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

        return [each for each in await all_of(map(read, account_ids)) if each]

    async def _resend(self, tasks: Sequence[SecondaryTask], sent_before: datetime) -> None:
        keys = [task.key for task in tasks]
        by = f"run {self._run_id}"
        resent = await self._journal.commit(self._journal.settling.resend, keys, sent_before, by, self._clock.now())
        log.warning("Sent again, as this run was asked to: %s that the manager had confirmed", counted(resent, "link"))

    async def _done(self, tasks: Sequence[SecondaryTask]) -> set[PostAccount]:
        """All links stored, and no more to come."""
        keys = [task.key for task in tasks]
        states = await asyncio.to_thread(self._journal.links.states, keys)
        known = await asyncio.to_thread(self._journal.submissions.get, keys)
        growing = {key for key, each in known.items() if each.state.is_under_way}
        return {key for key, count in states.items() if set(count) == {LinkState.STORED}} - growing

    # --- with a pull ---

    def _now(self) -> Moment:
        return Moment.read(self._clock)

    async def _adopt(self, most: int, *, again: bool) -> list[SecondaryTask]:
        """Take up what runs for a choice were given beside what they had asked for; and what this run had before."""
        now = self._now()
        run_id = self._run_id if again else ""
        keys = await self._journal.commit(self._journal.claims.adopt, self._scope, most, now, run_id)
        wanted = {key.account_id: key.request_id for key in keys}
        tasks = [_of_post(each.task, wanted[each.task.account_id]) for each in await self._read(wanted, strict=False)]
        await self._journal.commit(self._journal.submissions.note, tasks, self._run_id, now.at)
        return tasks

    async def _pull(
        self, limit: int, wanted: Callable[[SecondaryTask], bool], resend_before: datetime | None = None
    ) -> list[SecondaryTask]:
        """Pull, and hand over to the next ordinary run what this one did not ask for.

        :return: what it did ask for.
        """
        asked = self._now()
        accounts = await self._manager.pull(limit)
        for row in accounts.odd:
            log.error("The manager handed out a task that cannot be worked, which it holds back now: %s", row)
            self.refusals.append(Refusal(row.partition(":")[0], "", f"the manager's task cannot be worked: {row}"))
        lease = Lease.granted(asked)
        if not lease.holds(self._now()):
            words = "Let go: %s, since the claims were over before this run could go on"
            log.warning(words, counted(len(accounts), "pulled account"))
            return []
        pulled = [account.task for account in accounts]
        ours = [task for task in pulled if wanted(task)]
        beside = [task for task in pulled if not wanted(task)]
        claims, submissions = self._journal.claims, self._journal.submissions
        await self._journal.commit(claims.grant, self._scope, {task.key: lease for task in ours})
        await self._journal.commit(claims.grant, HANDED_OVER, {task.key: lease for task in beside})
        await self._journal.commit(submissions.note, pulled, self._run_id, asked.at, pulled=True)
        await self._journal.commit(self._journal.unfinished.revive, {task.request_id for task in pulled})
        if resend_before:
            # Before the pull is taken for a proof: that these were handed out is what the person said.
            await self._resend(ours, resend_before)
        await self.settle(pulled, asked, exhaustive=accounts.is_exhaustive)
        if beside:
            log.info("Handed over to the next ordinary run: %s pulled beside", counted(len(beside), "account"))
        self.feeds |= {each.task.request_id: each.link_rss for each in accounts if each.link_rss and wanted(each.task)}
        return ours

    async def settle(self, pulled: Sequence[SecondaryTask], asked: Moment, *, exhaustive: bool) -> None:
        """Conclude what a pull proves about inserts whose outcome is unknown.

        :param asked: the clocks, read before it was sent.
        :param exhaustive: whether the manager had no further account.
        """
        settling = self._journal.settling
        keys = {task.key for task in pulled}
        if parked := await self._journal.commit(settling.park_stale, asked.at):
            log.warning("%s parked: the task ended between the request and its answer", counted(parked, "link"))
        again, proof = await self._journal.commit(settling.reappeared, keys, asked.at)
        if again:
            log.warning("Sent again: %s of unknown outcome that the manager has not stored", counted(again, "link"))
        if proof:
            self.handed_out_again += [task for task in pulled if task.key in proof]
            log.error(
                "The manager handed out %s whose links it had confirmed: unknown outcomes are settled by "
                "hand from now on (likepion journal list --state unknown)",
                counted(len(proof), "account"),
            )
        if not exhaustive:
            return
        silent = await self._journal.commit(settling.presumable, keys, asked.at)
        active, _ = await self._running(silent, {}, ())
        for task in active:
            await self._journal.commit(settling.presume, task.key, asked.at)
            log.warning("%s: links with an unknown outcome are taken for stored", task.label)

    async def _leftovers(
        self, adopted: Sequence[SecondaryTask], pulled: Sequence[SecondaryTask]
    ) -> list[SecondaryTask]:
        """Accounts with a stored link and something left to send or to find: no pull brings them back for that post."""
        now = self._clock.now()
        told = {task.account_id: task for task in [*adopted, *pulled]}
        running = {task.request_id for task in pulled}
        await self._look_after_doubtful(told, running, now)
        tasks: dict[str, SecondaryTask] = {}
        reads = 0
        # Dead posts are found by the first of their accounts, and must not keep the living ones waiting behind them.
        while keys := await asyncio.to_thread(self._journal.unfinished.due, Left.REST, MAX_PULL, now):
            found, read = await self._rest(keys, told, running, now)
            # An account that is worked already, or is left over of two posts, is worked for one of them at a time.
            tasks |= {task.account_id: task for task in found if task.account_id not in told}
            reads += read
            if reads >= MAX_PULL or len(tasks) >= MAX_PULL:
                break
        taken, _ = await self.take(list(tasks.values()))
        return _beside(taken, pulled)

    async def _rest(
        self, keys: Sequence[PostAccount], told: Mapping[str, SecondaryTask], running: Collection[str], now: datetime
    ) -> tuple[list[SecondaryTask], int]:
        """Those of some accounts that a run can do something for; and how many were read."""
        journal = self._journal
        incomplete = await asyncio.to_thread(journal.submissions.incomplete, keys, now)
        to_do = incomplete | await asyncio.to_thread(journal.links.leftovers, keys)
        await journal.commit(journal.submissions.looked_at, incomplete, now)
        # Whose turn it was stands behind the others now; where nothing is to be done, for longer.
        await journal.commit(journal.unfinished.put_off, to_do - incomplete, now + timedelta(seconds=1))
        await journal.commit(journal.unfinished.put_off, incomplete, now + LOOK_AGAIN_AFTER)
        await journal.commit(journal.unfinished.put_off, {*keys} - to_do, now + ASK_AFTER)
        asked = {key.request_id: key for key in keys}.values()
        wanted = [key for key in keys if key in to_do]
        wanted += [key for key in asked if key.request_id not in {each.request_id for each in wanted}]
        found, read = await self._running(wanted, told, running)
        return [task for task in found if task.key in to_do], read

    async def _look_after_doubtful(
        self, told: Mapping[str, SecondaryTask], running: Collection[str], now: datetime
    ) -> None:
        """Ask whether posts run by now that did not, and those of unknown outcomes; a few, in turn."""
        unfinished = self._journal.unfinished
        doubtful = await asyncio.to_thread(unfinished.due, Left.DOUBTFUL, DOUBTFUL, now)
        outcomes = await asyncio.to_thread(unfinished.due, Left.OUTCOME, DOUBTFUL, now)
        await self._journal.commit(unfinished.put_off, outcomes, now + timedelta(seconds=CLAIM_TTL_S))
        speakers = {key.request_id: key for key in [*doubtful, *outcomes]}
        found, _ = await self._running(list(speakers.values()), told, running)
        runs = {task.request_id for task in found}
        await self._journal.commit(unfinished.revive, runs.intersection(key.request_id for key in doubtful))

    async def _running(
        self, keys: Sequence[PostAccount], told: Mapping[str, SecondaryTask], running: Collection[str]
    ) -> tuple[list[SecondaryTask], int]:
        """Those of some accounts whose post runs, by a pull's word or by the account's own; and how many were read.

        One account speaks for its post: the manager names each account's newest post. Of that one, an account may be
        anybody's.

        :param told: what was heard of accounts already.
        :param running: posts that are known to run.
        """
        speakers = {key.request_id: key.account_id for key in keys if key.request_id not in running}
        heard = await self._heard({*speakers.values()} - told.keys())
        read = len({*speakers.values()} - told.keys())
        heard |= told
        over = {post for post, each in speakers.items() if each in heard and heard[each].request_id != post}
        others = {key.account_id for key in keys if key.request_id not in over} - heard.keys() - {*speakers.values()}
        heard |= await self._heard(others)
        runs = [
            key
            for key in keys
            if key.account_id in heard and key.request_id in {heard[key.account_id].request_id, *running}
        ]
        lost = {key for key in keys if key.request_id not in over}.difference(runs)
        retired = await self._journal.commit(self._journal.unfinished.in_vain, over, lost, self._clock.now())
        for post, number in retired.items():
            reason = "its post has not run for two weeks, so what was left of it is retired"
            name = f"{counted(number, 'account')} of post {post}"
            self.refusals.append(Refusal(name, "", reason))
            log.warning("%s: %s", name, reason)
        return [_of_post(heard[key.account_id], key.request_id) for key in runs], read + len(others)

    async def _heard(self, account_ids: Iterable[str]) -> dict[str, SecondaryTask]:
        return {each.task.account_id: each.task for each in await self._read(sorted(account_ids), strict=False)}


def _of_post(task: SecondaryTask, request_id: str) -> SecondaryTask:
    """The account's task for a post that need not be its group's newest, of which its own answer tells."""
    # Where it is not, a wait for the feed would hear nothing of it.
    return task if request_id == task.request_id else dataclasses.replace(task, request_id=request_id, feed_ready=True)


def _beside(tasks: Sequence[SecondaryTask], pulled: Sequence[SecondaryTask]) -> list[SecondaryTask]:
    """Tasks with what a pull says of their posts, without those that it brought again: this process had stood still."""
    told, again = {task.request_id: task for task in pulled}, {task.account_id for task in pulled}
    return [
        dataclasses.replace(task, target=post.target, feed_ready=post.feed_ready)
        if (post := told.get(task.request_id))
        else task
        for task in tasks
        if task.account_id not in again
    ]


def _unknown(choice: Choice) -> BadRequest:
    what = f"group {choice.group_id!r}" if choice.group_id else f"domains {', '.join(choice.domains)}"
    return BadRequest(
        f"the journal has never seen {what}, and the manager handed none of it out",
        remedy="Check the id; or let a scheduled run pull it first; or name its accounts in account_ids.",
    )
