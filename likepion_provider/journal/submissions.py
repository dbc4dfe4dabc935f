"""What was imported where: one row per (post, account)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Executable, Update, and_, bindparam, case, func, select, update

from likepion_provider.clock import Moment
from likepion_provider.errors import LeaseLost
from likepion_provider.journal.bulk import bulk
from likepion_provider.journal.claims import refusals, require
from likepion_provider.journal.database import Database, put_fresh
from likepion_provider.journal.keys import (
    IDS_PER_QUERY,
    among,
    each_named,
    each_with,
    in_parts,
    key_columns,
    named,
    of_key,
    read_keys,
    read_rows,
    row_columns,
)
from likepion_provider.journal.many import run_each
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import Words, submission
from likepion_provider.masking import clean
from likepion_provider.models import ImportState, PostAccount, SecondaryTask, Standing

#: Where a platform lists a part of the episodes, how often a run looks for the rest, and for how long since the import.
LOOK_AGAIN_AFTER = timedelta(hours=3)
LOOK_AGAIN_FOR = timedelta(days=14)
#: How often a platform is asked to read an account's feed again, whichever post asks.
REFRESH_AFTER = timedelta(hours=1)


@dataclasses.dataclass(frozen=True)
class TaskName:
    """A task instance of Airflow.

    :param map_index: -1 where the task is not mapped.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1


@dataclasses.dataclass(frozen=True)
class Submission:
    """One account's import for one post, as far as the journal knows; named as the table's columns are."""

    key: PostAccount
    group_id: str
    label: str
    state: ImportState
    #: The platform's own name for the show; empty until it gave one.
    reference: str
    #: Submissions begun.
    attempts: int
    #: Permanent failures since the last success.
    failures: int
    #: Runs in a row that did not get through, and until when no run tries again by itself.
    setbacks: int
    not_before: datetime | None
    message: str
    remedy: str
    submitted_at: datetime | None
    updated_at: datetime
    #: 1 where its post has not run for so long that nobody asks for it any more.
    retired: int = 0
    #: Who has set it aside by hand, when and why; empty where nobody has.
    set_aside: str = ""


class Begin(NamedTuple):
    """An import begins: see :meth:`Submissions.begin`."""

    key: PostAccount
    holder: str
    now: Moment


class Say(NamedTuple):
    """The platform's word: see :meth:`Submissions.record`.

    :param permanent: count it as a failure of the account's own that does not pass by itself.
    :param not_before: count it as a setback, after which no run tries before that by itself; aware.
    :param reference: empty keeps the one that is known.
    """

    key: PostAccount
    holder: str
    now: Moment
    state: ImportState
    reference: str = ""
    message: str = ""
    remedy: str = ""
    permanent: bool = False
    not_before: datetime | None = None

    def values(self) -> dict[str, Any]:
        """The statement's parameters."""
        clears = self.state is ImportState.LISTED and not self.permanent
        counted = {
            "keeps": not clears,
            "failed": self.permanent,
            "set_back": self.not_before is not None and not clears,
        }
        return {
            "to": self.state,
            "words": clean(self.message),
            "advice": clean(self.remedy),
            "until": self.not_before,
            "known": self.reference,
        } | {name: int(is_so) for name, is_so in counted.items()}


_Writing = TypeVar("_Writing", Begin, Say)


