"""Who of us may work an account, and until when.

The manager cannot be asked who holds an account, and refuses no claim. A *scope* is a run that a claim was given to; a
*holder* is the one task attempt of that run which may write now. A later attempt takes over, and from then on the
earlier one, should it still live, fails at its next write.

The claim rule: an account is claimed without a pull only (a) while a claim of ours on it still holds and no insert was
begun under it, or (b) where the manager has confirmed a record of the account for the post, since such an account is
handed out to nobody. Everything else comes from a pull. :meth:`Claims.reserve` is where all such claims pass.
While the journal is known to be restored or lost, (b) waits for a person: see :mod:`~likepion_provider.journal.marks`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Select,
    and_,
    bindparam,
    case,
    exists,
    false,
    or_,
    select,
    update,
)

from likepion_provider.clock import Moment
from likepion_provider.errors import LeaseLost
from likepion_provider.journal.database import Database, put_absent, put_fresh
from likepion_provider.journal.engine import PLANNED_ANEW
from likepion_provider.journal.keys import among, in_parts, key_columns, one_of, read_keys, same_key
from likepion_provider.journal.many import run_each
from likepion_provider.journal.marks import is_unaccepted
from likepion_provider.journal.owner import of_manager_too
from likepion_provider.journal.schema import claim, failure, link, submission
from likepion_provider.journal.tally import state_within_key
from likepion_provider.manager.lease import Lease
from likepion_provider.models import LinkState, PostAccount

#: The scope of claims that no run works, though they are ours: the next ordinary run adopts them.
HANDED_OVER = "handed over"
#: Why a run may not work an account, where it came too late.
LAPSED = "its claim has lapsed"


class Claim(NamedTuple):
    """One row; named as the table's columns are."""

    account_id: str
    request_id: str
    scope: str
    holder: str
    insert_id: str
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

    @property
    def is_spent(self) -> bool:
        """Whether an insert was begun under it, which ends a claim at the manager whatever it stores."""
        return bool(self.insert_id)


class Writing(Protocol):
    """What begins a write of one account."""

    @property
    def key(self) -> PostAccount:
        """Whose it is."""

    @property
    def holder(self) -> str:
        """The attempt that writes."""

    @property
    def now(self) -> Moment:
        """When it looks."""


