"""Restarts of a real Airflow's parts in the middle of runs, and what a person does to runs, DAG and pool meanwhile.

The clock is compressed: a triggerer is away for as long as Airflow takes to notice, and claims lapse by the sandbox's
clock. What the reports say is judged as those of the simulated day are.
"""

from __future__ import annotations

import functools
import random
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from likepion_provider import DAG_ID
from likepion_provider.cli.local import AIRFLOW_PARTS, sandbox_process
from tests.faults.day import IMPORT, INSERT, REPORT, Run, judged
from tests.faults.kills import ACCOUNTS, BATCH, POSTS, Fire, Round, World, hardy_airflow
from tests.integration.conftest import Airflow, wait_for

#: How long a part is away, in seconds; Airflow takes a triggerer for dead after ten here.
AWAY_S = {"triggerer": 20.0}


def campaign(home: Path, seed: int) -> Counter[str]:
    """A run for each part that is restarted, and for all that a person takes away in the middle of it.

    After each, a person marks a run and clears it.

    :return: what happened.
    :raises AssertionError: a promise was broken, or a report misleads.
    """
    figures: Counter[str] = Counter()
    rng = random.Random(seed)
    with hardy_airflow(home) as (airflow, services):
        troubles = {f"restarted: {part}": functools.partial(_restart, part=part) for part in AIRFLOW_PARTS}
        troubles |= {"deleted: run": _delete_run, "deleted: DAG": _delete_dag, "a pool of one slot": _one_slot}
        for name, trouble in troubles.items():
            world_seed = rng.randrange(10**6)
            shape = {"accounts": ACCOUNTS, "posts": POSTS, "waiting-posts": 1, "seed": world_seed, "latency-s": 0.2}
            with sandbox_process(home, "--world=built", *(f"--{name}={value}" for name, value in shape.items())) as at:
                one = Round(airflow, services, World(at, world_seed), Fire(services, rng, figures, 0), rng, figures, 1)
                with closing(one.journal.database):
                    trouble(one)
                    _interfere(one)
                    one.heal()
                    _judge(one, figures)
            figures[name] += 1
            print(f"restarts  {name}: {dict(figures)}", flush=True)
    return figures


def _restart(one: Round, part: str) -> None:
    """A run, in the middle of which a part of Airflow is restarted."""
    run_id = one.airflow.start(batch_size=BATCH)
    wait_for(lambda: _some(one.airflow, run_id, "running", "deferred"))
    one.services.stop(part)
    time.sleep(AWAY_S.get(part, 1.0))
    one.world.set_feeds()
    one.services.start_missing()
    one.follow([run_id], lambda: time.sleep(0.4))
    _read(one, run_id)


def _delete_run(one: Round) -> None:
    """A run is ended in the middle of its imports, and deleted; its claims stay, until they lapse."""
    one.airflow.call("DELETE", f"/api/v2/dags/{DAG_ID}/dagRuns/{_ended(one)}")
    one.let_claims_lapse()


def _delete_dag(one: Round) -> None:
    """The DAG is deleted with all of its runs; Airflow finds its file again."""
    _ended(one)
    one.let_claims_lapse()
    one.airflow.call("DELETE", f"/api/v2/dags/{DAG_ID}")
    one.airflow.shell("dags", "reserialize")
    one.airflow.call("PATCH", f"/api/v2/dags/{DAG_ID}?update_mask=is_paused", {"is_paused": False})


def _ended(one: Round) -> str:
    """A run that a person marks failed in the middle of its imports: Airflow deletes none that still goes on."""
    one.world.set_feeds()
    run_id = one.airflow.start(batch_size=BATCH)
    wait_for(lambda: _some(one.airflow, run_id, "running"))
    one.airflow.call("PATCH", f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}", {"state": "failed"})
    return run_id


def _one_slot(one: Round) -> None:
    """Every task waits for the one before."""
    pool, there = "/api/v2/pools/default_pool?update_mask=slots", {"pool": "default_pool", "slots": 128}
    one.world.set_feeds()
    one.airflow.call("PATCH", pool, there | {"slots": 1})
    run_id = one.airflow.start(batch_size=BATCH)
    one.follow([run_id], lambda: time.sleep(0.4))
    _read(one, run_id)
    one.airflow.call("PATCH", pool, there)


def _interfere(one: Round) -> None:
    """Mark an import failed while it runs, and clear it; then clear what is done, from two tasks on."""
    run_id = one.airflow.start(batch_size=BATCH)
    wait_for(lambda: one.airflow.state(run_id) in ("success", "failed") or _some(one.airflow, run_id, "running"))
    one.airflow.call("PATCH", f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}", {"state": "failed"})
    one.follow([run_id], lambda: time.sleep(0.4))
    for task_id in ("claim_accounts", IMPORT, INSERT):
        body = {"dag_run_id": run_id, "dry_run": False, "only_failed": False, "reset_dag_runs": True}
        body |= {"task_ids": [task_id], "include_downstream": True}
        one.airflow.call("POST", f"/api/v2/dags/{DAG_ID}/clearTaskInstances", body)
        one.figures["cleared"] += 1
        one.follow([run_id], lambda: time.sleep(0.4))
        _read(one, run_id)


def _some(airflow: Airflow, run_id: str, *states: str) -> bool:
    return any(
        key[0].startswith("import_batch.") and each["state"] in states for key, each in airflow.tasks(run_id).items()
    )


def _read(one: Round, run_id: str) -> None:
    """Judge what a person is shown."""
    states = {key: str(each["state"]) for key, each in one.airflow.tasks(run_id).items()}
    run = Run(run_id, "manual", {}, None, states=states)
    if states.get((REPORT, -1)) in ("success", "failed"):
        path = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{REPORT}/xcomEntries/summary"
        summary: dict[str, Any] = one.airflow.call("GET", path)["value"]
        run.xcoms[REPORT, "summary", -1] = summary
        run.error = summary["text"]
        if run.is_red:
            one.figures["red"] += 1
            print(f"restarts  red: {summary['text']}", flush=True)
        assert judged(run) == [], summary["text"]


def _judge(one: Round, figures: Counter[str]) -> None:
    rows = one.world.rows()
    figures["rows"] += rows["count"]
    figures["duplicates"] += len(rows["duplicates"])
    assert not rows["duplicates"]
    assert not one.undelivered()
    assert not one.untrue()
