"""A model of everything that can go wrong, over the real intake, import, delivery and journal.

The manager is the sandbox's, in process; time is virtual. Beside our runs works a stranger, who shares the queue but
not our journal. After every step the promises must hold; in the end, with nothing failing any more, everything must be
delivered or visibly parked.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from likepion_provider.errors import LikepionError, Transient
from likepion_provider.journal import Journal
from likepion_provider.manager.protocol import Endpoint
from likepion_provider.models import LinkState, SecondaryTask
from likepion_provider.platforms import Job
from tests.clocks import VirtualClock
from tests.fakes import DOMAIN, Crash, Worker, fresh_journal, small_manager
from tests.faults.settled import left_open, sendable_again

ACCOUNTS, POSTS, EPISODES = 4, 2, 3
FAULTS = (
    "lose_request",
    "lose_answer",
    "not_sent",
    "crash_before",
    "crash_after",
    "garbled",
    "500",
    "503",
    "429",
    "400",
)
RUNS = ("run-1", "run-2")
#: Most requests get through: with a fault in each, no story gets anywhere.
MAYBE = st.sampled_from(("",) * 20 + FAULTS)
TROUBLES = st.sampled_from(("", "", "", "", "before", "after", "crash before", "crash after"))

#: What happens without us.
WORLD = (
    *(("time_passes", seconds) for seconds in (1, 59, 300, 841, 901, 3600)),
    *(("the_wall_clock_jumps", seconds) for seconds in (-3600, -3600, 3600)),
    *(("the_manager_refuses_records", records) for records in (1, 2)),
    *(("a_stranger_pulls", limit) for limit in (1, 2, 100)),
    ("the_stranger_inserts_what_it_still_holds", 0),
    ("the_primary_sets_the_feed", 0),
)

#: What a campaign adds up, for its figures.
FIGURES: Counter[str] = Counter()


class Faults(RuleBasedStateMachine):
    """Two runs of ours, a stranger, and every fault."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="likepion-faults-"))
        self.loop = asyncio.new_event_loop()
        self.clock = VirtualClock()
        self.manager = small_manager(self.clock, ACCOUNTS, POSTS)
        self.manager.set_link_rss("post-1", "")
        self.worker = Worker(self.manager, fresh_journal(self.folder), self.clock)
        self.worker.episodes = EPISODES
        self.worker.platform.on_submit = self._submitted
        self.tasks: dict[str, list[SecondaryTask]] = {run: [] for run in RUNS}
        self.broken: list[str] = []
        self.strangers: dict[str, str] = {}
        self.served_by_strangers: set[str] = set()
        FIGURES["examples"] += 1

    def _submitted(self, job: Job) -> None:
        holder = self.manager.holders().get(job.task.account_id)
        if holder != "ours":
            # Raised here, it would pass for a defect of the importer.
            self.broken.append(f"submitted {job.task.account_id} to the platform while the claim is {holder!r}'s")

    def _do(self, step: Awaitable[Any]) -> Any:
        """One step as a process of its own: whatever it leaves running dies with it."""
        FIGURES["steps"] += 1
        self.worker.journal = Journal(self.worker.journal.database)

        async def process() -> Any:
            try:
                return await step
            finally:
                others = asyncio.all_tasks() - {asyncio.current_task()}
                for each in others:
                    each.cancel()
                await asyncio.gather(*others, return_exceptions=True)

        try:
            return self.loop.run_until_complete(process())
        except (Crash, LikepionError):
            return None
        finally:
            self.worker.client.faults.clear()

    def _import(self, run: str) -> Any:
        return self.worker.batch(run, collect_timeout_s=5).run(self.tasks[run])

    # --- our runs ---

    @rule(run=st.sampled_from(RUNS), fault=MAYBE, limit=st.sampled_from((1, 2, 100)))
    def pull(self, run: str, fault: str, limit: int) -> None:
        if fault:
            self.worker.client.fail(Endpoint.PULL, fault)
        # What an earlier pull of the run gave stays: its claims hold, or a later step finds that they do not.
        self.tasks[run] = self._do(self.worker.intake(run).pull(limit)) or self.tasks[run]

    @precondition(lambda self: any(self.tasks.values()))
    @rule(run=st.sampled_from(RUNS), fault=MAYBE)
    def claim(self, run: str, fault: str) -> None:
        if fault:
            self.worker.client.fail(Endpoint.CLAIM, fault)
        self.tasks[run] = self._do(self.worker.intake(run).reaffirm(self.tasks[run])) or self.tasks[run]

    @precondition(lambda self: any(self.tasks.values()))
    @rule(run=st.sampled_from(RUNS), fault=st.sampled_from(("", "", "", "500", "crash_before")), trouble=TROUBLES)
    def import_rss(self, run: str, fault: str, trouble: str) -> None:
        def go_wrong(when: str, _job: Job) -> None:
            if trouble.startswith("crash") and trouble.endswith(when):
                raise Crash
            if trouble == when:
                raise Transient("no answer from the platform")

        if fault:
            self.worker.client.fail(Endpoint.ACCOUNT, fault)
        self.worker.platform.trouble = go_wrong
        self._do(self._import(run))
        self.worker.platform.trouble = lambda _when, _job: None

    @precondition(lambda self: any(self.tasks.values()))
    @rule(run=st.sampled_from(RUNS), faults=st.lists(st.sampled_from(("", *FAULTS)), max_size=3))
    def insert_links(self, run: str, faults: list[str]) -> None:
        for fault in faults:
            self.worker.client.fail(Endpoint.INSERT, fault)
        self._do(self.worker.delivery(run).run(self.tasks[run]))

    @rule(
        run=st.sampled_from(RUNS),
        after_s=st.sampled_from((0, 901)),
        trouble=TROUBLES,
        faults=st.lists(st.sampled_from(("", *FAULTS)), max_size=3),
        again=st.booleans(),
    )
    def a_whole_run(self, run: str, after_s: int, trouble: str, faults: list[str], again: bool) -> None:
        """From the pull to the insert, which may be tried once more."""
        self.clock.advance(after_s)
        self.pull(run, "", 100)
        self.import_rss(run, "", trouble)
        self.insert_links(run, faults)
        if again:
            self.insert_links(run, [])

    @rule(run=st.sampled_from(RUNS), jump_s=st.sampled_from((0, -3600)), imported=st.booleans())
    def a_run_outlives_its_claims(self, run: str, jump_s: int, imported: bool) -> None:
        """By the clock that was set back it does not; a stranger has its accounts."""
        self.pull(run, "", 100)
        if imported:
            self.import_rss(run, "", "")
        self.clock.jump(jump_s)
        self.clock.advance(901)
        self.a_stranger_pulls(100)
        self.import_rss(run, "", "")
        self.insert_links(run, [])

    @precondition(lambda self: any(self.tasks.values()))
    @rule(run=st.sampled_from(RUNS), fault=st.sampled_from(("", "lose_answer", "crash_after")))
    def two_attempts_insert_at_once(self, run: str, fault: str) -> None:
        if fault:
            self.worker.client.fail(Endpoint.INSERT, fault)
        first, second = self.worker.delivery(run), self.worker.delivery(run)

        async def both() -> None:
            await asyncio.gather(first.run(self.tasks[run]), second.run(self.tasks[run]))

        self._do(both())

    # --- the rest of the world ---

    @rule(event=st.sampled_from(WORLD))
    def the_world_goes_on(self, event: tuple[str, int]) -> None:
        """One rule for all of it: most steps are to be ours."""
        what, number = event
        getattr(self, what)(number)

    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    def the_wall_clock_jumps(self, seconds: int) -> None:
        # Forward and back again sometime: the machine's clock is set right in the end.
        self.clock.jump(seconds)

    def the_primary_sets_the_feed(self, _: int = 0) -> None:
        self.manager.set_link_rss("post-1", "https://feeds.example/1")

    def the_manager_refuses_records(self, records: int) -> None:
        self.manager.refuse_records(records)

    def a_stranger_pulls(self, limit: int) -> None:
        for task in self.manager.pull(limit, worker="stranger"):
            self.strangers[task["account_id"]] = task["request_id"]

    def the_stranger_inserts_what_it_still_holds(self, _: int) -> None:
        # What of a stranger's is refused is the stranger's to send again.
        self.manager.refuse_records(0)
        for account_id, request_id in self.strangers.items():
            if self.manager.holders().get(account_id) == "stranger":
                urls = ",".join(self._urls(account_id, request_id))
                item = {"request_id": request_id, "account_id": account_id, "link_post": urls}
                self.manager.insert(item, worker="stranger")
                self.served_by_strangers.add(account_id)
        self.strangers = {}

    @staticmethod
    def _urls(account_id: str, request_id: str) -> list[str]:
        return [f"https://{DOMAIN}/{account_id}/{request_id[-1]}/g{number}" for number in range(EPISODES)]

    # --- the promises ---

    @invariant()
    def no_url_is_stored_twice(self) -> None:
        assert not self.manager.duplicates(), self.manager.duplicates()

    @invariant()
    def nothing_that_is_stored_would_be_sent_again(self) -> None:
        assert not sendable_again(self.worker.journal, self.manager.rows, self.served_by_strangers)

    @invariant()
    def nothing_is_written_without_a_valid_claim(self) -> None:
        assert not self.broken, self.broken
        ours = [event for event in self.manager.events if event.worker == "ours" and event.kind in ("claim", "insert")]
        assert not [event for event in ours if event.foreign], "an account that somebody else holds"
        assert not [event for event in ours if event.kind == "insert" and event.unclaimed], "an insert without a claim"

    def teardown(self) -> None:
        try:
            self._heal()
            self.no_url_is_stored_twice()
            self.nothing_is_written_without_a_valid_claim()
            self._nothing_is_lost()
            assert not left_open(self.worker.journal, self.manager.rows), "an outcome that could be known"
        finally:
            FIGURES["inserts"] += sum(event.kind == "insert" for event in self.manager.events)
            FIGURES["rows"] += len(self.manager.rows)
            FIGURES["lost"] += 0
            FIGURES["duplicates"] += len(self.manager.duplicates())
            self.worker.journal.database.close()
            self.loop.close()
            with contextlib.suppress(OSError):
                shutil.rmtree(self.folder)

    def _heal(self) -> None:
        """Nothing fails any more, the clock is right, the stranger is gone, and runs come and go."""
        FIGURES["rows before the healing"] += len(self.manager.rows)
        self.the_primary_sets_the_feed()
        self.manager.refuse_records(0)
        self.clock._wall = self.clock.server.now()
        for number in range(8):
            self.clock.advance(3700)
            run = f"healing-{number}"
            self.tasks[run] = self._do(self.worker.intake(run).pull(100)) or []
            self._do(self._import(run))
            self._do(self.worker.delivery(run).run(self.tasks[run]))

    def _nothing_is_lost(self) -> None:
        stored = {(row.account_id, row.link_post) for row in self.manager.rows}
        links = self.worker.journal.links.listed(limit=1000)
        parked = {link.url for link in links if link.state is LinkState.UNKNOWN}
        # A POST whose answer was lost and of which the manager refused a part: nothing tells it from one that is whole.
        presumed = {link.url for link in links if link.presumed}
        for number in range(ACCOUNTS):
            account_id, request_id = f"account-{number}", f"post-{number % POSTS}"
            for url in self._urls(account_id, request_id):
                if url in parked:
                    FIGURES["parked"] += 1
                elif url in presumed and (account_id, url) not in stored:
                    FIGURES["presumed"] += 1
                elif (account_id, url) not in stored:
                    FIGURES["lost"] += 1
                    raise AssertionError(f"{url} is neither stored nor parked: {self._story(account_id)}")

    def _story(self, account_id: str) -> list[str]:
        links = [each for each in self.worker.journal.links.listed(limit=1000) if each.key.account_id == account_id]
        return [f"{each.url} {each.state.value} {each.evidence}" for each in links]
