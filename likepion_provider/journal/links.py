"""Every episode URL on its way to the manager: ``prepared -> sending -> stored | refused | unknown``.

Each step is committed before the next begins. An episode, and a URL, is put once per (post, account), whoever finds
it, and leaves ``prepared`` in one attempt's hands only. A URL that may have been stored is never sent again until its
outcome is settled: see :mod:`~likepion_provider.journal.settling`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, or_, select, update

from likepion_provider.clock import Moment
from likepion_provider.errors import LeaseLost
from likepion_provider.journal.bulk import bulk
from likepion_provider.journal.claims import lock_all, refusals, spend, unspend
from likepion_provider.journal.database import Database
from likepion_provider.journal.episodes import Known, Page, Plan, plan
from likepion_provider.journal.keys import (
    among,
    each_named,
    each_with,
    in_parts,
    key_columns,
    named,
    of_key,
    one_of,
    read_keys,
    read_rows,
    row_columns,
    same_key,
)
from likepion_provider.journal.many import put_each_absent, run_each
from likepion_provider.journal.marks import EVIDENCE
from likepion_provider.journal.owner import of_manager, of_manager_too
from likepion_provider.journal.schema import LONG_AGO, link, submission
from likepion_provider.journal.tally import state_within_key, tally
from likepion_provider.manager.protocol import Record, normal_url
from likepion_provider.models import LinkState, PostAccount, Standing

#: How often a link that the manager refuses is offered to it before a person must look, and what that person does.
MAX_SENDS = 5
REFUSED_REMEDY = (
    "Read the manager's message and correct what it names. Runs offer the link again by themselves, "
    f"{MAX_SENDS} times in all; a run by account_ids or group_id does whenever it is told to."
)


@dataclasses.dataclass(frozen=True)
class Sending:
    """The URLs that one insert carries; nobody else sends them."""

    send_id: str
    urls: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What :meth:`Links.prepare` made of the episodes that it was given.

    :param new: links that were put.
    :param links: those that the account has for the post now.
    :param elsewhere: episodes that were left out since they may be stored for the account under another post.
    """

    new: int
    links: int
    elsewhere: int


@dataclasses.dataclass(frozen=True)
class Link:
    """One row, for people."""

    key: PostAccount
    id: int
    url: str
    state: LinkState
    sends: int
    sent_at: datetime | None
    presumed: bool
    evidence: str


class Prepare(NamedTuple):
    """Episodes that a platform lists: see :meth:`Links.prepare`.

    :param episodes: each episode's guid in the feed, and its URL as the platform spells it.
    :param once_per_account: leave out what may be stored for the account under another post.
    """

    key: PostAccount
    episodes: Sequence[tuple[str, str]]
    at: datetime
    once_per_account: bool = False

    def pages(self) -> list[tuple[str, Page]]:
        """The hash of each episode's guid, and its page."""
        return [(_sha256(guid), Page(_sha256_of_url(url), url)) for guid, url in self.episodes]


class BeginSend(NamedTuple):
    """An insert begins: see :meth:`Links.begin_send`."""

    key: PostAccount
    holder: str
    urls: Sequence[str]
    now: Moment

    def begun(self, send_id: str) -> dict[str, Any]:
        """The statement's parameters."""
        hashes = [_sha256_of_url(url) for url in self.urls]
        return {"send": send_id, "at": self.now.at, "hashes": hashes}


class EndSend(NamedTuple):
    """An insert was answered: see :meth:`Links.end_send`."""

    key: PostAccount
    sending: Sending
    records: Sequence[Record]
    at: datetime

    def ended(self) -> Iterator[dict[str, Any]]:
        """The statement's parameters, for each outcome."""
        said = {record.url: record for record in self.records}
        by_outcome: defaultdict[tuple[LinkState, str], list[str]] = defaultdict(list)
        for url in self.sending.urls:
            record = said.get(url, Record(url, None))
            words = record.message or ("the answer has no word on this URL" if record.stored is None else "")
            by_outcome[record.link_state, words].append(_sha256_of_url(url))
        for (state, words), hashes in by_outcome.items():
            yield _ended(self.key, self.sending, state, words, self.at) | {"hashes": hashes}


