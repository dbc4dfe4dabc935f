"""``kill -9`` in a real Airflow: tasks, their supervisors, the triggerer and the scheduler, at random moments.

Every service is a process of its own, started again when it ends, as an operating system's service manager does. A
world is worked by runs under fire; then nothing fails any more, and runs come and go until everything is delivered.
Between two runs, while no attempt lives, more than a claim's length passes: for the manager by its own clock, for the
journal by putting its times back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select, update

from likepion_provider import DAG_ID
from likepion_provider.cli.local import AIRFLOW_PARTS, airflow_environment, free_port, process, sandbox_process
from likepion_provider.journal import Journal
from likepion_provider.journal.database import Database
from likepion_provider.journal.schema import claim, link, submission
from likepion_provider.manager.protocol import CLAIM_TTL_S
from likepion_provider.models import LinkState
from likepion_provider.sandbox.world import build_world
from tests.faults.workers import parked
from tests.integration.conftest import DAGS, Airflow, SandboxApi

ACCOUNTS, POSTS, EPISODES, BATCH = 12, 3, 5, 3
#: Airflow notices a dead supervisor after this long; 300 s by default.
HEARTBEAT_TIMEOUT_S = 10
SETTINGS = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": HEARTBEAT_TIMEOUT_S,
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 2,
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": 5,
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": 10,
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": 2,
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": 2,
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": 10,
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": 2,
    # The local executor never gets the slot of a killed supervisor back.
    "AIRFLOW__CORE__PARALLELISM": 24,
    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": 8,
    # Services that share no configuration file's random keys share these.
    "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
    # Process titles must not overwrite the environment, by which our processes are known.
    "SPT_NOENV": 1,
}
#: The DAG as it is, with less patience; and what every task imports, imported once.
POLICY = """
from datetime import timedelta

import likepion_provider.preload


def task_policy(task):
    task.retry_delay = timedelta(seconds=1)
    if task.task_type == "LinkRssSensor":
        task.poke_interval = 1
