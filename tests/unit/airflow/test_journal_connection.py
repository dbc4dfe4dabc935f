"""What the Airflow connection ``likepion_journal`` and the executor make of the journal."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.sdk import Connection
from sqlalchemy.engine import make_url

from likepion_provider.errors import JournalUnusable
from likepion_provider.hooks import connections
from tests import MANAGER


def given(uri: str) -> Connection:
    return Connection.from_uri(uri, conn_id="likepion_journal")


def test_every_extra_is_a_parameter_of_the_url() -> None:
    uri = (
        "postgres://j:pass-of-a-test@db.example/journal?sslmode=verify-full&sslrootcert=/etc/ca.pem&options=-c%20a%3Db"
    )
    query = {"sslmode": "verify-full", "sslrootcert": "/etc/ca.pem", "options": "-c a=b"}
    assert make_url(connections.journal_url(given(uri))).query == query


def test_extras_may_be_numbers_or_null() -> None:
    extra = '{"prepare_threshold": null, "keepalives": true, "connect_timeout": 5}'
    connection = Connection(conn_id="likepion_journal", conn_type="postgres", host="db.example", extra=extra)
    query = make_url(connections.journal_url(connection)).query
    assert query == {"prepare_threshold": "null", "keepalives": "1", "connect_timeout": "5"}
    connection = Connection(conn_id="likepion_journal", conn_type="postgres", host="db", extra='{"options": ["a"]}')
    with pytest.raises(JournalUnusable, match="'options' .* neither text nor a number"):
        connections.journal_url(connection)


def test_an_absolute_path_is_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    path = tmp_path / "my journal.db"
    for connection in (
        given(f"sqlite:///{path}".replace(" ", "%20")),
        Connection(conn_id="likepion_journal", conn_type="sqlite", host=str(path)),
    ):
        journal = connections.journal_of(connection, MANAGER)
        assert journal.database.engine.url.database == str(path)
    assert path.exists()


@pytest.mark.parametrize("uri", ["sqlite:///journal.db", "sqlite://journal.db", "sqlite://", "sqlite:///:memory:"])
def test_a_file_that_is_another_in_every_folder_is_refused(uri: str) -> None:
    with pytest.raises(JournalUnusable, match="another file in every folder") as error:
        connections.journal_url(given(uri))
    assert "four slashes" in error.value.advice


@pytest.mark.parametrize(
    ("executors", "refused"),
    [
        ("LocalExecutor;team1=LocalExecutor", ""),
        ("LocalExecutor; team1=here:LocalExecutor , airflow.executors.local_executor.LocalExecutor;", ""),
        ("=LocalExecutor", ""),
        ("CeleryExecutor;team1=my.module.LocalExecutor", "CeleryExecutor"),
        (
            "LocalExecutor;team1=LocalExecutor,far:KubernetesExecutor;team2=a.b.EdgeExecutor",
            "EdgeExecutor, KubernetesExecutor",
        ),
    ],
)
def test_the_executors_of_all_teams_count(executors: str, refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executors)
    if not refused:
        connections.usable_journal_url(None)
        return
    with pytest.raises(JournalUnusable, match=f"the machines of {refused}$"):
        connections.usable_journal_url(None)
