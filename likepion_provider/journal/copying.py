"""The journal as a whole: a copy of it while it is in use, the way back, another database, and whether it is sound."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, insert, or_, select, text
from sqlalchemy.engine import URL, make_url

from likepion_provider.errors import BadRequest, JournalUnusable
from likepion_provider.journal.database import HEAD, Database, has_schema
from likepion_provider.journal.engine import named_failures
from likepion_provider.journal.keys import same_key
from likepion_provider.journal.marks import Mark, Marks
from likepion_provider.journal.owner import OF_ALL
from likepion_provider.journal.schema import link, metadata, setting, submission
from likepion_provider.models import LinkState
from likepion_provider.plurals import counted

#: Called with what is being done, how much of it is, and how much there is.
OnProgress = Callable[[str, int, int], None]

PAGES_A_STEP = 5_000
ROWS_A_STEP = 5_000
#: Beside the journal's own size.
LEAST_FREE_BYTES = 500 * 1024**2


def nobody_watches(_what: str, _done: int, _of: int) -> None:
    """Show no progress."""


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite journal; None where the journal is another database's."""
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return Path(str(parsed.database)) if is_file else None


def shown(url: str) -> str:
    """A journal's URL for people: a file's path, else without the password and the driver's parameters."""
    return str(sqlite_file(url) or make_url(url).set(query={}).render_as_string(hide_password=True))


def exists(url: str) -> bool:
    """Whether there is a journal; asking makes none.

    :raises JournalUnusable: the URL cannot be read, or the database cannot be reached.
    """
    path = sqlite_file(url)
    return (path is None or path.is_file()) and has_schema(url)


def back_up(journal: Path, to: Path, on_progress: OnProgress = nobody_watches) -> int:
    """Copy a SQLite journal, as it is at one moment, while others write it. Nobody but the owner may read the copy.

    :return: its size in bytes.
    :raises BadRequest: there is no journal, or the copy's file is there already.
    :raises JournalUnusable: it cannot be read, or the copy is not sound.
    """
    if not journal.is_file():
        raise BadRequest(f"there is no journal {journal}", remedy="Name it by --url, or set AIRFLOW_HOME.")
    if to.exists():
        raise BadRequest(f"{to} is there already", remedy="Name another file, or remove that one first.")
    unfinished = to.with_name(f"{to.name}.unfinished")
    with _sqlite_failures(to):
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            with contextlib.closing(sqlite3.connect(journal)) as source:
                _copy_file(source, unfinished, on_progress)
            with contextlib.closing(sqlite3.connect(unfinished)) as made:
                # One file: nothing stands beside it that could be left behind.
                made.execute("PRAGMA journal_mode=DELETE")
            # Fails, rather than replaces, where somebody else has made it meanwhile.
            os.link(unfinished, to)
        finally:
            unfinished.unlink(missing_ok=True)
    return to.stat().st_size


def restore(
    journal: Path,
    backup: Path,
    at: datetime,
    *,
    outside: Mark | None = None,
    loses: bool = False,
    on_progress: OnProgress = nobody_watches,
) -> Path | None:
    """Put a SQLite journal back to a backup, for all that have it open too; and doubt what it cannot know.

    :param at: aware.
    :param outside: the mark that the last task has left, which is then no surprise any more.
    :param loses: replace it although it has what the backup has not.
    :return: where the journal that was replaced is kept; None where there was none.
    :raises BadRequest: there is no such backup, or it is no journal; or it is older and ``loses`` is False.
    :raises JournalUnusable: the backup, or the journal's folder, is not usable.
    """
    if not backup.is_file():
        raise BadRequest(f"there is no backup {backup}")
    with _sqlite_failures(backup), contextlib.closing(sqlite3.connect(backup)) as source:
        _require_sound(source, backup)
        known = {*_marks_of(source)}
        lost = _marks_in(journal)
        newest = max(lost, default=None)
        if newest and newest not in known and not loses:
            raise BadRequest(
                f"the journal {journal} was used after {backup} was made, and that would be forgotten",
                remedy="Restore a newer backup; or say --yes where the journal is damaged, or wrong.",
            )
        kept = _put_aside(journal, at)
        database = Database(f"sqlite:///{journal}")
        _copy_file(source, journal, on_progress)
        database.close()
    heard = {mark for mark in (newest, outside) if mark and mark not in known}
    if heard or newest is None:
        Marks(database).doubt(at, heard)
        database.close()
    return kept


