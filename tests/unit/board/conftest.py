"""The board without Airflow: people and journal are a test's own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException
from starlette.requests import Request

from likepion_provider.board.access import Person
from likepion_provider.board.api import create_app
from likepion_provider.clock import Moment
from likepion_provider.journal import Journal, open_journal
from likepion_provider.journal.database import Database
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Record
from likepion_provider.models import ImportState, LinkState, PostAccount, SecondaryTask
from tests import MANAGER
from tests.unit.board.client import Client

PEOPLE = {
    "admin": Person("admin", lambda _: ("GET", "PUT")),
    "viewer": Person("viewer", lambda _: ("GET",)),
    "stranger": Person("stranger", lambda _: ()),
    # May edit the one DAG, read the other, and knows of no third.
    "staging": Person("staging", lambda dag_id: {"staging": ("GET", "PUT"), "second": ("GET",)}.get(dag_id, ())),
}


class FakeAccess:
    """Takes the header ``As`` for who asks; an admin by default."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.audited: list[tuple[str, str, dict[str, Any]]] = []
        self.started: list[tuple[str, str, str, dict[str, Any]]] = []

    async def person(self, request: Request) -> Person:
        name = request.headers.get("As", "admin")
        if name not in PEOPLE:
            raise HTTPException(401, "Not authenticated")
        return PEOPLE[name]

    def database(self) -> Database:
        return self._journal.database

    def audit(self, person: Person, dag_id: str, event: str, details: dict[str, Any]) -> None:
        self.audited.append((person.name, event, {"dag_id": dag_id} | details))

    def start(self, person: Person, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> bool:
        self.started.append((person.name, dag_id, run_id, dict(conf)))
        return True

    def asked(self, dag_ids: Collection[str]) -> Collection[tuple[str, str, str, int]]:
        return ()


class Story:
    """Puts accounts into a journal by the ways that the package itself goes."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.now = Moment(datetime.now(timezone.utc), "boot", 1000.0)

    def account(
        self, name: str, *, group: str = "group-1", domain: str = "tide.example", pulled: bool = True
    ) -> PostAccount:
        """An account that a run holds."""
        task = SecondaryTask(name, f"post-of-{group}", group, domain, username=name, target=2)
        self.journal.submissions.note([task], "run-1", self.now.at, pulled=pulled)
        self.journal.claims.grant("dag/run-1", {task.key: Lease.granted(self.now)})
        assert self.journal.claims.take_over("dag/run-1", "holder", [task.key], self.now)
        return task.key

    def send(self, key: PostAccount, *outcomes: bool | None) -> None:
        """Find and send links, each with its outcome."""
        urls = [f"https://tide.example/{key.account_id}/{n}" for n in range(len(outcomes))]
        self.journal.links.prepare(key, [(url, url) for url in urls], self.now.at)
        self.journal.submissions.record(key, "holder", self.now, state=ImportState.LISTED)
        sending = self.journal.links.begin_send(key, "holder", urls, self.now)
        records = [Record(url, outcome) for url, outcome in zip(urls, outcomes, strict=True)]
        self.journal.links.end_send(key, sending, records, self.now.at)

    def fail(
        self,
        key: PostAccount,
        message: str,
        state: ImportState = ImportState.FAILED,
        *,
        back_off: timedelta | None = None,
        remedy: str = "Mend it.",
    ) -> None:
        """The import ends badly; with ``back_off`` for good, and not to be tried before that is over."""
        self.journal.submissions.record(
            key,
            "holder",
            self.now,
            state=state,
            message=message,
            remedy=remedy,
            permanent=back_off is not None,
            not_before=self.now.at + back_off if back_off is not None else None,
        )

    def parked(self) -> int:
        """The id of a parked link."""
        return self.journal.links.listed(state=LinkState.UNKNOWN)[0].id


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = open_journal(f"sqlite:///{tmp_path / 'journal.db'}", MANAGER)
    yield journal
    journal.database.close()


@pytest.fixture
def story(journal: Journal) -> Story:
    return Story(journal)


@pytest.fixture
def access(journal: Journal) -> FakeAccess:
    return FakeAccess(journal)


@pytest.fixture
def board(access: FakeAccess) -> Client:
    return Client(create_app(access))


@pytest.fixture
def get(board: Client) -> Callable[..., Any]:
    """Reads JSON: ``get("accounts", domain="...")``."""

    def read(path: str, **params: Any) -> Any:
        answer = board.get(f"/api/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return read