"""
#: As long as the rest of a task, so that many kills strike between request, effect and answer.
SLOW_INSERTS = [
    {"endpoint": "insert", "kind": "delay", "delay_s": 2.0, "after_effect": after, "times": None, "probability": 0.5}
    for after in (True, False)
]
RUN_TIMEOUT_S = 900.0
#: Where no task lives for this long although a run goes on, Airflow's scheduler is started again, as a person would.
STANDSTILL_S = 90.0
#: How long a service may take to end.
STOP_S = 30.0
FIRE_RUNS, HEALING_RUNS = 2, 6
#: What is struck, and how often in comparison.
TARGETS = {"task": 50, "supervisor": 15, "orphan": 8, "pause": 10, "triggerer": 8, "scheduler": 1}


class World(SandboxApi):
    """A sandbox whose world is known."""

    def __init__(self, addresses: dict[str, str], seed: int) -> None:
        super().__init__(addresses)
        self._world = build_world(accounts=ACCOUNTS, posts=POSTS, waiting_posts=1, seed=seed)

    def set_feeds(self) -> None:
        """What the primary's worker does."""
        for post in self._world.posts:
            feed_url = self.addresses["feeds_url"] + post.podcast.path()
            self.call("PATCH", f"/sandbox/posts/{post.request_id}", {"link_rss": feed_url})


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A living task process and, unless it is an orphan, its supervisor."""

    task: int
    supervisor: int | None


class Services:
    """Airflow's services, each started again when it ends."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self._home = home
        self._environment = environment
        self._stack = contextlib.ExitStack()
        self._running: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Services:
        self._airflow("db", "migrate").wait(timeout=RUN_TIMEOUT_S)
        self.start_missing()
        return self

    def __exit__(self, *_: object) -> None:
        # Orphans are in groups of their own, and who waits for work that never comes does not end by itself.
        for pid in self._ours():
            _signal(pid, signal.SIGKILL)
        self._stack.close()

    def start_missing(self) -> None:
        for name, options in AIRFLOW_PARTS.items():
            if name not in self._running or self._running[name].poll() is not None:
                self._bury(name)
                self._running[name] = self._airflow(name, *options)

    def _bury(self, name: str) -> None:
        """End what a dead service left that does nothing any more; its tasks live on."""
        ours = self._ours() if name in self._running else {}
        for pid, parent in ours.items():
            if parent not in ours and _read(pid, "cmdline").rstrip("\0 ").endswith("<idle>"):
                _signal(pid, signal.SIGKILL)

    def kill(self, name: str) -> None:
        _signal(self._running[name].pid, signal.SIGKILL)

    def stop(self, name: str) -> None:
        """End a service as an operator does, and leave it away."""
        self._running[name].terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._running[name].wait(STOP_S)
        self.kill(name)
        self._running[name].wait(STOP_S)

    def attempts(self) -> list[Attempt]:
        """The task processes that live now, of this scheduler or orphaned."""
        parents = self._ours()
        titles = {pid: _read(pid, "cmdline") for pid in parents}
        working = {pid for pid, title in titles.items() if "LocalExecutor:" in title and "<idle>" not in title}
        children = {pid for pid, parent in parents.items() if parent in working}
        orphans = {
            pid
            for pid, title in titles.items()
            if title.startswith("airflow worker -- ") and "LocalExecutor" not in title and pid not in children
        }
        return [Attempt(pid, parents[pid]) for pid in sorted(children)] + [
            Attempt(pid, None) for pid in sorted(orphans)
        ]

    def _airflow(self, *arguments: str) -> subprocess.Popen[str]:
        command = [str(Path(sys.executable).with_name("airflow")), *arguments]
        log = self._stack.enter_context((self._home / f"{arguments[0]}.log").open("a"))
        options = {"env": self._environment, "stdout": log, "stderr": log}
        return self._stack.enter_context(process(command, **options))

    def _ours(self) -> dict[int, int]:
        """Every process of this Airflow, and its parent."""
        mark = f"AIRFLOW_HOME={self._home}\0"
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        found = {pid: _read(pid, "stat") for pid in pids if mark in _read(pid, "environ")}
        # The fields after the name, which is in brackets and may hold anything.
        return {pid: int(stat.rpartition(")")[2].split()[1]) for pid, stat in found.items() if stat}


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class Fire:
    """Strikes, and counts what it struck."""

    def __init__(self, services: Services, rng: random.Random, figures: Counter[str], kills: int) -> None:
        self._services = services
        self._rng = rng
        self._figures = figures
        self.kills_left = kills
        self._stopped: list[tuple[float, int]] = []

    def strike(self) -> None:
        """Kill something, or stop it for a while."""
        attempts = self._services.attempts()
        what = self._rng.choices(list(TARGETS), list(TARGETS.values()))[0]
        supervised = [each for each in attempts if each.supervisor]
        if self.kills_left <= 0 or not attempts or (what in ("supervisor", "orphan") and not supervised):
            return
        if what in ("triggerer", "scheduler"):
            self._services.kill(what)
        elif what == "task":
            _signal(self._rng.choice(attempts).task, signal.SIGKILL)
        elif what == "supervisor":
            _signal(self._rng.choice(supervised).supervisor or 0, signal.SIGKILL)
        elif what == "pause":
            self._stop(self._rng.choice(attempts).task, self._rng.uniform(0.5, 5))
        else:
            # It sleeps through its own end: its retry has taken over when it wakes up.
            victim = self._rng.choice(supervised)
            self._stop(victim.task, HEARTBEAT_TIMEOUT_S + 8)
            _signal(victim.supervisor or 0, signal.SIGKILL)
        self._figures["stopped and continued" if what == "pause" else f"killed: {what}"] += 1
        self.kills_left -= what != "pause"

    def continue_due(self, *, all_of_them: bool = False) -> None:
        now_s = time.monotonic()
        for due_s, pid in self._stopped:
            if all_of_them or due_s <= now_s:
                _signal(pid, signal.SIGCONT)
        self._stopped = [each for each in self._stopped if each[0] > now_s and not all_of_them]

    def _stop(self, pid: int, seconds: float) -> None:
        _signal(pid, signal.SIGSTOP)
        self._stopped.append((time.monotonic() + seconds, pid))


