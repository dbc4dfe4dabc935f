"""The journal's database: opened once per process, brought to the newest schema, used in short transactions."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Table, select, text

from likepion_provider.errors import JournalUnusable
from likepion_provider.journal.engine import make_engine, named_failures
from likepion_provider.journal.schema import setting

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

#: The newest file in ``migrations/versions``.
HEAD = "0001"
MIGRATIONS = Path(__file__).parent / "migrations"
#: The setting that says which versions may use the schema as it is: :data:`HEAD` of each. What brings the journal to a
#: newer schema writes it, so that older workers go on beside newer ones.
_TAKES = "schema_takes"


class Database:
    """Short transactions on the journal's tables.

    :param url: an SQLAlchemy URL; SQLite or PostgreSQL.
    :raises JournalUnusable: the URL cannot be read, the database cannot be reached, or its schema is newer than
        this package, by more than additions.
    """

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)
        self._current = threading.local()
        try:
            with named_failures():
                if not _is_usable(self.engine):
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


def _schema_version(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, "likepion_journal_version"):
        return None
    version: str | None = connection.execute(text("SELECT version_num FROM likepion_journal_version")).scalar()
    return version


def _is_usable(engine: Engine) -> bool:
    """Whether the schema is this version's, or a later one that still takes what this version reads and writes."""
    with engine.connect() as connection:
        version = _schema_version(connection)
        if version is None or version == HEAD:
            return version == HEAD
        known = connection.execute(select(setting.c.value).where(setting.c.name == _TAKES)).scalar() or ""
        # The newest stands first: of another schema, it says nothing.
        return known.split()[:1] == [version] and HEAD in known.split()


def _upgrade(engine: Engine) -> None:
    # Late: Alembic costs a tenth of a second, and is needed once per release.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
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
        takes = {"name": _TAKES, "value": " ".join(_takes(ScriptDirectory.from_config(config)))}
        connection.execute(put_fresh(connection, setting, "value"), takes)


def _takes(script: ScriptDirectory) -> Iterator[str]:
    """The revisions whose versions may use the newest schema: back to the last one that was more than an addition."""
    for each in script.walk_revisions():
        yield each.revision
        if not getattr(each.module, "additive", False):
            return


@functools.lru_cache(maxsize=4)
def open_database(url: str) -> Database:
    """The process's own :class:`Database` for a URL."""
    return Database(url)
