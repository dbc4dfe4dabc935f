"""Who of us may work an account, and until when.

The manager cannot be asked who holds an account. A *scope* is a run that a claim was given to; a *holder* is the one
task attempt of that run which may write now. A later attempt takes over, and from then on the earlier one, should it
still live, fails at its next write.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Executable, bindparam, select, update

from likepion_provider.clock import Moment
from likepion_provider.errors import LeaseLost
from likepion_provider.journal.database import Database, put_absent, put_fresh
from likepion_provider.journal.keys import in_parts
from likepion_provider.journal.schema import claim
from likepion_provider.manager.lease import Lease
from likepion_provider.models import PostAccount


class Claim(NamedTuple):
    """One row; fields in the order of the table's columns."""

    account_id: str
    request_id: str
    scope: str
    holder: str
    expires_at: datetime
    boot_id: str
    boot_expires_s: float

    @property
    def key(self) -> PostAccount:
        """The account and the post that it was claimed for."""
        return PostAccount(self.request_id, self.account_id)

    @property
    def lease(self) -> Lease:
        """Until when it holds."""
        return Lease(self.expires_at, self.boot_id, self.boot_expires_s)


class Claims:
    """The table of claims."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def grant(self, scope: str, leases: Mapping[PostAccount, Lease]) -> None:
        """Note claims that the manager just handed out: whatever was noted before has lapsed there."""
        if leases:
            with self._database.writing() as connection:
                rows = [_row(scope, key, leases[key]) for key in _in_order(leases)]
                connection.execute(put_fresh(connection, claim, *_CHANGING), rows)

    def reserve(self, scope: str, leases: Mapping[PostAccount, Lease], now: Moment) -> set[PostAccount]:
        """Take accounts that no live run of ours works; to be done before they are claimed without a pull.

        :return: those that were free or are this scope's already.
        """
        taken = set()
        with self._database.writing() as connection:
            for key in _in_order(leases):
                # A row that is not there cannot be locked: put one that is nobody's first.
                connection.execute(put_absent(connection, claim), _row("", key, leases[key]))
                row = lock(connection, key.account_id)
                if row is None or row.scope in ("", scope) or row.lease.remaining_s(now) <= 0:
                    connection.execute(put_fresh(connection, claim, *_CHANGING), _row(scope, key, leases[key]))
                    taken.add(key)
        return taken

    def take_over(self, scope: str, holder: str, keys: Iterable[PostAccount], now: Moment) -> dict[PostAccount, Lease]:
        """Make ``holder`` the one attempt that may write, for every claim of the scope that still holds.

        :return: the leases; an account that is missing must not be touched.
        """
        wanted = set(keys)
        ids = sorted({key.account_id for key in wanted})
        query = select(claim).where(claim.c.account_id.in_(ids), claim.c.scope == scope)
        with self._database.writing() as connection:
            # As _in_order() has them.
            rows = _read(connection, query.order_by(claim.c.account_id).with_for_update())
            held = {row.key: row.lease for row in rows if row.key in wanted and row.lease.holds(now)}
            ids = [key.account_id for key in held]
            connection.execute(update(claim).where(claim.c.account_id.in_(ids)).values(holder=holder))
        return held

    def leases(self, scope: str, keys: Collection[PostAccount], now: Moment) -> dict[PostAccount, Lease]:
        """The leases that the scope still has."""
        query = select(claim).where(claim.c.account_id.in_([key.account_id for key in keys]), claim.c.scope == scope)
        with self._database.reading() as connection:
            found = {row.key: row.lease for row in _read(connection, query) if row.lease.holds(now)}
        return {key: found[key] for key in keys if key in found}

    def live(self, scope: str, account_ids: Iterable[str], now: Moment, holder: str | None = None) -> set[str]:
        """The accounts whose claims may be renewed.

        :param holder: the attempt that asks; None asks for the scope as a whole.
        """
        query = select(claim).where(claim.c.account_id.in_(list(account_ids)), claim.c.scope == scope)
        if holder is not None:
            query = query.where(claim.c.holder == holder)
        with self._database.reading() as connection:
            return {row.account_id for row in _read(connection, query) if row.lease.holds(now)}

    def refusals(self, keys: Collection[PostAccount], holder: str, now: Moment) -> list[LeaseLost | None]:
        """Why ``holder`` may not write, for each of the keys; None where it may."""
        query = select(claim).where(claim.c.account_id.in_([key.account_id for key in keys]))
        with self._database.reading() as connection:
            rows = {row.account_id: row for row in _read(connection, query)}
        return [_refusal(rows.get(key.account_id), key, holder, now) for key in keys]

    def extend(self, scope: str, account_ids: Iterable[str], lease: Lease) -> None:
        """Note a renewal; claims that were let go or went to another scope meanwhile stay as they are."""
        with self._database.writing() as connection:
            connection.execute(
                update(claim)
                .where(claim.c.account_id.in_(list(account_ids)), claim.c.scope == scope)
                .values(_columns(lease))
            )

    def let_go(self, scope: str, account_ids: Iterable[str], holder: str | None = None) -> None:
        """Stop working accounts: another run of ours may have them; to the rest of the world the claim just lapses.

        :param holder: the attempt that ends; what a later one took over stays as it is. None speaks for the scope.
        """
        statement = update(claim).where(claim.c.account_id.in_(list(account_ids)), claim.c.scope == scope)
        if holder is not None:
            statement = statement.where(claim.c.holder == holder)
        with self._database.writing() as connection:
            connection.execute(statement.values(scope="", holder=""))


def require(connection: Connection, key: PostAccount, holder: str, now: Moment) -> None:
    """The fence: inside the transaction that begins a write, be sure that ``holder`` still is the one to write.

    :raises LeaseLost: the claim lapsed, was let go, or went to a later attempt.
    """
    if refusal := _refusal(lock(connection, key.account_id), key, holder, now):
        raise refusal


def lock(connection: Connection, account_id: str) -> Claim | None:
    """An account's claim, which no other transaction changes meanwhile; None where there is none."""
    row = connection.execute(_LOCKED, {"account": account_id}).one_or_none()
    return None if row is None else Claim(*row)


