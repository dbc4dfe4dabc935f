"""A day in production: a run every five minutes, accounts in groups, trouble, and a person who reads the reports.

The real operators, one task after the other, on a clock that is moved by hand, against the sandbox manager's rules.
Airflow's part is played here: trigger rules, mapping, retries, XComs, clearing. What a person is shown is kept, and is
judged by rules: whoever reads it must know whether there is something to do, and what.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import json
import logging
import os
import random
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from airflow.sdk import Variable
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)

from likepion_provider.dag import ASSISTED, likepion_dag
from likepion_provider.errors import FeedInvalid, LoginRefused, NeedsVerification, Transient
from likepion_provider.manager.client import ManagerAddress
from likepion_provider.manager.protocol import Endpoint
from likepion_provider.models import Enclosure, Episode, Feed, ImportState, LinkState
from likepion_provider.operators.likepion import ClaimAccountsOperator, ImportRssOperator, InsertLinksOperator
from likepion_provider.operators.report import LikepionReportOperator
from likepion_provider.platforms import Job, ListedEpisode, Progress, Registry
from likepion_provider.sandbox.manager import SandboxManager
from likepion_provider.sensors.likepion import LinkRssSensor
from tests import MANAGER
from tests.clocks import VirtualClock
from tests.fakes import DOMAIN, InProcessClient, ScriptedPlatform, fresh_journal

TICK = timedelta(minutes=5)
RETRIES, RETRY_DELAY_S = 2, 20.0
TARGET = 3
PULL, CLAIM, REPORT = "pull_tasks", "claim_accounts", "report"
WAIT, IMPORT, INSERT = (f"import_batch.{each}" for each in ("wait_for_link_rss", "import_rss", "insert_links"))
STEPS = (PULL, CLAIM, WAIT, IMPORT, INSERT, REPORT)
#: A person looks at red runs so many ticks later.
READ_AFTER = 6
RETURNED = "return_value"
#: Airflow's, where it does not run the task itself.
_NOT_ITS_WORDS = "cannot be called outside of the Task Runner"
_NOTHING_TO_DO = re.compile(r"nothing to do", re.IGNORECASE)
#: One of several, a sentence that ends twice or begins with nothing, a value that is none.
_BADLY_WRITTEN = re.compile(
    r"\b1 (accounts|posts|links|batches|tasks|leftovers|episodes|groups|times)\b"
    r"|[^.]\.\.(?!\.)|: \.|\?\.|\.;|\bNone\b|  +\."
)


class DaysPlatform(ScriptedPlatform):
    """Lists a feed's newest episodes; is down at times, has passwords of its own, and asks some for a person."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.passwords: dict[str, str] = {}
        self.unverified: set[str] = set()

    async def submit(self, job: Job) -> Progress:
        self._let_in(job)
        return await super().submit(job)

    async def collect(self, job: Job) -> Progress:
        self._let_in(job)
        account_id = job.task.account_id
        if not self.submissions[account_id]:
            return Progress(ImportState.NEW)
        listed = tuple(ListedEpisode(page(account_id, each.guid), guid=each.guid) for each in job.feed.episodes)
        return Progress(ImportState.LISTED, f"show-{account_id}", listed)

    def _let_in(self, job: Job) -> None:
        if self.down:
            raise Transient("scripted.example answers 503: down for maintenance")
        account_id = job.task.account_id
        if self.passwords.get(account_id, job.credentials.password) != job.credentials.password:
            raise LoginRefused("scripted.example: wrong password", platform=self.name)
        if account_id in self.unverified:
            raise NeedsVerification("scripted.example wants the address of the account confirmed", platform=self.name)


def page(account_id: str, guid: str) -> str:
    """An episode's page."""
    return f"https://{DOMAIN}/{account_id}/{guid}"


@dataclasses.dataclass
class Run:
    """One run of the DAG, as Airflow keeps it, and what a person is shown of it."""

    run_id: str
    run_type: str
    conf: dict[str, Any]
    run_after: Any
    xcoms: dict[tuple[str, str, int], Any] = dataclasses.field(default_factory=dict)
    states: dict[tuple[str, int], str] = dataclasses.field(default_factory=dict)
    tries: Counter[tuple[str, int]] = dataclasses.field(default_factory=Counter)
    max_tries: dict[tuple[str, int], int] = dataclasses.field(default_factory=dict)
    left_out: set[str] = dataclasses.field(default_factory=set)
    lines: list[str] = dataclasses.field(default_factory=list)
    error: str = ""

    @property
    def is_red(self) -> bool:
        """As the grid shows it: the report is the last task."""
        return self.states.get((REPORT, -1)) in ("failed", "upstream_failed")

    @property
    def is_cleared(self) -> bool:
        """Whether a person has cleared a task of it."""
        return self.tries[REPORT, -1] > 1

    @property
    def summary(self) -> dict[str, Any]:
        return dict(self.xcoms.get((REPORT, "summary", -1), {}))


