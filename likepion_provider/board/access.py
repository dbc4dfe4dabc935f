"""Who may do what on the board, and the journal behind it, as Airflow says.

A mounted app is not authenticated by Airflow: every route depends on this.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

from starlette.requests import Request

from likepion_provider.errors import BadRequest
from likepion_provider.hooks.connections import JOURNAL_CONN_ID, find, usable_journal_url
from likepion_provider.hooks.internals import (
    allowed_methods,
    asked_of_people,
    is_paused,
    signed_in,
    start_run,
    write_audit_log,
)
from likepion_provider.journal.database import Database, open_database

log = logging.getLogger(__name__)

#: How long the journal's connection is taken for unchanged, in seconds.
CONNECTION_AGE_S = 2.0


@dataclasses.dataclass(frozen=True)
class Person:
    """Who asks.

    :param allowed: what they may do with a DAG, of ``GET`` (read) and ``PUT`` (edit). Blocks.
    """

    name: str
    allowed: Callable[[str], Collection[str]]

    def may_read(self, dag_ids: Iterable[str]) -> bool:
        """Whether they may read one of some DAGs, and so what it keeps in the journal. Blocks."""
        return any("GET" in self.allowed(each) for each in dag_ids)

    def may_edit(self, dag_ids: Iterable[str]) -> bool:
        """Whether they may edit one of some DAGs, and so settle its unknown outcomes. Blocks."""
        return any("PUT" in self.allowed(each) for each in dag_ids)


class Access(Protocol):
    """What the board needs of its surroundings."""

    async def person(self, request: Request) -> Person:
        """Who asks.

        :raises HTTPException: 401 for somebody who has not signed in.
        """
        ...

    def database(self) -> Database:
        """The journal's database, opened for no manager yet.

        :raises JournalUnusable: it cannot be reached.
        """
        ...

    def audit(self, person: Person, dag_id: str, event: str, details: dict[str, Any]) -> None:
        """Write a line into the audit log."""
        ...

    def start(self, person: Person, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> bool:
        """Start a run of a DAG.

        :return: False where it waits until somebody switches the DAG on.
        :raises BadRequest: Airflow takes no such run.
        """
        ...

    def asked(self, dag_ids: Collection[str]) -> Collection[tuple[str, str, str, int]]:
        """The DAG, run, task and map index of what waits for a person's answer under Required actions."""
        ...


class AirflowAccess:
    """Airflow's users, connections and audit log."""

    def __init__(self) -> None:
        self._database: tuple[float, Database] | None = None

    async def person(self, request: Request) -> Person:
        """The user behind the bearer token or the session's cookie, and what Airflow lets them do with DAGs."""
        user = await signed_in(request)
        allowed = functools.cache(functools.partial(allowed_methods, user, methods=("GET", "PUT")))
        return Person(user.get_name(), allowed)

    def database(self) -> Database:
        """That of the connection ``likepion_journal``."""
        now_s = time.monotonic()
        if self._database is None or now_s - self._database[0] > CONNECTION_AGE_S:
            self._database = now_s, open_database(usable_journal_url(find(JOURNAL_CONN_ID)))
        return self._database[1]

    def audit(self, person: Person, dag_id: str, event: str, details: dict[str, Any]) -> None:
        """A row of Airflow's audit log, under a DAG."""
        write_audit_log(event, person.name, dag_id, details)

    def start(self, person: Person, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> bool:
        """A run as Airflow's own form starts one."""
        try:
            start_run(dag_id, run_id, conf, user=person.name)
        except Exception as error:
            log.exception("No run of %s was started", dag_id)
            message = f"Airflow started no run of {dag_id}: {type(error).__name__}: {error}"
            remedy = "See the log of Airflow's API server; or start it by Airflow's form."
            raise BadRequest(message, remedy=remedy) from error
        return not is_paused(dag_id)

    def asked(self, dag_ids: Collection[str]) -> Collection[tuple[str, str, str, int]]:
        """Required actions that nobody has answered."""
        return asked_of_people(dag_ids)
