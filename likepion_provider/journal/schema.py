"""The journal's tables. Nothing in them is secret: no credential, no feed URL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy import Enum as EnumType

from likepion_provider.journal.owner import manager_id
from likepion_provider.models import ImportState, LinkState, Standing, writable

#: Where a column of text has no bound of its own: far more than anybody reads, or any URL has.
MOST_CHARS = 10_000


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in and out, on SQLite too, which knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Refuse a naive value: it would be an hour off somewhere.

        :raises ValueError: ``value`` has no time zone.
        """
        if value is not None and value.tzinfo is None:
            raise ValueError("the journal takes aware times only")
        return value and value.astimezone(timezone.utc)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Name the zone that SQLite dropped."""
        return value and value.replace(tzinfo=timezone.utc) if value and value.tzinfo is None else value


class Words(TypeDecorator[str]):
    """Text for people, whoever wrote it: what no database takes is left out, what is too long ends in an ellipsis.

    :param length: characters that the column holds; without it, the column has no bound, and :data:`MOST_CHARS` is it.
    """

    impl = Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length

    def load_dialect_impl(self, dialect: Any) -> Any:
        """The database's own type."""
        return String(self.length) if self.length else Text()

    def bind_processor(self, dialect: Any) -> Callable[[str | None], str | None]:
        """What is done to each value; most need nothing, and there are many."""
        most, fit = self.length or MOST_CHARS, self._fit

        def process(value: str | None) -> str | None:
            if value is None or (len(value) <= most and value.isascii() and "\x00" not in value):
                return value
            return fit(value, most)

        return process

    def _fit(self, value: str, most: int) -> str:
        clean = writable(value)
        return clean if len(clean) <= most else f"{clean[: most - 1]}…"


class Exact(Words):
    """Text that something is found by: an id, a domain, a URL. It is kept as it is, or refused with a ValueError."""

    cache_ok = True

    def _fit(self, value: str, most: int) -> str:
        # Changed, it would be another's.
        if value != super()._fit(value, most):
            raise ValueError(f"{value[:80]!a} is too long, or has characters that no database takes")
        return value


def _words(kind: type[Enum], length: int) -> EnumType:
    """A column of an enumeration's values, kept as text, so that a new one needs no migration."""
    return EnumType(kind, native_enum=False, length=length, values_callable=lambda _: [each.value for each in kind])


metadata = MetaData()


def _by_character(name: str) -> dict[str, str]:
    """Of an index that finds what begins with something: PostgreSQL would sort a column as its language does."""
    return {name: "varchar_pattern_ops"}


#: SQLite numbers rows by itself only for INTEGER; elsewhere a link's number may outgrow 32 bits.
_RowNumber = BigInteger().with_variant(Integer, "sqlite")

#: Derived by the database itself so that no writer can forget it.
STANDING = (
    "CASE WHEN retired > 0 THEN 'retired'"
    " WHEN parked > 0 THEN 'unknown'"
    " WHEN state = 'needs_verification' THEN 'needs_person'"
    " WHEN state IN ('failed', 'locked') OR refused > 0 THEN 'failed'"
    " WHEN links > 0 AND stored = links THEN 'delivered'"
    " ELSE 'waiting' END"
)

#: Why a run asks about an account that no pull brings back, as :class:`~likepion_provider.journal.unfinished.Left`
#: numbers it; 0 where it does not.
LEFT = (
    "CASE WHEN retired > 0 OR (doubted > 0 AND stored + reported = 0) OR NOT (parked > 0 OR (stored + reported > 0"
    " AND (links > stored OR state IN ('submitting', 'submitted', 'in_review')))) THEN 0"
    " WHEN asked > 0 THEN 3"
    " WHEN stored + reported > 0 THEN 1"
    " ELSE 2 END"
)
#: Before everything.
LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)

#: What a person may type to find an account: its name, or an id of its own, its group's or its post's.
SEARCH = "lower(label || ' ' || account_id || ' ' || group_id || ' ' || request_id)"

