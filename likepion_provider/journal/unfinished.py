"""What is left of accounts that no pull brings back: a queue in which each has its turn, the doubtful ones ever less.

A post that has ended cannot be told from one that is away for a while. So an account whose post does not run is asked
about after an hour, two, four, at most a day; and is *retired* once that has been so for two weeks: nobody asks for it
any more. Should a pull have its post again, it goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import IntEnum

from sqlalchemy import Connection, and_, bindparam, func, select, update

from likepion_provider.journal.database import Database
from likepion_provider.journal.keys import each_named, key_columns, of_key, read_keys
from likepion_provider.journal.marks import is_unaccepted
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import LONG_AGO, submission
from likepion_provider.models import PostAccount

#: After the first time that a post was found not to run; twice as long after each further time.
ASK_AFTER = timedelta(hours=1)
ASK_AT_LEAST_EVERY = timedelta(days=1)
#: Since that first time.
RETIRED_AFTER = timedelta(days=14)


class Left(IntEnum):
    """Why a run asks about an account; the database derives it, see :data:`~likepion_provider.journal.schema.LEFT`."""

    #: It has a record at the manager, and links to send or episodes to find.
    REST = 1
    #: The outcome of its first insert is unknown.
    OUTCOME = 2
    #: Either; but its post did not run when it was asked about last.
    DOUBTFUL = 3


class Unfinished:
    """The queue, which the table of submissions holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, why: Left, limit: int, at: datetime) -> list[PostAccount]:
        """Accounts whose turn it is, those that wait longest first.

        :param limit: at most this many.
        :param at: aware.
        """
        with self._database.reading() as connection:
            return due(connection, why, limit, at)

    def put_off(self, keys: Collection[PostAccount], until: datetime) -> None:
        """Let others have their turn first, and these not before some time."""
        with self._database.writing() as connection:
            put_off(connection, keys, until)

    def in_vain(self, posts: Collection[str], keys: Collection[PostAccount], at: datetime) -> dict[str, int]:
        """Note that posts did not run when they were asked about; and retire what has been so for long.

        :param posts: none of them runs.
        :param keys: accounts besides that could not be read.
        :return: how many accounts of which post are retired now.
        """
        retired: dict[str, int] = {}
        with self._database.writing() as connection:
            if keys:
                connection.execute(_ACCOUNT_IN_VAIN, each_named(keys, _again(0, at)))
            for post in sorted({*posts, *(key.request_id for key in keys)}):
                if post in posts:
                    asked = connection.execute(_ASKED, {"request": post}).scalar() or 0
                    connection.execute(_POST_IN_VAIN, {"request": post, **_again(asked, at)})
                number = connection.execute(_RETIRE, {"request": post, "since": at - RETIRED_AFTER, "at": at}).rowcount
                if number:
                    retired[post] = number
        return retired

    def revive(self, posts: Collection[str]) -> None:
        """Note that posts run: what is left of their accounts is asked about at once, what was retired is not."""
        if posts:
            with self._database.writing() as connection:
                connection.execute(_REVIVE, [{"request": post} for post in sorted(posts)])


def due(connection: Connection, why: Left, limit: int, at: datetime) -> list[PostAccount]:
    """See :meth:`Unfinished.due`; nobody's turn it is while the journal is known to be restored or lost."""
    if is_unaccepted(connection):
        return []
    return read_keys(connection, _DUE.limit(limit).where(submission.c.left == int(why), submission.c.ask_after <= at))


def put_off(connection: Connection, keys: Collection[PostAccount], until: datetime) -> None:
    """See :meth:`Unfinished.put_off`."""
    if keys:
        connection.execute(_PUT_OFF, each_named(keys, {"until": until}))


def _again(asked: int, at: datetime) -> dict[str, datetime]:
    # Bounded before the power is taken.
    wait = min(ASK_AFTER * 2 ** min(asked, 10), ASK_AT_LEAST_EVERY)
    return {"at": at, "until": at + wait}


_KEY = key_columns(submission)
_DUE = select(*_KEY).where(of_manager(submission)).order_by(submission.c.ask_after, *_KEY)
_PUT_OFF = update(submission).where(of_key(submission)).values(ask_after=bindparam("until"))
_VAIN = {
    "asked": submission.c.asked + 1,
    "asked_since": func.coalesce(submission.c.asked_since, bindparam("at", type_=submission.c.asked_since.type)),
    "ask_after": bindparam("until"),
}
_IS_OF_POST = and_(of_manager(submission), submission.c.request_id == bindparam("request"))
# Not by the queue's index, which would find those of every post.
_OF_POST = and_(_IS_OF_POST, submission.c.left + 0 > 0)
_ACCOUNT_IN_VAIN = update(submission).where(of_key(submission)).values(_VAIN)
_POST_IN_VAIN = update(submission).where(_OF_POST).values(_VAIN)
_ASKED = select(func.max(submission.c.asked)).where(_OF_POST)
_RETIRE = (
    update(submission)
    .where(_OF_POST, submission.c.asked_since <= bindparam("since"))
    .values(retired=1, updated_at=bindparam("at"))
)
_REVIVE = (
    update(submission)
    .where(_IS_OF_POST, submission.c.asked > 0)
    .values(asked=0, asked_since=None, ask_after=LONG_AGO, retired=0)
)
