"""The DAG in a real headless Airflow, beside the job as three HTTP operators an account and beside plain asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import httpx
import requests

from likepion_provider import DAG_ID
from likepion_provider.cli.local import sandbox_process
from likepion_provider.sandbox.world import build_world
from tests.benchmarks.batch import Addresses, plain
from tests.benchmarks.report import row
from tests.benchmarks.stack import Stack, airflow, moment

KEY = "key-of-the-benchmark"
LATENCY_S = 0.5
LATE_S = 60
CLASSIC_ACCOUNTS = 100
#: The ordinary operators run in an ordinary Airflow, and in one that preloads what this package's deployment does.
COLD, WARM = "nothing preloaded", "preloaded"
#: Accounts at a time in the barest asyncio: usual, where the platform's latency is the bound; and all of a job side by
#: side, as its eight batches of 125 have them, where the CPU is.
PLAIN_AT_ONCE = (200, 1000)
SEEDS = itertools.count(1)
#: So often is the DAG processor told to parse; it has done so within this time.
PARSES, PARSE_WITHIN_S = 6, 4
EMPTY = """
from airflow.sdk import DAG

dag = DAG("empty", schedule=None)
"""
#: What Airflow itself takes for as many steps in a row as a run has, each in a process of its own.
STEPS = """
from airflow.sdk import dag, task

@task
def step(before=None):
    return None

@dag("five_steps", schedule=None)
def five_steps():
    before = None
    for number in range(5):
        before = step.override(task_id=f"step_{number}")(before)

five_steps()
"""

#: The job as a DAG of ordinary operators. It does less than ours: one request to the platform instead of nine.
CLASSIC = f"""
import json
from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import DAG

KEY = {{"X-API-Key": "{KEY}", "Content-Type": "application/json"}}
FIELDS = ("account_id", "request_id", "domain")

def link(row):
    return [dict(account_id=row[0], request_id=row[1], status="completed", link_post="https://site.example/" + row[0])]

with DAG("classic", schedule=None):
    pull = HttpOperator(
        task_id="pull", http_conn_id="manager", method="GET", endpoint="/api/v1/podcast/links", headers=KEY,
        data=dict(type="secondary", limit="1000"),
        response_filter=lambda answer: [[each[name] for name in FIELDS] for each in answer.json()["data"]],
    )
    read = HttpOperator.partial(task_id="read", http_conn_id="manager", method="GET", headers=KEY).expand_kwargs(
        pull.output.map(lambda row: dict(endpoint="/api/v1/podcast/accounts/" + row[0])))
    work = HttpOperator.partial(task_id="work", http_conn_id="site", method="GET").expand_kwargs(
        pull.output.map(lambda row: dict(endpoint="/" + row[2] + "/login")))
    insert = HttpOperator.partial(
        task_id="insert", http_conn_id="manager", method="POST", endpoint="/api/v1/podcast/links/insert", headers=KEY,
    ).expand_kwargs(pull.output.map(lambda row: dict(data=json.dumps(link(row)))))
    read >> work >> insert