def copy(source: str, target: str, on_progress: OnProgress = nobody_watches) -> dict[str, int]:
    """Copy all tables into another, empty database; nothing is kept there unless all of it arrived as it is.

    :param source: an SQLAlchemy URL, as ``target`` is.
    :return: rows by table.
    :raises BadRequest: the target has rows, or the source was used meanwhile.
    :raises JournalUnusable: one of them cannot be used.
    """
    ours, theirs = Database(source), Database(target)
    try:
        with (
            named_failures(),
            ours.engine.connect().execution_options(likepion_reading=True, **OF_ALL) as reading,
            theirs.engine.execution_options(**OF_ALL).begin() as writing,
        ):
            _require_empty(writing, target)
            rows = {}
            for table in metadata.sorted_tables:
                rows[table.name] = _copy_table(reading, writing, table, on_progress)
                _set_sequence(writing, table)
                on_progress(f"{table.name}, comparing", rows[table.name], rows[table.name])
                _require_equal(reading, writing, table)
        before, after = Marks(theirs).newest(), Marks(ours).newest()
    finally:
        ours.close()
        theirs.close()
    if before != after:
        raise BadRequest(
            "the journal was used while it was copied, so the copy is older",
            remedy="Pause the DAG, let its runs end, empty the target and copy again.",
        )
    return rows


def pg_dump_command(url: str, to: str) -> str:
    """What backs up a journal on PostgreSQL; without the password, which libpq asks for or finds in ``~/.pgpass``."""
    return f"pg_dump --format=custom --table='likepion_*' --file={shlex.quote(to)} {_libpq(make_url(url))}"


def pg_restore_command(url: str, backup: str) -> str:
    """What puts it back."""
    arguments = "--clean --if-exists --no-owner --single-transaction"
    return f"pg_restore {arguments} {_libpq(make_url(url))} {shlex.quote(backup)}"


class Health:
    """What is known to be wrong with a journal. Each question gives the trouble in words, or nothing.

    :param outside: the mark that the last task has left; None where it is not known.
    """

    def __init__(self, database: Database, outside: Mark | None) -> None:
        self._database = database
        self._outside = outside

    def questions(self) -> dict[str, Callable[[], str]]:
        """All of them, the quick ones first."""
        return {
            "schema": self.schema,
            "as new as its last use": self.age,
            "free disk space": self.space,
            "counts of links": self.counts,
            "the database's own check": self.integrity,
        }

    def schema(self) -> str:
        """Whether the tables are this version's."""
        with named_failures(), self._database.engine.connect() as connection:
            version = connection.execute(text("SELECT version_num FROM likepion_journal_version")).scalar()
        return "" if version == HEAD else f"its schema is {version}, this version's is {HEAD}"

    def age(self) -> str:
        """Whether it went back."""
        marks = Marks(self._database)
        restored = marks.unaccepted()
        if restored:
            return restored.message
        if self._outside and not marks.knows(self._outside):
            return "it is older than the last run that used it: the next run notices it"
        return ""

    def space(self) -> str:
        """Whether a SQLite journal has room to grow."""
        path = sqlite_file(self._database.engine.url.render_as_string(hide_password=False))
        if path is None:
            return ""
        free = shutil.disk_usage(path.parent).free
        return "" if free >= LEAST_FREE_BYTES else f"{free // 1024**2} MB are free in {path.parent}"

    def counts(self) -> str:
        """Whether what is filed of accounts' links is what there is."""
        numbers = {
            "links": (),
            "stored": (link.c.state == LinkState.STORED,),
            "parked": (link.c.state == LinkState.UNKNOWN,),
            "refused": (link.c.state == LinkState.REFUSED,),
        }
        wrong = or_(
            *(
                submission.c[name]
                != select(func.count())
                .select_from(link)
                .where(same_key(link, submission), *which)
                .correlate(submission)
                .scalar_subquery()
                for name, which in numbers.items()
            )
        )
        count = select(func.count()).select_from(submission).where(wrong).execution_options(**OF_ALL)
        with named_failures(), self._database.engine.connect() as connection:
            found = connection.execute(count).scalar()
        return counted(found, "account has", "accounts have") + " other links than is filed" if found else ""

    def integrity(self) -> str:
        """SQLite reads every page; PostgreSQL has pg_amcheck for that, on the server."""
        if self._database.engine.dialect.name != "sqlite":
            return ""
        with named_failures(), self._database.engine.connect() as connection:
            words: str = connection.execute(text("PRAGMA integrity_check(1)")).scalar() or ""
        return "" if words == "ok" else words


# --- files ---


