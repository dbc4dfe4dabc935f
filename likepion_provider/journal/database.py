"""The journal's database: opened once per process, brought to the newest schema, used in short transactions."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, text

from likepion_provider.errors import JournalUnusable
from likepion_provider.journal.engine import make_engine, named_failures

#: The newest file in ``migrations/versions``.
HEAD = "0001"
MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """Short transactions on the journal's tables.

    :param url: an SQLAlchemy URL; SQLite or PostgreSQL.
    :raises JournalUnusable: the URL cannot be read, the database cannot be reached, or its schema is newer than
        this package.
    """

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)
        self._current = threading.local()
        try:
            with named_failures():
                if _schema_version(self.engine) != HEAD:
                    _upgrade(self.engine)
        except JournalUnusable:
            self.close()
            raise

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, committed at the end; within another one of the same thread, a part of that.

        SQLite takes its write lock at the start, so nothing deadlocks.

        :raises JournalUnusable: the database failed; nothing of the transaction was kept.
        :raises NotJournaled: it does not take a value; nothing of the transaction was kept either.
        """
        outer: Connection | None = getattr(self._current, "connection", None)
        if outer is not None:
            yield outer
            return
        with named_failures(), self.engine.begin() as connection:
            self._current.connection = connection
            try:
                yield connection
            finally:
                self._current.connection = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """One read-only transaction, which waits for nobody.

        :raises JournalUnusable: the database failed.
        """
        with named_failures(), self.engine.connect().execution_options(likepion_reading=True) as connection:
            yield connection

    def close(self) -> None:
        """Give the connections back; the object can be used again."""
        self.engine.dispose()


def put_absent(connection: Connection, table: Table) -> Any:
    """An INSERT that leaves a row that is there already as it is."""
    return _put_absent(connection.dialect.name, table)


def put_fresh(connection: Connection, table: Table, *columns: str) -> Any:
    """An INSERT that, where the primary key is there already, changes only some columns."""
    return _put_fresh(connection.dialect.name, table, columns)


# Made once: to build a statement costs more than to run it.
@functools.cache
def _put_absent(dialect: str, table: Table) -> Any:
    return _insert(dialect)(table).on_conflict_do_nothing()


@functools.cache
def _put_fresh(dialect: str, table: Table, columns: tuple[str, ...]) -> Any:
    statement = _insert(dialect)(table)
    fresh = {name: statement.excluded[name] for name in columns}
    return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=fresh)


def _insert(dialect: str) -> Any:
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert
    from sqlalchemy.dialects.postgresql import insert

    return insert


def _schema_version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not engine.dialect.has_table(connection, "likepion_journal_version"):
            return None
        version: str | None = connection.execute(text("SELECT version_num FROM likepion_journal_version")).scalar()
        return version


def _upgrade(engine: Engine) -> None:
    # Late: Alembic costs a tenth of a second, and is needed once per release.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('likepion_journal'))"))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise JournalUnusable(
                f"the journal's schema is not one that this version knows: {error}",
                remedy="Update airflow-provider-likepion on every machine to the newest version in use.",
            ) from None


@functools.lru_cache(maxsize=4)
def open_database(url: str) -> Database:
    """The process's own :class:`Database` for a URL."""
    return Database(url)
