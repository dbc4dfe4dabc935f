"""A thousand posts that wait for their feed in one real triggerer, beside as many deferred ``HttpSensor``.

The sensors' first leg is not what is measured, so it is left out: the task instances are made by Airflow, kept from
running by a pool without slots, and then deferred in its database as a sensor would have.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import requests

from likepion_provider.cli.local import process
from likepion_provider.intake import Batch
from likepion_provider.models import SecondaryTask
from tests.benchmarks.report import row
from tests.benchmarks.runs import KEY, connect
from tests.benchmarks.stack import Stack, airflow

MEASURED_S = 90
POKE_S = 30
DAG = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("{dag_id}", schedule=None):
    BashOperator.partial(task_id="wait", pool="none").expand(bash_command=["true"] * {posts})
"""
#: Runs in Airflow's environment: a run's claims, as a pull leaves them.
GRANT = """
from likepion_provider.hooks.connections import JOURNAL_CONN_ID, find, journal_of
from likepion_provider.lease import SYSTEM_CLOCK, Lease, Moment
from likepion_provider.models import PostAccount

lease = Lease.granted(Moment.read(SYSTEM_CLOCK))
keys = [PostAccount(f"post-{{n}}", f"account-{{n}}") for n in range({posts})]
journal_of(find(JOURNAL_CONN_ID)).claims.grant("dag/run", dict.fromkeys(keys, lease))
"""
#: Runs with Airflow's database: defers every instance of a DAG's task, each with its own trigger.
DEFER = """
import json, sys
from importlib import import_module
from airflow.models import TaskInstance, Trigger
from airflow.utils.session import create_session
from sqlalchemy import select

wanted = json.load(sys.stdin)
module, name = wanted["class"].rsplit(".", 1)
kind = getattr(import_module(module), name)
with create_session() as session:
    query = select(TaskInstance).where(TaskInstance.dag_id == wanted["dag_id"]).order_by(TaskInstance.map_index)
    for instance, arguments in zip(session.scalars(query), wanted["arguments"], strict=True):
        trigger = Trigger.from_object(kind(**arguments))
        session.add(trigger)
        session.flush()
        instance.trigger_id, instance.state, instance.next_method = trigger.id, "deferred", "execute_complete"
"""


def main(*, quick: bool) -> None:
    """Print the figures."""
    posts = 200 if quick else 1000
    names = ("waiting_ours", "waiting_http")
    dags = {f"{name}.py": DAG.format(dag_id=name, posts=posts) for name in names}
    for name in names:
        with airflow("postgres", dags=dags) as stack, _manager() as url:
            stack.call("POST", "/api/v2/pools", {"name": "none", "slots": 0})
            connect(stack, {"manager_url": url, "site_url": url})
            idle = _measure(stack, url, 30)
            _defer(stack, name, _ours(stack, posts) if name == names[0] else _http(posts))
            _tell(posts, name, idle, _measure(stack, url, MEASURED_S))


@contextlib.contextmanager
def _manager() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.benchmarks.counting"]
    with process(command, stdout=subprocess.PIPE) as started:
        yield json.loads(started.stdout.readline() if started.stdout else "{}")["manager_url"]


def _tell(posts: int, name: str, idle: dict[str, float], found: dict[str, float]) -> None:
    grown_mb = found["pss_mb"] - idle["pss_mb"]
    what = f"{posts:,} posts waiting"
    if name == "waiting_http":
        figure = f"{found['cpu']:.1%} of a core, {grown_mb:.0f} MB more, {found['requests']:.0f} requests/s"
        row(f"{what}, as HttpSensor(deferrable)", figure)
        return
    row(
        f"{what}: CPU of the triggerer",
        f"{found['cpu']:.1%} of a core, of it idle {idle['cpu']:.1%}",
        "at most 5 %",
        met=found["cpu"] <= 0.05,
    )
    row(f"{what}: memory", f"{grown_mb:.0f} MB more", "at most 50 MB", met=grown_mb <= 50)
    row(f"{what}: requests", f"{found['requests']:.1f}/s", "at most 40/s", met=found["requests"] <= 40)


def _ours(stack: Stack, posts: int) -> list[dict[str, Any]]:
    """A post an account, all claimed by one run, in batches as the DAG has them."""
    _python(stack, GRANT.format(posts=posts))
    return [
        {
            "likepion_conn_id": "likepion_default",
            "batch": Batch(
                f"post {n}", True, (SecondaryTask(f"account-{n}", f"post-{n}", f"group-{n}", "d"),)
            ).to_public(),
            "scope": "dag/run",
            "poke_interval_s": POKE_S,
            "timeout_s": 1800,
        }
        for n in range(posts)
    ]


def _http(posts: int) -> list[dict[str, Any]]:
    return [
        {
            # What is not there answers 404, which is the one answer that lets this trigger sleep.
            "endpoint": f"/api/v1/podcast/accounts/not-{n}",
            "http_conn_id": "manager",
            "headers": {"X-API-Key": KEY},
            "poke_interval": POKE_S,
        }
        for n in range(posts)
    ]


def _defer(stack: Stack, dag_id: str, arguments: list[dict[str, Any]]) -> None:
    stack.start(dag_id)
    path = f"/api/v2/dags/{dag_id}/dagRuns/~/taskInstances?limit=1"
    deadline_s = time.monotonic() + 180
    while stack.call("GET", path)["total_entries"] < len(arguments):
        if time.monotonic() > deadline_s:
            raise TimeoutError("the scheduler did not make the task instances")
        time.sleep(1)
    ours = "likepion_provider.triggers.likepion.LinkRssTrigger"
    kind = ours if dag_id == "waiting_ours" else "airflow.providers.http.triggers.http.HttpSensorTrigger"
    _python(stack, DEFER, json.dumps({"dag_id": dag_id, "class": kind, "arguments": arguments}))
    # Every trigger has started, and asked a first time.
    time.sleep(60)


def _measure(stack: Stack, url: str, seconds: float) -> dict[str, float]:
    def asked() -> int:
        return int(requests.get(f"{url}/asked", timeout=60).json()["requests"])

    began_s, cpu_s, requests_before = time.monotonic(), stack.cpu_s("triggerer"), asked()
    time.sleep(seconds)
    passed_s = time.monotonic() - began_s
    return {
        "cpu": (stack.cpu_s("triggerer") - cpu_s) / passed_s,
        "pss_mb": stack.rss_mb("triggerer"),
        "requests": (asked() - requests_before) / passed_s,
    }


def _python(stack: Stack, program: str, given: str = "") -> str:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=stack.environment, input=given, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main(quick=False)
