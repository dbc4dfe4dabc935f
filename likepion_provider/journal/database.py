"""The journal's database: opened once per process, brought to the newest schema, used in short transactions.

A transaction is one manager's: :meth:`Database.of`.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Table, and_, bindparam, select, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from likepion_provider.errors import JournalUnusable
from likepion_provider.journal.engine import make_engine, named_failures
from likepion_provider.journal.owner import NOBODY, rows_of
from likepion_provider.journal.schema import manager, setting
from likepion_provider.manager.urls import site_address

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

#: The newest file in ``migrations/versions``.
HEAD = "0001"
MIGRATIONS = Path(__file__).parent / "migrations"
#: The setting that says which versions may use the schema as it is: :data:`HEAD` of each. What brings the journal to a
#: newer schema writes it, so that older workers go on beside newer ones.
_TAKES = "schema_takes"


class Database:
    """Short transactions on the journal's tables, those of one manager: see :meth:`of`.

    :param url: an SQLAlchemy URL; SQLite or PostgreSQL.
    :raises JournalUnusable: the URL cannot be read, the database cannot be reached, or its schema is newer than
        this package, by more than additions.
    """

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)
        self.manager_id: int | None = None
        self._current = threading.local()
        self._by_manager: dict[int, Database] = {}
        try:
            with named_failures():
                if not _is_usable(self.engine):
                    _upgrade(self.engine)
        except JournalUnusable:
            self.close()
            raise

    def of(self, address: str) -> Database:
        """The same database, in which there are only one manager's rows; the same object for the same manager.

        :param address: of the manager, in any spelling: :func:`~likepion_provider.manager.urls.site_address`.
        :raises JournalUnusable: the database failed.
        """
        address = site_address(address)
        with self.reading() as connection:
            known = connection.execute(_ID, {"of": address}).scalar()
        if known is None:
            with self.writing() as connection:
                connection.execute(put_absent(connection, manager), {"address": address})
                known = connection.execute(_ID, {"of": address}).scalar_one()
        return self.of_id(known)

    def of_id(self, manager_id: int) -> Database:
        """As :meth:`of`, by the number that the table of managers has."""
        own = copy.copy(self)
        own.manager_id = manager_id
        return self._by_manager.setdefault(manager_id, own)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, committed at the end; within another one of the same thread, a part of that.

        SQLite takes its write lock at the start, so nothing deadlocks.

        :raises JournalUnusable: the database failed; nothing of the transaction was kept.
        :raises NotJournaled: it does not take a value; nothing of the transaction was kept either.
        """
        outer: Connection | None = getattr(self._current, "connection", None)
        if outer is not None:
            with rows_of(self.manager_id):
                yield outer
            return
        with named_failures(), rows_of(self.manager_id), self.engine.begin() as connection:
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
        with (
            named_failures(),
            rows_of(self.manager_id),
            self.engine.connect().execution_options(likepion_reading=True) as connection,
        ):
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


_ID = select(manager.c.id).where(manager.c.address == bindparam("of"))


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
    query = text("SELECT version_num FROM likepion_journal_version")
    try:
        version: str | None = connection.execute(query).scalar()
    except (OperationalError, ProgrammingError):
        # Asked only now: every task opens the journal, and once in its life the table is not there.
        connection.rollback()
        if connection.dialect.has_table(connection, "likepion_journal_version"):
            raise
        return None
    return version


def has_schema(url: str) -> bool:
    """Whether a database has a journal, of whatever schema.

    :raises JournalUnusable: the URL cannot be read, or the database cannot be reached.
    """
    engine = make_engine(url)
    try:
        with named_failures(), engine.connect() as connection:
            return _schema_version(connection) is not None
    finally:
        engine.dispose()


def _is_usable(engine: Engine) -> bool:
    """Whether the schema is this version's, or a later one that still takes what this version reads and writes."""
    with engine.connect() as connection:
        version = _schema_version(connection)
        if version is None or version == HEAD:
            return version == HEAD
        taken = and_(setting.c.manager_id == NOBODY, setting.c.name == _TAKES)
        known = connection.execute(select(setting.c.value).where(taken)).scalar() or ""
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
        takes = {"manager_id": NOBODY, "name": _TAKES, "value": " ".join(_takes(ScriptDirectory.from_config(config)))}
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
