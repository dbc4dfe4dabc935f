"""What the board asks of the journal: pages of groups, accounts and links, however many there are. It only reads."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime, time, timezone
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    String,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    text,
    true,
    type_coerce,
)

from likepion_provider.clock import Moment
from likepion_provider.journal.database import Database
from likepion_provider.journal.keys import key_columns, named, of_key, read_rows, same_key
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import Words, claim, history, link, submission
from likepion_provider.journal.submissions import TaskName
from likepion_provider.journal.tally import state_within_key
from likepion_provider.models import ImportState, LinkState, PostAccount, Standing

#: Rows of an export that are read at a time.
EXPORT_ROWS = 500
#: Reasons and platforms that are counted for one answer; the most frequent.
MOST_REASONS = 200
#: Standings of accounts that somebody waits for, and of those that came to a bad end.
OPEN = (Standing.WAITING, Standing.NEEDS_PERSON, Standing.UNKNOWN)
BAD = (Standing.NEEDS_PERSON, Standing.FAILED)
#: What accounts can be sorted by, as the table's columns are named.
SORTS = ("label", "standing", "links", "attempts", "run_id", "noted_at", "updated_at")
#: Upper ends of the steps in which times to delivery are counted, in seconds; the last has none.
STEPS_S = (300, 900, 3600, 6 * 3600, 86400, 7 * 86400)


@dataclasses.dataclass(frozen=True)
class Filter:
    """Which accounts; an empty field filters nothing.

    :param text: a part of a name, or of an account's, a group's or a post's id.
    """

    group_id: str = ""
    domain: str = ""
    standing: Standing | None = None
    run_id: str = ""
    #: Of a mapped task; None means every one.
    map_index: int | None = None
    text: str = ""
    #: The words of the last trouble, as :meth:`Overview.reasons` has them.
    reason: str = ""
    request_id: str = ""
    account_id: str = ""


@dataclasses.dataclass(frozen=True)
class Order:
    """What accounts are sorted by.

    :param by: one of :data:`SORTS`.
    """

    by: str = "updated_at"
    descending: bool = True


@dataclasses.dataclass(frozen=True)
class AccountRow:
    """An account as far as one post is concerned, for people; named as the table's columns are."""

    key: PostAccount
    #: The task instance that worked it last.
    task: TaskName
    group_id: str
    domain: str
    label: str
    standing: Standing
    state: ImportState
    attempts: int
    failures: int
    message: str
    remedy: str
    links: int
    stored: int
    parked: int
    refused: int
    #: Until when no run tries it by itself, after one that did not get through; None after one that did.
    not_before: datetime | None
    updated_at: datetime
    #: When a run took it up first.
    noted_at: datetime
    #: Whether the primary site had set ``link_rss`` when the task was read last.
    feed_ready: int
    #: Who has set it aside by hand, when and why; empty where nobody has.
    set_aside: str
    #: None where nobody of us holds the account now.
    claimed_until: datetime | None = None
    #: The manager's words where it refused links.
    refusal: str = ""


@dataclasses.dataclass(frozen=True)
class GroupRow:
    """A group's progress.

    :param counts: accounts by :class:`~likepion_provider.models.Standing`.
    """

    group_id: str
    counts: dict[str, int]
    links: int
    stored: int


@dataclasses.dataclass(frozen=True)
class LinkRow:
    """One of an account's links."""

    id: int
    url: str
    state: LinkState
    presumed: bool
    evidence: str
    updated_at: datetime


@dataclasses.dataclass(frozen=True)
class UnknownRow:
    """A parked link with what is known of it.

    :param group_id: empty, as ``label`` is, where the journal has no submission of the account.
    """

    key: PostAccount
    link_id: int
    url: str
    group_id: str
    label: str
    sent_at: datetime | None
    sends: int
    evidence: str
    #: The newest pull that had the account; after ``sent_at`` it says that the manager had no link then.
    pulled_at: datetime | None


@dataclasses.dataclass(frozen=True)
class DeliveryDay:
    """Links that were stored on one day (UTC).

    :param day: ``YYYY-MM-DD``.
    """

    day: str
    domain: str
    links: int


