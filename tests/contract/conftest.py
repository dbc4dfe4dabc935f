"""The databases that the journal has to work on."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from likepion_provider.journal import Journal, open_journal
from tests import MANAGER
from tests.owned import guard
from tests.postgres import postgres, server_binaries


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    binaries = server_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    with postgres(binaries) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def journal_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, twice over."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'journal.db'}"
    url: str = request.getfixturevalue("postgres_url")
    name = f"journal_{uuid.uuid4().hex}"
    engine = create_engine(url.format(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.format(database=name)


@pytest.fixture(autouse=True)
def _no_statement_lacks_its_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    guard(monkeypatch)


@pytest.fixture
def journal(journal_url: str) -> Iterator[Journal]:
    journal = open_journal(journal_url, MANAGER)
    yield journal
    journal.database.close()
