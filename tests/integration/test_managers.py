"""Two managers in one Airflow and one journal, one a copy of the other with equal ids: each has its own DAG."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from likepion_provider import DAG_ID
from tests.integration.conftest import DAG_SECOND, SECOND_CONN_ID, Airflow, SandboxApi

pytestmark = pytest.mark.airflow

WORLD = ("--world", "built", "--accounts", "4", "--posts", "2", "--target", "3")


def test_two_managers_of_equal_ids_are_each_delivered_and_shown_apart(
    airflow: Airflow, sandbox: Callable[..., SandboxApi]
) -> None:
    first, second = sandbox(*WORLD), sandbox(*WORLD)
    ids = [each["account_id"] for each in first.state()["accounts"]]
    assert ids == [each["account_id"] for each in second.state()["accounts"]]
    airflow.use(first)
    at = second.addresses
    airflow.connect(SECOND_CONN_ID, "likepion", at["manager_url"], at["api_key"], allow_private_feeds=True)

    assert airflow.run()[1] == "success"
    assert first.rows()["accounts"] == dict.fromkeys(ids, 3)
    assert second.rows()["count"] == 0
    # Of each the site is its own, too, though its domains are the same.
    airflow.connect("likepion_platform_sandbox_site", "http", at["site_url"])
    sent = first.inserts()
    run_id, state = airflow.run(DAG_SECOND)
    assert state == "success"
    assert second.rows()["accounts"] == dict.fromkeys(ids, 3), "not hidden by what the first has"
    assert (first.rows()["duplicates"], second.rows()["duplicates"], first.inserts()) == ([], [], sent)
    log = airflow.log(run_id, "pull_tasks", dag_id=DAG_SECOND)
    assert f"rename-manager {first.addresses['manager_url']} {at['manager_url']}" in log

    board = shown(airflow, first, dag_id=DAG_ID), shown(airflow, second, dag_id=DAG_SECOND)
    assert [each["dag_id"] for told in board for each in told] == [DAG_ID] * 4 + [DAG_SECOND] * 4
    links = airflow.call("GET", f"/api/v2/dags/{DAG_SECOND}/dagRuns/{run_id}/taskInstances/report/links")
    assert f"?dag_id={DAG_SECOND}&run_id=" in links["extra_links"]["Board"]

    told = likepion(airflow, "journal", "managers").stdout
    managers = [line for line in told.splitlines() if line.startswith("http")]
    assert [line.split("  ")[1].rsplit(", last", 1)[0] for line in managers] == ["4 accounts, 12 links"] * 2
    assert {DAG_ID, DAG_SECOND} == {line.rsplit("  ", 1)[1] for line in managers}
    assert "12 links" in likepion(airflow, "journal", "--conn-id", SECOND_CONN_ID, "list").stdout
    refused = likepion(airflow, "journal", "rename-manager", first.addresses["manager_url"], at["manager_url"])
    assert (refused.returncode, "already" in refused.stderr) == (1, True)


def shown(airflow: Airflow, sandbox: SandboxApi, **which: str) -> list[dict[str, Any]]:
    """A manager's accounts on the board."""
    query = "&".join(f"{name}={value}" for name, value in which.items())
    told = airflow.call("GET", f"/likepion/api/overview?{query}")
    assert told["manager"] == sandbox.addresses["manager_url"]
    assert len(told["managers"]) == 2
    rows: list[dict[str, Any]] = airflow.call("GET", f"/likepion/api/accounts?manager={told['manager']}")["rows"]
    return rows


def likepion(airflow: Airflow, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command ``likepion``, where Airflow runs."""
    return subprocess.run(
        ["likepion", *arguments], env=airflow.environment, capture_output=True, text=True, timeout=240, check=False
    )
