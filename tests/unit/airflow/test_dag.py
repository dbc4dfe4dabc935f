"""The DAG's file, as the DAG processor reads it, and the function that makes further DAGs."""

from __future__ import annotations

import json
import runpy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from likepion_provider import DAG_ID
from likepion_provider.dag import DEFAULT_ARGS, likepion_dag
from likepion_provider.hooks.compat import by_hand
from tests.versions import DagSerialization, dags_in

DAG_FILE = Path(__file__).parents[3] / "dags" / "likepion_podcast_secondary.py"
#: All that a user has to write.
SECOND = """
from likepion_provider.dag import likepion_dag  # for airflow

staging = likepion_dag("likepion_staging", likepion_conn_id="likepion_staging", schedule=None, tags=["staging"])
"""


@pytest.mark.parametrize(
    ("minutes", "schedule"), [(None, timedelta(minutes=5)), ("30", timedelta(minutes=30)), ("0", by_hand())]
)
def test_the_schedule_is_a_setting(
    minutes: str | None, schedule: timedelta | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if minutes is not None:
        monkeypatch.setenv("AIRFLOW__LIKEPION__SCHEDULE_MINUTES", minutes)
    # A partition key, here the group, is taken only by a DAG without a schedule of its own.
    dag = runpy.run_path(str(DAG_FILE))["secondary"]
    assert dag.schedule == schedule or (minutes == "0" and type(dag.schedule) is type(schedule))


def tasks_of(dag: Any) -> dict[str, dict[str, Any]]:
    return {each["__var"]["task_id"]: each["__var"] for each in DagSerialization.to_dict(dag)["dag"]["tasks"]}


def test_a_second_managers_dag_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "second.py").write_text(SECOND, encoding="utf-8")
    bag = dags_in(tmp_path)
    assert bag.import_errors == {}
    second, first = bag.dags["likepion_staging"], runpy.run_path(str(DAG_FILE))["secondary"]
    assert (second.schedule, second.tags) == (None, {"staging"})
    about = first.doc_md.replace(DAG_ID, "likepion_staging").replace("likepion_default", "likepion_staging")
    assert second.doc_md == about.replace("every 5 minutes", "when it is triggered")
    ours, theirs = tasks_of(first), tasks_of(second)
    assert {each.pop("likepion_conn_id") for each in ours.values()} == {"likepion_default"}
    assert {each.pop("likepion_conn_id") for each in theirs.values()} == {"likepion_staging"}
    told = json.dumps(theirs, default=str).replace("likepion_staging", DAG_ID)
    assert told == json.dumps(ours, default=str), "but for the manager, they are one DAG"
    assert second.params.keys() == first.params.keys()


@pytest.mark.parametrize(
    ("schedule", "when"),
    [(timedelta(minutes=1), "every 1 minute"), (timedelta(hours=1), "every 60 minutes"), ("@daily", "at `@daily`")],
)
def test_a_dag_says_for_whom_it_works_when_and_in_which_pool(schedule: Any, when: str) -> None:
    dag = likepion_dag("d", likepion_conn_id="staging", schedule=schedule, pool="slow")
    assert f"the manager of the connection `staging`, {when}; its imports take slots of the pool `slow`" in dag.doc_md


def test_what_a_dag_is_given_reaches_it() -> None:
    dag = likepion_dag("d", pool="slow", max_active_runs=2, default_args={"retries": 7, "owner": "us"}, doc_md="Ours")
    assert (dag.max_active_runs, dag.doc_md) == (2, "Ours")
    assert {"owner": "us", "retries": 7}.items() <= dag.default_args.items()
    assert dag.default_args["retry_delay"] == DEFAULT_ARGS["retry_delay"]
    pools = {task_id: task.pool for task_id, task in dag.task_dict.items()}
    assert {task_id for task_id, pool in pools.items() if pool == "slow"} == {
        "import_batch.import_rss",
        "import_batch.import_assisted",
    }
    assert likepion_dag("d", is_paused_upon_creation=False).is_paused_upon_creation is False
    with pytest.raises(TypeError, match="no_option"):
        likepion_dag("d", no_option=1)
