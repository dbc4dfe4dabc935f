"""Reports to the manager that an account failed for good: at most one per (post, account), by a link's own rules.

They are no links and are counted as none. ``prepared -> unknown -> stored | refused``: the second step is committed
before the request leaves, so that a crash leaves the truth, that it may be there. The address that travels with a
report is not kept: it can hold a feed's token.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, or_, select, update

from likepion_provider.clock import Moment
from likepion_provider.journal.claims import require, spend, unspend
from likepion_provider.journal.database import Database, put_absent
from likepion_provider.journal.keys import each_named, key_columns, named, of_key, read_keys, same_key
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import LONG_AGO, failure, link, submission
from likepion_provider.models import LinkState, PostAccount


class Failures:
    """The table of such reports."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, key: PostAccount, holder: str, note: str, now: Moment) -> None:
        """Put the report of an account, unless there is one.

        :param note: why, for the manager; no secret.
        :raises LeaseLost: ``holder`` may not write any more.
        """
        row = {"request_id": key.request_id, "account_id": key.account_id, "note": note, "state": LinkState.PREPARED}
        with self._database.writing() as connection:
            require(connection, key, holder, now)
            connection.execute(put_absent(connection, failure), row)

    def to_send(self, key: PostAccount) -> str | None:
        """The note of the report that may be sent now; an account that has links has none, whatever was put."""
        with self._database.reading() as connection:
            note: str | None = connection.execute(_TO_SEND, named(key)).scalar()
        return note

    def begin_send(self, key: PostAccount, holder: str, now: Moment) -> str:
        """Note, before the request, that it begins; from here on the report is never sent again blindly.

        :return: the request's name; empty where there is nothing (more) to send.
        :raises LeaseLost: ``holder`` may not write any more.
        """
        send_id = uuid.uuid4().hex
        with self._database.writing() as connection:
            require(connection, key, holder, now)
            begun = connection.execute(_BEGIN_SEND, named(key) | {"send": send_id, "at": now.at})
            if begun.rowcount:
                spend(connection, {key.account_id: send_id})
                _note_reported(connection, [key])
        return send_id if begun.rowcount else ""

    def end_send(self, key: PostAccount, send_id: str, state: LinkState) -> None:
        """Note how a request ended; an answer that comes after another request began changes nothing.

        :param state: ``prepared`` where it provably was not sent; ``stored``, ``refused`` or ``unknown``.
        """
        with self._database.writing() as connection:
            if state is LinkState.PREPARED:
                unspend(connection, key.account_id, send_id)
            connection.execute(_END_SEND, named(key) | {"send": send_id, "to": state})
            _note_reported(connection, [key])


def withdraw(connection: Connection, keys: Collection[PostAccount]) -> None:
    """Drop the reports that provably are not at the manager: a person has changed something and wants another try."""
    connection.execute(_WITHDRAW, each_named(keys))


def doubt(connection: Connection, keys: Collection[PostAccount]) -> None:
    """Take reports for confirmed no longer: a person says that the manager has lost what it had confirmed."""
    connection.execute(_DOUBT, each_named(keys))


def send_again(connection: Connection, keys: Collection[PostAccount], sent_until: datetime) -> None:
    """Let reports of some accounts be sent again that turned out not to be at the manager.

    :param sent_until: aware; a request that began later may still be under way.
    """
    due = and_(of_manager(failure), failure.c.state == LinkState.UNKNOWN, failure.c.sent_at <= sent_until)
    again = each_named(set(keys).intersection(read_keys(connection, select(*key_columns(failure)).where(due))))
    if again:
        connection.execute(update(failure).where(_OF_KEY, due).values(state=LinkState.PREPARED), again)
        _note_reported(connection, [PostAccount(each["request"], each["account"]) for each in again])


def _note_reported(connection: Connection, keys: Collection[PostAccount]) -> None:
    """File with the submission whether a report may be at the manager, so that no pull brings the account back."""
    connection.execute(_NOTE_REPORTED, each_named(keys))


_OF_KEY = of_key(failure)
_MAY_BE_THERE = or_(failure.c.state == LinkState.UNKNOWN, failure.c.state == LinkState.STORED)
_NUMBER = select(func.count()).select_from(failure).where(same_key(failure, submission), _MAY_BE_THERE)
_NOTE_REPORTED = (
    update(submission)
    .where(of_key(submission))
    .values(reported=_NUMBER.correlate(submission).scalar_subquery(), ask_after=LONG_AGO)
)
# Not in_(): a statement that is run for many keys takes no list.
_IS_ABSENT = or_(failure.c.state == LinkState.PREPARED, failure.c.state == LinkState.REFUSED)
_WITHDRAW = delete(failure).where(_OF_KEY, _IS_ABSENT)
_DOUBT = update(failure).where(_OF_KEY, failure.c.state == LinkState.STORED).values(state=LinkState.UNKNOWN)
_IS_SENDABLE = and_(_OF_KEY, failure.c.state == LinkState.PREPARED, ~exists().where(same_key(link, failure)))
_TO_SEND = select(failure.c.note).where(_IS_SENDABLE)
_BEGIN_SEND = (
    update(failure)
    .where(_IS_SENDABLE)
    .values(state=LinkState.UNKNOWN, send_id=bindparam("send"), sent_at=bindparam("at"))
)
_END_SEND = (
    update(failure)
    .where(_OF_KEY, failure.c.send_id == bindparam("send"), failure.c.state == LinkState.UNKNOWN)
    .values(state=bindparam("to"))
)
