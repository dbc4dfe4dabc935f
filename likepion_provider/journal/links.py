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
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, or_, select, update

from likepion_provider.clock import Moment
from likepion_provider.journal.claims import lock, require, spend, unspend
from likepion_provider.journal.database import Database, put_absent
from likepion_provider.journal.episodes import Known, Page, Plan, plan
from likepion_provider.journal.keys import (
    among,
    each_named,
    key_columns,
    named,
    of_key,
    read_keys,
    read_rows,
    row_columns,
    same_key,
)
from likepion_provider.journal.marks import EVIDENCE
from likepion_provider.journal.owner import of_manager
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


class Links:
    """The table of links."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- the way of a link ---

    def prepare(
        self, key: PostAccount, episodes: Iterable[tuple[str, str]], at: datetime, *, once_per_account: bool = False
    ) -> Prepared:
        """Put the episodes that are not there yet, each with one URL, and no URL twice.

        Where an episode has another URL by now and the old one may be stored, the old one stays. If it certainly is
        not, the link takes the new URL, and the old one is never sent. Of a doubted account, what is new to the
        journal may be stored, and is parked.

        :param episodes: each episode's guid in the feed, and its URL as the platform spells it.
        :param once_per_account: leave out what may be stored for the account under another post.
        """
        listed = [(_sha256(guid), Page(_sha256_of_url(url), url)) for guid, url in episodes]
        with self._database.writing() as connection:
            lock(connection, key.account_id)
            rows = connection.execute(_KNOWN_OF_ACCOUNT if once_per_account else _KNOWN, named(key))
            known = [Known(*row) for row in rows]
            todo = plan(key, known, listed)
            _supersede(connection, todo, at)
            new = 0
            doubted = bool(todo.new) and bool(connection.execute(_DOUBTED, named(key)).scalar())
            if put := [_row(key, episode, page, at, doubted=doubted) for episode, page in todo.new.items()]:
                absent = put_absent(connection, link)
                new = connection.execute(absent, put, execution_options={"preserve_rowcount": True}).rowcount
            if todo.moved or todo.gone or doubted:
                tally(connection, {key, *(each.key for each in todo.gone)}, at)
            elif new:
                connection.execute(_MORE_LINKS, named(key) | {"new": new})
        before = sum(each.key == key for each in known) - sum(each.key == key for each in todo.gone)
        return Prepared(new, before + new, todo.elsewhere)

    def to_send(self, keys: Collection[PostAccount]) -> dict[PostAccount, list[str]]:
        """The URLs of each account that may be sent now, in the order in which they were found."""
        found: dict[PostAccount, list[str]] = {key: [] for key in keys}
        query = select(*_KEY, link.c.url).where(_may_be_sent(link.c.state)).order_by(link.c.id)
        with self._database.reading() as connection:
            for part in among(link, keys):
                for request_id, account_id, url in connection.execute(query.where(part)):
                    found[PostAccount(request_id, account_id)].append(url)
        return found

    def begin_send(self, key: PostAccount, holder: str, urls: Sequence[str], now: Moment) -> Sending:
        """Note, before the insert, that it begins; from here on the URLs are never sent again blindly.

        :return: those of ``urls`` that are still ours to send; may be none.
        :raises LeaseLost: ``holder`` may not write any more.
        """
        send_id = uuid.uuid4().hex
        with self._database.writing() as connection:
            require(connection, key, holder, now)
            begun = named(key) | {"send": send_id, "at": now.at, "hashes": [_sha256_of_url(url) for url in urls]}
            sending = connection.execute(_BEGIN_SEND, begun).rowcount
            if sending:
                spend(connection, key.account_id, send_id)
            if sending == len(urls):
                return Sending(send_id, tuple(urls))
            return Sending(send_id, tuple(connection.execute(_SENDING, named(key) | {"send": send_id}).scalars()))

    def end_send(self, key: PostAccount, sending: Sending, records: Iterable[Record], at: datetime) -> None:
        """Note the manager's word on each URL; one without a word becomes unknown.

        An answer that arrives late is noted too, unless the URL went out in another insert meanwhile.
        """
        said = {record.url: record for record in records}
        by_outcome: defaultdict[tuple[LinkState, str], list[str]] = defaultdict(list)
        for url in sending.urls:
            record = said.get(url, Record(url, None))
            words = record.message or ("the answer has no word on this URL" if record.stored is None else "")
            by_outcome[record.link_state, words].append(_sha256_of_url(url))
        with self._database.writing() as connection:
            for (state, words), hashes in by_outcome.items():
                ended = _ended(key, sending, state, words, at)
                if len(by_outcome) > 1:
                    connection.execute(_END_SOME, ended | {"hashes": hashes})
                else:
                    connection.execute(_END_SEND, ended)
            tally(connection, [key], at)

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
        self, *, state: LinkState | None = None, group_id: str = "", limit: int = 100, retired: bool = False
    ) -> list[Link]:
        """Rows, newest first.

        :param retired: only those of accounts that were retired; which links of unknown outcome are otherwise not.
        """
        query = select(*LINK).where(of_manager(link)).order_by(link.c.id.desc()).limit(limit)
        if state:
            query = query.where(link.c.state == state)
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


def _supersede(connection: Connection, todo: Plan, at: datetime) -> None:
    if todo.gone:
        connection.execute(_DROP, [{"row": each.id} for each in todo.gone])
    if todo.moved:
        # Two links may take each other's URL: first, neither has one.
        connection.execute(_NO_URL, [{"row": old.id, "nothing": str(old.id)} for old, _ in todo.moved])
        moved = [
            {
                "row": old.id,
                "hash": page.sha256,
                "to": page.url,
                "words": f"in place of {old.url}, not stored",
                "at": at,
            }
            for old, page in todo.moved
        ]
        connection.execute(_TAKE_URL, moved)


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
#: Links whose insert began and whose outcome is not known.
UNSETTLED = link.c.state.in_((LinkState.SENDING, LinkState.UNKNOWN))


def _may_be_sent(state: ColumnElement[Any]) -> ColumnElement[bool]:
    # A refused link is offered again a few times; one that provably is not stored, however often it takes.
    return or_(state == LinkState.PREPARED, and_(state == LinkState.REFUSED, link.c.sends < MAX_SENDS))


_BEING_SENT = select(*_KEY).where(of_manager(link), link.c.state == LinkState.SENDING).distinct()

# Made once, as of_key() says why.
_DOUBTED = select(submission.c.doubted).where(of_key(submission))
_MORE_LINKS = (
    update(submission).where(of_key(submission)).values(links=submission.c.links + bindparam("new"), ask_after=LONG_AGO)
)
_KNOWN_OF_ACCOUNT = select(*(link.c[name] for name in Known._fields)).where(
    of_manager(link), link.c.account_id == bindparam("account")
)
_KNOWN = _KNOWN_OF_ACCOUNT.where(link.c.request_id == bindparam("request"))
_IS_ROW = and_(of_manager(link), link.c.id == bindparam("row"))
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
    .where(_OF_KEY, link.c.url_sha256.in_(bindparam("hashes", expanding=True)), _may_be_sent(link.c.state))
    .values(
        state=LinkState.SENDING,
        send_id=bindparam("send"),
        sends=link.c.sends + 1,
        sent_at=bindparam("at"),
        updated_at=bindparam("at"),
    )
)
_SENDING = select(link.c.url).where(_OF_KEY, link.c.send_id == bindparam("send")).order_by(link.c.id)
_END_SEND = (
    update(link)
    .where(_OF_KEY, link.c.send_id == bindparam("send"), UNSETTLED)
    .values(
        state=bindparam("to"),
        sends=link.c.sends - bindparam("not_sent"),
        presumed=False,
        evidence=bindparam("words"),
        updated_at=bindparam("at"),
    )
)
_END_SOME = _END_SEND.where(link.c.url_sha256.in_(bindparam("hashes", expanding=True)))