manager = Table(
    "likepion_manager",
    metadata,
    Column("id", SmallInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("address", Exact(512), nullable=False),
    UniqueConstraint("address", name="likepion_manager_once"),
    # The number of one that is gone is never given to another.
    sqlite_autoincrement=True,
)


def _of_manager(*, primary_key: bool = True) -> Column[int]:
    """Whose row it is: the last column of every key and of every index, after what tells rows apart better.

    SQLite has no statistics, and takes whatever stands first in an index for what tells rows apart best: with this
    column first it reads all of a manager's rows where it should read those of an account.
    """
    return Column(
        "manager_id", SmallInteger, primary_key=primary_key, autoincrement=False, nullable=False, default=manager_id
    )


dag = Table(
    "likepion_dag",
    metadata,
    Column("dag_id", Exact(250), primary_key=True),
    _of_manager(),
    Column("used_at", UtcDateTime, nullable=False),
)

submission = Table(
    "likepion_submission",
    metadata,
    Column("request_id", Exact(64), primary_key=True),
    Column("account_id", Exact(64), primary_key=True),
    _of_manager(),
    Column("group_id", Exact(64), nullable=False),
    Column("domain", Exact(255), nullable=False),
    Column("label", Words(320), nullable=False),
    Column("state", _words(ImportState, 32), nullable=False),
    # The platform's own name for the imported show.
    Column("reference", Words(), nullable=False, server_default=""),
    # Submissions begun, and permanent failures since the last success.
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    # Runs in a row that did not get through, for whatever lasting reason, and until when no run tries again by itself.
    Column("setbacks", Integer, nullable=False, server_default="0"),
    Column("not_before", UtcDateTime),
    # Since when nothing but passing trouble came of it; empty where something did.
    Column("trouble_since", UtcDateTime),
    Column("message", Words(), nullable=False, server_default=""),
    Column("remedy", Words(), nullable=False, server_default=""),
    # The task that worked it last, for a person who follows it into Airflow; empty until one did.
    Column("dag_id", Words(250), nullable=False, server_default=""),
    Column("run_id", Words(250), nullable=False, server_default=""),
    Column("task_id", Words(250), nullable=False, server_default=""),
    Column("map_index", Integer, nullable=False, server_default="-1"),
    # When a run took it up first, and whether the primary site had set link_rss when the task was read last.
    Column("noted_at", UtcDateTime, nullable=False, server_default="1970-01-01 00:00:00+00:00"),
    Column("feed_ready", Integer, nullable=False, server_default="1"),
    # Who has said that no run tries it by itself, when and why; empty where nobody has.
    Column("set_aside", Words(), nullable=False, server_default=""),
    # Its links by state, kept by what changes them.
    Column("links", Integer, nullable=False, server_default="0"),
    Column("stored", Integer, nullable=False, server_default="0"),
    Column("parked", Integer, nullable=False, server_default="0"),
    Column("refused", Integer, nullable=False, server_default="0"),
    # Whether a report of its failure may be at the manager.
    Column("reported", Integer, nullable=False, server_default="0"),
    # How often, and since when, its post did not run when it was asked about; not before when it is asked about again.
    Column("asked", Integer, nullable=False, server_default="0"),
    Column("asked_since", UtcDateTime),
    Column("ask_after", UtcDateTime, nullable=False, server_default="1970-01-01 00:00:00+00:00"),
    Column("retired", Integer, nullable=False, server_default="0"),
    # Whether more of it may be at the manager than the journal knows: see marks.py.
    Column("doubted", Integer, nullable=False, server_default="0"),
    Column("left", Integer, Computed(LEFT, persisted=True), nullable=False),
    Column("standing", _words(Standing, 16), Computed(STANDING, persisted=True), nullable=False),
    Column("search", Text, Computed(SEARCH, persisted=True), nullable=False),
    # The newest pull that had it; the days (UTC, YYYY-MM-DD) its first and its newest link were stored.
    Column("pulled_at", UtcDateTime),
    Column("delivered_first", Words(10), nullable=False, server_default=""),
    Column("delivered_on", Words(10), nullable=False, server_default=""),
    Column("submitted_at", UtcDateTime),
    # When the platform was last asked to read again the feed of a show that it had.
    Column("refreshed_at", UtcDateTime),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("likepion_submission_account", "account_id", "manager_id", postgresql_ops=_by_character("account_id")),
    Index("likepion_submission_label", "label", "account_id", "manager_id", postgresql_ops=_by_character("label")),
    Index(
        "likepion_submission_group",
        *("group_id", "standing", "links", "stored", "manager_id"),
        postgresql_ops=_by_character("group_id"),
    ),
    Index("likepion_submission_domain", "domain", "standing", "manager_id"),
    # With the key, so that a far page is counted off in the index alone.
    Index("likepion_submission_standing", "standing", "updated_at", "request_id", "account_id", "manager_id"),
    Index("likepion_submission_newest", "updated_at", "request_id", "account_id", "manager_id"),
    Index("likepion_submission_left", "left", "ask_after", "request_id", "account_id", "manager_id"),
    Index("likepion_submission_run", "run_id", "map_index", "manager_id"),
    Index("likepion_submission_noted", "standing", "noted_at", "request_id", "account_id", "manager_id"),
    Index("likepion_submission_delivered", "delivered_on", "delivered_first", "domain", "stored", "manager_id"),
)

# What an account went through, for people. The database writes and bounds it by itself: see the first migration.
history = Table(
    "likepion_history",
    metadata,
    Column("id", _RowNumber, primary_key=True, autoincrement=True),
    _of_manager(primary_key=False),
    Column("request_id", Exact(64), nullable=False),
    Column("account_id", Exact(64), nullable=False),
    Column("domain", Exact(255), nullable=False),
    Column("standing", _words(Standing, 16), nullable=False),
    Column("state", _words(ImportState, 32), nullable=False),
    Column("message", Words(), nullable=False, server_default=""),
    Column("run_id", Words(250), nullable=False, server_default=""),
    # Since a run took the account up first, in seconds.
    Column("age_s", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("likepion_history_account", "account_id", "request_id", "manager_id"),
    Index("likepion_history_standing", "standing", "at", "domain", "age_s", "manager_id"),
)

claim = Table(
    "likepion_claim",
    metadata,
    Column("account_id", Exact(64), primary_key=True),
    _of_manager(),
    Column("request_id", Exact(64), nullable=False),
    # The run that may use the claim, and the task attempt that uses it now; both empty once let go.
    Column("scope", Exact(512), nullable=False, server_default=""),
    Column("holder", Exact(64), nullable=False, server_default=""),
    # The insert that was begun under it, which ends it at the manager whatever it stores; empty while there was none.
    Column("insert_id", Exact(64), nullable=False, server_default=""),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("boot_id", Exact(64), nullable=False, server_default=""),
    Column("boot_expires_s", Float, nullable=False, server_default="0"),
    Index("likepion_claim_scope", "scope", "manager_id"),
)

link = Table(
    "likepion_link",
    metadata,
    Column("id", _RowNumber, primary_key=True, autoincrement=True),
    _of_manager(primary_key=False),
    Column("request_id", Exact(64), nullable=False),
    Column("account_id", Exact(64), nullable=False),
    # Of the URL as it is compared; the URL itself is as the platform spells it.
    Column("url_sha256", Exact(64), nullable=False),
    Column("url", Exact(), nullable=False),
    # The SHA-256 of the feed's guid: what the platform calls the page may change, what the feed calls it does not.
    Column("episode", Exact(64), nullable=False),
    Column("state", _words(LinkState, 16), nullable=False),
    # One insert's name; how many inserts this link was in.
    Column("send_id", Exact(64), nullable=False, server_default=""),
    Column("sends", Integer, nullable=False, server_default="0"),
    Column("sent_at", UtcDateTime),
    # Stored by inference, not by the server's word.
    Column("presumed", Boolean, nullable=False, server_default=false()),
    # What is known of the last send, for a person.
    Column("evidence", Words(), nullable=False, server_default=""),
    Column("updated_at", UtcDateTime, nullable=False),
    # The account first, so that its links under other posts are found as well.
    UniqueConstraint("account_id", "request_id", "url_sha256", "manager_id", name="likepion_link_once"),
    Index("likepion_link_state", "state", "sent_at", "manager_id"),
)

failure = Table(
    "likepion_failure",
    metadata,
    Column("request_id", Exact(64), primary_key=True),
    Column("account_id", Exact(64), primary_key=True),
    _of_manager(),
    Column("note", Words(), nullable=False),
    # Never ``sending``
    Column("state", _words(LinkState, 16), nullable=False),
    # One request's name.
    Column("send_id", Exact(64), nullable=False, server_default=""),
    Column("sent_at", UtcDateTime),
)

setting = Table(
    "likepion_setting",
    metadata,
    Column("name", Exact(64), primary_key=True),
    _of_manager(),
    Column("value", Exact(), nullable=False),
)

# Of the journal as a whole: a site is the same for all managers. See sites.py.
site_turn = Table(
    "likepion_site_turn",
    metadata,
    Column("site", Exact(512), primary_key=True),
    # The claim that it lasts as long as.
    Column("manager", SmallInteger, nullable=False),
    Column("account_id", Exact(64), nullable=False),
    Column("holder", Exact(64), nullable=False),
)

# Of the journal as a whole; what they are for is in marks.py.
mark = Table(
    "likepion_mark",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("journal", Exact(16), primary_key=True),
    Column("token", Exact(16), primary_key=True),
)

restore = Table(
    "likepion_restore",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("noticed_at", UtcDateTime, nullable=False),
    Column("accepted_at", UtcDateTime),
)