class Reserved(NamedTuple):
    """What :meth:`Claims.reserve` took; an account in neither set may not be claimed without a pull.

    :param taken: they may be claimed, each for as long as its lease holds.
    :param busy: another run of ours works them.
    """

    taken: dict[PostAccount, Lease]
    busy: set[PostAccount]


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

    def reserve(
        self,
        scope: str,
        keys: Collection[PostAccount],
        lease: Lease,
        now: Moment,
        *,
        confirmed_counts: bool = True,
        handed_over: bool = True,
    ) -> Reserved:
        """Take accounts under the claim rule, before they are claimed at the manager without a pull.

        :param lease: what a confirmed claim would give; until then, it only keeps our other runs away.
        :param confirmed_counts: False where a person says that the manager has lost its records, so that (b) does not
            hold.
        :param handed_over: False leaves what was handed over to the next run.
        """
        free = {"", scope, *([HANDED_OVER] if handed_over else [])}
        reserved = Reserved({}, set())
        over = Lease(now.at, now.boot_id, now.boot_s)
        with self._database.writing() as connection:
            confirmed_counts = confirmed_counts and not is_unaccepted(connection)
            served = _served(connection, keys) if confirmed_counts else set()
            for key in _in_order(keys):
                # A row that is not there cannot be locked: put one that is nobody's first.
                connection.execute(put_absent(connection, claim), _row("", key, over))
                row = lock(connection, key.account_id)
                if row is None or (row.scope not in free and row.lease.remaining_s(now) > 0):
                    reserved.busy.add(key)
                elif row.key == key and row.lease.holds(now) and not row.is_spent:
                    connection.execute(_TO_SCOPE, {"account": key.account_id, "run": scope})
                    reserved.taken[key] = row.lease
                elif key in served:
                    mine = _row(scope, key, lease, insert_id=_NOT_CLAIMED)
                    connection.execute(put_fresh(connection, claim, *_CHANGING), mine)
                    reserved.taken[key] = lease
        return reserved

    def take_up(
        self, scope: str, keys: Collection[PostAccount], now: Moment, *, handed_over: bool = False
    ) -> dict[PostAccount, Lease]:
        """Take accounts whose claim was let go, but still holds at the manager: (a) of the claim rule.

        :param handed_over: take what was handed over, too.
        """
        lease = Lease.granted(now)
        return self.reserve(scope, keys, lease, now, confirmed_counts=False, handed_over=handed_over).taken

    def adopt(self, scope: str, most: int, now: Moment, run_id: str = "") -> list[PostAccount]:
        """Take up claims that were handed over: by a run that had not asked for the accounts, or could not go on.

        :param most: at most so many.
        :param run_id: take up, too, what this run itself had taken before; whether it has let it go or not.
        """
        which = claim.c.scope == HANDED_OVER
        if run_id:
            was_mine = exists().where(same_key(submission, claim), submission.c.run_id == run_id)
            let_go = and_(claim.c.scope == "", claim.c.expires_at > now.at, was_mine)
            which = or_(which, claim.c.scope == scope, let_go)
        query = _CLAIMS.where(which).order_by(claim.c.account_id).with_for_update()
        with self._database.writing() as connection:
            live = [row.key for row in _read(connection, query) if row.lease.holds(now) and not row.is_spent][:most]
            run_each(connection, _TO_SCOPE, [{"account": key.account_id, "run": scope} for key in live])
        return live

    def ours(self, account_ids: Collection[str], now: Moment) -> list[PostAccount]:
        """The accounts that a claim of ours still holds, whichever run has it, and under which no insert began."""
        with self._database.reading() as connection:
            rows = _read_of(connection, _CLAIMS.where(claim.c.insert_id == ""), account_ids)
        return [row.key for row in rows if row.lease.holds(now)]

    def served(self, keys: Collection[PostAccount]) -> set[PostAccount]:
        """The accounts of which the manager has confirmed a record for their post: they are handed out to nobody."""
        with self._database.reading() as connection:
            return _served(connection, keys)

    def take_over(self, scope: str, holder: str, keys: Iterable[PostAccount], now: Moment) -> dict[PostAccount, Claim]:
        """Make ``holder`` the one attempt that may write, for every claim of the scope that still holds.

        :return: the claims, also those that an insert has ended; an account that is missing must not be touched.
        """
        wanted = set(keys)
        query = _CLAIMS.where(claim.c.scope == scope).order_by(claim.c.account_id).with_for_update()
        with self._database.writing() as connection:
            # As _in_order() has them.
            rows = _read_of(connection, query, (key.account_id for key in wanted))
            held = {row.key: row for row in rows if row.key in wanted and row.lease.holds(now)}
            for ours in _of_accounts(key.account_id for key in held):
                connection.execute(update(claim).where(ours).values(holder=holder))
        return held

    def leases(self, scope: str, keys: Collection[PostAccount], now: Moment) -> dict[PostAccount, Lease]:
        """The leases that the scope still has."""
        query = _CLAIMS.where(claim.c.scope == scope)
        with self._database.reading() as connection:
            rows = _read_of(connection, query, (key.account_id for key in keys))
            found = {row.key: row.lease for row in rows if row.lease.holds(now) and not row.is_spent}
        return {key: found[key] for key in keys if key in found}

    def live(self, scope: str, account_ids: Iterable[str], now: Moment, holder: str | None = None) -> dict[str, Claim]:
        """The scope's claims that still hold, by account id. Only those that are not spent may be renewed.

        :param holder: the attempt that asks; None asks for the scope as a whole.
        """
        query = _CLAIMS.where(claim.c.scope == scope)
        if holder is not None:
            query = query.where(claim.c.holder == holder)
        with self._database.reading() as connection:
            rows = _read_of(connection, query, account_ids)
            return {row.account_id: row for row in rows if row.lease.holds(now)}

    def refusals(self, keys: Collection[PostAccount], holder: str, now: Moment) -> list[LeaseLost | None]:
        """Why ``holder`` may not write, for each of the keys; None where it may."""
        with self._database.reading() as connection:
            found = _read_of(connection, _CLAIMS, (key.account_id for key in keys))
            rows = {row.account_id: row for row in found}
        return [_refusal(rows.get(key.account_id), key, holder, now) for key in keys]

    def reasons(self, scope: str, keys: Collection[PostAccount], now: Moment) -> dict[PostAccount, str]:
        """Why a run may not work accounts that :meth:`take_over` did not give it, as clauses."""
        with self._database.reading() as connection:
            found = _read_of(connection, _CLAIMS, (key.account_id for key in keys))
        rows = {row.account_id: row for row in found}
        return {key: _reason(rows.get(key.account_id), key, scope, now) for key in keys}

    def extend(self, scope: str, account_ids: Iterable[str], lease: Lease) -> None:
        """Note a renewal; claims that were let go or went to another scope meanwhile stay as they are."""
        self._note(scope, account_ids, _columns(lease))

    def confirm(self, scope: str, account_ids: Iterable[str], lease: Lease) -> None:
        """Note that the manager gave what was reserved or renewed; an insert that began meanwhile stays noted."""
        known = case((claim.c.insert_id == _NOT_CLAIMED, ""), else_=claim.c.insert_id)
        self._note(scope, account_ids, _columns(lease) | {"insert_id": known})

    def claim_anew(self, scope: str, holder: str, account_id: str, lease: Lease) -> None:
        """Note a claim after an insert that had ended the one before; no insert has begun under this one.

        :param holder: the attempt that claimed; under what a later one took over, an insert may have begun.
        """
        self._note(scope, [account_id], _columns(lease) | {"insert_id": ""}, claim.c.holder == holder)

    def _note(
        self, scope: str, account_ids: Iterable[str], values: dict[str, Any], *which: ColumnElement[bool]
    ) -> None:
        statement = update(claim).where(claim.c.scope == scope, *which).values(values)
        with self._database.writing() as connection:
            for mine in _of_accounts(account_ids):
                connection.execute(statement.where(mine))

    def let_go(self, scope: str, account_ids: Iterable[str], holder: str | None = None) -> None:
        """Stop working accounts: another run of ours may have them; to the rest of the world the claim just lapses.

        :param holder: the attempt that ends; what a later one took over stays as it is. None speaks for the scope.
        """
        which = () if holder is None else (claim.c.holder == holder,)
        self._note(scope, account_ids, {"scope": "", "holder": ""}, *which)

    def hand_over(self, scope: str, account_ids: Iterable[str], holder: str) -> None:
        """Stop working accounts that the next ordinary run is to take up at once.

        :param holder: the attempt that ends; what a later one took over stays as it is.
        """
        self._note(scope, account_ids, {"scope": HANDED_OVER, "holder": ""}, claim.c.holder == holder)