class Links:
    """The table of links."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- the way of a link ---

    @bulk(Prepare)
    def prepare(self, calls: Sequence[Prepare]) -> list[Prepared | LeaseLost]:
        """Put the episodes that are not there yet, each with one URL, and no URL twice.

        Where an episode has another URL by now and the old one may be stored, the old one stays. If it certainly is
        not, the link takes the new URL, and the old one is never sent. Of a doubted account, what is new to the
        journal may be stored, and is parked.
        """
        with self._database.writing() as connection:
            lock_all(connection, (call.key.account_id for call in calls))
            known = _known(connection, calls)
            plans = {call.key: plan(call.key, known[call.key], call.pages()) for call in calls}
            at = {call.key: call.at for call in calls}
            _supersede(connection, plans, at)
            doubted = _doubted(connection, [key for key, todo in plans.items() if todo.new])
            rows = [
                _row(key, episode, page, at[key], doubted=key in doubted)
                for key, todo in plans.items()
                for episode, page in todo.new.items()
            ]
            new = put_each_absent(connection, link, rows)
            _count(connection, plans, new, doubted, at)
        return [_prepared(call.key, known[call.key], plans[call.key], new[call.key]) for call in calls]

    def to_send(self, keys: Collection[PostAccount]) -> dict[PostAccount, list[str]]:
        """The URLs of each account that may be sent now, in the order in which they were found."""
        found: dict[PostAccount, list[str]] = {key: [] for key in keys}
        query = select(*_KEY, link.c.url).where(_may_be_sent(link.c.state)).order_by(link.c.id)
        with self._database.reading() as connection:
            for part in among(link, keys):
                for request_id, account_id, url in connection.execute(query.where(part)):
                    found[PostAccount(request_id, account_id)].append(url)
        return found

    @bulk(BeginSend)
    def begin_send(self, calls: Sequence[BeginSend]) -> list[Sending | LeaseLost]:
        """Note, before the insert, that it begins; from here on the URLs are never sent again blindly.

        :return: those of ``urls`` that are still ours to send; may be none.
        :raises LeaseLost: ``holder`` may not write any more.
        """
        with self._database.writing() as connection:
            lost = refusals(connection, calls)
            may_send = [call for call, refusal in zip(calls, lost, strict=True) if refusal is None]
            sendings = {call.key: Sending(uuid.uuid4().hex, tuple(call.urls)) for call in may_send}
            begun = each_with({call.key: call.begun(sendings[call.key].send_id) for call in may_send})
            if run_each(connection, _BEGIN_SEND, begun) != sum(len(each["hashes"]) for each in begun):
                sendings = _still_ours(connection, sendings)
            spend(connection, {key.account_id: each.send_id for key, each in sendings.items() if each.urls})
        return [refusal or sendings[call.key] for call, refusal in zip(calls, lost, strict=True)]

    @bulk(EndSend)
    def end_send(self, calls: Sequence[EndSend]) -> list[LeaseLost | None]:
        """Note the manager's word on each URL; one without a word becomes unknown.

        An answer that arrives late is noted too, unless the URL went out in another insert meanwhile.
        """
        with self._database.writing() as connection:
            run_each(connection, _END_SOME, [ended for call in sorted(calls) for ended in call.ended()])
            for at, keys in _by_time(calls).items():
                tally(connection, keys, at)
        return [None] * len(calls)

    def fail_send(self, key: PostAccount, sending: Sending, state: LinkState, evidence: str, at: datetime) -> None:
        """Note that a whole insert failed.

        :param state: ``prepared`` where it provably was not sent, ``refused`` or ``unknown``.
        """
        with self._database.writing() as connection:
            if state is LinkState.PREPARED:
                # First, as the claim is locked first by who begins an insert.
                unspend(connection, key.account_id, sending.send_id)
            connection.execute(_END_SEND, _ended(key, sending, state, evidence, at))
            tally(connection, [key], at)

    def orphaned(self, keys: Collection[PostAccount], at: datetime) -> None:
        """Park what an earlier attempt left between request and answer; to be called by who took its accounts over."""
        with self._database.writing() as connection:
            left = set(keys).intersection(read_keys(connection, _BEING_SENT))
            park(connection, left, link.c.state == LinkState.SENDING, at)

    def prune(self, older_than: datetime) -> int:
        """Forget the text of links that were stored before some time. Their hashes stay: they are never sent again.

        :return: how many links.
        """
        with self._database.writing() as connection:
            return connection.execute(
                update(link)
                .where(of_manager(link), link.c.state == LinkState.STORED)
                .where(link.c.updated_at < older_than, link.c.url != "")
                .values(url="", evidence="")
            ).rowcount

    # --- questions of the steps ---

    def leftovers(self, keys: Collection[PostAccount]) -> set[PostAccount]:
        """Those of some accounts that have something left to send."""
        with self._database.reading() as connection:
            query = select(*_KEY).where(_may_be_sent(state_within_key(link))).distinct()
            return {key for part in among(link, keys) for key in read_keys(connection, query.where(part))}

    def states(self, keys: Collection[PostAccount]) -> dict[PostAccount, Counter[LinkState]]:
        """How many links each account has in each state."""
        found: dict[PostAccount, Counter[LinkState]] = {key: Counter() for key in keys}
        query = select(*_KEY, link.c.state, func.count()).group_by(*_KEY, link.c.state)
        with self._database.reading() as connection:
            for part in among(link, keys):
                for request_id, account_id, state, count in connection.execute(query.where(part)):
                    found[PostAccount(request_id, account_id)][state] = count
        return found

    def evidence(self, key: PostAccount, state: LinkState) -> str:
        """What is known of the account's newest link in a state."""
        query = select(link.c.evidence).where(_OF_KEY, state_within_key(link) == state)
        with self._database.reading() as connection:
            newest = query.order_by(link.c.updated_at.desc()).limit(1)
            return connection.execute(newest, named(key)).scalar() or ""

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

    # --- questions of people ---

    def listed(
        self,
        *,
        state: LinkState | None = None,
        group_id: str = "",
        account_id: str = "",
        limit: int = 100,
        retired: bool = False,
    ) -> list[Link]:
        """Rows, newest first.

        :param retired: only those of accounts that were retired; which links of unknown outcome are otherwise not.
        """
        query = select(*LINK).where(of_manager(link)).order_by(link.c.id.desc()).limit(limit)
        if state:
            query = query.where(link.c.state == state)
        if account_id:
            query = query.where(link.c.account_id == account_id)
        if group_id:
            query = query.join(submission, same_key(link, submission)).where(submission.c.group_id == group_id)
        if retired or state is LinkState.UNKNOWN:
            # From the submission on: there are few, and its index knows them.
            of_retired = select(link.c.id).join(submission, same_key(link, submission)).where(of_manager(submission))
            found = link.c.id.in_(of_retired.where(submission.c.standing == Standing.RETIRED))
            query = query.where(found if retired else ~found)
        with self._database.reading() as connection:
            return read_rows(connection, query, Link)

    def of_key(self, key: PostAccount) -> list[Link]:
        """Every link of an account for a post, in the order in which they were found."""
        with self._database.reading() as connection:
            return read_rows(connection, select(*LINK).where(_OF_KEY).order_by(link.c.id), Link, named(key))


