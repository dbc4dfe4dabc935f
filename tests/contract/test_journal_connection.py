"""How the journal's database is reached: every parameter counts, files are private, each failure has its remedy."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import make_url

from likepion_provider.clock import Moment
from likepion_provider.errors import JournalUnusable
from likepion_provider.journal import Journal, engine
from likepion_provider.journal.database import Database
from likepion_provider.journal.engine import remedy_of
from likepion_provider.manager.lease import Lease
from likepion_provider.models import PostAccount
from tests import MANAGER
from tests.clocks import VirtualClock
from tests.fakes import episodes

URLS = [f"https://tide.example/{'x' * 5000}/{number}" for number in range(50)]


@pytest.fixture
def on_postgres(postgres_url: str) -> str:
    """The URL of a database of the server's own."""
    return postgres_url.format(database="postgres")


def with_query(url: str, **query: str) -> str:
    return make_url(url).update_query_dict(query).render_as_string(hide_password=False)


def grant(journal: Journal) -> None:
    now = Moment.read(VirtualClock())
    journal.claims.grant("run", {PostAccount("post", "account"): Lease.granted(now)})


def test_every_parameter_reaches_the_driver(on_postgres: str) -> None:
    given = {"application_name": "a journal", "options": "-c lock_timeout=1234", "connect_timeout": "7"}
    database = Database(with_query(on_postgres, prepare_threshold="0", sslmode="allow", **given))
    with database.reading() as connection:
        assert connection.execute(text("SHOW application_name")).scalar() == "a journal"
        assert connection.execute(text("SHOW lock_timeout")).scalar() == "1234ms"
        driver = connection.connection.dbapi_connection
        assert driver is not None
        assert driver.prepare_threshold == 0
        asked = driver.info.get_parameters()
    assert (asked["sslmode"], asked["connect_timeout"]) == ("allow", "7")
    database.close()


@pytest.mark.parametrize(("given", "threshold"), [("null", None), ("None", None), ("3", 3)])
def test_statements_need_not_be_prepared(on_postgres: str, given: str, threshold: int | None) -> None:
    database = Database(with_query(on_postgres, prepare_threshold=given))
    with database.reading() as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        assert driver.prepare_threshold == threshold
    database.close()


@pytest.mark.parametrize(
    ("query", "words", "remedy"),
    [
        ({"sslmode": "verify-full"}, "SSL|certificate", "sslmode and the certificates"),
        ({"sslmode": "nonsense"}, "sslmode", "sslmode and the certificates"),
        ({"sslmod": "verify-full"}, "no connection parameter sslmod", "Correct the extras"),
        ({"prepare_threshold": "often"}, "prepare_threshold is a number", "Correct it in the extras"),
        ({"port": "1"}, "refused", "that PostgreSQL runs"),
        ({"host": "nowhere.invalid"}, "database failed", "that PostgreSQL runs"),
        ({"user": "nobody_here"}, "does not exist", "Correct login and password"),
        ({"dbname": "none_here"}, "does not exist", "Create the database"),
        ({"options": "-c default_transaction_read_only=on"}, "read-only transaction", "Let the user that runs"),
    ],
)
def test_each_failure_of_postgresql_has_its_remedy(
    postgres_url: str, query: dict[str, str], words: str, remedy: str
) -> None:
    url = postgres_url.format(database="template1" if "options" in query else "postgres")
    with pytest.raises(JournalUnusable, match=words) as error:
        Database(with_query(url, **query))
    assert remedy in error.value.advice


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ('could not extend file "base/5/1": No space left on device', "Free space"),
        ('FATAL:  password authentication failed for user "j"', "Correct login and password"),
        ("fe_sendauth: no password supplied", "Correct login and password"),
        ("FATAL:  sorry, too many clients already", "Allow the server more connections"),
        ('prepared statement "_pg3_0" does not exist', "set prepare_threshold to null"),
        ("cannot execute UPDATE in a read-only transaction", "rather than a standby"),
        ("canceling statement due to lock timeout", "keeps the journal locked"),
        ("permission denied for schema public", "the database's schema"),
        ("database disk image is malformed", "restore it from a backup"),
        ("SSL connection has been closed unexpectedly", None),
    ],
)
def test_a_databases_words_lead_to_what_to_do(words: str, remedy: str | None) -> None:
    assert (remedy_of(words) or "").find(remedy or "") >= 0
    assert (remedy_of(words) is None) is (remedy is None)


def test_a_full_disk_a_lock_and_a_damaged_file_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SQLITE_BUSY_MS", 50)
    path = tmp_path / "journal.db"
    database = Database(f"sqlite:///{path}").of(MANAGER)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalUnusable, match="is locked") as error:
            grant(Journal(database))
        assert "keeps the journal locked" in error.value.advice
        other.execute("ROLLBACK")
    other.close()
    event.listen(database.engine, "checkout", lambda raw, *_: raw.execute("PRAGMA max_page_count=1"))
    with pytest.raises(JournalUnusable, match="is full") as error:
        Journal(database).links.prepare(PostAccount("post", "account"), episodes(URLS), VirtualClock().now())
    assert "Free space" in error.value.advice
    database.close()
    path.write_bytes(b"x" * 5000)
    with pytest.raises(JournalUnusable, match="not a database") as error:
        Database(f"sqlite:///{path}")
    assert "damaged" in error.value.advice


def test_a_file_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalUnusable) as error:
        Database("sqlite:////dev/null/journal.db")
    assert "Let the user that runs Airflow" in error.value.advice
    with pytest.raises(JournalUnusable, match="SQLite has no connection parameter mode"):
        Database(f"sqlite:///{tmp_path / 'journal.db'}?mode=ro")


@pytest.mark.parametrize(
    "url", ["postgresql://u:s3cret-of-a-test@h:port/db", "s3cret-of-a-test", "my sql://s3cret-of-a-test"]
)
def test_a_url_that_cannot_be_read_is_not_shown(url: str) -> None:
    with pytest.raises(JournalUnusable, match="cannot be used") as error:
        Database(url)
    assert "s3cret" not in error.value.advice


def test_its_files_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal.db"
    before = os.umask(0o022)
    try:
        database = Database(f"sqlite:///{path}").of(MANAGER)
        grant(Journal(database))
        assert modes(path) == {"journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600}
        for each in path.parent.iterdir():
            each.chmod(0o644)
        again = Database(f"sqlite:///{path}")
        assert set(modes(path).values()) == {0o600}, "a journal of an earlier version, too"
        again.close()
        database.close()
    finally:
        os.umask(before)


def modes(path: Path) -> dict[str, int]:
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