def require(connection: Connection, key: PostAccount, holder: str, now: Moment) -> None:
    """The fence: inside the transaction that begins a write, be sure that ``holder`` still is the one to write.

    :raises LeaseLost: the claim lapsed, was let go, or went to a later attempt.
    """
    if refusal := _refusal(lock(connection, key.account_id), key, holder, now):
        raise refusal


def refusals(connection: Connection, calls: Sequence[Writing]) -> list[LeaseLost | None]:
    """The same for many accounts at once: why each may not be written; None where it may."""
    rows = lock_all(connection, (each.key.account_id for each in calls))
    return [_refusal(rows.get(each.key.account_id), each.key, each.holder, each.now) for each in calls]


def spend(connection: Connection, inserts: Mapping[str, str]) -> None:
    """Note that inserts begin under claims; to be called after :func:`refusals`, in the same transaction.

    :param inserts: their names, by account id.
    """
    run_each(connection, _SPEND, [{"account": each, "insert": inserts[each]} for each in sorted(inserts)])


def unspend(connection: Connection, account_id: str, insert_id: str) -> None:
    """Note that the insert provably was not sent; a later one that began meanwhile stays noted."""
    connection.execute(_UNSPEND, {"account": account_id, "insert": insert_id})


def lock(connection: Connection, account_id: str) -> Claim | None:
    """An account's claim, which no other transaction changes meanwhile; None where there is none."""
    row = connection.execute(_LOCKED, {"account": account_id}).one_or_none()
    return None if row is None else Claim(*row)


def lock_all(connection: Connection, account_ids: Iterable[str]) -> dict[str, Claim]:
    """The claims of some accounts, by account id, which no other transaction changes meanwhile."""
    ids = sorted({*account_ids})
    if len(ids) == 1:
        row = lock(connection, ids[0])
        return {} if row is None else {ids[0]: row}
    found = connection.execute(_LOCKED_ALL, {"accounts": ids}, execution_options=PLANNED_ANEW)
    return {row.account_id: row for row in (Claim(*each) for each in found)}