class Instance:
    """The running task instance, as operators see it."""

    def __init__(self, run: Run, task_id: str, map_index: int) -> None:
        self.task_id = task_id
        self.map_index = map_index
        self._run = run
        self.try_number = run.tries[task_id, map_index]
        self.max_tries = run.max_tries.get((task_id, map_index), 0 if task_id == REPORT else RETRIES)

    def xcom_push(self, key: str, value: Any) -> None:
        self._run.xcoms[self.task_id, key, self.map_index] = json.loads(json.dumps(value))

    def xcom_pull(self, task_ids: Any, *, key: str = RETURNED, map_indexes: Any = -1) -> Any:
        if isinstance(task_ids, str):
            return self._run.xcoms.get((task_ids, key, map_indexes))
        rows = sorted((each[2], value) for each, value in self._run.xcoms.items() if each[:2] == (task_ids[0], key))
        return [value for _, value in rows] or [None]

    def get_task_states(self, **of: Any) -> dict[str, dict[str, str]]:
        names, index = of.get("task_ids"), of.get("map_index")
        states = {
            task_id + (f"_{number}" if number >= 0 else ""): state
            for (task_id, number), state in self._run.states.items()
            if (names is None or task_id in names) and (index is None or number == index)
        }
        return {self._run.run_id: states}


