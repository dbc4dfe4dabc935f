"""``kill -9`` without Airflow: many worker processes, hundreds of kills in minutes, on SQLite and PostgreSQL.

A process works a run as the operators do, step by step, and leaves what it pulled in a file, as Airflow does in XCom.
A killed one is tried again under the same run, also while the first, merely stopped, still lives. All clocks can be
moved: the workers' own is the machine's and a number in shared memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import mmap
import os
import random
import shutil
import signal
import struct
import tempfile
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import create_engine, text

from likepion_provider.cli.local import sandbox_process
from likepion_provider.clock import SystemClock
from likepion_provider.journal import Journal
from likepion_provider.journal.database import Database
from likepion_provider.manager.client import ManagerAddress, ManagerClient
from likepion_provider.manager.protocol import CLAIM_TTL_S
from likepion_provider.models import LinkState, SecondaryTask
from likepion_provider.platforms import PlatformSettings, registry
from likepion_provider.sandbox.world import DOMAINS
from likepion_provider.steps.delivery import Delivery
from likepion_provider.steps.importing import BatchImport, ImportOptions
from likepion_provider.steps.intake import Intake
from likepion_provider.steps.keeper import Keeper
from tests import MANAGER
from tests.integration.conftest import SandboxApi

ACCOUNTS, EPISODES = 16, 3
FIRE_STRIKES, HEALING_RUNS = 24, 6
AT_ONCE = 3
RUN_TIMEOUT_S = 120.0
#: As long as the rest of an attempt, so that many kills strike between request, effect and answer.
SLOW_INSERTS = [
    {"endpoint": "insert", "kind": "delay", "delay_s": 1.0, "after_effect": after, "times": None, "probability": 0.5}
    for after in (True, False)
]
#: After which a request that a stopped process sent has been served: longer than the inserts are slow.
SERVED_S = 2.5


class SharedClock(SystemClock):
    """The machine's clocks, put forward for every process at once."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    def advance(self, seconds: float) -> None:
        self._memory[:8] = struct.pack("d", self._ahead_s() + seconds)

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self._ahead_s())

    def boot_s(self) -> float:
        return super().boot_s() + self._ahead_s()

    def _ahead_s(self) -> float:
        ahead_s: float = struct.unpack("d", self._memory[:8])[0]
        return ahead_s


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of ours; what it pulled is in its file as soon as it was pulled."""

    name: str
    file: Path
    limit: int

    def save(self, tasks: list[SecondaryTask]) -> None:
        unfinished = self.file.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps([task.to_public() for task in tasks]), encoding="utf-8")
        unfinished.replace(self.file)

    def load(self) -> list[SecondaryTask] | None:
        try:
            return [SecondaryTask.from_public(each) for each in json.loads(self.file.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return None


class Workers:
    """Forks workers over one world and one journal, and does things to them."""

    def __init__(
        self, folder: Path, journal_url: str, world: SandboxApi, clock: SharedClock, figures: Counter[str]
    ) -> None:
        self._folder = folder
        self._journal_url = journal_url
        self._world = world
        self._clock = clock
        self._figures = figures
        self.living: dict[int, Run] = {}
        self._runs: list[Run] = []

    def new_run(self, limit: int = ACCOUNTS + 1) -> Run:
        name = f"run-{len(self._runs)}"
        self._runs.append(Run(name, self._folder / f"{name}.json", limit))
        return self._runs[-1]

    def start(self, run: Run) -> int:
        """An attempt at a run."""
        with warnings.catch_warnings():
            # Threads that a test runner left asleep hold nothing that the child needs.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if not pid:
            status = 1
            with contextlib.suppress(BaseException):
                asyncio.run(self._work(run))
                status = 0
            os._exit(status)
        self._figures["attempts"] += 1
        self.living[pid] = run
        return pid

    def signal(self, number: int, *pids: int) -> None:
        for pid in pids:
            os.kill(pid, number)

    def kill(self, pid: int) -> Run:
        """End an attempt at once.

        :return: the run to try again.
        """
        run = self.living.pop(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return run

    def reap(self) -> None:
        """Forget those that ended."""
        for pid in list(self.living):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self.living[pid]
                self._figures["attempts that failed"] += bool(status)

    def join(self) -> None:
        """Wait for all; who hangs is a defect.

        :raises TimeoutError: somebody hangs.
        """
        deadline_s = time.monotonic() + RUN_TIMEOUT_S
        while self.living:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{self.living} did not end")
            time.sleep(0.02)
            self.reap()

    def end(self) -> None:
        for pid in list(self.living):
            self.kill(pid)

    async def _work(self, run: Run) -> None:
        """All steps of a run, each with a holder of its own as each of Airflow's tasks has."""
        addresses = self._world.addresses
        journal, clock = Journal(Database(self._journal_url).of(MANAGER)), self._clock
        async with ManagerClient(ManagerAddress(addresses["manager_url"], addresses["api_key"])) as manager:
            tasks = run.load()
            if tasks is None:
                intake = Intake(manager=manager, journal=journal, clock=clock, scope=run.name, run_id=run.name)
                tasks = await intake.reaffirm(await intake.pull(run.limit))
                run.save(tasks)

            def keeper() -> Keeper:
                return Keeper(manager, journal, clock, run.name, uuid.uuid4().hex)

            await BatchImport(
                manager=manager,
                journal=journal,
                keeper=keeper(),
                registry=registry(),
                clock=clock,
                settings=dict.fromkeys(DOMAINS, PlatformSettings(base_url=addresses["site_url"])),
                options=ImportOptions(allow_private_feeds=True),
            ).run(tasks)
            await Delivery(manager=manager, journal=journal, keeper=keeper(), clock=clock).run(tasks)