@dataclasses.dataclass(frozen=True)
class ReasonRow:
    """Accounts that came to a bad end, or need a person, by the words of the last trouble.

    :param message: empty where the manager refused links, which each have their own words.
    """

    message: str
    domain: str
    standing: Standing
    accounts: int


@dataclasses.dataclass(frozen=True)
class FailureDay:
    """How often an account failed, or began to need a person, on one day (UTC).

    :param day: ``YYYY-MM-DD``.
    """

    day: str
    domain: str
    failures: int


@dataclasses.dataclass(frozen=True)
class DeliveryTimes:
    """How long accounts took, from when a run took them up first until every link was stored.

    :param step: which of :data:`STEPS_S` they stayed below; the number of these for what took longer.
    """

    domain: str
    step: int
    accounts: int


@dataclasses.dataclass(frozen=True)
class Change:
    """One change of an account, as its history has it."""

    at: datetime
    standing: Standing
    state: ImportState
    message: str
    run_id: str


class Overview:
    """Questions of people; each takes a page, and none reads the whole table of links."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._database.reading() as connection:
            if connection.dialect.name == "postgresql":
                # Compiling a question of a tenth of a second costs more than that, and saves next to nothing.
                connection.execute(text("SET LOCAL jit = off"))
            yield connection

    def totals(self) -> dict[str, dict[Standing, int]]:
        """Accounts by domain, and in each by standing."""
        each = (submission.c.domain, submission.c.standing)
        query = select(*each, func.count()).where(of_manager(submission)).group_by(*each)
        by_domain: dict[str, dict[Standing, int]] = {}
        with self._reading() as connection:
            for domain, standing, number in connection.execute(query.order_by(submission.c.domain)):
                by_domain.setdefault(domain, {})[standing] = number
        return by_domain

    def groups(self, *, group_id: str = "", offset: int = 0, limit: int = 20) -> tuple[int, list[GroupRow]]:
        """A page of groups, those that need somebody first.

        :param group_id: only groups whose id begins so.
        :return: how many there are in all, and the page.
        """
        # First along the index, one row per group and standing; only what is left is turned into columns.
        by_standing = (
            select(
                submission.c.group_id,
                submission.c.standing,
                func.count().label("accounts"),
                func.sum(submission.c.links).label("links"),
                func.sum(submission.c.stored).label("stored"),
            )
            .where(of_manager(submission))
            .group_by(submission.c.group_id, submission.c.standing)
        )
        if group_id:
            by_standing = by_standing.where(submission.c.group_id.startswith(group_id, autoescape=True))
        each = by_standing.subquery()
        counts = {
            standing: func.sum(case((each.c.standing == standing, each.c.accounts), else_=0)) for standing in Standing
        }
        attention = counts[Standing.UNKNOWN] + counts[Standing.NEEDS_PERSON] + counts[Standing.FAILED]
        page = (
            select(
                each.c.group_id,
                *(count.label(standing.value) for standing, count in counts.items()),
                func.sum(each.c.links).label("links"),
                func.sum(each.c.stored).label("stored"),
                func.count().over().label("total"),
            )
            .group_by(each.c.group_id)
            .order_by(attention.desc(), counts[Standing.WAITING].desc(), each.c.group_id)
        )
        with self._reading() as connection:
            rows = connection.execute(page.offset(offset).limit(limit)).all()
        return rows[0].total if rows else 0, [
            GroupRow(
                row.group_id,
                {standing.value: int(getattr(row, standing.value)) for standing in Standing},
                int(row.links),
                int(row.stored),
            )
            for row in rows
        ]

    def accounts(
        self, which: Filter, now: Moment, *, order: Order | None = None, offset: int = 0, limit: int = 50
    ) -> tuple[int, list[AccountRow]]:
        """A page of accounts.

        :param order: the last changed first by default.
        :return: how many there are in all, and the page.
        """
        conditions = self._conditions(which)
        number = select(func.count()).select_from(submission).where(*conditions)
        # No index helps a search: it is counted in the same pass.
        in_all = func.count().over() if which.text else literal(0)
        keys = select(*_KEY, in_all).where(*conditions).order_by(*_sorted(order or Order()))
        keys = keys.offset(offset).limit(limit)
        with self._reading() as connection:
            found = connection.execute(keys).all()
            total = found[0][2] if which.text and found else connection.execute(number).scalar_one()
            page = [PostAccount(*row[:2]) for row in found]
            by_key = {row.key: row for row in map(_account, connection.execute(_ACCOUNTS.where(*_near(page))))}
            return total, _with_details(connection, [by_key[key] for key in page], now)

    def every_account(self, which: Filter) -> Iterator[AccountRow]:
        """All accounts of a filter, a part at a time, for an export."""
        last: PostAccount | None = None
        while True:
            query = _ACCOUNTS.where(*self._conditions(which)).order_by(*_KEY).limit(EXPORT_ROWS)
            if last:
                post, account = _KEY
                query = query.where(
                    or_(post > last.request_id, and_(post == last.request_id, account > last.account_id))
                )
            with self._reading() as connection:
                rows = [_account(row) for row in connection.execute(query)]
            yield from rows
            if len(rows) < EXPORT_ROWS:
                return
            last = rows[-1].key

    def links(self, key: PostAccount, *, offset: int = 0, limit: int = 200) -> list[LinkRow]:
        """A page of an account's links, in the order in which they were found."""
        page = _LINKS.order_by(link.c.id).offset(offset).limit(limit)
        with self._reading() as connection:
            return [LinkRow(*row) for row in connection.execute(page, named(key))]

    def unknown(self, which: Filter | None = None, *, offset: int = 0, limit: int = 50) -> tuple[int, list[UnknownRow]]:
        """A page of parked links, the oldest first.

        :return: how many there are in all, and the page.
        """
        # Named and counted in one pass; only what is shown is read as a whole.
        found = self._parked(select(link.c.id, func.count().over()).select_from(link), which)
        found = found.order_by(link.c.sent_at, link.c.id).offset(offset).limit(limit)
        with self._reading() as connection:
            ids = connection.execute(found).all()
            rows = _UNKNOWN.outerjoin(submission, same_key(link, submission)).where(
                link.c.id.in_([row[0] for row in ids])
            )
            page = rows.where(of_manager(link)).order_by(link.c.sent_at, link.c.id)
            if not ids and offset:
                number = self._parked(select(func.count()).select_from(link), which)
                return connection.execute(number).scalar_one(), []
            return (ids[0][1] if ids else 0), read_rows(connection, page, UnknownRow)

    def parked_links(self, which: Filter, limit: int) -> list[int]:
        """The ids of the parked links of a filter; as seen by the transaction of this thread, where it is in one.

        :param limit: at most this many.
        """
        query = self._parked(select(link.c.id).select_from(link), which).order_by(link.c.id).limit(limit)
        with self._database.writing() as connection:
            return list(connection.execute(query).scalars())

    def keys(self, which: Filter, limit: int) -> list[PostAccount]:
        """The accounts of a filter, those that wait longest first, the delivered last; see :meth:`parked_links`."""
        is_done = case((submission.c.standing == Standing.DELIVERED, 1), else_=0)
        query = select(*_KEY).where(*self._conditions(which)).order_by(is_done, submission.c.noted_at, *_KEY)
        query = query.limit(limit)
        with self._database.writing() as connection:
            return [PostAccount(*row) for row in connection.execute(query)]

    def history(self, key: PostAccount) -> list[Change]:
        """What became of an account, the newest first."""
        query = select(*(history.c[field.name] for field in dataclasses.fields(Change))).where(of_key(history))
        with self._reading() as connection:
            return [Change(*row) for row in connection.execute(query.order_by(history.c.id.desc()), named(key))]

    def waiting(self, which: Filter, limit: int) -> list[AccountRow]:
        """The accounts that are neither delivered nor failed, those first that a run took up first."""
        conditions = [*self._conditions(which), submission.c.standing.in_(OPEN)]
        query = _ACCOUNTS.where(*conditions).order_by(submission.c.noted_at, *_KEY).limit(limit)
        with self._reading() as connection:
            return [_account(row) for row in connection.execute(query)]

    def reasons(self) -> list[ReasonRow]:
        """Why accounts failed or need a person, the most frequent first."""
        each = (submission.c.message, submission.c.domain, submission.c.standing)
        number = func.count().label("accounts")
        query = (
            select(*each, number)
            .where(of_manager(submission), submission.c.standing.in_(BAD))
            .group_by(*each)
            .order_by(number.desc(), *each)
            .limit(MOST_REASONS)
        )
        with self._reading() as connection:
            return [ReasonRow(*row) for row in connection.execute(query)]

    def failed(self, since: date) -> list[FailureDay]:
        """Failures, per day and domain."""
        day = self._day_of(history.c.at).label("day")
        query = (
            select(day, history.c.domain, func.count())
            .where(of_manager(history), history.c.standing.in_(BAD), history.c.at >= _midnight(since))
            .group_by(day, history.c.domain)
            .order_by(day, history.c.domain)
        )
        with self._reading() as connection:
            return [FailureDay(*row) for row in connection.execute(query)]

    def delivery_times(self, since: date) -> list[DeliveryTimes]:
        """How long deliveries took that ended since then, per domain."""
        step = case(*((history.c.age_s < most, index) for index, most in enumerate(STEPS_S)), else_=len(STEPS_S)).label(
            "step"
        )
        query = (
            select(history.c.domain, step, func.count())
            .where(of_manager(history), history.c.standing == Standing.DELIVERED, history.c.at >= _midnight(since))
            .group_by(history.c.domain, step)
            .order_by(history.c.domain, step)
        )
        with self._reading() as connection:
            return [DeliveryTimes(*row) for row in connection.execute(query)]

    def delivered(self, since: date) -> list[DeliveryDay]:
        """Links delivered, per day and domain."""
        day, first = submission.c.delivered_on, submission.c.delivered_first
        # Most accounts have all their links on one day, which an index tells; only the others' links are read.
        at_once = (
            select(day, submission.c.domain, func.sum(submission.c.stored))
            .where(of_manager(submission), day >= since.isoformat(), day == first)
            .group_by(day, submission.c.domain)
        )
        is_stored = state_within_key(link) == LinkState.STORED
        # PostgreSQL would rather read every link; the offset keeps it at those of each account. SQLite stays there.
        each = select(link.c.updated_at).where(_LINKS_OF_EACH, is_stored).offset(0).lateral()
        joined, at = (
            (submission.join(link, and_(_LINKS_OF_EACH, is_stored)), link.c.updated_at)
            if self._database.engine.dialect.name == "sqlite"
            else (submission.join(each, true()), each.c.updated_at)
        )
        its_day = self._day_of(at)
        one_by_one = (
            select(its_day, submission.c.domain, func.count())
            .select_from(joined)
            .where(of_manager(submission), day >= since.isoformat(), day != first)
            .where(its_day >= since.isoformat())
            .group_by(its_day, submission.c.domain)
        )
        found: Counter[tuple[str, str]] = Counter()
        with self._reading() as connection:
            for query in (at_once, one_by_one):
                for on, domain, number in connection.execute(query):
                    found[on, domain] += int(number)
        return [DeliveryDay(on, domain, number) for (on, domain), number in sorted(found.items()) if number]

    def _day_of(self, time: ColumnElement[datetime]) -> ColumnElement[str]:
        if self._database.engine.dialect.name == "sqlite":
            return func.substr(type_coerce(time, String), 1, 10)
        return func.to_char(func.timezone("UTC", time), "YYYY-MM-DD")

    def _parked(self, query: Select[Any], which: Filter | None) -> Select[Any]:
        # A person need not look after what is retired.
        parked = and_(of_manager(link), link.c.state == LinkState.UNKNOWN, func.coalesce(submission.c.retired, 0) == 0)
        query = query.outerjoin(submission, same_key(link, submission)).where(parked)
        return query if which in (None, Filter()) else query.where(*self._conditions(which or Filter()))

    def _conditions(self, which: Filter) -> list[ColumnElement[bool]]:
        wanted: dict[ColumnElement[Any], Any] = {
            submission.c.group_id: which.group_id,
            submission.c.domain: which.domain,
            submission.c.standing: which.standing,
            submission.c.run_id: which.run_id,
            submission.c.request_id: which.request_id,
            submission.c.account_id: which.account_id,
            submission.c.message: which.reason,
        }
        conditions = [of_manager(submission), *(column == value for column, value in wanted.items() if value)]
        if which.reason:
            # An index tells these few.
            conditions.append(submission.c.standing.in_(BAD))
        if which.map_index is not None:
            conditions.append(submission.c.map_index == which.map_index)
        if which.text:
            # Not LIKE: what a person types has no wildcards.
            place = func.instr if self._database.engine.dialect.name == "sqlite" else func.strpos
            conditions.append(place(submission.c.search, func.lower(literal(which.text, Words()))) > 0)
        return conditions


