"""The context that Airflow gives to operators, and the task instance in it, as far as this package uses them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, cast

from airflow.providers.common.compat.sdk import AirflowException, Context

from likepion_provider.errors import LikepionError
from likepion_provider.hooks.compat import BaseXCom
from likepion_provider.hooks.connections import ERROR as ERROR
from likepion_provider.hooks.connections import scope_of as scope_of
from likepion_provider.journal import TaskName


class TaskInstance(Protocol):
    """The running task instance, as far as this package uses it; Airflow's own Protocol leaves some of it out."""

    task_id: str
    #: -1 or None where the task is not mapped.
    map_index: int | None
    #: From 1 on; the last one is ``max_tries + 1``.
    try_number: int
    max_tries: int

    def xcom_push(self, key: str, value: Any) -> None:
        """Store a value that is ready for JSON."""
        ...

    def xcom_pull(
        self, task_ids: str | Iterable[str], *, key: str = ..., map_indexes: int | Iterable[int] | None = ...
    ) -> Any:
        """A task's value, or None; of several tasks, a list of the values of all their mapped instances."""
        ...

    def get_task_states(
        self,
        *,
        dag_id: str,
        run_ids: list[str] | None = None,
        task_ids: list[str] | None = None,
        map_index: int | None = None,
    ) -> dict[str, dict[str, Any]]:
        """The states of tasks, by run and task."""
        ...


def instance_of(context: Context) -> TaskInstance:
    """The task instance that runs."""
    return cast("TaskInstance", context["ti"])


def is_cleared(context: Context, retries: int | None) -> bool:
    """Whether a person has cleared this task: then Airflow allows it ``retries`` tries more than it has had.

    :param retries: the task's.
    """
    ti = instance_of(context)
    return ti.try_number > 1 and ti.max_tries > (retries or 0)


@contextlib.contextmanager
def error_left(context: Context) -> Iterator[None]:
    """Leave the error that ends a task in XCom, for the report: Airflow tells a task how another ended, but not why."""
    try:
        yield
    except AirflowException:
        raise
    except Exception as error:
        # XCom masks nothing: of what is not ours, the words may hold anything.
        words = error.advice if isinstance(error, LikepionError) else f"{type(error).__name__}. Read the task's log."
        instance_of(context).xcom_push(ERROR, words)
        raise


def map_index_of(context: Context) -> int:
    """Which of the batches this is; -1 where the task is not mapped."""
    index = instance_of(context).map_index
    return -1 if index is None else index


def name_of(context: Context, task_id: str) -> TaskName:
    """The task instance's name in the journal."""
    run = context["dag_run"]
    return TaskName(run.dag_id, run.run_id, task_id, map_index_of(context))


def states_of(context: Context) -> dict[str, str]:
    """How the tasks of this run stand, by task id; a mapped one's has its map index behind."""
    run = context["dag_run"]
    states = instance_of(context).get_task_states(dag_id=run.dag_id, run_ids=[run.run_id])
    return {task_id: str(state) for task_id, state in states.get(run.run_id, {}).items()}


def state_of(context: Context, task_id: str, map_index: int) -> str:
    """How a mapped task of this run stands; empty where it was not mapped."""
    run = context["dag_run"]
    states = instance_of(context).get_task_states(
        dag_id=run.dag_id, run_ids=[run.run_id], task_ids=[task_id], map_index=map_index
    )
    return str(next(iter(states.get(run.run_id, {}).values()), ""))


def left_by(context: Context, task_id: str, key: str = BaseXCom.XCOM_RETURN_KEY) -> Sequence[Any]:
    """The rows of this batch's instance of a task."""
    rows = instance_of(context).xcom_pull(task_id, key=key, map_indexes=map_index_of(context))
    return rows or ()


def left_by_all(context: Context, task_id: str, key: str = BaseXCom.XCOM_RETURN_KEY) -> list[Any]:
    """The rows of all mapped instances of a task: one call, whereas one for each takes seconds of a large run."""
    return [row for rows in instance_of(context).xcom_pull([task_id], key=key) if rows for row in rows]
