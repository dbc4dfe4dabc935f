"""A model of everything that may go wrong around a run, played against the real intake, import, delivery and journal.

The outside is in process: the sandbox's manager on a clock moved by hand, a platform in memory, and a stranger, another
worker that shares nothing with us and may move between any two moments of ours. A step may lose any answer, be cut off
between any two awaits as by ``kill -9``, be stopped for longer than a claim lasts, and be repeated by a later attempt,
also while the earlier one still runs. People start runs for whatever accounts, groups and platforms they like.

What the model leaves out is the residue that no client can avoid: a message arrives within :data:`ON_THE_WAY_S` or
never, a process is not stopped between its last look at a claim and the first byte, and a renewal that is on its way
while a later attempt's insert ends the claim may arrive after it (counted as "claims that an insert overtook").

Everything is deterministic: one thread, time moved by hand, the seeds are hypothesis's.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import functools
import math
import random
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from likepion_provider.clock import Moment
from likepion_provider.errors import LikepionError, Transient
from likepion_provider.journal import Journal, Link
from likepion_provider.journal.database import Database
from likepion_provider.journal.links import MAX_SENDS
from likepion_provider.journal.schema import link
from likepion_provider.manager.client import _last_look
from likepion_provider.manager.protocol import Answer, Endpoint, Loss, Request, lost
from likepion_provider.models import LinkState, PostAccount, SecondaryTask
from likepion_provider.platforms import Job, Progress
from likepion_provider.sandbox.manager import Event, SandboxManager
from likepion_provider.steps import delivery
from likepion_provider.steps.importing import BatchImport
from likepion_provider.steps.intake import Choice, Intake
from likepion_provider.steps.keeper import Keeper
from tests import MANAGER
from tests.clocks import VirtualClock
from tests.fakes import DOMAIN, Crash, Fault, InProcessClient, ScriptedPlatform, Worker, small_manager
from tests.faults.settled import (
    ODD_INSERTS,
    left_open,
    reported_for_another_post,
    reported_twice,
    sendable_again,
)
from tests.faults.stranger import Stranger

OURS, THEIRS = "ours", "theirs"
ACCOUNTS, POSTS, EPISODES = 4, 2, 3
#: A client gives up after this long, so a message is never on its way for longer.
ON_THE_WAY_S = 50.0
#: Between two runs once trouble is over.
REST_S = 3700.0

#: What the campaign did, over all examples.
FIGURES: Counter[str] = Counter()


class Fuse:
    """Does something at the n-th moment between two awaits."""

    def __init__(self, at_each: Callable[[], None]) -> None:
        self._at_each = at_each
        self._left = 0
        self._action: Callable[[], None] = lambda: None

    def set(self, moments: int, action: Callable[[], None]) -> None:
        self._left, self._action = moments, action

    def clear(self) -> None:
        self._left = 0

    def burn(self) -> None:
        self._at_each()
        if self._left:
            self._left -= 1
            if not self._left:
                self._action()


class FragileJournal(Journal):
    """One attempt's journal: it may end before and after each commit. Attempts share the database and nothing else."""

    def __init__(self, database: Database, fuse: Fuse) -> None:
        super().__init__(database)
        self._fuse = fuse

    async def commit(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._fuse.burn()
        result = await super().commit(operation, *args, **kwargs)
        self._fuse.burn()
        return result


class WatchedClient(InProcessClient):
    """Sees whom a claim and an insert concern when they arrive; messages may take a while, and others act meanwhile."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.manager, OURS)
        self._model = model
        self._kind = ""

    async def _exchange(self, request: Request) -> Answer:
        if request.endpoint is Endpoint.INSERT:
            FIGURES["inserts"] += 1
            # As the real client does right before the first byte leaves.
            if look := _last_look.get():
                look()
        elif request.endpoint is not Endpoint.CLAIM:
            self._model.fuse.burn()
        clock, events = self._model.clock, self._model.manager.events
        sent_s, sent = clock.boot_s(), len(events)
        await asyncio.sleep(0)
        self._model.others_move()
        kind = super()._take(request.endpoint)
        FIGURES["faults"] += bool(kind)
        if kind in ("slow_there", "late"):
            clock.advance(ON_THE_WAY_S)
        if clock.boot_s() - sent_s > ON_THE_WAY_S:
            raise lost(request.endpoint, Loss.ANSWER_LOST, "the message never arrived")
        # What arrives late, arrives after the client has given up.
        self._kind = {"slow_there": "", "slow_back": "", "late": "lose_answer"}.get(kind, kind)
        arrived = len(events)
        try:
            answer = await super()._exchange(request)
        finally:
            self._model.look_at(events[sent:arrived], events[arrived:])
        if kind == "slow_back":
            self._model.clock.advance(ON_THE_WAY_S)
        await asyncio.sleep(0)
        self._model.fuse.burn()
        return answer

    def _take(self, endpoint: Endpoint) -> str:
        return self._kind


class WatchedPlatform(ScriptedPlatform):
    """A platform that is written to as importers do it: the claim is looked at right before."""

    model: Model
    #: What it adds to its pages' URLs these days.
    spelling = ""

    async def submit(self, job: Job) -> Progress:
        await job.http._before_write()
        FIGURES["submits"] += 1
        self.model.must_be_ours("submit", job.task.key)
        return await super().submit(job)

    async def collect(self, job: Job) -> Progress:
        self.model.fuse.burn()
        await asyncio.sleep(0)
        seen = await super().collect(job)
        spelt = tuple(dataclasses.replace(each, url=each.url + self.spelling) for each in seen.episodes)
        return dataclasses.replace(seen, episodes=spelt)


class InlineExecutor(concurrent.futures.ThreadPoolExecutor):
    """Runs what is handed in at once, in the caller's thread: the order of events is the same each time."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclasses.dataclass
class Run:
    """A run of ours and what it pulled."""

    name: str
    tasks: list[SecondaryTask] = dataclasses.field(default_factory=list)
    #: By post, as its pull told them.
    feeds: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Renews what the run was given, and writes nothing.
    wait: Keeper | None = None


class Model:
    """The world and what must hold in it."""

    def __init__(self, accounts: int = ACCOUNTS, posts: int = POSTS) -> None:
        self.accounts, self.posts = accounts, posts
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="likepion-faults-", dir=memory if memory.is_dir() else None))
        self.database = Database(f"sqlite:///{self.folder / 'journal.db'}").of(MANAGER)
        self.clock = VirtualClock()
        self.jumped_s = self.furthest_ahead_s = 0.0
        self.manager: SandboxManager = small_manager(self.clock, accounts, posts, ready=False)
        #: Moves with this probability at every moment, by this generator.
        self.stranger = Stranger(self.manager, name=THEIRS)
        self.restless, self.rng = 0.0, random.Random(0)
        #: An insert carries so many; the manager takes 200.
        self.urls_a_part = 200
        self.manager.set_link_rss("post-0", "https://feeds.example/0")
        self.platform = WatchedPlatform()
        self.platform.model = self
        self.fuse = Fuse(self.others_move)
        self.faults: list[Fault] = []
        self.runs: list[Run] = []
        self.broken: list[str] = []
        #: Whether the manager stored a part of some insert.
        self.refused = False

    @property
    def served_by_them(self) -> set[str]:
        """The accounts that the stranger inserted links of."""
        return {account_id for _, account_id in self.stranger.served}

    def close(self) -> None:
        self.database.engine.dispose()
        shutil.rmtree(self.folder)

    # --- attempts ---

    def worker(self) -> Worker:
        """A process of ours: shares the database, the platform and the faults of the network with the others."""
        worker = Worker(self.manager, FragileJournal(self.database, self.fuse), self.clock)
        worker.client = WatchedClient(self)
        worker.client.faults = self.faults
        worker.use(self.platform)
        worker.attempts = FIGURES["attempts"]
        FIGURES["attempts"] += 1
        return worker

    @contextlib.asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """What a task does around its work."""
        yield

    async def pull(self, run: Run, limit: int) -> None:
        async with self.attempt():
            intake = self.worker().intake(run.name)
            await self._take(run, intake, intake.pull(limit))

    async def choose(self, run: Run, choice: Choice, limit: int = 1000) -> None:
        async with self.attempt():
            intake = self.worker().intake(run.name)
            await self._take(run, intake, intake.choose(choice, limit))

    async def _take(self, run: Run, intake: Intake, taking: Awaitable[list[SecondaryTask]]) -> None:
        before = FIGURES["suspensions"]
        tasks = await taking
        if FIGURES["suspensions"] == before:
            self._must_have(run, tasks)
        run.feeds |= intake.feeds
        run.tasks = await intake.reaffirm(tasks)
        run.wait = Keeper(self.worker().client, Journal(self.database), self.clock, run.name, holder=None)
        await run.wait.resume([task.key for task in run.tasks])

    def _must_have(self, run: Run, tasks: Sequence[SecondaryTask]) -> None:
        """The journal says of each account that this run, and no other, has it."""
        claims, now, keys = Journal(self.database).claims, Moment.read(self.clock), {task.key for task in tasks}
        ours = keys.intersection(claims.ours([key.account_id for key in keys], now))
        if others := ours - claims.leases(run.name, keys, now).keys():
            self.broken.append(f"{run.name} was given {sorted(others)}, which the journal does not say")

    async def renew(self, run: Run) -> None:
        """The run's wait for a feed, which another process does, renews."""
        if run.wait:
            await run.wait.renew()

    async def look_only(self, run: Run, choice: Choice) -> None:
        """A dry run: nothing of it may reach the manager but reads."""
        worker = self.worker()
        tasks = await worker.intake(run.name).choose(choice, pulls=False)
        if {each.endpoint for each in worker.client.sent} - {Endpoint.ACCOUNT}:
            self.broken.append("a dry run claimed or pulled")
        await self._batch(run, worker, dry_run=True).run(tasks)

    async def bring_in(self, run: Run) -> None:
        async with self.attempt():
            await self._batch(run, self.worker()).run(run.tasks)

    @staticmethod
    def _batch(run: Run, worker: Worker, **options: object) -> BatchImport:
        bounds = {"collect_timeout_s": 20, "max_failures": 10_000, "back_off_s": 0}
        return worker.batch(run.name, feeds=run.feeds, **bounds, **options)

    async def deliver(self, run: Run) -> None:
        async with self.attempt():
            await self.worker().delivery(run.name, feeds=run.feeds).run(run.tasks)

    def play(self, *attempts: Coroutine[Any, Any, None]) -> None:
        """Let attempts run side by side until each has ended in its own way."""
        loop = asyncio.new_event_loop()
        loop.set_default_executor(InlineExecutor())
        parts = functools.partial(_in_parts, size=self.urls_a_part)
        try:
            with mock.patch.object(delivery, "split_urls", parts):
                outcomes = loop.run_until_complete(_all(attempts))
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(_all(left))
        finally:
            loop.close()
            self.platform.trouble = lambda _when, _job: None
        for outcome in outcomes:
            if isinstance(outcome, Crash):
                FIGURES["crashes"] += 1
            elif isinstance(outcome, LikepionError):
                FIGURES[type(outcome).__name__] += 1
            elif isinstance(outcome, BaseException):
                raise outcome

    def play_whole(self, run: Run, limit: int = 1000) -> None:
        """A run from pull to insert."""
        self._play_from(self.pull(run, limit), run)

    def play_by_hand(self, run: Run, choice: Choice, limit: int = 1000) -> None:
        """A run that a person started, from choice to insert."""
        self._play_from(self.choose(run, choice, limit), run)

    def _play_from(self, begin: Coroutine[Any, Any, None], run: Run) -> None:
        self.play(begin)
        self.play(self.bring_in(run))
        self.play(self.deliver(run))

    # --- the other worker ---

    def others_move(self) -> None:
        """The stranger may take a few small steps."""
        while self.restless and self.rng.random() < self.restless:
            self.stranger.step(self.rng)
            FIGURES["steps of the stranger"] += 1

    def they_pull(self, limit: int = 1000) -> None:
        """The stranger takes what there is, at once."""
        self.stranger.lose()
        self.stranger.limit, usual = limit, self.stranger.limit
        self._at_once(self.stranger.pull)
        self.stranger.limit = usual

    def they_go_on(self, account_id: str, *, inserts: bool) -> None:
        """The stranger delivers an account that it holds, or renews what it holds."""
        self.stranger.lose()
        if inserts:
            self.stranger.find(account_id)
            self._at_once(self.stranger.insert, account_id)
        else:
            self._at_once(self.stranger.renew)

    def _at_once(self, step: Callable[..., None], *args: str) -> None:
        step(*args)
        self.stranger.arrive()
        self.stranger.hear()

    # --- posts ---

    def next_post_is_planned(self, number: int) -> None:
        """A group's next post is pending, so that the manager's answers about its accounts name that one."""
        request_id, feed = f"next-{len(self.manager.posts)}x", "https://feeds.example/x"
        self.manager.add_post(f"group-{number}", target=1, link_rss=feed, status="pending", request_id=request_id)

    def next_posts_are_cancelled(self) -> None:
        """The running posts are their groups' newest again."""
        for post in self.manager.posts.values():
            if post.status == "pending":
                self.manager.update_post(post.request_id, status="cancel")

    # --- ourselves ---

    def wall_clock_jumps(self, seconds: float) -> None:
        """Ours; the manager's stays right."""
        self.clock.jump(seconds)
        self.jumped_s += seconds
        self.furthest_ahead_s = max(self.furthest_ahead_s, self.jumped_s)

    def crash(self) -> None:
        """Our process ends here."""
        raise Crash

    def suspend(self) -> None:
        """Our process stands still for longer than a claim lasts, and the other worker takes what lapsed."""
        FIGURES["suspensions"] += 1
        self.clock.advance(901)
        self.they_pull()

    def be_overtaken(self) -> None:
        """Our process stands still for longer than a claim lasts, and another run of ours goes from pull to insert."""
        FIGURES["suspensions"] += 1
        self.clock.advance(901)
        # A thread may run a loop of its own while this one's stands still.
        other = threading.Thread(target=self.play_whole, args=(Run(f"overtaking-{FIGURES['suspensions']}"),))
        other.start()
        other.join()

    # --- what must hold ---

    def must_be_ours(self, write: str, key: PostAccount) -> None:
        """No write begins without a valid claim."""
        holder = self.manager.holders().get(key.account_id)
        if holder != OURS:
            self.broken.append(f"{write} for {key} although the claim is {holder or 'nobody'}'s")

    def look_at(self, meanwhile: Sequence[Event], arrived: Sequence[Event]) -> None:
        """The manager refuses nobody, so nothing of ours may arrive for an account that somebody else holds.

        :param meanwhile: what happened while the message was on its way.
        :param arrived: what it did; others may have acted since.
        """
        ended = {
            each for event in meanwhile if (event.worker, event.kind) == (OURS, "insert") for each in event.account_ids
        }
        for event in arrived[:1]:
            touched = set(event.foreign)
            if event.kind == "claim":
                FIGURES["claims that an insert overtook"] += len(touched & ended)
                touched -= ended
            if touched:
                self.broken.append(f"{event.kind} for {sorted(touched)} although somebody else holds them")
            if event.kind == "insert" and event.unclaimed:
                self.broken.append(f"insert for {event.unclaimed} without a claim")

    def stored(self) -> Counter[tuple[str, str, str]]:
        """The manager's rows."""
        return Counter((row.request_id, row.account_id, row.link_post) for row in self.manager.rows)

    def known(self) -> dict[tuple[str, str, str], LinkState]:
        """The journal's links."""
        links = Journal(self.database).links.listed(limit=1000)
        return {(each.key.request_id, each.key.account_id, each.url): each.state for each in links}

    def check(self) -> None:
        """After every step."""
        assert not self.broken, self.broken
        stored, known = self.stored(), self.known()
        assert [url for url, count in stored.items() if count > 1] == []
        assert not reported_twice(self.manager.rows), "one episode, two URLs"
        assert not reported_for_another_post(self.manager.rows)
        assert [url for url in stored if url not in known and url[1] not in self.served_by_them] == []
        sendable = sendable_again(Journal(self.database), self.manager.rows, self.served_by_them)
        assert sendable == [], "stored, but the journal would send it again"
        twice = {account_id: count for account_id, count in self.platform.submissions.items() if count > 1}
        assert twice == {}, "imported twice"
        assert Journal(self.database).settling.mode() == "reappearance", "the tripwire went off without reason"

    def rest(self) -> None:
        """Trouble is over: runs come and go until nothing is left to do.

        What was sent while the clock was ahead is settled once the right time has passed that moment.
        """
        self.faults.clear()
        self.fuse.clear()
        self.restless = 0.0
        self.manager.refuse_records(0)
        self.manager.oddities.clear()
        self.next_posts_are_cancelled()
        self.platform.lists.clear()
        self.platform.trouble = lambda _when, _job: None
        self.clock.jump(-self.jumped_s)
        for number in range(self.posts):
            self.manager.set_link_rss(f"post-{number}", f"https://feeds.example/{number}")
        for number in range(6 + math.ceil(self.furthest_ahead_s / REST_S)):
            self.clock.advance(REST_S)
            self.play_whole(Run(f"rest-{number}"))
            if given_up := self.given_up():
                self.play_by_hand(Run(f"by-hand-{number}"), Choice(account_ids=tuple(given_up)))
            self.check()
            if number and not self.lost() and not left_open(Journal(self.database), self.manager.rows):
                return

    def given_up(self) -> list[str]:
        """Accounts with a link that the manager refused so often that only a person has it offered again."""
        links = Journal(self.database).links.listed(state=LinkState.REFUSED, limit=1000)
        given_up = {each.key.account_id for each in links if each.sends >= MAX_SENDS}
        return sorted(given_up - self.served_by_them)

    def lost(self) -> list[str]:
        """The accounts that are neither delivered nor parked where a person sees it."""
        stored, known = self.stored(), self.known()
        wrong = {link.key.account_id for link in self.presumed() if self.refused}
        parked = wrong | self.served_by_them | {url[1] for url, state in known.items() if state is LinkState.UNKNOWN}
        counted = Counter(account_id for _, account_id, _ in stored)
        accounts = [f"account-{number}" for number in range(self.accounts)]
        return [each for each in accounts if counted[each] < EPISODES and each not in parked]

    def presumed(self) -> list[Link]:
        """Links that are filed as stored by inference, although they are not.

        Known to happen where the manager stored a part of a POST and its answer was lost: the pull's silence speaks
        for the account, not for each link. They are marked in the journal.
        """
        stored = self.stored()
        rows = Journal(self.database).links.listed(limit=1000)
        return [each for each in rows if each.presumed and (*dataclasses.astuple(each.key), each.url) not in stored]

    def count(self) -> None:
        """Add to the campaign's figures."""
        FIGURES["rows"] += len(self.manager.rows)
        FIGURES["accounts delivered by the other worker"] += len(self.served_by_them)
        FIGURES["links parked"] += sum(state is LinkState.UNKNOWN for state in self.known().values())
        FIGURES["links presumed"] += sum(each.presumed for each in Journal(self.database).links.listed(limit=1000))
        FIGURES["links presumed wrongly"] += len(self.presumed())
        FIGURES["duplicates"] += len(self.manager.duplicates())
        FIGURES["lost"] += len(self.lost())


