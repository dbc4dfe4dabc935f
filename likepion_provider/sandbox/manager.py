"""A *manager* in memory that keeps every rule of the manager API.

:class:`SandboxManager` is state and rules without I/O: a test drives it in process with a clock of its own.
:mod:`likepion_provider.sandbox.manager_http` puts it behind HTTP.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from likepion_provider.sandbox.clock import SandboxClock
from likepion_provider.sandbox.contract import (
    CREDENTIAL_FIELDS,
    DEFAULT_LIMIT,
    MAX_IDS,
    MAX_LIMIT,
    POST_STATUSES,
    TTL_MIN,
    ErrorAnswer,
    Record,
    insert_items,
    insert_records,
)
from likepion_provider.sandbox.oddities import Oddity

#: Account states that a pull hands out.
_ELIGIBLE = ("active", "completed")

_T = TypeVar("_T")


@dataclasses.dataclass
class Group:
    """Accounts that work for one customer's podcast."""

    group_id: str
    website: str = "https://likepion.example"
    primary_domain: str = "primary.example"


@dataclasses.dataclass
class Post:
    """A podcast to be published to a group's accounts."""

    request_id: str
    group_id: str
    #: Number of episodes wanted.
    target: int = 5
    #: The primary's feed; empty until the primary has set it.
    link_rss: str = ""
    status: str = "running"


@dataclasses.dataclass
class ManagedAccount:
    """An account on a secondary platform as the manager keeps it."""

    account_id: str
    group_id: str
    domain: str
    credentials: dict[str, str] = dataclasses.field(repr=False)
    status: str = "active"
    #: When it was last claimed, aware UTC; None: never, or not since the last insert.
    posting_started_at: datetime | None = None
    #: The name that the worker with the last claim gave itself, for the log.
    holder: str = ""


@dataclasses.dataclass(frozen=True)
class StoredRow:
    """One record that an insert stored."""

    request_id: str
    account_id: str
    domain: str
    link_post: str
    status: str
    note: str
    inserted_at: datetime


@dataclasses.dataclass(frozen=True)
class Event:
    """One pull, claim or insert that took effect."""

    at: datetime
    #: ``pull``, ``claim`` or ``insert``.
    kind: str
    worker: str
    account_ids: tuple[str, ...]
    #: Accounts among these whose live claim was another worker's.
    foreign: tuple[str, ...] = ()
    #: Accounts among these that nobody held at that moment (of interest for ``insert``).
    unclaimed: tuple[str, ...] = ()