"""


@dataclasses.dataclass(frozen=True)
class Job:
    """Accounts of a sandbox."""

    accounts: int
    posts: int
    waiting: int = 0
    latency_s: float = LATENCY_S

    def __str__(self) -> str:
        late = f", half of the feeds set after {LATE_S} s" if self.waiting else ""
        return f"{self.accounts:,} accounts in {self.posts} posts{late}{'' if self.latency_s else ', answered at once'}"


#: The same where the platform's answers take no time: what is left is Airflow's and ours, as in steps that do nothing.
DAY, DAY_AT_ONCE = Job(24, 3), Job(24, 3, latency_s=0.0)
FIVE, HUNDRED, LATE = Job(1000, 5), Job(1000, 100), Job(1000, 100, waiting=50)


@dataclasses.dataclass(frozen=True)
class Figures:
    """One run."""

    accounts: int
    wall_s: float
    cpu_s: float
    instances: int
    #: From the last feed that was set to the end; and from the trigger to the last link of a feed that was set before.
    after_late_s: float = 0.0
    ready_s: float = 0.0

    @property
    def a_minute(self) -> float:
        return self.accounts / self.wall_s * 60


@contextlib.contextmanager
def sandbox(home: Path, job: Job) -> Iterator[tuple[dict[str, str], int]]:
    """A platform, and the manager of a job's accounts.

    :return: its addresses, and its seed: no two have the same accounts.
    """
    seed = next(SEEDS)
    words = ("--accounts", job.accounts, "--posts", job.posts, "--waiting-posts", job.waiting, "--seed", seed)
    times = ("--latency-s", job.latency_s, "--listing-delay-s", job.latency_s, "--api-key", KEY)
    with sandbox_process(home, "--world", "built", *map(str, (*words, *times))) as addresses:
        yield addresses, seed


def connect(stack: Stack, addresses: dict[str, str]) -> None:
    """Point every connection at a sandbox."""
    extra = json.dumps({"allow_private_feeds": True})
    for conn_id, conn_type, host in (
        ("likepion_default", "likepion", addresses["manager_url"]),
        ("likepion_platform_sandbox_site", "http", addresses["site_url"]),
        ("manager", "http", addresses["manager_url"]),
        ("site", "http", addresses["site_url"]),
    ):
        with contextlib.suppress(httpx.HTTPStatusError):
            stack.call("DELETE", f"/api/v2/connections/{conn_id}")
        body = {"connection_id": conn_id, "conn_type": conn_type, "host": host}
        ours = {"password": KEY, "extra": extra} if conn_type == "likepion" else {}
        stack.call("POST", "/api/v2/connections", body | ours)


def run(stack: Stack, job: Job, dag_id: str = DAG_ID) -> Figures:
    """One run from trigger to end; every account must have its links, and none twice."""
    with sandbox(stack.home, job) as (addresses, seed):
        connect(stack, addresses)
        before_s = stack.cpu_s()
        run_id = stack.start(dag_id, **({"limit": 1000} if dag_id == DAG_ID else {}))
        late = _Late(addresses, job, seed)
        if job.waiting:
            late.start()
        state = stack.finish(dag_id, run_id)
        cpu_s = stack.cpu_s() - before_s
        rows = requests.get(f"{addresses['manager_url']}/sandbox/rows", timeout=60).json()
        if state != "success" or len(rows["accounts"]) != job.accounts or rows["duplicates"]:
            print(f"  {job}: {state}, {len(rows['accounts'])} accounts have links, {len(rows['duplicates'])} twice")
        found = stack.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")
        began, ended = moment(found["queued_at"]), moment(found["end_date"])
        instances = stack.instances(dag_id, run_id)
        return Figures(
            len(rows["accounts"]),
            (ended - began).total_seconds(),
            cpu_s,
            len(instances),
            (ended - late.set_at).total_seconds() if late.set_at else 0.0,
            _ready_s(instances, began) if job.waiting else 0.0,
        )


def _ready_s(instances: list[dict[str, object]], began: datetime) -> float:
    ends = [
        moment(str(each["end_date"]))
        for each in instances
        if str(each["task_id"]).endswith("insert_links")
        and each["end_date"]
        and "waits" not in str(each["rendered_map_index"])
    ]
    return (max(ends) - began).total_seconds()


class _Late(threading.Thread):
    """Sets the feeds that a job waits for."""

    def __init__(self, addresses: dict[str, str], job: Job, seed: int) -> None:
        super().__init__(daemon=True)
        self._addresses = addresses
        self._posts = build_world(accounts=0, posts=job.posts, waiting_posts=job.waiting, seed=seed).posts
        self.set_at: datetime | None = None

    def run(self) -> None:
        time.sleep(LATE_S)
        for post in self._posts:
            if not post.feed_ready:
                url = f"{self._addresses['manager_url']}/sandbox/posts/{post.request_id}"
                body = {"link_rss": self._addresses["feeds_url"] + post.podcast.path()}
                requests.patch(url, json=body, timeout=30).raise_for_status()
        self.set_at = datetime.now(timezone.utc)


def plain_rate(at_once: int) -> float:
    """Accounts a minute without Airflow."""
    with tempfile.TemporaryDirectory() as name, sandbox(Path(name), FIVE) as (addresses, _):
        rate = FIVE.accounts / asyncio.run(plain(Addresses(**addresses), at_once)) * 60
    row(f"plain asyncio, {FIVE}, {at_once:,} at a time", f"{rate:,.0f} accounts/min")
    return rate


def main(*, quick: bool) -> None:
    """Print the figures."""
    big = [HUNDRED] if quick else [FIVE, HUNDRED]
    classic = Job(20 if quick else CLASSIC_ACCOUNTS, 5)
    without = {} if quick else {at_once: plain_rate(at_once) for at_once in PLAIN_AT_ONCE}
    for database in ("sqlite",) if quick else ("postgres", "sqlite"):
        files = {"classic.py": CLASSIC, "empty.py": EMPTY, "five_steps.py": STEPS}
        with airflow(database, dags=files) as stack:
            run(stack, DAY)
            for job in (DAY, DAY_AT_ONCE):
                _day(database, job, [(run(stack, job), _steps_s(stack)) for _ in range(1 if quick else 5)])
            _parse(database, stack)
            peers = {WARM: run(stack, classic, "classic")}
            row(f"{database}: three HTTP operators an account, {WARM}", _text(peers[WARM]))
            found = {job: run(stack, job) for job in big}
            late = None if quick else run(stack, LATE)
        with airflow(database, preload=False, dags={"classic.py": CLASSIC}) as stack:
            run(stack, DAY)
            row(f"{database}: {DAY}, {COLD}", _text(run(stack, DAY)))
            peers[COLD] = run(stack, classic, "classic")
            row(f"{database}: three HTTP operators an account, {COLD}", _text(peers[COLD]))
        for job in big:
            _big(database, job, found[job], peers)
        for at_once, rate in without.items():
            share = found[FIVE].a_minute / rate
            case = f"{database}: {FIVE}, beside plain asyncio, {at_once:,} at a time"
            row(case, f"{share:.0%}", "at least 50 %", met=share >= 0.5)
        if late:
            _late(database, late)


def _parse(database: str, stack: Stack) -> None:
    """How long the DAG processor took, by its own word; the least of several, since the machine may be shared."""
    took_s: dict[str, float] = {}
    dags = {dag_id: stack.call("GET", f"/api/v2/dags/{dag_id}") for dag_id in (DAG_ID, "empty")}
    for _ in range(PARSES):
        for dag in dags.values():
            stack.call("PUT", f"/api/v2/parseDagFile/{dag['file_token']}")
        time.sleep(PARSE_WITHIN_S)
        for dag_id in dags:
            last_s = float(stack.call("GET", f"/api/v2/dags/{dag_id}")["last_parse_duration"])
            took_s[dag_id] = min(last_s, took_s.get(dag_id, last_s))
    ratio = took_s[DAG_ID] / took_s["empty"]
    figure = f"{took_s[DAG_ID]:.2f} s, {ratio:.2f} x an empty DAG's {took_s['empty']:.2f} s"
    row(f"{database}: DAG parse, as the DAG processor tells it", figure, "at most 1.3 x", met=ratio <= 1.3)


def _text(found: Figures) -> str:
    speed = f"{found.a_minute:,.0f} accounts/min, {found.wall_s:.1f} s"
    return f"{speed}, {found.cpu_s / found.accounts:.3f} CPU s an account, {found.instances} task instances"


def _steps_s(stack: Stack) -> float:
    """From the trigger to the end of five steps that do nothing, one after the other."""
    run_id = stack.start("five_steps")
    stack.finish("five_steps", run_id)
    found = stack.call("GET", f"/api/v2/dags/five_steps/dagRuns/{run_id}")
    return (moment(found["end_date"]) - moment(found["queued_at"])).total_seconds()


def _day(database: str, job: Job, found: list[tuple[Figures, float]]) -> None:
    wall_s = statistics.median(each.wall_s for each, _ in found)
    cpu_s = statistics.median(each.cpu_s for each, _ in found)
    steps_s = statistics.median(each for _, each in found)
    figure = f"{wall_s:.1f} s after the trigger (median of {len(found)}), {cpu_s:.1f} CPU s in all"
    row(f"{database}: {job}", figure)
    ratio = wall_s / steps_s
    figure = f"{ratio:.2f} x the {steps_s:.1f} s of five steps that do nothing"
    row(f"{database}: {job}, beside empty steps", figure, "at most 1.3 x", met=ratio <= 1.3)


def _big(database: str, job: Job, found: Figures, peers: dict[str, Figures]) -> None:
    case = f"{database}: {job}"
    row(case, _text(found))
    for name, peer in peers.items():
        ratio = found.a_minute / peer.a_minute
        row(f"{case}, beside the operators, {name}", f"{ratio:.1f} x", "at least 30 x", met=ratio >= 30)
    each_s, peer = found.cpu_s / found.accounts, peers[WARM]
    ratio = peer.cpu_s / peer.accounts / each_s
    figure = f"{each_s:.4f} s an account, {ratio:.1f} x less than the operators, {WARM}"
    row(f"{case}, CPU of all of Airflow", figure, "at least 35 x", met=ratio >= 35)


def _late(database: str, found: Figures) -> None:
    case = f"{database}: {LATE}"
    row(case, f"{_text(found)}; ready accounts done after {found.ready_s:.1f} s")
    row(
        f"{case}, ready ones not held up",
        f"done {found.ready_s:.1f} s after the trigger",
        f"before {LATE_S} s",
        met=found.ready_s < LATE_S,
    )
    ratio = found.after_late_s / found.ready_s
    figure = f"{found.after_late_s:.1f} s, {ratio:.2f} x what the ready ones took"
    row(f"{case}, after the last feed", figure, "at most 1.5 x", met=ratio <= 1.5)


if __name__ == "__main__":
    main(quick=False)
