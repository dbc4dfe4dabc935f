"""Who may do what on the board, and the journal behind it, as Airflow says.

A mounted app is not authenticated by Airflow: every route depends on this.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Protocol

from starlette.requests import Request

from likepion_provider import DAG_ID
from likepion_provider.hooks.connections import JOURNAL_CONN_ID, find, journal_of
from likepion_provider.hooks.internals import allowed_methods, signed_in, write_audit_log
from likepion_provider.journal import Journal

#: How long the journal's connection is taken for unchanged, in seconds.
CONNECTION_AGE_S = 2.0


@dataclasses.dataclass(frozen=True)
class Person:
    """Who asks.

    :param may_edit: whether unknown outcomes may be settled.
    """

    name: str
    may_read: bool
    may_edit: bool


class Access(Protocol):
    """What the board needs of its surroundings."""

    async def person(self, request: Request) -> Person:
        """Who asks.

        :raises HTTPException: 401 for somebody who has not signed in.
        """
        ...

    def journal(self) -> Journal:
        """The journal.

        :raises JournalUnusable: it cannot be reached.
        """
        ...

    def audit(self, person: Person, event: str, details: dict[str, Any]) -> None:
        """Write a line into the audit log."""
        ...


class AirflowAccess:
    """Airflow's users, connections and audit log."""

    def __init__(self) -> None:
        self._journal: tuple[float, Journal] | None = None

    async def person(self, request: Request) -> Person:
        """The user behind the bearer token or the session's cookie, and what Airflow lets them do with the DAG."""
        from starlette.concurrency import run_in_threadpool

        user = await signed_in(request)
        may = await run_in_threadpool(allowed_methods, user, DAG_ID, ("GET", "PUT"))
        return Person(user.get_name(), may_read="GET" in may, may_edit="PUT" in may)

    def journal(self) -> Journal:
        """The journal of the connection ``likepion_journal``."""
        now_s = time.monotonic()
        if self._journal is None or now_s - self._journal[0] > CONNECTION_AGE_S:
            self._journal = now_s, journal_of(find(JOURNAL_CONN_ID))
        return self._journal[1]

    def audit(self, person: Person, event: str, details: dict[str, Any]) -> None:
        """A row of Airflow's audit log, under the DAG."""
        write_audit_log(event, person.name, DAG_ID, details)