class Day:
    """One simulated day.

    :param accounts: of all groups together.
    :param groups: each of which publishes twice a day.
    :param seed: of everything that is drawn.
    """

    def __init__(self, folder: Path, *, accounts: int, groups: int, ticks: int, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = VirtualClock()
        self.manager = SandboxManager(self.clock.server)  # type: ignore[arg-type]
        self.journal = fresh_journal(folder)
        self.platform = DaysPlatform()
        self.client = InProcessClient(self.manager, "ours")
        self.ticks = ticks
        self.runs: list[Run] = []
        #: What a person was told wrongly, or not at all.
        self.told: list[str] = []
        self.expected: dict[tuple[str, str], set[str]] = {}
        self._broken_feeds: set[str] = set()
        self._later: dict[int, list[Any]] = {}
        self._folder = folder
        self._variables: dict[str, str] = {}
        self._pull = likepion_dag("day", schedule=None).get_task(PULL)
        self.groups = [f"group-{number}" for number in range(groups)]
        for group_id in self.groups:
            self.manager.add_group(group_id)
        self.accounts = [f"account-{number}" for number in range(accounts)]
        self.group_of = {each: self.groups[number % groups] for number, each in enumerate(self.accounts)}
        for account_id, group_id in self.group_of.items():
            credentials = {"username": account_id, "password": "first"}
            self.manager.add_account(group_id, DOMAIN, credentials, account_id=account_id)

    def play(self) -> None:
        """Let the day pass, and then runs until nothing is left, at most an hour and a half."""
        self._plan()
        with self._surroundings():
            for tick in range(self.ticks + 18):
                begins = self.clock.now()
                for event in self._later.pop(tick, ()):
                    event()
                self._run(f"scheduled__{begins:%H:%M}", "scheduled")
                spent_s = (self.clock.now() - begins).total_seconds()
                self.clock.advance(max(0.0, TICK.total_seconds() - spent_s))

    # --- what happens ---

    def _plan(self) -> None:
        """Whose feed is late, and when what goes wrong."""
        half = self.ticks // 2
        for number, group_id in enumerate(self.groups):
            tick = number * half // len(self.groups)
            self._at(tick, self._publish, group_id, "morning")
            self._at(tick + half, self._publish, group_id, "evening")
        hour = min(12, self.ticks // 8)
        down = self.ticks // 4
        self._at(down, self._set_down, True)
        self._at(down + hour, self._set_down, False)
        manager = self.ticks // 2
        for tick in range(manager, manager + 4):
            self._at(tick, self._lose_pulls)
        for tick in range(0, self.ticks, max(1, self.ticks // 6)):
            self._at(tick, self._lose_insert)
        # Of the group that publishes first: its post lasts until a person has read the report.
        for account_id in self.rng.sample(self.accounts[:: len(self.groups)], 3):
            self._at(self.rng.randrange(half), self._change_password, account_id)
        for account_id in self.rng.sample(self.accounts, 2):
            self.platform.unverified.add(account_id)
        self._broken_feeds.add(f"{self.groups[1]}-morning")
        self._at(self.ticks // 3, self._lose_journals_answer)
        for part, task_id in enumerate((IMPORT, CLAIM, INSERT), 1):
            self._at(part * self.ticks // 5, self._clear_newest, task_id)

    def _at(self, tick: int, what: Any, *arguments: Any) -> None:
        self._later.setdefault(tick, []).append(lambda: what(*arguments))

    def _tick(self) -> int:
        return int((self.clock.boot_s() - 1000.0) // TICK.total_seconds())

    def _publish(self, group_id: str, when: str) -> None:
        request_id = f"{group_id}-{when}"
        for post in self.manager.posts.values():
            if post.group_id == group_id and post.status == "running":
                self.manager.update_post(post.request_id, status="completed")
        late = self.rng.random() < 0.2
        link_rss = f"https://feeds.example/{request_id}"
        self.manager.add_post(group_id, target=TARGET, link_rss="" if late else link_rss, request_id=request_id)
        if late:
            self._at(self._tick() + 3, self.manager.set_link_rss, request_id, link_rss)
        for account_id, its in self.group_of.items():
            if its == group_id:
                guids = [f"{request_id}-{number}" for number in range(TARGET)]
                self.expected[request_id, account_id] = {page(account_id, guid) for guid in guids}

    def _set_down(self, down: bool) -> None:
        self.platform.down = down

    def _lose_pulls(self) -> None:
        for _ in range(1 + RETRIES):
            self.client.fail(Endpoint.PULL, "not_sent")

    def _lose_insert(self) -> None:
        self.client.fail(Endpoint.INSERT, self.rng.choice(("lose_answer", "500", "429", "garbled")))

    def _change_password(self, account_id: str) -> None:
        self.platform.passwords[account_id] = "second"

    def _lose_journals_answer(self) -> None:
        """The next commit takes effect, and nobody hears of it."""
        dialect = self.journal.database.engine.dialect
        commit = dialect.do_commit

        def lose(connection: Any) -> None:
            commit(connection)
            dialect.do_commit = commit  # type: ignore[method-assign]
            raise sqlite3.OperationalError("server closed the connection unexpectedly")

        dialect.do_commit = lose  # type: ignore[method-assign]

    def _clear_newest(self, task_id: str) -> None:
        """Clear a task of the newest run that had work, with what follows it."""
        run = next((each for each in reversed(self.runs) if each.states.get((IMPORT, 0))), None)
        if run is None:
            self._at(self._tick() + 1, self._clear_newest, task_id)
            return
        for key in run.tries:
            if STEPS.index(key[0]) >= STEPS.index(task_id):
                run.max_tries[key] = run.tries[key] + (0 if key[0] == REPORT else RETRIES)
                run.states.pop(key, None)
                run.xcoms = {each: value for each, value in run.xcoms.items() if (each[0], each[2]) != key}
        run.lines.append(f"--- cleared: {task_id}")
        self._play(run, STEPS.index(task_id))
        self._judge(run)

    def _help(self, account_id: str, outcome: str) -> None:
        """Do what the report says, and run the account by hand."""
        if outcome == "needs_person":
            self.platform.unverified.discard(account_id)
        self.manager.update_account(account_id, password=self.platform.passwords.get(account_id, "first"))
        self._broken_feeds.clear()
        self._run(f"manual__{self.clock.now():%H:%M}_{account_id}", "manual", account_ids=[account_id])

    # --- Airflow's part ---

    def _run(self, run_id: str, run_type: str, **conf: Any) -> Run:
        run = Run(run_id, run_type, conf, self.clock.now())
        self.runs.append(run)
        self._play(run, 0)
        self._judge(run)
        for each in run.summary.get("accounts", ()):
            if each["outcome"] != "unknown":
                self._at(self._tick() + READ_AFTER, self._help, each["account_id"], each["outcome"])
        if run_type == "manual" and run.summary.get("tasks"):
            self._at(self._tick() + READ_AFTER, self._help, conf["account_ids"][0], "")
        return run

    def _play(self, run: Run, first: int) -> None:
        if first <= 0:
            self._task(run, self._pull_of(run))
        if first <= 1 and self._may(run, PULL, CLAIM):
            self._task(run, ClaimAccountsOperator(task_id=CLAIM, tasks=run.xcoms[PULL, RETURNED, -1]))
        batches = run.xcoms.get((CLAIM, RETURNED, -1)) or []
        for index, batch in enumerate(batches):
            if first <= 2:
                if WAIT in run.left_out:
                    run.states[WAIT, index] = "skipped"
                else:
                    self._task(run, LinkRssSensor(task_id=WAIT, batch=batch, deferrable=False, timeout=240), index)
            if first <= 3 and run.states[WAIT, index] == "failed":
                run.states[IMPORT, index] = "upstream_failed"
            elif first <= 3:
                self._task(run, ImportRssOperator(task_id=IMPORT, batch=batch, wait_task_id=WAIT), index)
            self._task(run, InsertLinksOperator(task_id=INSERT, batch=batch, import_task_id=IMPORT), index)
        if REPORT not in run.left_out:
            self._task(run, LikepionReportOperator(task_id=REPORT, retries=0))

    def _pull_of(self, run: Run) -> Any:
        """The DAG's own task, which knows what comes after it; with what Airflow would have rendered."""
        pull = copy.copy(self._pull)
        pull.limit, pull.account_ids = 1000, run.conf.get("account_ids")
        pull.group_id = pull.domains = None
        pull.resend = pull.look_only = False
        pull.leave_out = [*ASSISTED]
        return pull

    def _may(self, run: Run, before: str, task_id: str) -> bool:
        """The trigger rule ``all_success``."""
        state = run.states[before, -1]
        if state != "success" or task_id in run.left_out:
            run.states[task_id, -1] = "upstream_failed" if state == "failed" else "skipped"
            if state == "skipped":
                run.left_out.add(REPORT)
            return False
        return True

    def _task(self, run: Run, operator: Any, index: int = -1) -> None:
        """A task with its retries."""
        key = (operator.task_id, index)
        run.max_tries.setdefault(key, 0 if operator.task_id == REPORT else RETRIES)
        run.states[key] = "running"
        while run.states[key] == "running":
            run.tries[key] += 1
            instance = Instance(run, *key)
            with self._read(run, operator):
                try:
                    result = operator.execute(self._context(run, instance))
                    instance.xcom_push(RETURNED, result)
                    run.states[key] = "success"
                except DownstreamTasksSkipped as skipped:
                    run.left_out.update(skipped.tasks)
                    run.states[key] = "success"
                except AirflowSkipException as skipped:
                    run.lines.append(f"{operator.task_id} skipped: {skipped}")
                    run.states[key] = "skipped"
                except AirflowException as error:
                    is_last = isinstance(error, AirflowFailException) or run.tries[key] > run.max_tries[key]
                    run.lines.append(f"{operator.task_id} {'failed' if is_last else 'is tried again'}: {error}")
                    if is_last:
                        run.states[key] = "failed"
                        run.error = str(error)
                    self.clock.advance(RETRY_DELAY_S)

    def _context(self, run: Run, instance: Instance) -> Any:
        dag_run = SimpleNamespace(
            dag_id="day", run_id=run.run_id, run_type=run.run_type, run_after=run.run_after, conf=run.conf
        )
        return {"dag_run": dag_run, "ti": instance}

    @contextlib.contextmanager
    def _read(self, run: Run, operator: Any) -> Iterator[None]:
        """Keep what the task's log shows, as the person sees it: without what stands in the folded group."""
        handler = _Lines(run.lines, operator.task_id)
        package, level = logging.getLogger("likepion_provider"), logging.getLogger("likepion_provider").level
        package.addHandler(handler)
        package.setLevel(logging.INFO)
        try:
            # Airflow's own writes to standard output.
            with patch.object(type(operator), "log", package):
                yield
        finally:
            package.removeHandler(handler)
            package.setLevel(level)

    @contextlib.contextmanager
    def _surroundings(self) -> Iterator[None]:
        """What operators take from Airflow, from the network and from the clock."""
        registry = Registry()
        registry.add("scripted", ScriptedPlatform)
        registry._by_name["scripted"] = self.platform
        journal = {"conn_type": "sqlite", "host": str(self._folder / "journal.db")}
        manager = {"conn_type": "likepion", "host": MANAGER, "password": "key-of-a-day"}
        environment = {
            "AIRFLOW_CONN_LIKEPION_DEFAULT": json.dumps(manager),
            "AIRFLOW_CONN_LIKEPION_JOURNAL": json.dumps(journal),
            "AIRFLOW_CONN_LIKEPION_PLATFORM_SCRIPTED": json.dumps(
                {"conn_type": "http", "host": "http://scripted.invalid"}
            ),
        }
        rooms = ("operators.base", "operators.likepion", "sensors.likepion", "hooks.marks")
        with contextlib.ExitStack() as stack:
            for room in rooms:
                stack.enter_context(patch(f"likepion_provider.{room}.SYSTEM_CLOCK", self.clock))
            for room in ("operators.base", "sensors.likepion"):
                stack.enter_context(patch(f"likepion_provider.{room}.ManagerClient", self._opened))
            stack.enter_context(patch("likepion_provider.operators.likepion.importers", lambda: registry))
            stack.enter_context(patch("likepion_provider.hooks.connections.importers", lambda: registry))
            stack.enter_context(patch("likepion_provider.steps.importing._read_feed", self._read_feed))
            stack.enter_context(patch.object(Variable, "get", self._variable))
            stack.enter_context(patch.object(Variable, "set", self._set_variable))
            stack.enter_context(patch.dict(os.environ, environment))
            yield

    def _opened(self, _: ManagerAddress) -> InProcessClient:
        return self.client

    def _variable(self, key: str, default: Any = None) -> Any:
        return self._variables.get(key, default)

    def _set_variable(self, key: str, value: str, **_: Any) -> None:
        self._variables[key] = value

    async def _read_feed(self, url: str, **_: object) -> Feed:
        await asyncio.sleep(0)
        request_id = url.rsplit("/", 1)[1]
        if request_id in self._broken_feeds:
            raise FeedInvalid(
                "the feed https://feeds.example/... is an HTML page (document)", url="https://feeds.example/..."
            )
        episodes = tuple(
            Episode(f"{request_id}-{number}", f"Episode {number}", Enclosure(f"{url}/{number}.mp3"))
            for number in range(TARGET)
        )
        return Feed(url=url, display_url="https://feeds.example/...", title="A podcast", episodes=episodes)

    # --- what must be true of it ---

    def _judge(self, run: Run) -> None:
        """A person who reads this run knows how it stands, and what to do."""
        self.told += [f"{run.run_id}: {each}" for each in judged(run)]
        said = {
            each["account_id"]: each["outcome"]
            for key, rows in run.xcoms.items()
            if key[1] == RETURNED and key[0] in (IMPORT, INSERT)
            for each in rows or ()
        }
        tasks = [task for batch in run.xcoms.get((CLAIM, RETURNED, -1)) or () for task in batch["tasks"]]
        stored = {(row.request_id, row.account_id) for row in self.manager.rows}
        for task in tasks:
            key = (task["request_id"], task["account_id"])
            if said.get(task["account_id"]) == "delivered" and key not in stored:
                self.told.append(f"{run.run_id}: {task['account_id']} is called delivered and is not")

    def lost(self) -> list[str]:
        """The accounts that lack a page of a post that they could be given."""
        stored = {(row.request_id, row.account_id, row.link_post) for row in self.manager.rows}
        return [
            f"{account_id} of {request_id}"
            for (request_id, account_id), urls in self.expected.items()
            if any((request_id, account_id, url) not in stored for url in urls)
        ]

    def parked(self) -> int:
        """Links that wait for a person."""
        return len(self.journal.links.listed(state=LinkState.UNKNOWN, limit=10_000))


def judged(run: Run) -> list[str]:
    """What is wrong with what a person is shown of a run."""
    summary = run.summary
    faults = []
    ended = {task_id for (task_id, _), state in run.states.items() if state == "failed"}
    if run.is_red:
        if not run.error:
            faults.append("red without a word")
        said = [(each["message"], each["remedy"]) for each in summary.get("accounts", ())]
        said += [each.partition(": ")[::2] for each in summary.get("tasks", ()) if "could not run" not in each]
        faults += [
            f"red without something to do: {message}, {remedy}"
            for message, remedy in said
            if not message or not remedy or _NOTHING_TO_DO.search(remedy)
        ]
    elif ended - {REPORT} or summary.get("accounts") or summary.get("journal") or summary.get("manager"):
        faults.append(f"green over {ended or summary}")
    shown = [*run.lines, summary.get("text", "")]
    faults += [f"badly written: {each}" for each in shown if _BADLY_WRITTEN.search(each)]
    return faults


class _Lines(logging.Handler):
    """Keeps what is outside the folded group, and what somebody must read."""

    def __init__(self, lines: list[str], task_id: str) -> None:
        super().__init__()
        self._lines = lines
        self._task_id = task_id
        self._folded = False

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage()
        if words.startswith("::"):
            self._folded = words.startswith("::group::")
        elif _NOT_ITS_WORDS in words:
            return
        elif not self._folded or record.levelno >= logging.WARNING:
            self._lines.append(f"{self._task_id} {record.levelname}: {words}")
        else:
            self._lines.append(f"{self._task_id} | {words}")