_KEY = key_columns(submission)
_TASK = [submission.c[field.name] for field in dataclasses.fields(TaskName)]
_NO_COLUMNS = ("key", "task", "claimed_until", "refusal")
_ACCOUNTS = select(
    *_KEY, *_TASK, *(submission.c[each.name] for each in dataclasses.fields(AccountRow) if each.name not in _NO_COLUMNS)
)
_LINKS = select(*(link.c[field.name] for field in dataclasses.fields(LinkRow))).where(of_key(link))
_UNKNOWN = select(
    *(*key_columns(link), link.c.id, link.c.url),
    *(func.coalesce(submission.c.group_id, ""), func.coalesce(submission.c.label, "")),
    *(link.c.sent_at, link.c.sends, link.c.evidence, submission.c.pulled_at),
).select_from(link)
#: No index of submissions has these expressions. SQLite would rather read every link, and look up its submission.
_LINKS_OF_EACH = and_(
    link.c.manager_id == submission.c.manager_id,
    *(ours == theirs.concat("") for ours, theirs in zip(key_columns(link), _KEY, strict=True)),
)
_REFUSAL = select(link.c.evidence).where(of_key(link), state_within_key(link) == LinkState.REFUSED).limit(1)


def _sorted(order: Order) -> list[ColumnElement[Any]]:
    columns: list[ColumnElement[Any]] = [submission.c[order.by], *_KEY]
    return [column.desc() for column in columns] if order.descending else columns


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), timezone.utc)


