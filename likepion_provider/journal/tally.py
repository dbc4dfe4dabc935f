"""How many links each account has in each state, filed with its submission so that people's questions count nothing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    ScalarSelect,
    and_,
    bindparam,
    case,
    func,
    select,
    type_coerce,
    update,
)

from likepion_provider.journal.keys import each_named, of_key, same_key
from likepion_provider.journal.many import run_each
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import LONG_AGO, link, submission
from likepion_provider.models import LinkState, PostAccount


def tally(connection: Connection, keys: Iterable[PostAccount], at: datetime) -> None:
    """File the numbers of some accounts; to be called by whatever changes a link's state."""
    day = at.astimezone(timezone.utc).date().isoformat()
    run_each(connection, _TALLY, each_named(keys, {"at": at, "day": day}))


def retally(connection: Connection, which: ColumnElement[bool]) -> None:
    """File the numbers of many accounts after their links were filed as unknown: none of them was stored by that."""
    connection.execute(update(submission).where(of_manager(submission), which).values(parked=_PARKED, refused=_REFUSED))


def state_within_key(table: FromClause) -> ColumnElement[LinkState]:
    """A link's state, to be compared among the few links of an account.

    No index has this expression. SQLite has no statistics: given the state itself, it would rather read every stored
    link there is than those of the account.
    """
    return type_coerce(table.c.state.concat(""), table.c.state.type)


def _number(*conditions: ColumnElement[bool]) -> ScalarSelect[Any]:
    query = select(func.count()).select_from(link).where(same_key(link, submission), *conditions)
    return query.correlate(submission).scalar_subquery()


_state = state_within_key(link)
_STORED = _number(_state == LinkState.STORED)
_PARKED = _number(_state == LinkState.UNKNOWN)
_REFUSED = _number(_state == LinkState.REFUSED)
_day = bindparam("day", type_=submission.c.delivered_on.type)
#: Made once, as :func:`~likepion_provider.journal.keys.of_key` says why.
_TALLY = (
    update(submission)
    .where(of_key(submission))
    .values(
        links=_number(),
        stored=_STORED,
        parked=_PARKED,
        refused=_REFUSED,
        delivered_first=case(
            (and_(submission.c.stored < _STORED, submission.c.delivered_first == ""), _day),
            else_=submission.c.delivered_first,
        ),
        delivered_on=case((submission.c.stored < _STORED, _day), else_=submission.c.delivered_on),
        updated_at=bindparam("at"),
        # It has changed, so a run may have something to do.
        ask_after=LONG_AGO,
    )
)
