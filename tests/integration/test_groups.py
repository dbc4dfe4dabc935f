"""By group, by hand, by the clock: every way in which a user starts a run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.integration.conftest import SCHEDULED_DAG_ID, Airflow, SandboxApi, wait_for

pytestmark = pytest.mark.airflow

DATE = "2026-02-01"


@pytest.fixture
def world(airflow: Airflow, sandbox: Callable[..., SandboxApi]) -> SandboxApi:
    """Three groups with two accounts each, which the journal has seen and nobody has worked."""
    world = sandbox("--world", "built", "--accounts", "6", "--posts", "3", "--target", "2")
    airflow.use(world)
    _, state = airflow.run(dry_run=True)
    assert state == "success"
    assert world.rows()["count"] == 0
    return world


def groups(world: SandboxApi) -> list[str]:
    return sorted({account["group_id"] for account in world.state()["accounts"]})


def delivered(world: SandboxApi) -> dict[str, int]:
    """Links by group."""
    rows = world.rows()
    assert rows["duplicates"] == []
    group_of = {account["account_id"]: account["group_id"] for account in world.state()["accounts"]}
    counts: dict[str, int] = {}
    for account_id, links in rows["accounts"].items():
        counts[group_of[account_id]] = counts.get(group_of[account_id], 0) + links
    return counts


def backfill(airflow: Airflow, group_id: str, *more: str) -> str:
    """``airflow backfill create`` for one date, to its end."""
    conf = json.dumps({"group_id": group_id})
    dates = ("--from-date", DATE, "--to-date", DATE)
    done = airflow.shell("backfill", "create", "--dag-id", SCHEDULED_DAG_ID, *dates, "--dag-run-conf", conf, *more)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: not [each for each in backfills(airflow) if not each["completed_at"]])
    (run,) = airflow.call("GET", f"/api/v2/dags/{SCHEDULED_DAG_ID}/dagRuns?run_type=backfill")["dag_runs"]
    assert run["conf"] == {"group_id": group_id}
    return airflow.finish(run["dag_run_id"], SCHEDULED_DAG_ID)


def backfills(airflow: Airflow) -> list[dict[str, object]]:
    found: list[dict[str, object]] = airflow.call("GET", f"/api/v2/backfills?dag_id={SCHEDULED_DAG_ID}")["backfills"]
    return found


def test_backfill_of_one_group_then_another_over_the_same_date_then_the_same_again(
    airflow: Airflow, sandbox: Callable[..., SandboxApi]
) -> None:
    airflow.use(sandbox("--world", "built", "--accounts", "0", "--posts", "1"))
    airflow.call("PATCH", f"/api/v2/dags/{SCHEDULED_DAG_ID}?update_mask=is_paused", {"is_paused": False})
    wait_for(lambda: airflow.call("GET", f"/api/v2/dags/{SCHEDULED_DAG_ID}/dagRuns")["total_entries"])
    (first,) = airflow.call("GET", f"/api/v2/dags/{SCHEDULED_DAG_ID}/dagRuns")["dag_runs"]
    assert airflow.finish(first["dag_run_id"], SCHEDULED_DAG_ID) == "success"

    world = sandbox("--world", "built", "--accounts", "6", "--posts", "3", "--target", "2")
    airflow.use(world)
    airflow.run(dry_run=True)
    one, two, _ = groups(world)
    assert backfill(airflow, one) == "success"
    assert delivered(world) == {one: 4}
    assert backfill(airflow, two, "--reprocess-behavior", "completed") == "success"
    assert delivered(world) == {one: 4, two: 4}
    sent = world.inserts()
    assert backfill(airflow, one, "--reprocess-behavior", "completed") == "success"
    assert world.inserts() == sent


def test_several_groups_by_one_command(airflow: Airflow, world: SandboxApi) -> None:
    one, two, _ = groups(world)
    done = likepion(airflow, "group", "backfill", one, two)
    assert done.returncode == 0, done.stderr
    runs = [line.split()[1] for line in done.stdout.splitlines()]
    assert [airflow.finish(run_id) for run_id in runs] == ["success", "success"]
    assert delivered(world) == {one: 4, two: 4}

    done = likepion(airflow, "group", "backfill", one, "no-such-group")
    assert done.returncode == 1
    assert "the journal has never seen group no-such-group; no run was started" in done.stderr


def test_a_runs_partition_key_is_its_group(airflow: Airflow, world: SandboxApi) -> None:
    one, *_ = groups(world)
    body = {"logical_date": None, "partition_key": one}
    run = airflow.call("POST", "/api/v2/dags/likepion_podcast_secondary/dagRuns", body)
    assert airflow.finish(run["dag_run_id"]) == "success"
    assert delivered(world) == {one: 4}


def test_a_run_from_airflows_own_command(airflow: Airflow, world: SandboxApi) -> None:
    one, *_ = groups(world)
    conf = json.dumps({"group_id": one})
    run_id = "by-hand"
    done = airflow.shell("dags", "trigger", "likepion_podcast_secondary", "--run-id", run_id, "--conf", conf)
    assert done.returncode == 0, done.stderr
    assert airflow.finish(run_id) == "success"
    assert delivered(world) == {one: 4}


def test_links_that_are_missing_at_the_manager_are_sent_again_on_a_persons_word(
    airflow: Airflow, world: SandboxApi
) -> None:
    account_id = world.state()["accounts"][0]["account_id"]
    assert airflow.run(account_ids=[account_id])[1] == "success"
    run_id, state = airflow.run(account_ids=[account_id], resend=True)
    assert state == "success"
    assert world.rows()["accounts"] == {account_id: 4}, "the manager lost none, so they are there twice, as said"
    body = {"dry_run": False, "dag_run_id": run_id, "only_failed": False}
    airflow.call("POST", "/api/v2/dags/likepion_podcast_secondary/clearTaskInstances", body)
    assert airflow.finish(run_id) == "success"
    assert world.rows()["accounts"] == {account_id: 4}, "the same run, cleared, sends nothing"


def likepion(airflow: Airflow, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The ``likepion`` command where Airflow runs."""
    command = [sys.executable, "-m", "likepion_provider.cli", *arguments]
    return subprocess.run(command, env=airflow.environment, capture_output=True, text=True, timeout=240, check=False)
