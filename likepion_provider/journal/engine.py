"""The connections to the journal's database: made from a URL, with what its owner asks for; failures with a remedy."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError, StatementError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from likepion_provider.errors import JournalUnusable, NotJournaled

#: How long SQLite waits for another process's transaction, in milliseconds.
SQLITE_BUSY_MS = 30_000
#: How long a connection to PostgreSQL may take, in seconds, where the URL does not say.
CONNECT_TIMEOUT_S = 10
#: Parameters of psycopg's own, beside those of PostgreSQL's client library.
PREPARE_THRESHOLD = "prepare_threshold"

#: Execution options of a statement over as many rows as it is given: PostgreSQL plans it for their number, and for the
#: tables as they are now. A prepared one keeps the plan that it had when the tables were small.
PLANNED_ANEW = {"likepion_planned_anew": True}

_LET_WRITE = (
    "Let the user that runs Airflow make and write what it needs there: the file's folder, the database's schema."
)
#: What a database's words mean, and what to do. PostgreSQL has no codes for a connection that fails.
_REMEDIES = tuple(
    (re.compile(words, re.IGNORECASE), remedy)
    for words, remedy in (
        (
            "disk is full|no space left|disk full",
            "Free space on the disk that the journal lies on; later runs go on where this one stopped.",
        ),
        (
            "password authentication failed|no password supplied|role .* does not exist|no pg_hba.conf entry",
            "Correct login and password of the Airflow connection likepion_journal, or let that user in on the server.",
        ),
        (
            "database .* does not exist",
            "Create the database on the server, or correct the schema field of the Airflow connection "
            "likepion_journal; the tables make themselves.",
        ),
        (
            "read-?only",
            "Let the user that runs Airflow write the journal: the file and its folder, or the primary server "
            "rather than a standby.",
        ),
        (
            "database is locked|lock timeout",
            "Another program keeps the journal locked: end it (a backup, an open shell). With many tasks at a time, "
            "use PostgreSQL.",
        ),
        ("unable to open database file|permission denied", _LET_WRITE),
        (
            "too many (clients|connections)|remaining connection slots",
            "Allow the server more connections, or put a pool such as PgBouncer before it.",
        ),
        (
            "prepared statement",
            f"Behind a pool that shares connections, set {PREPARE_THRESHOLD} to null in the extras of the Airflow "
            "connection likepion_journal.",
        ),
        (
            "malformed|not a database",
            "The file is damaged: put it aside and restore it from a backup.",
        ),
        (
            "certificate|ssl error|support ssl|sslmode|sslnegotiation",
            "Correct sslmode and the certificates in the extras of the Airflow connection likepion_journal.",
        ),
        (
            "connection refused|could not translate|failed to resolve|name or service|no route|timeout expired"
            "|network is unreachable|server closed the connection|terminating connection|connection failed",
            "See that PostgreSQL runs and accepts this machine, and that host and port of the Airflow connection "
            "likepion_journal are right.",
        ),
    )
)


def make_engine(url: str) -> Engine:
    """Connections to a database, none of them open yet.

    :raises JournalUnusable: the URL cannot be read, names something else than PostgreSQL or a SQLite file, or has a
        parameter that its driver does not know.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend == "postgresql":
            return _postgres(parsed)
        if backend == "sqlite":
            return _sqlite(parsed)
    except (ArgumentError, NoSuchModuleError, ImportError, OSError, ValueError) as error:
        # Its words can hold the URL, and that a password.
        words = f": {error}" if isinstance(error, ImportError | OSError) else ""
        remedy = remedy_of(words) or (_LET_WRITE if isinstance(error, OSError) else None)
        message = f"the journal's connection cannot be used, {type(error).__name__}{words}"
        raise JournalUnusable(message, remedy=remedy) from None
    raise JournalUnusable(f"the journal's connection cannot be used: {backend} is neither PostgreSQL nor SQLite")