def _in_parts(urls: Sequence[str], size: int) -> list[Sequence[str]]:
    return [urls[start : start + size] for start in range(0, len(urls), size)]


async def _all(calls: Any) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


SENT_FAULTS = ("lose_request", "lose_answer", "not_sent", "429", "500", "garbled", "400", "late", "slow_there")
#: What becomes of the next inserts, one after the other.
INSERTS = st.tuples(*[st.sampled_from(("", "", *SENT_FAULTS))] * 3)
CHOICES = st.one_of(
    st.sets(st.integers(0, ACCOUNTS - 1), min_size=1).map(
        lambda numbers: Choice(account_ids=tuple(f"account-{number}" for number in sorted(numbers)))
    ),
    st.integers(0, POSTS - 1).map(lambda number: Choice(group_id=f"group-{number}")),
    st.just(Choice(domains=(DOMAIN,))),
)
#: What may happen to a step between two awaits.
CUTS = st.sampled_from(["crash", "suspend", "be_overtaken"])


class Moments(RuleBasedStateMachine):
    """Anything, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        FIGURES["examples"] += 1

    @initialize(
        seed=st.integers(0, 2**32), restless=st.sampled_from((0.0, 0.03, 0.1, 0.3)), size=st.sampled_from((1, 2, 200))
    )
    def world_begins(self, seed: int, restless: float, size: int) -> None:
        """From now on, a stranger moves at any moment of ours, and an insert carries so many links."""
        self.model.rng, self.model.restless, self.model.urls_a_part = random.Random(seed), restless, size

    def teardown(self) -> None:
        try:
            self.model.rest()
            assert not self.model.lost(), self.model.known()
            open_ = left_open(Journal(self.model.database), self.model.manager.rows)
            assert not open_, f"an outcome that could be known: {open_}"
        finally:
            self.model.count()
            self.model.close()

    @rule(limit=st.sampled_from([1, 2, 1000]), cut=st.integers(0, 8), how=CUTS)
    def run_begins(self, limit: int, cut: int, how: str) -> None:
        """A run pulls and re-affirms."""
        self._will_be_cut(cut, how)
        run = self._new_run()
        self.model.play(self.model.pull(run, limit))

    @rule(choice=CHOICES, limit=st.sampled_from([1, 2, 1000]), cut=st.integers(0, 12), how=CUTS)
    def person_chooses(self, choice: Choice, limit: int, cut: int, how: str) -> None:
        """A run by group, platform or accounts begins, whoever works or has worked them."""
        self._will_be_cut(cut, how)
        self.model.play(self.model.choose(self._new_run(), choice, limit))

    @rule(choice=CHOICES, inserts=INSERTS, cut=st.integers(0, 60), how=CUTS)
    def whole_run_by_hand(self, choice: Choice, inserts: Sequence[str], cut: int, how: str) -> None:
        """From the choice to the insert."""
        self._inserts_fail(inserts)
        self._will_be_cut(cut, how)
        self.model.play_by_hand(self._new_run(), choice)

    @rule(choice=CHOICES)
    def dry_run(self, choice: Choice) -> None:
        """A person looks."""
        self.model.play(self.model.look_only(self._new_run(), choice))

    @precondition(lambda self: self.model.runs)
    @rule(data=st.data(), step=st.sampled_from(["bring_in", "deliver"]), inserts=INSERTS)
    def step(self, data: st.DataObject, step: str, inserts: Sequence[str]) -> None:
        """A task of a run, for the first time or after it was cleared."""
        self._inserts_fail(inserts)
        run = self._any(data)
        self.model.play(getattr(self.model, step)(run))

    @precondition(lambda self: self.model.runs)
    @rule(data=st.data())
    def wait_renews(self, data: st.DataObject) -> None:
        """Beside the run's steps, or after them."""
        self.model.play(self.model.renew(self._any(data)))

    @precondition(lambda self: self.model.runs)
    @rule(data=st.data(), steps=st.tuples(*[st.sampled_from(["bring_in", "deliver"])] * 2), inserts=INSERTS)
    def two_steps_at_once(self, data: st.DataObject, steps: Sequence[str], inserts: Sequence[str]) -> None:
        """Two runs, or an orphaned attempt beside its retry."""
        self._inserts_fail(inserts)
        runs = [self._any(data) for _ in steps]
        self.model.play(*(getattr(self.model, step)(run) for step, run in zip(steps, runs, strict=True)))

    @rule(
        limit=st.sampled_from([2, 1000, 1000]),
        inserts=INSERTS,
        cut=st.integers(0, 60),
        how=CUTS,
    )
    def whole_run(self, limit: int, inserts: Sequence[str], cut: int, how: str) -> None:
        """A run from pull to insert, with all that may happen to it."""
        self._inserts_fail(inserts)
        self._will_be_cut(cut, how)
        self.model.play_whole(self._new_run(), limit)

    @rule(endpoint=st.sampled_from(list(Endpoint)), kind=st.sampled_from([*SENT_FAULTS, "slow_back", "401"]))
    def request_will_fail(self, endpoint: Endpoint, kind: str) -> None:
        self.model.faults.append(Fault(endpoint, kind))

    @rule(records=st.integers(1, 4))
    def records_will_be_refused(self, records: int) -> None:
        self.model.manager.refuse_records(records)
        self.model.refused = True

    @rule(odd=st.sampled_from(ODD_INSERTS))
    def insert_will_be_answered_oddly(self, odd: dict[str, Any]) -> None:
        self.model.manager.answer("insert", **odd)
        self.model.refused = True

    @rule(cut=st.integers(1, 25), how=CUTS)
    def next_step_will_be_cut(self, cut: int, how: str) -> None:
        self._will_be_cut(cut, how)

    @rule(when=st.sampled_from(["before", "after"]), crash=st.booleans())
    def platform_will_fail(self, when: str, crash: bool) -> None:
        def trouble(moment: str, _: Job) -> None:
            if moment == when:
                raise Crash if crash else Transient("the platform's answer was lost")

        self.model.platform.trouble = trouble

    @rule(number=st.integers(0, ACCOUNTS - 1), count=st.integers(0, EPISODES))
    def platform_lists(self, number: int, count: int) -> None:
        self.model.platform.lists[f"account-{number}"] = count

    @rule(limit=st.integers(1, ACCOUNTS))
    def others_pull(self, limit: int) -> None:
        self.model.they_pull(limit)

    @precondition(lambda self: self.model.stranger.held())
    @rule(data=st.data(), inserts=st.booleans())
    def others_go_on(self, data: st.DataObject, inserts: bool) -> None:
        account_id = data.draw(st.sampled_from(self.model.stranger.held()))
        self.model.they_go_on(account_id, inserts=inserts)

    @rule(seconds=st.sampled_from([1.0, 61.0, 300.0, 830.0, 850.0, 899.0, 901.0, 3700.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.model.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-3600.0, 3600.0]))
    def wall_clock_jumps(self, seconds: float) -> None:
        self.model.wall_clock_jumps(seconds)

    @rule()
    def primary_sets_the_feed(self) -> None:
        self.model.manager.set_link_rss("post-1", "https://feeds.example/1")

    @rule(number=st.integers(0, POSTS - 1))
    def next_post_is_planned(self, number: int) -> None:
        self.model.next_post_is_planned(number)

    @rule()
    def next_posts_are_cancelled(self) -> None:
        self.model.next_posts_are_cancelled()

    # Once the journal knows which episode a link is of, a platform may spell its pages otherwise at any time.
    if "episode" in link.c:

        @rule(spelling=st.sampled_from(["", "?utm_source=feed", "?page=2"]))
        def platform_spells_otherwise(self, spelling: str) -> None:
            self.model.platform.spelling = spelling

    @invariant()
    def nothing_twice_and_nothing_without_a_claim(self) -> None:
        FIGURES["steps"] += 1
        self.model.check()

    def _inserts_fail(self, kinds: Sequence[str]) -> None:
        self.model.faults += [Fault(Endpoint.INSERT, kind) for kind in kinds]

    def _will_be_cut(self, cut: int, how: str) -> None:
        if cut:
            self.model.fuse.set(cut, getattr(self.model, how))

    def _new_run(self) -> Run:
        run = Run(f"run-{len(self.model.runs)}")
        self.model.runs.append(run)
        return run

    def _any(self, data: st.DataObject) -> Run:
        runs = self.model.runs
        run = runs[-1 - data.draw(st.integers(0, min(3, len(runs) - 1)), label="runs ago")]
        note(f"{run.name}: {[task.account_id for task in run.tasks]}")
        return run