def claimed(connection: Connection, account_ids: Collection[str], at: datetime) -> set[str]:
    """Those of some accounts whose newest claim of ours had not lapsed, let go or not.

    :param at: aware.
    """
    found: set[str] = set()
    for theirs in _of_accounts(account_ids):
        query = select(claim.c.account_id).where(theirs, claim.c.expires_at > at)
        found.update(connection.execute(query).scalars())
    return found


_CHANGING = tuple(column.name for column in claim.c if not column.primary_key)
_CLAIMS = select(*(claim.c[name] for name in Claim._fields)).where(of_manager_too(claim))
#: In place of an insert's name: it was reserved and not claimed yet, so nothing may rest on it.
_NOT_CLAIMED = "not claimed"
# Made once, as keys.of_key() says why.
_OF_ACCOUNT = and_(of_manager_too(claim), claim.c.account_id == bindparam("account"))
_LOCKED = _CLAIMS.where(_OF_ACCOUNT).with_for_update()
# As _in_order() has them.
_LOCKED_ALL = _CLAIMS.where(one_of(claim.c.account_id, "accounts")).order_by(claim.c.account_id).with_for_update()
_TO_SCOPE = update(claim).where(_OF_ACCOUNT).values(scope=bindparam("run"), holder="")
_SPEND = update(claim).where(_OF_ACCOUNT).values(insert_id=bindparam("insert"))
_UNSPEND = update(claim).where(_OF_ACCOUNT, claim.c.insert_id == bindparam("insert")).values(insert_id="")


def _served(connection: Connection, keys: Collection[PostAccount]) -> set[PostAccount]:
    is_confirmed = (state_within_key(link) == LinkState.STORED, link.c.presumed == false())
    found: set[PostAccount] = set()
    for table, conditions in ((link, is_confirmed), (failure, (failure.c.state == LinkState.STORED,))):
        for part in among(table, keys):
            found.update(read_keys(connection, select(*key_columns(table)).where(part, *conditions).distinct()))
    return found


def _read(connection: Connection, query: Executable) -> list[Claim]:
    return [Claim(*row) for row in connection.execute(query)]


def _of_accounts(account_ids: Iterable[str]) -> Iterator[ColumnElement[bool]]:
    """Conditions, one per statement, that together name the claims of some accounts, in the order of all writers."""
    parts = in_parts(sorted({*account_ids}))
    return (and_(of_manager_too(claim), claim.c.account_id.in_(part)) for part in parts)


def _read_of(connection: Connection, query: Select[Any], account_ids: Iterable[str]) -> list[Claim]:
    return [row for theirs in _of_accounts(account_ids) for row in _read(connection, query.where(theirs))]


def _refusal(row: Claim | None, key: PostAccount, holder: str, now: Moment) -> LeaseLost | None:
    if row is None or row.holder != holder or row.request_id != key.request_id:
        return LeaseLost(f"account {key.account_id} was taken over by a later attempt")
    if row.is_spent:
        return LeaseLost(f"an insert has ended the claim on account {key.account_id}")
    if not row.lease.holds(now):
        return LeaseLost(f"the claim on account {key.account_id} has lapsed")
    return None


def _reason(row: Claim | None, key: PostAccount, scope: str, now: Moment) -> str:
    if row is None:
        return "no claim on it is known"
    if row.key != key:
        return "it was claimed for another post since"
    if row.scope not in ("", HANDED_OVER, scope) and row.lease.remaining_s(now) > 0:
        return "another run works it"
    if row.scope == HANDED_OVER and row.lease.remaining_s(now) > 0:
        return "it was left to the next run"
    return "an insert has ended its claim" if row.is_spent else LAPSED


def _in_order(keys: Iterable[PostAccount]) -> list[PostAccount]:
    """One order for all who lock several accounts, so that they wait for each other and never in a circle."""
    return sorted(keys, key=lambda key: key.account_id)


def _columns(lease: Lease) -> dict[str, Any]:
    return {"expires_at": lease.expires_at, "boot_id": lease.boot_id, "boot_expires_s": lease.boot_expires_s}


def _row(scope: str, key: PostAccount, lease: Lease, *, insert_id: str = "") -> dict[str, Any]:
    key_of_claim = {"account_id": key.account_id, "request_id": key.request_id}
    return {**key_of_claim, "scope": scope, "holder": "", "insert_id": insert_id, **_columns(lease)}
