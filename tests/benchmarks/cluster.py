"""Accounts a minute with one Celery worker and with two, where the platform's latency is what takes the time."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

from likepion_provider.cli.local import free_port, sandbox_process
from tests.benchmarks.report import row
from tests.cluster.deployment import IMPORT, INSERT, SLOTS, Cluster, Rows, cluster, missing

ACCOUNTS = 300
WORLD = ("--world", "built", "--accounts", str(ACCOUNTS), "--posts", "6", "--latency-s", "2", "--listing-delay-s", "3")
API_KEY = "benchmark-key"
GOAL = 1.7


def main(*, quick: bool) -> None:
    """Print the figures; the quick form is the same."""
    del quick
    if reason := missing():
        row("one and two Celery workers", f"SKIPPED: {reason}")
        return
    ports = {name: free_port() for name in ("manager", "site", "feeds")}
    addresses = {f"{name}_url": f"http://127.0.0.1:{port}" for name, port in ports.items()} | {"api_key": API_KEY}
    listen = [word for name, port in ports.items() for word in (f"--{name}-port", str(port))]
    rates = []
    with tempfile.TemporaryDirectory(prefix="likepion-bench-") as name:
        folder = Path(name)
        with cluster(folder, addresses) as (airflow, _):
            airflow.wait_until_ready()
            for workers in (1, 2):
                airflow.start_worker(f"worker-{workers}")
                airflow.wait_until_worker_ready(f"worker-{workers}")
                # Another seed, other accounts: those of the first run are done.
                with sandbox_process(folder, *WORLD, *listen, "--api-key", API_KEY, "--seed", str(workers)):
                    rates.append(throughput(airflow))
    ratio = rates[1] / rates[0]
    row(
        f"{ACCOUNTS} accounts, the default's batches, {SLOTS} slots a Celery worker, 2 s a platform's answer",
        f"one worker {rates[0]:.0f} accounts/min, two {rates[1]:.0f}: {ratio:.2f} x",
        f"{GOAL} x",
        met=ratio >= GOAL,
    )


def throughput(airflow: Cluster) -> float:
    """Accounts a minute of one run, from the first import's beginning to the last insert's end.

    :raises RuntimeError: not every account was delivered.
    """
    run_id = airflow.trigger({"limit": 1000})
    rows = airflow.finish(run_id)
    if airflow.state(run_id) != "success":
        raise RuntimeError(f"{run_id} delivered less than it was given")
    began = min(moments(rows, IMPORT, "start_date"))
    ended = max(moments(rows, INSERT, "end_date"))
    return ACCOUNTS / (ended - began).total_seconds() * 60


def moments(rows: Rows, task_id: str, field: str) -> list[datetime]:
    return [datetime.fromisoformat(row[field].replace("Z", "+00:00")) for row in rows if row["task_id"] == task_id]