class SandboxManager:
    """Groups, posts, accounts, claims and rows, with the manager API's rules.

    :param clock: what claims are measured on; default: real time.
    """

    def __init__(self, clock: SandboxClock | None = None) -> None:
        self.clock = clock or SandboxClock()
        self.groups: dict[str, Group] = {}
        self.posts: dict[str, Post] = {}
        self.accounts: dict[str, ManagedAccount] = {}
        self.rows: list[StoredRow] = []
        self.events: list[Event] = []
        #: How long a claim holds, in minutes; an answer to a claim says it.
        self.ttl_min: float = TTL_MIN
        #: The odd answers that wait for their calls, the oldest first.
        self.oddities: list[Oddity] = []
        self._served: dict[str, set[str]] = {}
        self._members: dict[str, list[ManagedAccount]] = {}
        self._posts_of: dict[str, list[Post]] = {}
        self._refuse_records = 0

    # The contract's four calls

    def pull(
        self, limit: int = DEFAULT_LIMIT, kind: str | None = "secondary", *, worker: str = ""
    ) -> list[dict[str, Any]]:
        """Hand out tasks and claim their accounts (manager API, section 1).

        :param limit: how many at most, 1 to 1000. Default 5.
        :param kind: ``secondary``; None, as when the caller forgot the parameter: primary tasks come too.
        :param worker: the caller's name for the log.
        :raises ErrorAnswer: ``limit`` or ``kind`` is out of its bounds.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise ErrorAnswer(400, f"limit must be 1..{MAX_LIMIT}, got {limit}")
        if kind not in (None, "secondary"):
            raise ErrorAnswer(400, f"type must be 'secondary' or absent, got {kind!r}")
        odd = self._take("pull")
        running = self._running()
        tasks = [] if kind else [self._primary_task(each) for posts in running.values() for each in posts][:limit]
        taken = list(self._eligible(running, limit - len(tasks) + odd.beyond))
        self._claim([account for account, _ in taken], worker)
        self._note("pull", worker, [account for account, _ in taken])
        rows = odd.rows(tasks + [self._task(account, post) for account, post in taken], limit)
        _answer_envelope(odd, rows)
        return rows

    def claim(self, account_ids: Sequence[str], *, worker: str = "") -> dict[str, Any]:
        """Claim accounts for 15 minutes from now; refuses nobody (manager API, section 2).

        :param account_ids: 1 to 200 ids.
        :param worker: the caller's name for the log.
        :return: the contract's answer.
        :raises ErrorAnswer: too many ids, or none.
        """
        if not account_ids:
            raise ErrorAnswer(400, "account_id or account_ids is required")
        if len(account_ids) > MAX_IDS:
            raise ErrorAnswer(400, f"at most {MAX_IDS} ids, got {len(account_ids)}")
        odd = self._take("claim")
        found = {each: _find(self.accounts, each) for each in account_ids}
        known = list({each.account_id: each for each in found.values() if each}.values())
        self._note("claim", worker, known)
        self._claim(known, worker)
        answer = {
            "success": True,
            "claimed": odd.changed([account.account_id for account in known]),
            "count": len(known),
            "ttl_min": self.ttl_min,
            "not_found": [each for each, account in found.items() if account is None],
        }
        return _answered(odd, answer)

    def insert(self, body: object, *, worker: str = "") -> dict[str, Any]:
        """Store a row for each URL, without looking for duplicates, and clear the claims (manager API, section 3).

        The claims of the accounts that are named are cleared even where nothing is stored.

        :param body: one item, a list of items, or ``{"items": [...]}``.
        :param worker: the caller's name for the log.
        :return: the contract's answer, one result per record.
        :raises ErrorAnswer: the form is wrong or there are more than 200 records; nothing is stored then.
        """
        items = insert_items(body)
        resolved = [self._resolve(record) for record in insert_records(items)]
        odd = self._take("insert")
        named = {account.account_id: account for _, account, _ in resolved if account}
        self._note("insert", worker, named.values())
        for account in named.values():
            account.posting_started_at = None
        self._copy_credentials(resolved)
        results = [
            self._store(record, account, problem or self._trouble(odd, position))
            for position, (record, account, problem) in enumerate(resolved)
        ]
        inserted = sum(result["success"] for result in results)
        answer = {
            "success": True,
            "input": len(items),
            "count": len(results),
            "inserted": inserted,
            "failed": len(results) - inserted,
            "results": odd.changed(results),
        }
        return _answered(odd, answer)

    def account(self, account_id: str) -> dict[str, Any]:
        """One account, whoever holds it and whatever its state; changes nothing (manager API, section 4).

        :param account_id: its UUID.
        :raises ErrorAnswer: 404, there is none.
        """
        account = self._account(account_id)
        odd = self._take("account")
        if odd.other:
            account = self._account(odd.other)
        posts = (post for post in reversed(self._posts_of[account.group_id]) if post.status in ("running", "pending"))
        data: dict[str, Any] = odd.rows([self._task(account, next(posts, None))])[0]
        _answer_envelope(odd, data)
        return data

    # For tests, and for the primary's worker

    def add_group(
        self,
        group_id: str = "",
        website: str = "https://likepion.example",
        primary_domain: str = "primary.example",
    ) -> Group:
        """Add a group.

        :param group_id: its UUID; empty: a new one.
        :param website: the customer's site.
        :param primary_domain: the site that hosts the podcast.
        """
        group = Group(group_id or str(uuid.uuid4()), website, primary_domain)
        _unused(group.group_id, self.groups)
        self.groups[group.group_id] = group
        self._members[group.group_id] = []
        self._posts_of[group.group_id] = []
        return group

    def add_post(
        self, group_id: str, *, target: int = 5, link_rss: str = "", status: str = "running", request_id: str = ""
    ) -> Post:
        """Add a post, the newest of its group.

        :param group_id: the group it belongs to.
        :param target: number of episodes wanted.
        :param link_rss: the primary's feed; empty: not set yet.
        :param status: one of :data:`POST_STATUSES`.
        :param request_id: its UUID; empty: a new one.
        :raises ErrorAnswer: no such group, or a bad value.
        """
        self._group(group_id)
        post = Post(request_id or str(uuid.uuid4()), group_id)
        _unused(post.request_id, self.posts)
        _change_post(post, {"target": target, "link_rss": link_rss, "status": status})
        self.posts[post.request_id] = post
        self._posts_of[group_id].append(post)
        self._served[post.request_id] = set()
        return post

    def add_account(
        self,
        group_id: str,
        domain: str,
        credentials: Mapping[str, str] | None = None,
        *,
        status: str = "active",
        account_id: str = "",
    ) -> ManagedAccount:
        """Add an account on a secondary platform.

        :param group_id: the group it belongs to.
        :param domain: the platform.
        :param credentials: values for some of :data:`CREDENTIAL_FIELDS`; the others are empty.
        :param status: ``active`` and ``completed`` are handed out; any other only by :meth:`account`.
        :param account_id: its UUID; empty: a new one.
        :raises ErrorAnswer: no such group, or a bad value.
        """
        self._group(group_id)
        account = ManagedAccount(
            account_id or str(uuid.uuid4()), group_id, domain, dict.fromkeys(CREDENTIAL_FIELDS, "")
        )
        _unused(account.account_id, self.accounts)
        _change_account(account, {**(credentials or {}), "status": status})
        self.accounts[account.account_id] = account
        self._members[group_id].append(account)
        return account

    def update_post(self, request_id: str, **fields: Any) -> Post:
        """Change a post's ``link_rss``, ``status`` or ``target``.

        :param request_id: the post.
        :raises ErrorAnswer: no such post, or a bad value.
        """
        if request_id not in self.posts:
            raise ErrorAnswer(404, f"post {request_id!r} not found")
        _change_post(self.posts[request_id], fields)
        return self.posts[request_id]

    def set_link_rss(self, request_id: str, link_rss: str) -> Post:
        """Set the feed, as the primary's worker does when its episodes are out.

        :param request_id: the post.
        :param link_rss: the feed's URL; empty takes it back.
        :raises ErrorAnswer: no such post.
        """
        return self.update_post(request_id, link_rss=link_rss)

    def update_account(self, account_id: str, **fields: Any) -> ManagedAccount:
        """Change an account's credentials or ``status``, here and not on its platform.

        :param account_id: the account.
        :raises ErrorAnswer: no such account, or a bad value.
        """
        account = self._account(account_id)
        _change_account(account, fields)
        return account

    def refuse_records(self, records: int) -> None:
        """Let this many of the next inserted records fail: ``success: false``, and not stored.

        :param records: how many, 0 or more.
        """
        self._refuse_records = records

    def answer(self, endpoint: str, *, times: int = 1, **how: Any) -> None:
        """Let the next calls of an endpoint be answered oddly; those before them keep their turn.

        .. code-block:: python

            # Two of four records are stored, and the envelope denies it.
            manager.answer("insert", store=(0, 2), status=422, fields={"success": False})

        :param endpoint: see :class:`~likepion_provider.sandbox.oddities.Oddity`, as every field in ``how``.
        :param times: how many calls, 1 or more. Default 1.
        :raises ValueError: there is no such oddity.
        """
        if times < 1:
            raise ValueError("times must be 1 or more")
        try:
            self.oddities += [Oddity(endpoint, **how)] * times
        except TypeError as error:
            raise ValueError(f"not an oddity: {error}") from error

    def duplicates(self, request_id: str = "") -> dict[tuple[str, str, str], int]:
        """Every ``(request_id, account_id, link_post)`` that is in more than one row, with the number of these rows.

        :param request_id: only this post's; empty: all.
        """
        counted = Counter((row.request_id, row.account_id, row.link_post) for row in self._rows(request_id))
        return {key: count for key, count in counted.items() if count > 1}

    def holders(self) -> dict[str, str]:
        """The worker that holds each live claim, under the name that it gave itself, by account id."""
        return {each.account_id: each.holder for each in self.accounts.values() if self.is_claimed(each.account_id)}

    def is_claimed(self, account_id: str) -> bool:
        """Whether anybody's claim on the account is live now.

        :param account_id: an account's id; must be known.
        """
        started_at = self.accounts[account_id].posting_started_at
        return started_at is not None and self.clock.now() - started_at < timedelta(minutes=self.ttl_min)

    def rows_report(self, request_id: str = "") -> dict[str, Any]:
        """Rows, their number by account, and duplicates, JSON-ready.

        :param request_id: only this post's; empty: all.
        """
        rows = self._rows(request_id)
        return {
            "count": len(rows),
            "accounts": dict(Counter(row.account_id for row in rows)),
            "duplicates": [
                {"request_id": key[0], "account_id": key[1], "link_post": key[2], "count": count}
                for key, count in self.duplicates(request_id).items()
            ],
            "rows": [{**dataclasses.asdict(row), "inserted_at": row.inserted_at.isoformat()} for row in rows],
        }

    def events_report(self) -> list[dict[str, Any]]:
        """:attr:`events`, JSON-ready."""
        return [{**dataclasses.asdict(event), "at": event.at.isoformat()} for event in self.events]

    def state_report(self) -> dict[str, Any]:
        """Groups, posts, accounts and claims, JSON-ready, without any secret or feed URL."""
        return {
            "now": self.clock.now().isoformat(),
            "groups": [dataclasses.asdict(group) for group in self.groups.values()],
            "posts": [
                {
                    "request_id": post.request_id,
                    "group_id": post.group_id,
                    "target": post.target,
                    "status": post.status,
                    "feed_ready": bool(post.link_rss),
                    "accounts_remaining": self._remaining(post),
                }
                for post in self.posts.values()
            ],
            "accounts": [
                {
                    "account_id": account.account_id,
                    "group_id": account.group_id,
                    "domain": account.domain,
                    "username": account.credentials["username"],
                    "status": account.status,
                    "claimed": self.is_claimed(account.account_id),
                    "holder": account.holder,
                }
                for account in self.accounts.values()
            ],
        }

    # Rules

    def _group(self, group_id: str) -> Group:
        if group_id not in self.groups:
            raise ErrorAnswer(404, f"group {group_id!r} not found")
        return self.groups[group_id]

    def _account(self, account_id: str) -> ManagedAccount:
        account = _find(self.accounts, account_id)
        if account is None:
            raise ErrorAnswer(404, f"account {account_id!r} not found")
        return account

    def _rows(self, request_id: str) -> list[StoredRow]:
        return [row for row in self.rows if request_id in ("", row.request_id)]

    def _take(self, endpoint: str) -> Oddity:
        for odd in self.oddities:
            if odd.endpoint == endpoint:
                self.oddities.remove(odd)
                return odd
        return Oddity(endpoint)

    def _running(self) -> dict[str, list[Post]]:
        """Each group's running posts, newest first."""
        return {
            group_id: [post for post in reversed(posts) if post.status == "running"]
            for group_id, posts in self._posts_of.items()
        }

    def _remaining(self, post: Post) -> int:
        return len(self._members[post.group_id]) - len(self._served[post.request_id])

    def _eligible(self, running: Mapping[str, Sequence[Post]], limit: int) -> Iterator[tuple[ManagedAccount, Post]]:
        """Free accounts, each with the newest running post that has no row of it."""
        for account in self.accounts.values():
            if limit <= 0:
                return
            if account.status not in _ELIGIBLE or self.is_claimed(account.account_id):
                continue
            for post in running[account.group_id]:
                if account.account_id not in self._served[post.request_id]:
                    limit -= 1
                    yield account, post
                    break

    def _claim(self, accounts: Sequence[ManagedAccount], worker: str) -> None:
        now = self.clock.now()
        for account in accounts:
            account.posting_started_at = now
            account.holder = worker

    def _note(self, kind: str, worker: str, accounts: Iterable[ManagedAccount]) -> None:
        distinct = {account.account_id: account for account in accounts}
        live = {each for each in distinct if self.is_claimed(each)}
        foreign = tuple(each for each in distinct if each in live and distinct[each].holder != worker)
        unclaimed = tuple(each for each in distinct if each not in live)
        self.events.append(Event(self.clock.now(), kind, worker, tuple(distinct), foreign, unclaimed))

    def _task(self, account: ManagedAccount, post: Post | None) -> dict[str, Any]:
        return {
            "id": account.account_id,
            "request_id": post.request_id if post else "",
            "type_request": "post",
            "status": "queued",
            "account_id": account.account_id,
            "group_id": account.group_id,
            "target": post.target if post else 0,
            "accounts_remaining": self._remaining(post) if post else 0,
            "domain": account.domain,
            "website": self.groups[account.group_id].website,
            **account.credentials,
            "link_rss": post.link_rss if post else "",
        }

    def _primary_task(self, post: Post) -> dict[str, Any]:
        group = self.groups[post.group_id]
        primary = ManagedAccount(
            str(uuid.uuid5(uuid.NAMESPACE_URL, f"primary:{post.request_id}")),
            post.group_id,
            group.primary_domain,
            dict.fromkeys(CREDENTIAL_FIELDS, ""),
        )
        return {**self._task(primary, post), "type": "primary"}

    def _resolve(self, record: Record) -> tuple[Record, ManagedAccount | None, str]:
        """The record under the post's own id, its account, and why it cannot be stored."""
        post, account = _find(self.posts, record.request_id), _find(self.accounts, record.account_id)
        if post is None:
            return record, account, "post not found"
        record = dataclasses.replace(record, request_id=post.request_id)
        if record.account_id:
            is_member = account is not None and account.group_id == post.group_id
            return record, account, "" if is_member else "account not found in the post's group"
        first = next((each for each in self._members[post.group_id] if each.domain == record.domain), None)
        return record, first, "" if first else "no account of the post's group has this domain"

    def _copy_credentials(self, resolved: Iterable[tuple[Record, ManagedAccount | None, str]]) -> None:
        copied = set()
        for record, account, problem in resolved:
            if account and not problem and account.account_id not in copied:
                copied.add(account.account_id)
                account.credentials.update(record.credentials)

    def _trouble(self, odd: Oddity, position: int) -> str:
        """Why the sandbox does not store a record that has nothing wrong; empty: it does."""
        if self._refuse_records > 0:
            self._refuse_records -= 1
            return "the sandbox was told to refuse this record"
        return "" if odd.stores(position) else "the sandbox was told not to store this record"

    def _store(self, record: Record, account: ManagedAccount | None, problem: str) -> dict[str, Any]:
        account_id = account.account_id if account else record.account_id
        domain = account.domain if account else record.domain
        if not problem:
            self._served[record.request_id].add(account_id)
            self.rows.append(
                StoredRow(
                    record.request_id,
                    account_id,
                    domain,
                    record.link_post,
                    record.status,
                    record.note,
                    self.clock.now(),
                )
            )
        return {
            "index": record.index,
            "link_index": record.link_index,
            "post_id": record.request_id,
            "account_id": account_id,
            "domain": domain,
            "link_post": record.link_post,
            "success": not problem,
            **({"message": problem} if problem else {}),
        }