class Round:
    """One world: under fire, then healed, then judged."""

    def __init__(
        self, workers: Workers, world: SandboxApi, journal: Journal, clock: SharedClock, rng: random.Random
    ) -> None:
        self._workers = workers
        self._journal = journal
        self._world = world
        self._clock = clock
        self._rng = rng

    def burn(self, kills: int, figures: Counter[str]) -> None:
        """Strike until there is nothing left to do, or often enough."""
        self._world.call("POST", "/sandbox/faults", {"seed": self._rng.randrange(10**6), "faults": SLOW_INSERTS})
        for _ in range(FIRE_STRIKES):
            self._workers.reap()
            while len(self._workers.living) < self._rng.randint(1, AT_ONCE):
                self._workers.start(self._workers.new_run(self._rng.randint(1, 4)))
            time.sleep(self._rng.uniform(0, 1.5))
            self._workers.reap()
            if not self._workers.living:
                self._pass_time()
            elif (what := self._rng.random()) < 0.1:
                self._sleep_through_the_claim()
                figures["stopped past their claim"] += 1
            elif what < 0.2:
                self._sleep_through_the_retry()
                figures["woke up beside their retry"] += 1
            elif kills > 0:
                kills -= 1
                figures["kills"] += 1
                run = self._workers.kill(self._rng.choice(list(self._workers.living)))
                if self._rng.random() < 0.7:
                    self._workers.start(run)
        self._workers.join()

    def _sleep_through_the_claim(self) -> None:
        """All are stopped, their claims lapse, another run takes over, they wake up and must not write any more."""
        stopped = list(self._workers.living)
        self._workers.signal(signal.SIGSTOP, *stopped)
        self._pass_time()
        self._workers.start(self._workers.new_run())
        time.sleep(self._rng.uniform(0.2, 1.5))
        self._workers.signal(signal.SIGCONT, *stopped)

    def _sleep_through_the_retry(self) -> None:
        """One is stopped, its next attempt takes over, it wakes up and must not write any more."""
        stopped, run = self._rng.choice(list(self._workers.living.items()))
        self._workers.signal(signal.SIGSTOP, stopped)
        self._workers.start(run)
        time.sleep(self._rng.uniform(0.2, 1.5))
        self._workers.signal(signal.SIGCONT, stopped)

    def heal(self) -> None:
        """Runs that nothing happens to, until everything is delivered."""
        self._world.call("DELETE", "/sandbox/faults")
        for _ in range(HEALING_RUNS):
            self._pass_time()
            self._workers.start(self._workers.new_run())
            self._workers.join()
            if self._world.rows()["count"] >= ACCOUNTS * EPISODES and not parked(self._journal):
                return

    def _pass_time(self) -> None:
        # What a worker sent before it ended takes effect before a claim's time passes, as it would.
        time.sleep(SERVED_S)
        # The workers' first: a claim must never seem longer than it is.
        self._clock.advance(CLAIM_TTL_S + 1)
        self._world.call("POST", "/sandbox/clock", {"advance_s": CLAIM_TTL_S + 1})


