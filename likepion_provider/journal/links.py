"""Every episode URL on its way to the manager: ``prepared -> sending -> stored | refused | unknown``.

Each step is committed before the next begins. A URL is put once a (post, account), whoever finds it, and leaves
``prepared`` in one attempt's hands only. What may have been stored is never sent again until it is settled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, exists, func, or_, select, true, update

from likepion_provider.clock import Moment
from likepion_provider.errors import BadRequest
from likepion_provider.journal.claims import lock, require
from likepion_provider.journal.database import Database, insert_for
from likepion_provider.journal.failures import is_reported
from likepion_provider.journal.keys import among, in_parts, named, of_key
from likepion_provider.journal.schema import claim, link, submission
from likepion_provider.journal.settings import get, put
from likepion_provider.manager.protocol import CLAIM_TTL_S, Record
from likepion_provider.models import LinkState, PostAccount

#: How often a link that the manager refuses is offered to it before a person must look, and what that person does.
MAX_SENDS = 5
REFUSED_REMEDY = (
    "Read the manager's message and correct what it names. Runs offer the link again by themselves, "
    f"{MAX_SENDS} times in all; a run by account_ids or group_id does whenever it is told to."
)

#: The setting that says how unknown outcomes are settled.
SETTLE_UNKNOWN = "settle_unknown"
BY_REAPPEARANCE, BY_HAND = "reappearance", "manual"

_P, _S, _OK, _NO, _U = (
    LinkState.PREPARED.value,
    LinkState.SENDING.value,
    LinkState.STORED.value,
    LinkState.REFUSED.value,
    LinkState.UNKNOWN.value,
)
#: A refusal is offered again a few times; what provably is not stored, however often it takes.
_MAY_BE_SENT = or_(link.c.state == _P, and_(link.c.state == _NO, link.c.sends < MAX_SENDS))
_UNSETTLED = link.c.state.in_((_S, _U))


def _looked_at(state: Any) -> Any:
    """A state to compare with among an account's few links.

    No index has it: without statistics, SQLite rather reads every stored link there is than those of the account.
    """
    return state.concat("")


_state = _looked_at(link.c.state)


@dataclasses.dataclass(frozen=True)
class Sending:
    """The URLs that one POST carries; nobody else sends them."""

    send_id: str
    urls: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Link:
    """One row, for people."""

    id: int
    key: PostAccount
    url: str
    state: LinkState
    sends: int
    sent_at: datetime | None
    presumed: bool
    evidence: str


class Links:
    """The table of links."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- the way of a link ---

    def prepare(self, key: PostAccount, urls: Sequence[str], at: datetime) -> int:
        """Put the URLs that are not there yet.

        :return: how many were new.
        """
        rows = [_row(key, url, at) for url in dict.fromkeys(urls)]
        if not rows:
            return 0
        with self._database.writing() as connection:
            lock(connection, key.account_id)
            put_absent = insert_for(connection)(link).on_conflict_do_nothing()
            new = connection.execute(put_absent, rows, execution_options={"preserve_rowcount": True}).rowcount
            if new:
                connection.execute(_MORE_LINKS, named(key) | {"new": new})
            return new

    def to_send(self, keys: Collection[PostAccount]) -> dict[PostAccount, list[str]]:
        """The URLs of each account that may be sent now, in the order in which they were found."""
        found: dict[PostAccount, list[str]] = {key: [] for key in keys}
        columns = (link.c.request_id, link.c.account_id, link.c.url)
        with self._database.reading() as connection:
            for part in among(link, keys):
                rows = connection.execute(select(*columns).where(part, _MAY_BE_SENT).order_by(link.c.id))
                for request_id, account_id, url in rows:
                    found[PostAccount(request_id, account_id)].append(url)
        return found

    def begin_send(self, key: PostAccount, holder: str, urls: Sequence[str], now: Moment) -> Sending:
        """Note, before the POST, that it begins; from here on the URLs are never sent again blindly.

        :return: those of ``urls`` that are still ours to send; may be none.
        :raises LeaseLost: ``holder`` may not write any more.
        """
        send_id = uuid.uuid4().hex
        with self._database.writing() as connection:
            require(connection, key, holder, now)
            begun = named(key) | {"send": send_id, "at": now.at, "hashes": [_sha256(url) for url in urls]}
            if connection.execute(_BEGIN_SEND, begun).rowcount == len(urls):
                return Sending(send_id, tuple(urls))
            return Sending(send_id, tuple(connection.execute(_SENDING, named(key) | {"send": send_id}).scalars()))

    def end_send(self, key: PostAccount, sending: Sending, records: Iterable[Record], at: datetime) -> None:
        """Note what the manager said of each URL; one without a word becomes unknown.

        Truth that arrives late is taken too, unless the URL went out in another POST meanwhile.
        """
        said = {record.url: record for record in records}
        by_outcome: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for url in sending.urls:
            record = said.get(url, Record(url, None))
            state = _U if record.stored is None else _OK if record.stored else _NO
            words = record.message or ("the answer has no word on this URL" if record.stored is None else "")
            by_outcome[state, words].append(_sha256(url))
        with self._database.writing() as connection:
            for (state, words), hashes in by_outcome.items():
                some = hashes if len(by_outcome) > 1 else None
                self._end(connection, key, sending.send_id, state, words, at, some)
            _tally(connection, [key], at)

    def fail_send(self, key: PostAccount, sending: Sending, state: LinkState, evidence: str, at: datetime) -> None:
        """Note that a whole POST failed.

        :param state: ``prepared`` where it provably was not sent, ``refused`` or ``unknown``.
        """
        with self._database.writing() as connection:
            self._end(connection, key, sending.send_id, state.value, evidence, at)
            _tally(connection, [key], at)

    @staticmethod
    def _end(
        connection: Connection,
        key: PostAccount,
        send_id: str,
        state: str,
        evidence: str,
        at: datetime,
        hashes: list[str] | None = None,
    ) -> None:
        which = link.c.url_sha256.in_(hashes) if hashes else true()
        values: dict[str, Any] = {"state": state, "evidence": evidence, "presumed": False, "updated_at": at}
        if state == _P:
            values["sends"] = link.c.sends - 1
        connection.execute(update(link).where(_of(key), link.c.send_id == send_id, _UNSETTLED, which).values(values))

    def orphaned(self, keys: Collection[PostAccount], at: datetime) -> None:
        """Park what an earlier attempt left between POST and answer; to be called by who took its accounts over."""
        with self._database.writing() as connection:
            left = sorted(set(keys).intersection(_keys(connection, link.c.state == _S)))
            for key in left:
                connection.execute(
                    update(link)
                    .where(_of(key), link.c.state == _S)
                    .values(state=_U, evidence="the task ended between the request and its answer", updated_at=at)
                )
            _tally(connection, left, at)

    # --- settling what is unknown ---

    def park_stale(self, at: datetime) -> int:
        """Park what was left between POST and answer in accounts that nobody takes over any more.

        :param at: aware; a POST of a claim's length before that has no attempt left that could end it.
        :return: how many links.
        """
        stale = and_(link.c.state == _S, link.c.sent_at <= at - timedelta(seconds=CLAIM_TTL_S))
        with self._database.writing() as connection:
            keys = _keys(connection, stale)
            parked = connection.execute(
                update(link)
                .where(stale)
                .values(state=_U, evidence="the task ended between the request and its answer", updated_at=at)
            )
            _tally(connection, keys, at)
        return parked.rowcount

    def reappeared(self, pulled: Collection[PostAccount], pulled_at: datetime) -> tuple[int, set[PostAccount]]:
        """Draw the conclusion from accounts that the manager handed out: they have no row for their post (inferred).

        Links whose POST is at least a claim's length ago are not there, so they may be sent. Should an account come
        back although the manager had *confirmed* its links, the inference is wrong: settling by reappearance is
        switched off for good, and nothing is concluded. What was confirmed after the pull was sent proves nothing: its
        reader may have slept while another run delivered.

        :param pulled_at: aware; the clock before the pull was sent.
        :return: how many links may be sent again, and the accounts that proved the inference wrong.
        """
        with self._database.writing() as connection:
            of_pulled = _by_key(connection, pulled, _state.in_((_S, _U, _OK)))
            confirmed = {key: [r.updated_at for r in rows if _is_confirmed(r)] for key, rows in of_pulled.items()}
            proof = {key for key, times in confirmed.items() if times and min(times) < pulled_at}
            if proof:
                put(connection, SETTLE_UNKNOWN, BY_HAND, pulled_at)
            if get(connection, SETTLE_UNKNOWN) == BY_HAND:
                return 0, proof
            silent = [row for key, rows in of_pulled.items() if not confirmed[key] for row in rows]
            due = [row.id for row in silent if _is_due(row.sent_at, pulled_at)]
            for part in in_parts(due):
                connection.execute(
                    update(link)
                    .where(link.c.id.in_(part))
                    .values(
                        state=_P,
                        # Nothing is there: the next POST counts as the account's first, see presumable().
                        sends=0,
                        presumed=False,
                        evidence=f"handed out again at {pulled_at:%Y-%m-%d %H:%M:%S}Z: was not stored",
                        updated_at=pulled_at,
                    )
                )
            _tally(connection, of_pulled, at=pulled_at)
            return len(due), proof

    def presumable(self, pulled: Collection[PostAccount], pulled_at: datetime) -> list[PostAccount]:
        """Accounts whose unknown links an *exhaustive* pull speaks for by not having them.

        Only where that POST was the account's first for the post, it is at least a claim's length ago, and no claim
        of ours, nor a report that it failed, can be why the account was not handed out. The caller still has to see
        that the post is active.
        """
        with self._database.reading() as connection:
            if get(connection, SETTLE_UNKNOWN) == BY_HAND:
                return []
            keys = _keys(connection, and_(_UNSETTLED, ~is_reported()))
            rows = _by_key(connection, keys, link.c.sends > 0)
            busy = _claimed_until(connection, keys)
        absent = set(keys) - set(pulled)
        return sorted(
            key
            for key in absent
            if len({row.send_id for row in rows[key]}) == 1
            and all(row.sends == 1 and row.state in (_S, _U) for row in rows[key])
            and all(_is_due(row.sent_at, pulled_at) for row in rows[key])
            and not (busy.get(key.account_id) and busy[key.account_id] > pulled_at)
        )

    def presume(self, key: PostAccount, at: datetime) -> None:
        """Take an account's unknown links for stored: see :meth:`presumable`."""
        with self._database.writing() as connection:
            connection.execute(
                update(link)
                .where(_of(key), _UNSETTLED)
                .values(
                    state=_OK,
                    presumed=True,
                    evidence=f"not handed out any more at {at:%Y-%m-%d %H:%M:%S}Z: taken for stored",
                    updated_at=at,
                )
            )
            _tally(connection, [key], at)

    def settle(self, link_id: int, *, is_there: bool, who: str, note: str, at: datetime) -> Link:
        """A person's word on one unknown link.

        :param is_there: True files it as stored, False sends it again with the next run.
        :raises BadRequest: there is no such link, or its outcome is not unknown.
        """
        verdict = "is there" if is_there else "send again"
        evidence = f"{who} at {at:%Y-%m-%d %H:%M:%S}Z: {verdict}" + (f" ({note})" if note else "")
        with self._database.writing() as connection:
            changed = connection.execute(
                update(link)
                .where(link.c.id == link_id, link.c.state == _U)
                .values(state=_OK if is_there else _P, presumed=False, evidence=evidence, updated_at=at)
            )
            row = connection.execute(select(link).where(link.c.id == link_id)).one_or_none()
            if row is not None and changed.rowcount:
                _tally(connection, [PostAccount(row.request_id, row.account_id)], at)
        if row is None:
            raise BadRequest(f"the journal has no link {link_id}")
        if changed.rowcount != 1:
            raise BadRequest(f"link {link_id} is {row.state}, not unknown", remedy="Only unknown outcomes are settled.")
        return _link(row)

    def resend(self, keys: Collection[PostAccount], sent_before: datetime, who: str, at: datetime) -> int:
        """A person's word that the manager has lost what it had confirmed: send those links again.

        Pruned links cannot be.

        :param sent_before: what went out since then stays; so saying it again for the same run sends nothing more.
        :return: how many links.
        """
        evidence = f"{who} at {at:%Y-%m-%d %H:%M:%S}Z: send again although it was stored"
        with self._database.writing() as connection:
            changed = [
                connection.execute(
                    update(link)
                    .where(_of(key), _state == _OK, link.c.url != "", link.c.sent_at < sent_before)
                    .values(state=_P, presumed=False, evidence=evidence, updated_at=at)
                ).rowcount
                for key in sorted(keys)
            ]
            _tally(connection, keys, at)
        return sum(changed)

    def prune(self, older_than: datetime) -> int:
        """Forget the text of links that were stored before some time. Their hashes stay: they are never sent again.

        :return: how many links.
        """
        with self._database.writing() as connection:
            return connection.execute(
                update(link)
                .where(link.c.state == _OK, link.c.updated_at < older_than, link.c.url != "")
                .values(url="", evidence="")
            ).rowcount

    # --- questions ---

    def leftovers(self, limit: int) -> list[PostAccount]:
        """Accounts with a stored link, or reported as failed, and something left to send, oldest first.

        The manager does not hand them out again for that post, so nobody else works them either.

        :param limit: at most this many.
        """
        query = (
            select(link.c.request_id, link.c.account_id)
            .where(_MAY_BE_SENT, or_(_has_stored(), is_reported()))
            .group_by(link.c.request_id, link.c.account_id)
            .order_by(func.min(link.c.id))
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [PostAccount(*row) for row in connection.execute(query)]

    def states(self, keys: Collection[PostAccount]) -> dict[PostAccount, Counter[LinkState]]:
        """How many links each account has in each state."""
        found: dict[PostAccount, Counter[LinkState]] = {key: Counter() for key in keys}
        columns = (link.c.request_id, link.c.account_id, link.c.state)
        with self._database.reading() as connection:
            for part in among(link, keys):
                rows = connection.execute(select(*columns, func.count()).where(part).group_by(*columns))
                for request_id, account_id, state, count in rows:
                    found[PostAccount(request_id, account_id)][LinkState(state)] = count
        return found

    def evidence(self, key: PostAccount, state: LinkState) -> str:
        """What is known of the account's newest link in a state."""
        query = select(link.c.evidence).where(_of(key), _state == state.value).order_by(link.c.updated_at.desc())
        with self._database.reading() as connection:
            return connection.execute(query.limit(1)).scalar() or ""

    def pages(self, keys: Collection[PostAccount], limit: int) -> list[str]:
        """The first episode pages of some accounts that have not been pruned."""
        found: list[str] = []
        with self._database.reading() as connection:
            for part in among(link, keys):
                query = select(link.c.url).where(part, link.c.url != "").order_by(link.c.id)
                found += connection.execute(query.limit(limit - len(found))).scalars()
                if len(found) >= limit:
                    break
        return found

    def listed(self, *, state: LinkState | None = None, group_id: str = "", limit: int = 100) -> list[Link]:
        """Rows for a person, newest first."""
        query = select(link).order_by(link.c.id.desc()).limit(limit)
        if state:
            query = query.where(link.c.state == state.value)
        if group_id:
            same = and_(link.c.request_id == submission.c.request_id, link.c.account_id == submission.c.account_id)
            query = query.join(submission, same).where(submission.c.group_id == group_id)
        with self._database.reading() as connection:
            return [_link(row) for row in connection.execute(query)]

    def of_key(self, key: PostAccount) -> list[Link]:
        """Every link of an account for a post, in the order in which they were found."""
        with self._database.reading() as connection:
            return [_link(row) for row in connection.execute(select(link).where(_of(key)).order_by(link.c.id))]

    def settling(self) -> str:
        """How unknown outcomes are settled: :data:`BY_REAPPEARANCE` or :data:`BY_HAND`."""
        with self._database.reading() as connection:
            return get(connection, SETTLE_UNKNOWN) or BY_REAPPEARANCE

    def set_settling(self, how: str, at: datetime) -> None:
        """Choose how unknown outcomes are settled.

        :raises BadRequest: ``how`` is neither :data:`BY_REAPPEARANCE` nor :data:`BY_HAND`.
        """
        if how not in (BY_REAPPEARANCE, BY_HAND):
            raise BadRequest(f"{SETTLE_UNKNOWN} is {BY_REAPPEARANCE} or {BY_HAND}, not {how!r}")
        with self._database.writing() as connection:
            put(connection, SETTLE_UNKNOWN, how, at)


def _has_stored() -> Any:
    other = link.alias()
    return exists().where(
        other.c.request_id == link.c.request_id,
        other.c.account_id == link.c.account_id,
        _looked_at(other.c.state) == _OK,
    )


def _sha256(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def _of(key: PostAccount) -> Any:
    return and_(link.c.request_id == key.request_id, link.c.account_id == key.account_id)


def _row(key: PostAccount, url: str, at: datetime) -> dict[str, Any]:
    return {
        "request_id": key.request_id,
        "account_id": key.account_id,
        "url_sha256": _sha256(url),
        "url": url,
        "state": _P,
        "created_at": at,
        "updated_at": at,
    }


def _link(row: Any) -> Link:
    return Link(
        row.id,
        PostAccount(row.request_id, row.account_id),
        row.url,
        LinkState(row.state),
        row.sends,
        row.sent_at,
        row.presumed,
        row.evidence,
    )


def _keys(connection: Connection, condition: Any) -> list[PostAccount]:
    query = select(link.c.request_id, link.c.account_id).where(condition).distinct()
    return [PostAccount(*row) for row in connection.execute(query)]


def _number(*conditions: Any) -> Any:
    """How many of a submission's links there are."""
    same = and_(link.c.request_id == submission.c.request_id, link.c.account_id == submission.c.account_id)
    return select(func.count()).select_from(link).where(same, *conditions).correlate(submission).scalar_subquery()


_OF_KEY = of_key(link)
_MORE_LINKS = update(submission).where(of_key(submission)).values(links=submission.c.links + bindparam("new"))
_BEGIN_SEND = (
    update(link)
    .where(_OF_KEY, link.c.url_sha256.in_(bindparam("hashes", expanding=True)), _MAY_BE_SENT)
    .values(
        state=_S,
        send_id=bindparam("send"),
        sends=link.c.sends + 1,
        sent_at=bindparam("at"),
        updated_at=bindparam("at"),
    )
)
_SENDING = select(link.c.url).where(_OF_KEY, link.c.send_id == bindparam("send")).order_by(link.c.id)
_STORED = _number(_state == _OK)
_TALLY = (
    update(submission)
    .where(of_key(submission))
    .values(
        links=_number(),
        stored=_STORED,
        parked=_number(_state == _U),
        refused=_number(_state == _NO),
        delivered_on=case((submission.c.stored < _STORED, bindparam("day")), else_=submission.c.delivered_on),
        updated_at=bindparam("at"),
    )
)


def offer_again(connection: Connection, account_ids: Collection[str], at: datetime) -> None:
    """Let what the manager refused of some accounts be sent once more, however often that was."""
    query = select(submission.c.request_id, submission.c.account_id).where(
        submission.c.account_id.in_(list(account_ids)), submission.c.refused > 0
    )
    keys = [PostAccount(*row) for row in connection.execute(query)]
    for key in sorted(keys):
        connection.execute(update(link).where(_of(key), _state == _NO).values(state=_P, updated_at=at))
    _tally(connection, keys, at)


def _tally(connection: Connection, keys: Iterable[PostAccount], at: datetime) -> None:
    """File how many links accounts have in each state, where what people ask need not count them."""
    moment = {"at": at, "day": at.astimezone(timezone.utc).date().isoformat()}
    rows = [named(key) | moment for key in sorted(keys)]
    if rows:
        connection.execute(_TALLY, rows)


def _by_key(
    connection: Connection, keys: Collection[PostAccount], *conditions: Any
) -> defaultdict[PostAccount, list[Any]]:
    rows: defaultdict[PostAccount, list[Any]] = defaultdict(list)
    for part in among(link, keys):
        for row in connection.execute(select(link).where(part, *conditions)):
            rows[PostAccount(row.request_id, row.account_id)].append(row)
    return rows


def _claimed_until(connection: Connection, keys: Collection[PostAccount]) -> dict[str, datetime]:
    rows: dict[str, datetime] = {}
    for part in in_parts(sorted({key.account_id for key in keys})):
        query = select(claim.c.account_id, claim.c.expires_at).where(claim.c.account_id.in_(part))
        rows.update((row.account_id, row.expires_at) for row in connection.execute(query))
    return rows


def _is_confirmed(row: Any) -> bool:
    return bool(row.state == _OK and not row.presumed)


def _is_due(sent_at: datetime, at: datetime) -> bool:
    return at - sent_at >= timedelta(seconds=CLAIM_TTL_S)