def unsettled() -> ColumnElement[bool]:
    """The links of a key whose insert began and whose outcome is not known."""
    state = state_within_key(link)
    return or_(state == LinkState.SENDING, state == LinkState.UNKNOWN)


def park(connection: Connection, keys: Collection[PostAccount], which: ColumnElement[bool], at: datetime) -> int:
    """File links of some accounts as unknown whose task ended before the answer to their insert came.

    :param which: which of their links.
    :return: how many.
    """
    left = each_named(keys)
    if not left:
        return 0
    lost = {"state": LinkState.UNKNOWN, "evidence": "the task ended between the request and its answer"}
    parked = connection.execute(update(link).where(_OF_KEY, which).values(**lost, updated_at=at), left).rowcount
    tally(connection, keys, at)
    return parked


def _known(connection: Connection, calls: Sequence[Prepare]) -> dict[PostAccount, list[Known]]:
    """The links of accounts for the post, or for all their posts where each episode counts once for all."""
    found: dict[PostAccount, list[Known]] = {call.key: [] for call in calls}
    for part in among(link, (call.key for call in calls if not call.once_per_account)):
        for row in connection.execute(_KNOWN.where(part)):
            known = Known(*row)
            found[known.key].append(known)
    of_account = {call.key.account_id: call.key for call in calls if call.once_per_account}
    for ids in in_parts(list(of_account)):
        for row in connection.execute(_KNOWN.where(of_manager_too(link), link.c.account_id.in_(ids))):
            known = Known(*row)
            found[of_account[known.account_id]].append(known)
    return found


def _supersede(connection: Connection, plans: Mapping[PostAccount, Plan], at: Mapping[PostAccount, datetime]) -> None:
    run_each(connection, _DROP, [{"row": each.id} for todo in plans.values() for each in todo.gone])
    moved = [(old, page) for todo in plans.values() for old, page in todo.moved]
    # Two links may take each other's URL: first, neither has one.
    run_each(connection, _NO_URL, [{"row": old.id, "nothing": str(old.id)} for old, _ in moved])
    takes = [
        {
            "row": old.id,
            "hash": page.sha256,
            "to": page.url,
            "words": f"in place of {old.url}, not stored",
            "at": at[old.key],
        }
        for old, page in moved
    ]
    run_each(connection, _TAKE_URL, takes)


def _doubted(connection: Connection, keys: Collection[PostAccount]) -> set[PostAccount]:
    queries = [_DOUBTED.where(part) for part in among(submission, keys)]
    return {key for query in queries for key in read_keys(connection, query)}


