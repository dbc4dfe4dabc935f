"""Airflow without its database: connections come from the environment, contexts are made by hand."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Variable

from likepion_provider.clock import SYSTEM_CLOCK
from likepion_provider.hooks.connections import LIKEPION_CONN_ID, journal_for
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import claim
from likepion_provider.sandbox.server import Sandbox
from likepion_provider.sandbox.world import World, build_world


class FakeTaskInstance:
    """Keeps XComs; answers with what a test put in."""

    map_index = -1
    try_number = 1
    max_tries = 2

    def __init__(self) -> None:
        self.xcoms: dict[tuple[str | None, str, int], Any] = {}
        self.states: dict[str, str] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        json.dumps(value)
        self.xcoms[None, key, self.map_index] = value

    def xcom_pull(self, task_ids: str | list[str], key: str = "return_value", map_indexes: int = -1) -> Any:
        if isinstance(task_ids, str):
            return self.xcoms.get((task_ids, key, map_indexes))
        rows = sorted(
            (each[2], value) for each, value in self.xcoms.items() if (each[0], each[1]) == (task_ids[0], key)
        )
        return [value for _, value in rows] or [None]

    async def axcom_pull(self, task_ids: str, key: str = "return_value", map_indexes: int = -1) -> Any:
        return self.xcom_pull(task_ids, key, map_indexes)

    def get_task_states(self, **_: Any) -> dict[str, dict[str, str]]:
        return {"run": self.states}


@pytest.fixture
def context() -> dict[str, Any]:
    run = SimpleNamespace(dag_id="dag", run_id="run", run_type="scheduled", run_after=datetime.now(timezone.utc))
    return {"dag_run": run, "ti": FakeTaskInstance()}


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Airflow's variables, which no supervisor keeps here."""
    kept: dict[str, str] = {}
    monkeypatch.setattr(Variable, "get", lambda key, default=None: kept.get(key, default))
    monkeypatch.setattr(Variable, "set", lambda key, value, description=None: kept.__setitem__(key, value))
    return kept


@pytest.fixture(autouse=True)
def _airflow_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = {"conn_type": "sqlite", "host": str(tmp_path / "journal.db")}
    monkeypatch.setenv("AIRFLOW_CONN_LIKEPION_JOURNAL", json.dumps(journal))
    logging.getLogger("likepion_provider").setLevel(logging.INFO)


@pytest.fixture
def lapse_all() -> Callable[[], None]:
    """What lets every claim lapse, as a quarter of an hour does."""

    def lapse() -> None:
        past = SYSTEM_CLOCK.now() - timedelta(seconds=1)
        with journal_for(LIKEPION_CONN_ID).database.writing() as connection:
            lapsed = {"expires_at": past, "boot_id": "", "boot_expires_s": 0}
            connection.execute(claim.update().where(of_manager(claim)).values(lapsed))

    return lapse


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Any]]:
    """What starts a sandbox, and points the connections at it."""
    running: list[Sandbox] = []

    async def run(world: World | None = None) -> Sandbox:
        sandbox = await Sandbox(world or build_world(accounts=3, posts=1)).__aenter__()
        running.append(sandbox)
        manager = {"conn_type": "likepion", "host": sandbox.manager_url, "password": sandbox.api_key}
        manager["extra"] = {"allow_private_feeds": True}  # type: ignore[assignment]
        site = {"conn_type": "http", "host": sandbox.site_url}
        monkeypatch.setenv("AIRFLOW_CONN_LIKEPION_DEFAULT", json.dumps(manager))
        monkeypatch.setenv("AIRFLOW_CONN_LIKEPION_PLATFORM_SANDBOX_SITE", json.dumps(site))
        return sandbox

    yield run
    for sandbox in running:
        await sandbox.__aexit__(None, None, None)