def _find(known: Mapping[str, _T], key: str) -> _T | None:
    """Ids are UUIDs: they are the same in upper case."""
    return known.get(key) or known.get(key.lower())


def _answered(odd: Oddity, answer: Mapping[str, Any]) -> dict[str, Any]:
    body = odd.envelope(answer)
    if odd.status != 200:
        raise ErrorAnswer(odd.status, "the sandbox was told to answer so", body)
    return body


def _answer_envelope(odd: Oddity, data: object) -> None:
    """Where the envelope of ``data`` is odd, the whole answer takes its place."""
    if odd.is_enveloped:
        body = odd.envelope({"success": True, "data": data})
        raise ErrorAnswer(odd.status, "the sandbox was told to answer so", body)


def is_text(value: object) -> bool:
    """Whether a field's value is a string."""
    return isinstance(value, str)


def is_count(value: object) -> bool:
    """Whether a field's value is a whole number, 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


#: What may be set of a post, and what makes a value good.
POST_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "link_rss": is_text,
    "status": lambda value: value in POST_STATUSES,
    "target": is_count,
}


def _unused(key: str, known: Mapping[str, object]) -> None:
    if key in known:
        raise ErrorAnswer(409, f"{key!r} is there already")


def _change_post(post: Post, fields: Mapping[str, Any]) -> None:
    check_fields(fields, POST_FIELDS)
    for name, value in fields.items():
        setattr(post, name, value)


def _change_account(account: ManagedAccount, fields: Mapping[str, Any]) -> None:
    check_fields(fields, dict.fromkeys((*CREDENTIAL_FIELDS, "status"), is_text))
    changes = dict(fields)
    account.status = changes.pop("status", account.status)
    account.credentials.update(changes)


def check_fields(fields: Mapping[str, Any], allowed: Mapping[str, Callable[[Any], bool]]) -> None:
    """Refuse fields that are unknown or have a bad value.

    :param fields: what was sent.
    :param allowed: the fields there are, and what makes a value good.
    :raises ErrorAnswer: 400, names the field.
    """
    for name, value in fields.items():
        if name not in allowed:
            raise ErrorAnswer(400, f"unknown field {name!r}; there are {', '.join(allowed)}")
        if not allowed[name](value):
            raise ErrorAnswer(400, f"bad value for {name!r}")