def _count(
    connection: Connection,
    plans: Mapping[PostAccount, Plan],
    new: Mapping[PostAccount, int],
    doubted: set[PostAccount],
    at: Mapping[PostAccount, datetime],
) -> None:
    """File how many links the accounts have now: what is new is added, all else is counted."""
    more: dict[PostAccount, dict[str, int]] = {}
    for key, todo in plans.items():
        if todo.moved or todo.gone or key in doubted:
            tally(connection, {key, *(each.key for each in todo.gone)}, at[key])
        elif new[key]:
            more[key] = {"new": new[key]}
    run_each(connection, _MORE_LINKS, each_with(more))


def _prepared(key: PostAccount, known: Sequence[Known], todo: Plan, new: int) -> Prepared:
    before = sum(each.key == key for each in known) - sum(each.key == key for each in todo.gone)
    return Prepared(new, before + new, todo.elsewhere)


def _still_ours(connection: Connection, sendings: Mapping[PostAccount, Sending]) -> dict[PostAccount, Sending]:
    """What of begun inserts could be taken."""
    begun = select(*_KEY, link.c.url).where(link.c.send_id.in_([each.send_id for each in sendings.values()]))
    urls: defaultdict[PostAccount, list[str]] = defaultdict(list)
    for part in among(link, sendings):
        for request_id, account_id, url in connection.execute(begun.where(part).order_by(link.c.id)):
            urls[PostAccount(request_id, account_id)].append(url)
    return {key: Sending(each.send_id, tuple(urls[key])) for key, each in sendings.items()}


def _by_time(calls: Iterable[EndSend]) -> dict[datetime, list[PostAccount]]:
    keys: defaultdict[datetime, list[PostAccount]] = defaultdict(list)
    for call in calls:
        keys[call.at].append(call.key)
    return keys


def _row(key: PostAccount, episode: str, page: Page, at: datetime, *, doubted: bool) -> dict[str, Any]:
    return {
        "request_id": key.request_id,
        "account_id": key.account_id,
        "url_sha256": page.sha256,
        "url": page.url,
        "episode": episode,
        "state": LinkState.UNKNOWN if doubted else LinkState.PREPARED,
        "evidence": EVIDENCE if doubted else "",
        "updated_at": at,
    }


def _ended(key: PostAccount, sending: Sending, state: LinkState, evidence: str, at: datetime) -> dict[str, Any]:
    not_sent = int(state is LinkState.PREPARED)
    return named(key) | {"send": sending.send_id, "to": state, "not_sent": not_sent, "words": evidence, "at": at}


def _sha256_of_url(url: str) -> str:
    return _sha256(normal_url(url))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


_KEY = key_columns(link)
_OF_KEY = of_key(link)
LINK = row_columns(link, Link)


def _may_be_sent(state: ColumnElement[Any]) -> ColumnElement[bool]:
    # A refused link is offered again a few times; one that provably is not stored, however often it takes.
    return or_(state == LinkState.PREPARED, and_(state == LinkState.REFUSED, link.c.sends < MAX_SENDS))


_BEING_SENT = select(*_KEY).where(of_manager(link), link.c.state == LinkState.SENDING).distinct()

# Made once, as of_key() says why.
_DOUBTED = select(*key_columns(submission)).where(submission.c.doubted > 0)
_MORE_LINKS = (
    update(submission).where(of_key(submission)).values(links=submission.c.links + bindparam("new"), ask_after=LONG_AGO)
)
_KNOWN = select(*(link.c[name] for name in Known._fields))
_IS_ROW = and_(of_manager_too(link), link.c.id == bindparam("row"))
_DROP = delete(link).where(_IS_ROW)
_NO_URL = update(link).where(_IS_ROW).values(url_sha256=bindparam("nothing"))
_TAKE_URL = (
    update(link)
    .where(_IS_ROW)
    .values(
        url_sha256=bindparam("hash"),
        url=bindparam("to"),
        state=LinkState.PREPARED,
        evidence=bindparam("words"),
        updated_at=bindparam("at"),
    )
)
_BEGIN_SEND = (
    update(link)
    .where(_OF_KEY, one_of(link.c.url_sha256, "hashes"), _may_be_sent(state_within_key(link)))
    .values(
        state=LinkState.SENDING,
        send_id=bindparam("send"),
        sends=link.c.sends + 1,
        sent_at=bindparam("at"),
        updated_at=bindparam("at"),
    )
)
_END_SEND = (
    update(link)
    .where(_OF_KEY, link.c.send_id == bindparam("send"), unsettled())
    .values(
        state=bindparam("to"),
        sends=link.c.sends - bindparam("not_sent"),
        presumed=False,
        evidence=bindparam("words"),
        updated_at=bindparam("at"),
    )
)
_END_SOME = _END_SEND.where(one_of(link.c.url_sha256, "hashes"))
