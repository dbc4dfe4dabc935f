"""Whose turn it is at a site that keeps one state for all its users: one account's at a time, whichever manager's.

A turn has no end of its own: it lasts as long as the claim of the account that has it, under the attempt that took it.
So it is renewed with the claim, and over when the attempt dies, lets go or is taken over, or when an insert begins.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from likepion_provider.clock import Moment
from likepion_provider.errors import LeaseLost
from likepion_provider.journal.claims import Claim, require
from likepion_provider.journal.database import Database, put_absent
from likepion_provider.journal.owner import OF_ALL, manager_id
from likepion_provider.journal.schema import claim, site_turn
from likepion_provider.models import PostAccount


class Sites:
    """The table of turns; of the journal as a whole, since two managers may have accounts at one site."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, site: str, key: PostAccount, holder: str, now: Moment) -> bool:
        """Take the turn at a site, or keep it.

        :param site: its address, as :func:`~likepion_provider.manager.urls.site_address` spells it.
        :return: whether it is the account's; else another's lasts.
        :raises LeaseLost: ``holder`` may not write any more.
        """
        with self._database.writing() as connection:
            require(connection, key, holder, now)
            mine = _Turn(manager_id(), key.account_id, holder)
            # A row that is not there cannot be locked: put one first. It stays, since one that goes while another
            # waits to lock it would leave that one with nothing.
            connection.execute(put_absent(connection, site_turn), {"site": site, **mine._asdict()})
            has = _Turn(*connection.execute(_LOCKED, {"at": site}).one())
            if has != mine and _lasts(connection, has, now):
                return False
            connection.execute(_GIVE, {"at": site, **{f"new_{name}": each for name, each in mine._asdict().items()}})
        return True

    def require(self, site: str, key: PostAccount, holder: str) -> None:
        """Be sure that the turn is still the account's, before a write.

        :raises LeaseLost: it is not: the claim was doubtful for so long that another took it.
        """
        with self._database.reading() as connection:
            row = connection.execute(_OF_SITE, {"at": site}).one_or_none()
            if row is None or _Turn(*row) != _Turn(manager_id(), key.account_id, holder):
                raise LeaseLost(f"another account took the turn at the site of account {key.account_id}")

    def free(self, site: str, key: PostAccount, holder: str) -> None:
        """End the turn, if it is this attempt's."""
        with self._database.writing() as connection:
            mine = _Turn(manager_id(), key.account_id, holder)
            connection.execute(_FREE, {"at": site, **{f"old_{name}": each for name, each in mine._asdict().items()}})


class _Turn(NamedTuple):
    """Named as the table's columns are."""

    manager: int
    account_id: str
    holder: str


def _lasts(connection: Connection, turn: _Turn, now: Moment) -> bool:
    row = connection.execute(_CLAIM, {"of": turn.manager, "account": turn.account_id}).one_or_none()
    if row is None:
        return False
    held = Claim(*row)
    # To its very end: its writes may last as long.
    return held.holder == turn.holder != "" and not held.is_spent and held.lease.remaining_s(now) > 0


_HERE = site_turn.c.site == bindparam("at")
_OF_SITE = select(*(site_turn.c[name] for name in _Turn._fields)).where(_HERE)
_LOCKED = _OF_SITE.with_for_update()
_GIVE = update(site_turn).where(_HERE).values({name: bindparam(f"new_{name}") for name in _Turn._fields})
_FREE = (
    update(site_turn)
    .where(_HERE, *(site_turn.c[name] == bindparam(f"old_{name}") for name in _Turn._fields))
    .values(holder="")
)
# Of whichever manager's account it is.
_CLAIM = (
    select(*(claim.c[name] for name in Claim._fields))
    .where(claim.c.manager_id == bindparam("of"), claim.c.account_id == bindparam("account"))
    .execution_options(**OF_ALL)
)