class Submissions:
    """The table of submissions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, tasks: Iterable[SecondaryTask], run_id: str, at: datetime, *, pulled: bool = False) -> None:
        """File tasks that a run takes up; what is known of their imports stays.

        :param at: aware.
        :param pulled: the manager handed them out just now.
        """
        rows = [
            _row(task, run_id, at) | {"pulled_at": at if pulled else None}
            for task in sorted(tasks, key=lambda task: task.key)
        ]
        if not rows:
            return
        with self._database.writing() as connection:
            names = ("group_id", "domain", "label", "run_id", "task_id", "map_index", "feed_ready", "updated_at")
            connection.execute(put_fresh(connection, submission, *names, *(("pulled_at",) if pulled else ())), rows)

    def worked_by(self, keys: Collection[PostAccount], task: TaskName) -> None:
        """Note which task works accounts now, so that a person finds its log."""
        if keys:
            statement = update(submission).where(_OF_KEY).values(dataclasses.asdict(task))
            with self._database.writing() as connection:
                connection.execute(statement, each_named(keys))

    @bulk(Begin)
    def begin(self, calls: Sequence[Begin]) -> list[LeaseLost | None]:
        """Note, before the platform is asked, that an import begins.

        :raises LeaseLost: ``holder`` may not write any more.
        """
        return self._write(calls, _BEGIN, lambda _: {})

    def begin_refresh(self, key: PostAccount, holder: str, now: Moment) -> datetime | None:
        """Note, before the platform is asked, that it is asked to read the feed of a known show again.

        :return: None where it is to be asked; else when it was, for any post of the account, so that it is too early.
        :raises LeaseLost: ``holder`` may not write any more.
        """
        with self._database.writing() as connection:
            # The claim is locked by this: no other task comes between the question and the note.
            require(connection, key, holder, now)
            asked: datetime | None = connection.execute(_LAST_REFRESH, {"account": key.account_id}).scalar()
            if asked and now.at - asked < REFRESH_AFTER:
                return asked
            connection.execute(_BEGIN_REFRESH, named(key) | {"at": now.at})
        return None

    @bulk(Say)
    def record(self, calls: Sequence[Say]) -> list[LeaseLost | None]:
        """Note the platform's word; a listing clears the counts of failures and setbacks.

        :raises LeaseLost: ``holder`` may not write any more; the next attempt reads the platform itself.
        """
        return self._write(calls, _RECORD, Say.values)

    def _write(
        self, calls: Sequence[_Writing], statement: Update, values: Callable[[_Writing], dict[str, Any]]
    ) -> list[LeaseLost | None]:
        with self._database.writing() as connection:
            lost = refusals(connection, calls)
            may_write = [call for call, refusal in zip(calls, lost, strict=True) if refusal is None]
            rows = each_with({call.key: {"at": call.now.at} | values(call) for call in may_write})
            run_each(connection, statement, rows)
        return list(lost)

    def trouble(self, key: PostAccount, holder: str, now: Moment) -> datetime:
        """Note that nothing but passing trouble came of a try.

        :return: since when it has been so; aware.
        :raises LeaseLost: ``holder`` may not write any more.
        """
        with self._database.writing() as connection:
            require(connection, key, holder, now)
            connection.execute(_TROUBLE, named(key) | {"at": now.at})
            since: datetime = connection.execute(_TROUBLE_SINCE, named(key)).scalar_one()
        return since

    def set_back(
        self, key: PostAccount, holder: str, now: Moment, *, message: str, remedy: str, not_before: datetime
    ) -> None:
        """Note a setback that tells nothing of the import; see :meth:`record`.

        :raises LeaseLost: ``holder`` may not write any more.
        """
        said = {"words": clean(message), "advice": clean(remedy), "until": not_before, "at": now.at}
        with self._database.writing() as connection:
            require(connection, key, holder, now)
            connection.execute(_SET_BACK, named(key) | said)

    def set_aside(self, keys: Collection[PostAccount], who: str, note: str, at: datetime) -> None:
        """Take a person's word that no run tries accounts by itself, until they are forgiven.

        :param at: aware.
        """
        if keys:
            words = f"{who} at {at:%Y-%m-%d %H:%M}Z" + (f" ({note})" if note else "")
            with self._database.writing() as connection:
                connection.execute(_SET_ASIDE, each_named(keys, {"words": words, "at": at}))

    def get(self, keys: Collection[PostAccount]) -> dict[PostAccount, Submission]:
        """The rows of some keys; unknown ones are missing."""
        return {each.key: each for each in self._rows(*map(_ROWS.where, among(submission, keys)))}

    def incomplete(self, keys: Collection[PostAccount], now: datetime) -> set[PostAccount]:
        """Those of some accounts that were reported with a part of their episodes and are due for another look.

        :param now: aware.
        """
        is_due = and_(
            submission.c.state.in_([state for state in ImportState if state.is_under_way]),
            submission.c.stored > 0,
            submission.c.submitted_at >= now - LOOK_AGAIN_FOR,
            submission.c.updated_at <= now - LOOK_AGAIN_AFTER,
        )
        with self._database.reading() as connection:
            queries = [select(*_KEY).where(part, is_due) for part in among(submission, keys)]
            return {key for query in queries for key in read_keys(connection, query)}

    def looked_at(self, keys: Collection[PostAccount], now: datetime) -> None:
        """Put the next look :data:`LOOK_AGAIN_AFTER` off, whatever becomes of this one.

        :param now: aware.
        """
        if keys:
            with self._database.writing() as connection:
                later = update(submission).where(_OF_KEY).values(updated_at=now)
                connection.execute(later, each_named(keys))

    def of_account(self, account_id: str) -> list[Submission]:
        """Every row of an account, newest first."""
        return self._rows(_NEWEST_FIRST.where(of_manager(submission), submission.c.account_id == account_id))

    def account_ids(self, *, group_id: str = "", domains: Collection[str] = (), limit: int) -> list[str]:
        """The accounts of a group or of some platforms, each once: those with something left to do first, the newest.

        :param limit: at most this many.
        """
        which = (
            submission.c.group_id == group_id if group_id else submission.c.domain.in_(list(domains)[:IDS_PER_QUERY])
        )
        is_done = case((submission.c.standing == Standing.DELIVERED, 1), else_=0)
        query = (
            select(submission.c.account_id)
            .where(of_manager(submission), which)
            .group_by(submission.c.account_id)
            .order_by(func.min(is_done), func.max(submission.c.updated_at).desc(), submission.c.account_id)
        )
        with self._database.reading() as connection:
            return list(connection.execute(query.limit(limit)).scalars())

    def known_groups(self, group_ids: Collection[str]) -> set[str]:
        """Those of some groups that a run has had accounts of."""
        with self._database.reading() as connection:
            ids = [submission.c.group_id.in_(part) for part in in_parts(list(group_ids))]
            return {each for part in ids for each in connection.execute(_GROUPS.where(part)).scalars()}

    def _rows(self, *queries: Executable) -> list[Submission]:
        with self._database.reading() as connection:
            return [each for query in queries for each in read_rows(connection, query, Submission)]


_KEY = key_columns(submission)
_OF_KEY = of_key(submission)
_ROWS = select(*row_columns(submission, Submission))
_GROUPS = select(submission.c.group_id).where(of_manager(submission)).distinct()
_NEWEST_FIRST = _ROWS.order_by(submission.c.updated_at.desc(), *_KEY)
#: Made once, as :func:`~likepion_provider.journal.keys.of_key` says why.
_BEGIN = (
    update(submission)
    .where(_OF_KEY)
    .values(
        state=ImportState.SUBMITTING,
        attempts=submission.c.attempts + 1,
        submitted_at=bindparam("at"),
        updated_at=bindparam("at"),
    )
)
_BEGIN_REFRESH = update(submission).where(_OF_KEY).values(refreshed_at=bindparam("at"))
_LAST_REFRESH = select(func.max(submission.c.refreshed_at)).where(
    of_manager(submission), submission.c.account_id == bindparam("account")
)
_SINCE = submission.c.trouble_since
_SINCE_NOW = func.coalesce(_SINCE, bindparam("at", type_=_SINCE.type))
_TROUBLE = update(submission).where(_OF_KEY).values(trouble_since=_SINCE_NOW)
_TROUBLE_SINCE = select(_SINCE).where(_OF_KEY)
_SET_BACK = (
    update(submission)
    .where(_OF_KEY)
    .values(
        message=bindparam("words"),
        remedy=bindparam("advice"),
        not_before=bindparam("until"),
        updated_at=bindparam("at"),
        setbacks=submission.c.setbacks + 1,
    )
)
_SET_ASIDE = update(submission).where(_OF_KEY).values(set_aside=bindparam("words"), updated_at=bindparam("at"))
_RECORD = (
    update(submission)
    .where(_OF_KEY)
    .values(
        state=bindparam("to"),
        message=bindparam("words"),
        remedy=bindparam("advice"),
        not_before=bindparam("until"),
        trouble_since=None,
        updated_at=bindparam("at"),
        reference=func.coalesce(func.nullif(bindparam("known", type_=Words()), ""), submission.c.reference),
        failures=submission.c.failures * bindparam("keeps") + bindparam("failed"),
        setbacks=submission.c.setbacks * bindparam("keeps") + bindparam("set_back"),
    )
)


def _row(task: SecondaryTask, run_id: str, at: datetime) -> dict[str, Any]:
    return {
        "request_id": task.request_id,
        "account_id": task.account_id,
        "group_id": task.group_id,
        "domain": task.domain,
        "label": task.label,
        "state": ImportState.NEW,
        "run_id": run_id,
        "task_id": "",
        "map_index": -1,
        "noted_at": at,
        "feed_ready": int(task.feed_ready),
        "updated_at": at,
    }
