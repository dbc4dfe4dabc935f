"""Airflow's public names that not every version has which this package runs on, where Apache's own compat lacks them.

All others come from ``airflow.providers.common.compat.sdk``.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import log
from airflow.sdk.bases.xcom import BaseXCom as BaseXCom
from airflow.sdk.log import mask_secret as mask_secret


async def amask_secret(secret: str) -> None:
    """Have Airflow mask a secret, from a coroutine."""
    if hasattr(log, "amask_secret"):
        await log.amask_secret(secret)
    else:  # before 3.3, in this process only: in a triggerer, that is the one which writes the log
        mask_secret(secret)


def by_hand() -> Any:
    """The schedule of a DAG that runs only when told to. From 3.3 on, such a run may have a partition key."""
    try:
        from airflow.sdk import PartitionedAtRuntime
    except ImportError:
        return None
    return PartitionedAtRuntime()


def is_without_supervisor(error: ImportError) -> bool:
    """Whether a connection was looked up in a process that has no supervisor to ask: so 3.1.0 says that."""
    return error.name == "airflow.sdk.execution_time.task_runner"