def parked(journal: Journal) -> set[str]:
    """The accounts with links of an unknown outcome, as ``likepion journal list`` shows them."""
    return {each.key.account_id for each in journal.links.listed(state=LinkState.UNKNOWN, limit=1000)}


def judge(world: SandboxApi, journal: Journal, figures: Counter[str]) -> None:
    """Count what came of a world.

    :raises AssertionError: a URL is stored twice, an account is lost, or the journal takes for stored what is not.
    """
    rows = world.rows()
    accounts = [each["account_id"] for each in world.state()["accounts"]]
    lost = [each for each in accounts if rows["accounts"].get(each, 0) < EPISODES and each not in parked(journal)]
    has = {(row["account_id"], row["link_post"]) for row in rows["rows"]}
    known = journal.links.listed(state=LinkState.STORED, limit=1000)
    figures["rounds"] += 1
    figures["inserts"] += world.inserts()
    figures["rows"] += rows["count"]
    figures["duplicates"] += len(rows["duplicates"])
    figures["lost"] += len(lost)
    figures["accounts parked"] += len(parked(journal))
    figures["links presumed"] += sum(each.presumed for each in known)
    assert not rows["duplicates"]
    assert not lost
    assert not [each.url for each in known if (each.key.account_id, each.url) not in has]


def campaign(journals: Callable[[Path], str], kills: int, seed: int, *, until_s: float = float("inf")) -> Counter[str]:
    """Rounds until so many workers were killed.

    :param journals: makes the URL of an empty journal.
    :param until_s: on the monotonic clock; no further round begins then.
    :return: what happened.
    :raises AssertionError: a promise was broken.
    """
    figures: Counter[str] = Counter()
    rng = random.Random(seed)
    ours = logging.getLogger("likepion_provider")
    level = ours.level
    ours.setLevel(logging.CRITICAL)
    try:
        while figures["kills"] < kills and time.monotonic() < until_s:
            folder = Path(tempfile.mkdtemp(prefix="likepion-kills-"))
            try:
                _play(folder, journals(folder), kills - figures["kills"], rng, figures)
            finally:
                shutil.rmtree(folder)
    finally:
        ours.setLevel(level)
    return figures


def _play(folder: Path, journal_url: str, kills: int, rng: random.Random, figures: Counter[str]) -> None:
    shape = {"accounts": ACCOUNTS, "posts": 2, "episodes": EPISODES, "target": EPISODES, "seed": rng.randrange(10**6)}
    pace = {"latency-s": 0.02, "listing-delay-s": 0.1}
    arguments = [f"--{name}={value}" for name, value in (shape | pace).items()]
    clock = SharedClock()
    with sandbox_process(folder, "--world=built", *arguments) as addresses:
        world = SandboxApi(addresses)
        journal = Journal(Database(journal_url).of(MANAGER))
        # A connection must not be forked.
        journal.database.close()
        workers = Workers(folder, journal_url, world, clock, figures)
        one = Round(workers, world, journal, clock, rng)
        try:
            one.burn(kills, figures)
            one.heal()
        finally:
            workers.end()
        judge(world, journal, figures)
        journal.database.close()


def sqlite(folder: Path) -> str:
    """A journal in a file."""
    return f"sqlite:///{folder / 'journal.db'}"


def on_postgres(server_url: str) -> Callable[[Path], str]:
    """Journals in databases of their own on a server.

    :param server_url: with ``{database}`` to be filled in.
    """

    def empty(folder: Path) -> str:
        database = folder.name.lower().replace("-", "_")
        engine = create_engine(server_url.format(database="postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{database}"'))
        engine.dispose()
        return server_url.format(database=database)

    return empty
