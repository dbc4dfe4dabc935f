"""Names of Airflow's that tests need and that stand elsewhere, or are called otherwise, in some of its versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # before 3.2
    from airflow.models.dagbag import DagBag

try:
    from airflow.sdk.exceptions import TaskAwaitingInput as TaskAwaitingInput
except ImportError:  # before 3.3, a question is a deferral like others
    from airflow.providers.common.compat.sdk import TaskDeferred as TaskAwaitingInput  # noqa: F401

try:
    from airflow.serialization.serialized_objects import DagSerialization as DagSerialization
except ImportError:  # before 3.2
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization  # noqa: F401


def dags_in(folder: Path) -> Any:
    """The DAGs in a folder, and what is wrong with those that are none; without Airflow's own examples."""
    try:
        return DagBag(folder, include_examples=False)
    except TypeError:  # from 3.3 on, there are none
        return DagBag(folder)