def _postgres(url: URL) -> Engine:
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    from psycopg import pq  # late: it is an extra of the package

    known = {PREPARE_THRESHOLD, *(each.keyword.decode() for each in pq.Conninfo.get_defaults())}
    given = _known(url.query, known, "PostgreSQL")
    arguments: dict[str, Any] = {} if "connect_timeout" in given else {"connect_timeout": CONNECT_TIMEOUT_S}
    if PREPARE_THRESHOLD in given:
        arguments[PREPARE_THRESHOLD] = _threshold(str(given[PREPARE_THRESHOLD]))
        url = url.difference_update_query([PREPARE_THRESHOLD])
    engine = create_engine(url, pool_pre_ping=True, connect_args=arguments)
    event.listen(engine, "do_execute", _plan_anew)
    return engine


def _plan_anew(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Run a statement that must not be prepared.

    :return: whether it was one.
    """
    if is_one := "likepion_planned_anew" in context.execution_options:
        cursor.execute(statement, parameters, prepare=False)
    return is_one


def _threshold(text: str) -> int | None:
    if text.lower() in ("", "null", "none"):
        return None
    if not text.isdecimal():
        raise JournalUnusable(
            f"{PREPARE_THRESHOLD} is a number of uses, or null, not {text!r}",
            remedy="Correct it in the extras of the Airflow connection likepion_journal.",
        )
    return int(text)


def _known(query: Mapping[str, Any], known: set[str], database: str) -> Mapping[str, Any]:
    if unknown := sorted(set(query) - known):
        raise JournalUnusable(
            f"{database} has no connection parameter {', '.join(unknown)}",
            remedy="Correct the extras of the Airflow connection likepion_journal, or remove them.",
        )
    return query


def _sqlite(url: URL) -> Engine:
    _known(url.query, set(), "SQLite")
    if url.database and url.database != ":memory:":
        _keep_private(Path(url.database))
    engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_MS / 1000, "check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _keep_private(path: Path) -> None:
    """Make the file, for its owner only; SQLite makes those beside it alike. Files that are there are closed as well.

    :raises OSError: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # Made closed, and elsewhere: whoever closes a file drops the locks that SQLite has on it in the same process.
        handle, made = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
        Path(made).unlink()
    for each in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))):
        # Another user's, or gone with its last connection.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            mode = stat.S_IMODE(each.stat().st_mode)
            if mode & 0o077 and each.is_file():
                each.chmod(mode & 0o700)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would come too late
    for pragma in (f"busy_timeout={SQLITE_BUSY_MS}", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    # Where two make the file at once, one switches to WAL; the other's switch fails without waiting.
    for _ in range(SQLITE_BUSY_MS // 50):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except connection.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(0.05)
        else:
            return
    connection.execute("PRAGMA journal_mode=WAL")


def _begin_sqlite(connection: Connection) -> None:
    reading = connection.get_execution_options().get("likepion_reading")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextlib.contextmanager
def named_failures() -> Iterator[None]:
    """Give a failure of the database its name and its remedy.

    :raises JournalUnusable: the database failed.
    :raises NotJournaled: it does not take a value.
    """
    try:
        yield
    except StatementError as error:
        words = (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]
        if isinstance(error, DataError | IntegrityError) or not isinstance(error, DBAPIError):
            raise not_taken(words) from error
        raise JournalUnusable(f"the journal's database failed: {words}", remedy=remedy_of(str(error.orig))) from error
    except (UnicodeError, OverflowError) as error:
        # From the driver, about a value.
        raise not_taken(error) from error
    except NoConnectionLeft as error:
        raise JournalUnusable(
            "the journal's database gave no connection in time",
            remedy="Nothing to do if it passes; else work fewer accounts at a time.",
        ) from error


def not_taken(words: object) -> NotJournaled:
    """That the database does not take a value."""
    return NotJournaled(f"the journal does not take a value: {words}")


def remedy_of(words: str) -> str | None:
    """What to do about a database's words; None where nothing is known but that the journal cannot be used."""
    return next((remedy for known, remedy in _REMEDIES if known.search(words)), None)
