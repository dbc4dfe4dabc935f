"""A thousand posts that wait for their feed, as a run cuts them, beside as many ``HttpSensor(deferrable=True)``.

The triggers themselves run side by side in one event loop of a fresh process, as a triggerer runs them; what a
triggerer costs by itself (1 to 2 % of a core when idle) is not in the figures.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from likepion_provider.cli.local import process
from tests.benchmarks.report import row
from tests.benchmarks.stack import BYTECODE, ROOT

#: Every trigger has polled once by then.
SETTLED_S = 60
MEASURED_S = 60
#: The sensor's default; its triggers hold themselves to so many polls a second in all. The other's do not, and get what
#: makes about as many.
POKE_S, HTTP_POKE_S = 5, 30

_OURS = """
from datetime import timedelta
from likepion_provider.clock import SYSTEM_CLOCK
from likepion_provider.hooks.connections import LIKEPION_CONN_ID, journal_for
from likepion_provider.steps.batches import batches
from likepion_provider.clock import SYSTEM_CLOCK, Moment
from likepion_provider.manager.lease import Lease
from likepion_provider.models import PostAccount, SecondaryTask
from likepion_provider.triggers.likepion import LinkRssTrigger

lease = Lease.granted(Moment.read(SYSTEM_CLOCK))
keys = [PostAccount(f"post-{n}", f"account-{n}") for n in range(posts)]
journal_for(LIKEPION_CONN_ID).claims.grant("dag/run", dict.fromkeys(keys, lease))

tasks = [SecondaryTask(key.account_id, key.request_id, f"group-{key.request_id}", "tide.example") for key in keys]
ends_at = SYSTEM_CLOCK.now() + timedelta(seconds=1800)
triggers = [
    LinkRssTrigger("likepion_default", batch.to_public(), "dag/run", poke_s, ends_at.isoformat())
    for batch in batches(tasks)
]
"""
_HTTP = """
from airflow.providers.http.triggers.http import HttpSensorTrigger

# What is not there answers 404, which is the one answer that lets this trigger sleep.
triggers = [
    HttpSensorTrigger(f"/api/v1/podcast/accounts/not-{n}", "manager", poke_interval=poke_s) for n in range(posts)
]
"""
_MEASURE = """
import asyncio, json, sys, time
import psutil, requests

posts, poke_s, settled_s, seconds, url = json.loads(sys.argv[1])
%s

def asked():
    return requests.get(url + "/asked", timeout=30).json()["requests"]

async def first(trigger):
    async for event in trigger.run():
        raise RuntimeError(f"a trigger ended: {event!r}")

async def main():
    memory = psutil.Process().memory_full_info
    before = memory().uss
    running = [asyncio.create_task(first(each)) for each in triggers]
    await asyncio.sleep(settled_s)
    began_s, cpu_s, count = time.monotonic(), time.process_time(), await asyncio.to_thread(asked)
    await asyncio.sleep(seconds)
    passed_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
    count = await asyncio.to_thread(asked) - count
    ended = [each for each in running if each.done()]
    print(json.dumps([cpu_s / passed_s, (memory().uss - before) / 2**20, count / passed_s, len(ended)]))
    for each in running:
        each.cancel()
    await asyncio.gather(*running, return_exceptions=True)

asyncio.run(main())
"""


def main(*, quick: bool) -> None:
    """Print the figures."""
    posts = 200 if quick else 1000
    what = f"{posts:,} posts waiting"
    with _manager() as url:
        peer_cpu, peer_mb, rate = _measure(_HTTP, HTTP_POKE_S, url, posts)
        row(f"{what}, as HttpSensor(deferrable)", f"{peer_cpu:.1%} of a core, {peer_mb:.0f} MB, {rate:.1f} requests/s")
        cpu, grown_mb, rate = _measure(_OURS, POKE_S, url, posts)
    ratio = cpu / peer_cpu
    row(f"{what}, CPU", f"{cpu:.1%} of a core, {ratio:.2f} x HttpSensor's", "at most 0.7 x", met=ratio <= 0.7)
    row(f"{what}, memory", f"{grown_mb:.0f} MB", "at most 50 MB", met=grown_mb <= 50)
    row(f"{what}, requests", f"{rate:.1f}/s", "at most 30/s", met=0 < rate <= 30)


@contextlib.contextmanager
def _manager() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.benchmarks.counting"]
    with process(command, stdout=subprocess.PIPE) as started:
        yield json.loads(started.stdout.readline() if started.stdout else "{}")["manager_url"]


def _measure(triggers: str, poke_s: int, url: str, posts: int) -> tuple[float, float, float]:
    """CPU as a share of a core, memory in MB and requests a second, once all have begun."""
    with tempfile.TemporaryDirectory() as home:
        connections = {
            "LIKEPION_DEFAULT": {"conn_type": "likepion", "host": url, "password": "key-of-the-benchmark"},
            "LIKEPION_JOURNAL": {"conn_type": "sqlite", "host": str(Path(home) / "journal.db")},
            "MANAGER": {"conn_type": "http", "host": url},
        }
        environment = os.environ | {f"AIRFLOW_CONN_{name}": json.dumps(each) for name, each in connections.items()}
        environment |= {"AIRFLOW_HOME": home, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(BYTECODE)}
        given = json.dumps([posts, poke_s, SETTLED_S, MEASURED_S, url])
        command = [sys.executable, "-W", "ignore", "-c", _MEASURE % triggers, given]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=True)
        cpu, grown_mb, rate, ended = json.loads(done.stdout.splitlines()[-1])
        if ended:
            raise RuntimeError(f"{ended} triggers ended: {done.stderr[-1000:]}")
        return cpu, grown_mb, rate


if __name__ == "__main__":
    main(quick=False)