class Round:
    """One world, from the first pull until everything is delivered."""

    def __init__(
        self,
        airflow: Airflow,
        services: Services,
        world: World,
        fire: Fire,
        rng: random.Random,
        figures: Counter[str],
        pace_s: float,
    ) -> None:
        self.airflow = airflow
        self.services = services
        self.world = world
        self._fire = fire
        self._rng = rng
        self._pace_s = pace_s
        self.figures = figures
        self._feeds_set = False
        airflow.use(world)
        self.journal = Journal(Database(f"sqlite:///{airflow.journal_path(world)}").of(world.addresses["manager_url"]))

    def burn(self) -> None:
        """Runs under fire, the first of them beside another one, and one post's feed set meanwhile."""
        self.world.call("POST", "/sandbox/faults", {"seed": self._rng.randrange(10**6), "faults": SLOW_INSERTS})
        for number in range(FIRE_RUNS):
            began_s = time.monotonic()
            limits = (8, 100) if number == 0 else (100,)
            runs = [self.airflow.start(limit=limit, batch_size=BATCH) for limit in limits]
            # From so dense that nothing gets through to so thin that most does.
            pace_s = self._pace_s * self._rng.choice((1, 4, 10))
            self.follow(runs, functools.partial(self._burn_once, began_s, pace_s))
            self._fire.continue_due(all_of_them=True)
            print(f"kills     under fire: {told(self.figures)}", flush=True)
            self.let_claims_lapse()
            if not self.undelivered() or not self._fire.kills_left:
                return

    def heal(self) -> None:
        """Runs that nothing happens to, until everything is delivered; at most six."""
        self.world.call("DELETE", "/sandbox/faults")
        self._set_feeds()
        for _ in range(HEALING_RUNS):
            if not self.undelivered() and not self.parked():
                return
            self.follow([self.airflow.start()], lambda: time.sleep(0.4))
            self.let_claims_lapse()

    def undelivered(self) -> list[str]:
        """The accounts that have not every episode's URL."""
        stored: Counter[str] = Counter(self.world.rows()["accounts"])
        return [each["account_id"] for each in self.world.state()["accounts"] if stored[each["account_id"]] < EPISODES]

    def parked(self) -> set[str]:
        """The accounts with links of an unknown outcome."""
        return parked(self.journal)

    def untrue(self) -> list[str]:
        """URLs that the journal takes for stored and the manager does not have."""
        has = {(row["account_id"], row["link_post"]) for row in self.world.rows()["rows"]}
        known = self.journal.links.listed(state=LinkState.STORED, limit=1000)
        return [each.url for each in known if (each.key.account_id, each.url) not in has]

    def _burn_once(self, began_s: float, pace_s: float) -> None:
        time.sleep(self._rng.expovariate(1 / pace_s))
        self._fire.continue_due()
        self._fire.strike()
        if time.monotonic() - began_s > 15:
            self._set_feeds()

    def _set_feeds(self) -> None:
        if not self._feeds_set:
            self._feeds_set = True
            self.world.set_feeds()

    def follow(self, runs: list[str], meanwhile: Callable[[], None]) -> None:
        """Wait for runs to end; services that end are started again.

        :raises TimeoutError: they did not end.
        """
        self.figures["runs"] += len(runs)
        lively_s = time.monotonic()
        deadline_s = lively_s + RUN_TIMEOUT_S
        while time.monotonic() < deadline_s:
            meanwhile()
            self.services.start_missing()
            if self.services.attempts():
                lively_s = time.monotonic()
            elif time.monotonic() - lively_s > STANDSTILL_S:
                lively_s = time.monotonic()
                self.services.kill("scheduler")
                self.figures["schedulers that stood still"] += 1
            with contextlib.suppress(httpx.HTTPError):
                runs = [each for each in runs if self.airflow.state(each) not in ("success", "failed")]
            if not runs:
                return
        raise TimeoutError(f"{runs} did not end: {[self.airflow.task_states(each) for each in runs]}")

    def let_claims_lapse(self) -> None:
        """Once no task works any more, let so much time pass that nobody holds an account."""
        deadline_s = time.monotonic() + 60
        while attempts := self.services.attempts():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"orphans that do not end: {attempts}")
            time.sleep(0.2)
        self.world.call("POST", "/sandbox/clock", {"advance_s": CLAIM_TTL_S + 1})
        put_back(self.journal, CLAIM_TTL_S + 1)


