"""What an operator does first, in a real Airflow: clear, and read the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from likepion_provider import DAG_ID
from tests.integration.conftest import Airflow, SandboxApi, wait_for

pytestmark = pytest.mark.airflow

SandboxFactory = Callable[..., SandboxApi]


def clear(airflow: Airflow, run_id: str, *task_ids: str) -> str:
    """Clear tasks with what follows them.

    :return: the run's state once it has ended again.
    """
    before = airflow.tasks(run_id)["report", -1]["try_number"]
    body = {"dag_run_id": run_id, "dry_run": False, "only_failed": False, "reset_dag_runs": True}
    airflow.call(
        "POST", f"/api/v2/dags/{DAG_ID}/clearTaskInstances", body | {"task_ids": task_ids, "include_downstream": True}
    )
    wait_for(lambda: airflow.tasks(run_id)["report", -1]["try_number"] > before)
    return airflow.finish(run_id)


def summary(airflow: Airflow, run_id: str) -> dict[str, Any]:
    path = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/report/xcomEntries/summary"
    value: dict[str, Any] = airflow.call("GET", path)["value"]
    return value


def test_clearing_tasks_of_a_run_does_what_it_says(airflow: Airflow, sandbox: SandboxFactory) -> None:
    world = sandbox("--world", "built", "--accounts", "2", "--posts", "1", "--target", "2")
    airflow.use(world)
    run_id, state = airflow.run()
    assert (state, world.rows()["count"]) == ("success", 4)
    for task_id in ("import_batch.import_rss", "claim_accounts"):
        assert clear(airflow, run_id, task_id) == "success"
        assert summary(airflow, run_id)["counts"] == {"delivered": 2}, task_id
    assert (world.rows()["count"], world.rows()["duplicates"]) == (4, [])


def test_clearing_a_task_of_a_run_that_found_nothing_is_green(airflow: Airflow, sandbox: SandboxFactory) -> None:
    airflow.use(sandbox("--world", "built", "--accounts", "0", "--posts", "1"))
    run_id, state = airflow.run()
    assert (state, airflow.tasks(run_id)["claim_accounts", -1]["state"]) == ("success", "skipped")
    body = {"dag_run_id": run_id, "dry_run": False, "only_failed": False, "task_ids": ["claim_accounts"]}
    airflow.call("POST", f"/api/v2/dags/{DAG_ID}/clearTaskInstances", body | {"include_downstream": True})
    wait_for(lambda: airflow.tasks(run_id)["claim_accounts", -1]["state"] not in ("skipped", None))
    assert airflow.finish(run_id) == "success"
    assert airflow.tasks(run_id)["claim_accounts", -1]["state"] == "success"


def test_the_report_names_the_task_that_failed_with_its_error(airflow: Airflow, sandbox: SandboxFactory) -> None:
    world = sandbox("--world", "built", "--accounts", "1", "--posts", "1")
    airflow.use(world)
    airflow.connect("likepion_default", "likepion", world.addresses["manager_url"], "not-the-key")
    run_id, state = airflow.run()
    assert state == "failed"
    first, second = summary(airflow, run_id)["tasks"]
    assert first.startswith("pull_tasks failed: ")
    assert "Put the manager's API key into the password field" in first
    assert second.endswith("could not run because of that.")