def claimed(connection: Connection, account_ids: Collection[str], at: datetime) -> set[str]:
    """Those of some accounts whose newest claim of ours had not lapsed, let go or not.

    :param at: aware.
    """
    found: set[str] = set()
    for part in in_parts(sorted(account_ids)):
        query = select(claim.c.account_id).where(claim.c.account_id.in_(part), claim.c.expires_at > at)
        found.update(connection.execute(query).scalars())
    return found


_CHANGING = tuple(column.name for column in claim.c if not column.primary_key)
#: Made once, as :func:`~likepion_provider.journal.keys.of_key` says why.
_LOCKED = select(claim).where(claim.c.account_id == bindparam("account")).with_for_update()


def _read(connection: Connection, query: Executable) -> list[Claim]:
    return [Claim(*row) for row in connection.execute(query)]


def _refusal(row: Claim | None, key: PostAccount, holder: str, now: Moment) -> LeaseLost | None:
    if row is None or row.holder != holder or row.request_id != key.request_id:
        return LeaseLost(f"account {key.account_id} was taken over by a later attempt")
    if not row.lease.holds(now):
        return LeaseLost(f"the claim on account {key.account_id} has lapsed")
    return None


def _in_order(keys: Iterable[PostAccount]) -> list[PostAccount]:
    """One order for all who lock several accounts, so that they wait for each other and never in a circle."""
    return sorted(keys, key=lambda key: key.account_id)


def _columns(lease: Lease) -> dict[str, Any]:
    return {"expires_at": lease.expires_at, "boot_id": lease.boot_id, "boot_expires_s": lease.boot_expires_s}


def _row(scope: str, key: PostAccount, lease: Lease) -> dict[str, Any]:
    return {"account_id": key.account_id, "request_id": key.request_id, "scope": scope, "holder": ""} | _columns(lease)
