"""``python -m tests.cluster``: the demo's job on two workers, of which one is killed, and a database that restarts.

Ends with status 0 only if every account was delivered, whole and once; or, said aloud, where a server is missing.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from likepion_provider.cli.local import sandbox_process
from tests.cluster.deployment import IMPORT, INSERT, Cluster, Rows, cluster, missing
from tests.postgres import Server

ACCOUNTS, TARGET = 300, 5
WORLD = ("--world", "built", "--accounts", str(ACCOUNTS), "--posts", "6", "--target", str(TARGET))
#: Three times as many batches as slots: some are delivered while the worker that is killed still imports.
BATCH_SIZE = 15
#: Late enough that imports are under way when a worker is killed.
LATENCY = ("--latency-s", "0.5", "--listing-delay-s", "3")
VICTIM, SURVIVOR = "worker-a", "worker-b"
#: Further runs, each after the claims of the one before have lapsed.
LATER_RUNS = 2


def main() -> int:
    """Tell the story.

    :return: the exit status.
    """
    if reason := missing():
        print(f"cluster: SKIPPED: {reason}")
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="likepion-cluster-") as name:
        folder = Path(name)
        with sandbox_process(folder, *WORLD, *LATENCY) as sandbox, cluster(folder, sandbox) as (airflow, database):
            try:
                tell(airflow, database, sandbox)
            except Exception:
                print(_logs(folder), file=sys.stderr)
                raise
            well = verdict(sandbox)
    say(began_s, "everything is ended")
    return 0 if well else 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def say(began_s: float, words: str) -> None:
    print(f"cluster: {time.monotonic() - began_s:5.0f} s  {words}", flush=True)


def tell(airflow: Cluster, database: Server, sandbox: Mapping[str, str]) -> None:
    """Run the job through a worker's death and a restart of the database."""
    began_s = time.monotonic()
    airflow.wait_until_ready()
    for name in (VICTIM, SURVIVOR):
        airflow.start_worker(name)
    for name in (VICTIM, SURVIVOR):
        airflow.wait_until_worker_ready(name)
    run_id = airflow.trigger({"limit": 1000, "batch_size": BATCH_SIZE})
    say(began_s, f"{run_id} begins on {VICTIM} and {SURVIVOR}")
    airflow.follow(run_id, lambda rows: done(rows, INSERT) >= 2 and imports_only(rows, VICTIM))
    airflow.kill(VICTIM)
    say(began_s, f"{VICTIM} is killed, {done(airflow.tasks(run_id), INSERT)} batches are delivered")
    airflow.follow(run_id, lambda rows: done(rows, INSERT) >= 5)
    database.restart()
    say(began_s, "PostgreSQL was restarted")
    rows = airflow.finish(run_id)
    say(began_s, f"the run ends: {airflow.state(run_id)}, {work_of(rows)}")
    for _ in range(LATER_RUNS):
        if len(stored(sandbox)["accounts"]) == ACCOUNTS:
            return
        requests.post(f"{sandbox['manager_url']}/sandbox/clock", json={"advance_s": 901}, timeout=30)
        later = airflow.trigger({"limit": 1000})
        airflow.finish(later)
        say(began_s, f"a later run ends: {airflow.state(later)}")


def done(rows: Rows, task_id: str) -> int:
    return sum(row["task_id"] == task_id and row["state"] == "success" for row in rows)


def imports_only(rows: Rows, worker: str) -> bool:
    """Whether a worker imports, and does nothing whose answer could be lost."""
    running = {row["task_id"] for row in rows if row["hostname"] == worker and row["state"] == "running"}
    return running == {IMPORT}


def work_of(rows: Rows) -> str:
    workers = Counter(row["hostname"] for row in rows if row["task_id"] == IMPORT)
    again = sum(row["try_number"] > 1 for row in rows)
    return f"imports by worker {dict(workers)}, {again} tasks were tried again"


def stored(sandbox: Mapping[str, str]) -> dict[str, Any]:
    answer: dict[str, Any] = requests.get(f"{sandbox['manager_url']}/sandbox/rows", timeout=30).json()
    return answer


def verdict(sandbox: Mapping[str, str]) -> bool:
    """What the manager has."""
    rows = stored(sandbox)
    whole = sum(count == TARGET for count in rows["accounts"].values())
    twice = len(rows["duplicates"])
    lost = ACCOUNTS * TARGET - (rows["count"] - sum(each["count"] - 1 for each in rows["duplicates"]))
    print(f"cluster: {whole} of {ACCOUNTS} accounts delivered, {twice} URLs twice, {lost} URLs lost", flush=True)
    return whole == ACCOUNTS and not twice and not lost


def _logs(folder: Path, lines: int = 15) -> str:
    ends = [(path, path.read_text(errors="replace").splitlines()[-lines:]) for path in sorted(folder.glob("*.log"))]
    return "\n".join(f"--- {path.name}\n" + "\n".join(end) for path, end in ends)


if __name__ == "__main__":
    sys.exit(main())