def put_back(journal: Journal, seconds: float) -> None:
    """Let time pass for a journal: every time in it moves into the past."""
    by = timedelta(seconds=seconds)
    with journal.database.writing() as connection:
        for row in connection.execute(select(claim)).all():
            new = {"expires_at": row.expires_at - by, "boot_expires_s": row.boot_expires_s - seconds}
            connection.execute(update(claim).where(claim.c.account_id == row.account_id).values(new))
        for row in connection.execute(select(link).where(link.c.sent_at.is_not(None))).all():
            connection.execute(update(link).where(link.c.id == row.id).values(sent_at=row.sent_at - by))
        for row in connection.execute(select(submission)).all():
            same = (submission.c.request_id == row.request_id, submission.c.account_id == row.account_id)
            new = {name: moment and moment - by for name, moment in _moments(row).items()}
            connection.execute(update(submission).where(*same).values(new))


def _moments(row: Any) -> dict[str, datetime | None]:
    return {"submitted_at": row.submitted_at, "not_before": row.not_before}


@contextlib.contextmanager
def hardy_airflow(home: Path) -> Iterator[tuple[Airflow, Services]]:
    """An Airflow that gets up again, with the DAG switched on."""
    dags = home / "dags"
    (home / "config").mkdir(parents=True)
    dags.mkdir()
    shutil.copy(DAGS / f"{DAG_ID}.py", dags)
    (home / "config" / "airflow_local_settings.py").write_text(POLICY, encoding="utf-8")
    port = free_port()
    environment = airflow_environment(home, dags, port) | {name: str(value) for name, value in SETTINGS.items()}
    with Services(home, environment) as services:
        airflow = Airflow(f"http://127.0.0.1:{port}", home, environment)
        airflow.wait_until_ready()
        airflow.call("PATCH", f"/api/v2/dags/{DAG_ID}?update_mask=is_paused", {"is_paused": False})
        yield airflow, services


def campaign(home: Path, kills: int, seed: int, *, pace_s: float = 0.5, until_s: float = float("inf")) -> Counter[str]:
    """Rounds until so many processes were killed.

    :param pace_s: between two strikes where they are densest, on average.
    :param until_s: on the monotonic clock; no further round begins then.
    :return: what happened.
    :raises AssertionError: a promise was broken.
    """
    figures: Counter[str] = Counter()
    rng = random.Random(seed)
    with hardy_airflow(home) as (airflow, services):
        while killed(figures) < kills and time.monotonic() < until_s:
            world_seed = rng.randrange(10**6)
            shape = {"accounts": ACCOUNTS, "posts": POSTS, "waiting-posts": 1, "seed": world_seed, "latency-s": 0.1}
            arguments = [f"--{name}={value}" for name, value in shape.items()]
            with sandbox_process(home, "--world=built", *arguments) as addresses:
                fire = Fire(services, rng, figures, kills - killed(figures))
                one = Round(airflow, services, World(addresses, world_seed), fire, rng, figures, pace_s)
                with contextlib.closing(one.journal.database):
                    one.burn()
                    figures["accounts that healed"] += len(one.undelivered())
                    one.heal()
                    _judge(one, figures)
            print(f"kills     seed {seed}: {told(figures)}", flush=True)
    return figures


def _judge(one: Round, figures: Counter[str]) -> None:
    rows = one.world.rows()
    lost = set(one.undelivered()) - one.parked()
    figures["rounds"] += 1
    figures["inserts"] += one.world.inserts()
    figures["rows"] += rows["count"]
    figures["duplicates"] += len(rows["duplicates"])
    figures["lost"] += len(lost)
    figures["accounts parked"] += len(one.parked())
    assert not rows["duplicates"]
    assert not lost
    assert not one.untrue()


def killed(figures: Counter[str]) -> int:
    """How many processes."""
    return sum(count for what, count in figures.items() if what.startswith("killed"))


def told(figures: Counter[str]) -> str:
    """Figures in words."""
    named = {"kills": killed(figures), **{each: figures[each] for each in ("duplicates", "lost", "accounts parked")}}
    return ", ".join(f"{number} {what}" for what, number in (named | figures).items())
