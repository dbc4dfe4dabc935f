"""Reports to the manager that an account failed for good: at most one a (post, account), by the same rules as a link.

They are no links and are counted as none. ``prepared -> unknown -> stored | refused``: the second step is committed
before the request leaves, so that a crash leaves what is true, that it may be there. The address that travels with a
report is not kept: it can hold a feed's token.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, select, update

from likepion_provider.clock import Moment
from likepion_provider.journal.claims import require
from likepion_provider.journal.database import Database, insert_for
from likepion_provider.journal.schema import failure, link
from likepion_provider.manager.protocol import CLAIM_TTL_S
from likepion_provider.models import LinkState, PostAccount

_P, _U, _NO = LinkState.PREPARED.value, LinkState.UNKNOWN.value, LinkState.REFUSED.value
_OK = LinkState.STORED.value
#: The manager takes such an account for served, or may do so: no pull brings it back for that post.
MAY_BE_THERE = failure.c.state.in_((_U, _OK))


class Failures:
    """The table of such reports."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, key: PostAccount, holder: str, note: str, now: Moment) -> None:
        """Put the report of an account, unless there is one.

        :param note: why, for the manager; no secret.
        :raises LeaseLost: ``holder`` may not write any more.
        """
        row = {"request_id": key.request_id, "account_id": key.account_id, "note": note, "state": _P}
        with self._database.writing() as connection:
            require(connection, key, holder, now)
            statement = insert_for(connection)(failure).values(**row, created_at=now.at, updated_at=now.at)
            connection.execute(statement.on_conflict_do_nothing())

    def to_send(self, key: PostAccount) -> str | None:
        """The note of the report that may be sent now; an account that has links has none, whatever was put."""
        with self._database.reading() as connection:
            note: str | None = connection.execute(select(failure.c.note).where(_sendable(key))).scalar()
        return note

    def begin_send(self, key: PostAccount, holder: str, now: Moment) -> str:
        """Note, before the POST, that it begins; from here on the report is never sent again blindly.

        :return: the POST's name; empty where there is nothing (more) to send.
        :raises LeaseLost: ``holder`` may not write any more.
        """
        send_id = uuid.uuid4().hex
        values = {"state": _U, "send_id": send_id, "sent_at": now.at, "updated_at": now.at}
        with self._database.writing() as connection:
            require(connection, key, holder, now)
            begun = connection.execute(update(failure).where(_sendable(key)).values(values))
        return send_id if begun.rowcount else ""

    def end_send(self, key: PostAccount, send_id: str, state: LinkState, at: datetime) -> None:
        """Note what became of a POST; an answer that comes after another POST began changes nothing.

        :param state: ``prepared`` where it provably was not sent; ``stored``, ``refused`` or ``unknown``.
        """
        same = and_(_of(key), failure.c.send_id == send_id, failure.c.state == _U)
        with self._database.writing() as connection:
            connection.execute(update(failure).where(same).values(state=state.value, updated_at=at))

    def reappeared(self, pulled: Collection[PostAccount], pulled_at: datetime) -> int:
        """Draw the conclusion from accounts that the manager handed out: they have no row for their post (inferred).

        :param pulled_at: aware; the clock before the pull was sent.
        :return: how many reports may be sent again.
        """
        due = and_(failure.c.state == _U, failure.c.sent_at <= pulled_at - timedelta(seconds=CLAIM_TTL_S))
        with self._database.writing() as connection:
            again = [key for key in _keys(connection, due) if key in pulled]
            for key in again:
                connection.execute(update(failure).where(_of(key), due).values(state=_P, updated_at=pulled_at))
        return len(again)

    def state(self, key: PostAccount) -> LinkState | None:
        """Where the account's report stands; None where there is none."""
        with self._database.reading() as connection:
            state = connection.execute(select(failure.c.state).where(_of(key))).scalar()
        return LinkState(state) if state else None


def withdraw(connection: Connection, account_ids: Collection[str]) -> None:
    """Drop what provably is not at the manager: a person has changed something and wants another try."""
    gone = and_(failure.c.account_id.in_(list(account_ids)), failure.c.state.in_((_P, _NO)))
    connection.execute(delete(failure).where(gone))


def is_reported() -> Any:
    """Of a link: whether its account may be reported as failed at the manager."""
    same = and_(failure.c.request_id == link.c.request_id, failure.c.account_id == link.c.account_id)
    return exists().where(same, MAY_BE_THERE)


def _of(key: PostAccount) -> Any:
    return and_(failure.c.request_id == key.request_id, failure.c.account_id == key.account_id)


def _sendable(key: PostAccount) -> Any:
    links = exists().where(link.c.request_id == key.request_id, link.c.account_id == key.account_id)
    return and_(_of(key), failure.c.state == _P, ~links)


def _keys(connection: Connection, condition: Any) -> list[PostAccount]:
    query = select(failure.c.request_id, failure.c.account_id).where(condition)
    return [PostAccount(*row) for row in connection.execute(query)]