def _near(keys: Collection[PostAccount]) -> list[ColumnElement[bool]]:
    """The rows of some keys, perhaps with others: SQLite finds no index for pairs of values."""
    post, account = _KEY
    ids = (post.in_({key.request_id for key in keys}), account.in_({key.account_id for key in keys}))
    return [of_manager(submission), *ids]


def _account(row: Sequence[Any]) -> AccountRow:
    tasks_end = 2 + len(_TASK)
    return AccountRow(PostAccount(*row[:2]), TaskName(*row[2:tasks_end]), *row[tasks_end:])


def _with_details(connection: Connection, rows: list[AccountRow], now: Moment) -> list[AccountRow]:
    """Add what only a page's rows are asked for."""
    claims = _claims(connection, rows, now)
    refusals = {row.key: connection.execute(_REFUSAL, named(row.key)).scalar() or "" for row in rows if row.refused}
    return [
        dataclasses.replace(row, claimed_until=claims.get(row.key), refusal=refusals.get(row.key, "")) for row in rows
    ]


def _claims(connection: Connection, rows: list[AccountRow], now: Moment) -> dict[PostAccount, datetime]:
    query = (
        select(*key_columns(claim), claim.c.expires_at)
        .where(of_manager(claim), claim.c.account_id.in_([row.key.account_id for row in rows]))
        .where(claim.c.scope != "", claim.c.expires_at > now.at)
    )
    return {PostAccount(post, account): expires_at for post, account, expires_at in connection.execute(query)}
