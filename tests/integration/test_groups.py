"""By group, by hand, by the clock: every way in which a user starts a run."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from likepion_provider import DAG_ID
from tests.integration.conftest import DAG_BY_HAND, Airflow, SandboxApi, wait_for

log = logging.getLogger(__name__)

pytestmark = pytest.mark.airflow

GUIDE = Path(__file__).parents[2] / "docs/guides/runs.md"


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


def guide_commands() -> dict[str, str]:
    """The commands of the guide, by their first words."""
    page = GUIDE.read_text(encoding="utf-8")
    lines = [line for block in page.split("```bash\n")[1:] for line in block.split("```")[0].splitlines()]
    commands = {line.split(" --")[0] + (" again" if "--reprocess" in line else ""): line for line in lines}
    assert len(commands) == len(lines) == 4
    return commands


def test_the_guides_commands_as_they_stand_there(airflow: Airflow, world: SandboxApi) -> None:
    one, two, three = groups(world)
    commands = guide_commands()
    repeated: list[str] = []

    def run(command: str, group_id: str) -> None:
        before = runs(airflow)
        done = shell(airflow, commands[command], GROUP=group_id)
        if "database is locked" in done.stderr:
            # Airflow's own, on SQLite only: the guide says to repeat it, once what it began is ended.
            log.warning("%s: database is locked; repeated", commands[command])
            repeated.append(command)
            wait_for(lambda: all(each["completed_at"] for each in backfills(airflow)), timeout_s=240)
            done = shell(airflow, commands[command], GROUP=group_id)
        assert done.returncode == 0, done.stderr
        wait_for(lambda: all(state in ("success", "failed") for state in runs(airflow).values()))
        ended = {run_id: state for run_id, state in runs(airflow).items() if before.get(run_id) != state}
        assert set(ended.values()) <= {"success"}, ended

    run('likepion group backfill "$GROUP"', one)
    assert delivered(world) == {one: 4}
    run("airflow dags trigger likepion_podcast_secondary", two)
    assert delivered(world) == {one: 4, two: 4}
    run("airflow backfill create", three)
    wait_for(lambda: delivered(world) == {one: 4, two: 4, three: 4})
    wait_for(lambda: all(each["completed_at"] for each in backfills(airflow)))
    sent = world.inserts()
    run("airflow backfill create again", one)
    wait_for(lambda: len(backfills(airflow)) >= 2 and all(each["completed_at"] for each in backfills(airflow)))
    assert len(backfills(airflow)) <= 2 + len(repeated)
    (run_of_date,) = airflow.call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns?run_type=backfill")["dag_runs"]
    assert (run_of_date["conf"], run_of_date["state"]) == ({"group_id": one}, "success")
    assert world.inserts() == sent
    assert delivered(world) == {one: 4, two: 4, three: 4}


def test_a_group_that_was_never_seen_starts_no_run(airflow: Airflow, world: SandboxApi) -> None:
    before = runs(airflow)
    done = shell(airflow, f"likepion group backfill {groups(world)[0]} no-such-group")
    assert done.returncode == 1
    assert "'no-such-group' fits no group of the journal" in done.stderr
    nobody = "00000000-0000-4000-8000-000000000000"
    done = shell(airflow, f"likepion group backfill {groups(world)[0]} {nobody}")
    assert done.returncode == 1
    assert f"the journal has never seen group {nobody}" in done.stderr
    assert runs(airflow) == before


def test_a_runs_partition_key_is_its_group(airflow: Airflow, world: SandboxApi) -> None:
    one, *_ = groups(world)
    body = {"logical_date": None, "partition_key": one}
    run = airflow.call("POST", f"/api/v2/dags/{DAG_BY_HAND}/dagRuns", body)
    assert airflow.finish(run["dag_run_id"], DAG_BY_HAND) == "success"
    assert delivered(world) == {one: 4}


def test_links_that_are_missing_at_the_manager_are_sent_again_on_a_persons_word(
    airflow: Airflow, world: SandboxApi
) -> None:
    lost, kept, *_ = (account["account_id"] for account in world.state()["accounts"])
    # The manager confirms what it does not keep.
    confirms = {"entries": ["all_true"], "fields": {"inserted": 2, "failed": 0}}
    world.call("POST", "/sandbox/oddities", {"endpoint": "insert", "store": [], **confirms})
    for account_id in (lost, kept):
        assert airflow.run(account_ids=[account_id])[1] == "success"
    assert world.rows()["accounts"] == {kept: 2}

    run_id, state = airflow.run(account_ids=[lost, kept], resend=True)
    assert state == "success"
    assert world.rows()["accounts"] == {lost: 2, kept: 2}
    assert delivered(world)
    assert "Not taken" in airflow.log(run_id, "report"), "the manager lost none of the other's"
    body = {"dry_run": False, "dag_run_id": run_id, "only_failed": False}
    airflow.call("POST", f"/api/v2/dags/{DAG_ID}/clearTaskInstances", body)
    assert airflow.finish(run_id) == "success"
    assert world.rows()["accounts"] == {lost: 2, kept: 2}, "the same run, cleared, sends nothing"


def runs(airflow: Airflow) -> dict[str, str]:
    """Every run's state."""
    rows = airflow.call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns?limit=1000")["dag_runs"]
    return {row["dag_run_id"]: row["state"] for row in rows}


def backfills(airflow: Airflow) -> list[dict[str, object]]:
    found: list[dict[str, object]] = airflow.call("GET", f"/api/v2/backfills?dag_id={DAG_ID}")["backfills"]
    return found


def shell(airflow: Airflow, command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A line that a user types where Airflow runs."""
    environment = airflow.environment | more
    return subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=240, check=False
    )
