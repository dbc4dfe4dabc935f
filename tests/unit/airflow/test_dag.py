"""The DAG's file, as the DAG processor reads it."""

from __future__ import annotations

import runpy
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.sdk import PartitionedAtRuntime

DAG_FILE = Path(__file__).parents[3] / "dags" / "likepion_podcast_secondary.py"


@pytest.mark.parametrize(
    ("minutes", "schedule"), [(None, timedelta(minutes=5)), ("30", timedelta(minutes=30)), ("0", PartitionedAtRuntime)]
)
def test_the_schedule_is_a_setting(
    minutes: str | None, schedule: timedelta | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if minutes is not None:
        monkeypatch.setenv("AIRFLOW__LIKEPION__SCHEDULE_MINUTES", minutes)
    # A partition key, here the group, is taken only by a DAG without a schedule of its own.
    dag = runpy.run_path(str(DAG_FILE))["likepion_podcast_secondary"]()
    assert dag.schedule == schedule or isinstance(dag.schedule, PartitionedAtRuntime)