def _copy_file(source: sqlite3.Connection, to: Path, on_progress: OnProgress) -> None:
    def progress(_: int, remaining: int, total: int) -> None:
        on_progress("pages", total - remaining, total)

    with contextlib.closing(sqlite3.connect(to, timeout=30)) as target:
        # One transaction: else the copy begins anew whenever somebody writes.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        source.backup(target, pages=PAGES_A_STEP, progress=progress)
        source.rollback()
        _require_sound(target, to)


def _require_sound(connection: sqlite3.Connection, path: Path) -> None:
    words = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if words != "ok":
        raise JournalUnusable(f"{path} is damaged: {words}", remedy="Take another backup.")
    query = "SELECT 1 FROM sqlite_master WHERE name = 'likepion_journal_version'"
    if connection.execute(query).fetchone() is None:
        raise BadRequest(f"{path} is no journal")


def _marks_in(journal: Path) -> list[Mark]:
    """The marks of a journal that may be damaged, or not be there."""
    if not journal.is_file():
        return []
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(journal)) as connection:
        return _marks_of(connection)
    return []


def _marks_of(connection: sqlite3.Connection) -> list[Mark]:
    return [Mark(*row) for row in connection.execute("SELECT number, journal, token FROM likepion_mark")]


def _put_aside(journal: Path, at: datetime) -> Path | None:
    """Keep what is replaced; what is no database any more gives up its name, so that a whole one can have it."""
    if not journal.is_file() or not journal.stat().st_size:
        return None
    kept = journal.with_name(f"{journal.name}.replaced-{at:%Y%m%dT%H%M%S}")
    try:
        back_up(journal, kept)
    except JournalUnusable:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                journal.with_name(journal.name + suffix).replace(kept.with_name(kept.name + suffix))
    return kept


@contextlib.contextmanager
def _sqlite_failures(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise JournalUnusable(f"{path}: {error}", remedy="See that the file is whole and may be written.") from error
    except OSError as error:
        raise JournalUnusable(
            f"{path}: {error.strerror}", remedy="See that its folder is there and writable."
        ) from error


# --- databases ---


def _require_empty(connection: Connection, url: str) -> None:
    for table in metadata.sorted_tables:
        if table is not setting and connection.execute(select(table).limit(1)).first() is not None:
            shown = make_url(url).render_as_string()
            raise BadRequest(
                f"{shown} has rows in {table.name} already", remedy="Name an empty database: a copy adds to nothing."
            )
    # Its own word on the schema, which the copy brings.
    connection.execute(setting.delete())


def _rows(connection: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    columns = [column for column in table.c if column.computed is None]
    query = select(*columns).order_by(*table.primary_key).execution_options(yield_per=ROWS_A_STEP)
    result = connection.execute(query)
    for part in result.mappings().partitions(ROWS_A_STEP):
        yield [dict(row) for row in part]


def _copy_table(reading: Connection, writing: Connection, table: Table, on_progress: OnProgress) -> int:
    total = reading.execute(select(func.count()).select_from(table)).scalar() or 0
    done = 0
    for part in _rows(reading, table):
        writing.execute(insert(table), part)
        done += len(part)
        on_progress(table.name, done, total)
    return done


def _set_sequence(connection: Connection, table: Table) -> None:
    column = table.autoincrement_column
    if column is None or connection.dialect.name != "postgresql":
        return
    highest = connection.execute(select(func.max(column))).scalar()
    if highest:
        connection.execute(select(func.setval(func.pg_get_serial_sequence(table.name, column.name), highest)))


def _require_equal(reading: Connection, writing: Connection, table: Table) -> None:
    if _digest(reading, table) != _digest(writing, table):
        raise JournalUnusable(f"the copy of {table.name} is not what was copied", remedy="Report it; nothing was kept.")


def _digest(connection: Connection, table: Table) -> tuple[int, int]:
    """The number of rows, and a sum of their hashes: each database sorts text by rules of its own."""
    number = total = 0
    for part in _rows(connection, table):
        for row in part:
            words = "\x1f".join(_canonical(row[name]) for name in sorted(row))
            total += int.from_bytes(hashlib.sha256(words.encode()).digest(), "big")
        number += len(part)
    return number, total % 2**256


def _canonical(value: Any) -> str:
    return value.astimezone(timezone.utc).isoformat() if isinstance(value, datetime) else repr(value)


def _libpq(url: URL) -> str:
    parts = {"host": url.host, "port": url.port, "username": url.username, "dbname": url.database}
    return " ".join(f"--{name}={shlex.quote(str(value))}" for name, value in parts.items() if value)
