"""Every name of Airflow's inside that this package needs, each behind one function that says why.

Airflow promises to keep ``airflow.sdk``, its providers and what its documentation calls public; it may change all that
is here with any version. Imports are late: most processes that load this package need none of them.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.requests import Request


def airflow_home() -> Path:
    """Airflow's folder: the SDK reads it from the environment too, but gives it to nobody."""
    from airflow.configuration import AIRFLOW_HOME

    return Path(AIRFLOW_HOME)


def ask_as_the_server() -> None:
    """Have connections looked up in the metadata database too, in a command that is neither a task nor the server.

    The SDK knows by this variable on which side it is; there is no other way to say so.
    """
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")


def load_as_the_server() -> None:
    """Load what looks connections up in the metadata database, and with it Airflow's logging."""
    from airflow.models.connection import Connection  # noqa: F401


def connection_of_the_server(conn_id: str) -> Any | None:
    """A connection as Airflow's server looks it up, or None: the SDK of 3.1.0 does so for tasks only. Blocks."""
    from airflow.models.connection import Connection
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    try:
        return Connection.get_connection_from_secrets(conn_id)
    except AirflowNotFoundException:
        return None


def give_params(dag: Any, params: Mapping[str, Any]) -> None:
    """Give a DAG its params after its tasks were made.

    Given before, every task has a copy, which Airflow validates again each time that it looks at one: half of a parse.
    """
    from airflow.sdk.definitions.param import ParamsDict

    dag.params = ParamsDict(dict(params))


def has_process_of_its_own() -> bool:
    """Whether Airflow made this process for one task: it then talks to its supervisor through a socket."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import CommsDecoder

    # `airflow dags test` runs tasks in its own process, and the triggerer all triggers: these talk by other classes.
    return type(getattr(task_runner, "SUPERVISOR_COMMS", None)) is CommsDecoder


def is_paused(dag_id: str) -> bool:
    """Whether runs of a DAG wait until somebody switches it on. Blocks; for commands and the board, as the next is."""
    from airflow.models.dag import DagModel

    dag = DagModel.get_current(dag_id)
    return dag is not None and bool(dag.is_paused)


def start_run(dag_id: str, run_id: str, conf: Mapping[str, Any], *, user: str = "") -> None:
    """Start a run, as ``airflow dags trigger`` does; that command takes seconds of CPU to start, each time.

    :param user: who asked for it on a page; empty for a command.
    :raises Exception: whatever Airflow raises where it takes no such run.
    """
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.utils.types import DagRunTriggeredByType

    by = DagRunTriggeredByType.UI if user else DagRunTriggeredByType.CLI
    trigger_dag(dag_id, triggered_by=by, triggering_user_name=user or None, run_id=run_id, conf=dict(conf))


def asked_of_people(dag_ids: Collection[str]) -> set[tuple[str, str, str, int]]:
    """The task instances of some DAGs that wait for a person's answer. Blocks.

    :return: of each its DAG, run, task and map index.
    """
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    names = (TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index)
    query = (
        select(*names)
        .join(HITLDetail, HITLDetail.ti_id == TaskInstance.id)
        .where(HITLDetail.responded_at.is_(None), TaskInstance.dag_id.in_(dag_ids))
        .where(TaskInstance.state.in_(("awaiting_input", "deferred")))  # before 3.3, there is only the latter
    )
    with create_session() as session:
        return {(dag_id, run_id, task_id, map_index) for dag_id, run_id, task_id, map_index in session.execute(query)}


async def signed_in(request: Request) -> Any:
    """The user behind a request's bearer token or cookie: Airflow authenticates no app that a plugin mounts.

    :raises HTTPException: 401 for somebody who has not signed in.
    """
    from airflow.api_fastapi.core_api.security import bearer_scheme, get_user

    given: tuple[Any, ...] = (None, await bearer_scheme(request))
    # Airflow 3.1.0 takes no request: it knows bearer tokens only.
    return await get_user(*((request, *given) if "request" in inspect.signature(get_user).parameters else given))


def allowed_methods(user: Any, dag_id: str, methods: Collection[str]) -> set[str]:
    """What Airflow lets a user do with a DAG. Blocks.

    :param methods: of ``GET`` (read), ``PUT`` (edit), ``POST`` and ``DELETE``.
    """
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails

    manager, details = get_auth_manager(), DagDetails(id=dag_id)
    return {each for each in methods if manager.is_authorized_dag(method=each, details=details, user=user)}  # type: ignore[arg-type]


def write_audit_log(event: str, owner: str, dag_id: str, details: Mapping[str, Any]) -> None:
    """A row of Airflow's audit log: its own routes write them by a decorator that plugins cannot use."""
    from airflow.models.log import Log
    from airflow.utils.session import create_session

    with create_session() as session:
        session.add(Log(event=event, owner=owner, dag_id=dag_id, extra=json.dumps(details)))
