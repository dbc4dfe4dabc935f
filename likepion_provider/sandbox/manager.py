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
from typing import Any

from likepion_provider.sandbox.clock import SandboxClock

#: Where the contract's four endpoints are served.
API = "/api/v1/podcast"
#: How long a claim holds, in minutes.
TTL_MIN = 15
#: Tasks in one pull.
DEFAULT_LIMIT, MAX_LIMIT = 5, 1000
#: Ids in one claim; records in one insert, after ``link_post`` is split.
MAX_IDS, MAX_RECORDS = 200, 200
#: What an account signs in with; an insert may bring new values.
CREDENTIAL_FIELDS = ("email", "username", "password", "pass_mail", "twofa", "app_password", "cookie")
LINK_STATUSES = ("completed", "failed", "cancel")
POST_STATUSES = ("pending", "running", "completed", "cancel")
#: Account states that a pull hands out.
_ELIGIBLE = ("active", "completed")


class ErrorAnswer(Exception):
    """Answer the request with another status than 200.

    :param status: the HTTP status.
    :param message: what is wrong, for the caller.
    :param body: the answer's JSON; default: ``success`` false and the message.
    """

    def __init__(self, status: int, message: str, body: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"success": False, "message": message} if body is None else body


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


@dataclasses.dataclass(frozen=True)
class _Record:
    """One URL of an insert, checked for form."""

    index: int
    link_index: int
    request_id: str
    account_id: str
    domain: str
    link_post: str
    status: str
    note: str
    credentials: Mapping[str, str]


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
        tasks = [] if kind else [self._primary_task(post) for post in self._running().values() if post][:limit]
        taken = list(self._eligible(limit - len(tasks)))
        self._claim([account for account, _ in taken], worker)
        self._note("pull", worker, [account for account, _ in taken])
        return tasks + [self._task(account, post) for account, post in taken]

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
        asked = list(dict.fromkeys(account_ids))
        known = [self.accounts[each] for each in asked if each in self.accounts]
        self._note("claim", worker, known)
        self._claim(known, worker)
        return {
            "success": True,
            "claimed": [account.account_id for account in known],
            "count": len(known),
            "ttl_min": TTL_MIN,
            "not_found": [each for each in asked if each not in self.accounts],
        }

    def insert(self, body: object, *, worker: str = "") -> dict[str, Any]:
        """Store a row for each URL, without looking for duplicates, and clear the claims (manager API, section 3).

        :param body: one item, a list of items, or ``{"items": [...]}``.
        :param worker: the caller's name for the log.
        :return: the contract's answer, one result per record.
        :raises ErrorAnswer: the form is wrong or there are more than 200 records; nothing is stored then.
        """
        items = _items(body)
        records = [record for index, item in enumerate(items) for record in _expand(index, item)]
        if len(records) > MAX_RECORDS:
            raise ErrorAnswer(400, f"at most {MAX_RECORDS} records after expansion, got {len(records)}")
        resolved = [(record, *self._resolve(record)) for record in records]
        self._note("insert", worker, [account for _, account, _ in resolved if account])
        results = [self._store(record, account, problem) for record, account, problem in resolved]
        inserted = sum(result["success"] for result in results)
        return {
            "success": True,
            "input": len(items),
            "count": len(records),
            "inserted": inserted,
            "failed": len(records) - inserted,
            "results": results,
        }

    def account(self, account_id: str) -> dict[str, Any]:
        """One account, whoever holds it and whatever its state; changes nothing (manager API, section 4).

        :param account_id: its UUID.
        :raises ErrorAnswer: 404, there is none.
        """
        if account_id not in self.accounts:
            raise ErrorAnswer(404, f"account {account_id!r} not found")
        account = self.accounts[account_id]
        return self._task(account, self._newest(account.group_id, "running", "pending"))

    # What a test or the primary's worker does

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
        if account_id not in self.accounts:
            raise ErrorAnswer(404, f"account {account_id!r} not found")
        _change_account(self.accounts[account_id], fields)
        return self.accounts[account_id]

    def refuse_records(self, records: int) -> None:
        """Let this many of the next inserted records fail: ``success: false``, and not stored.

        :param records: how many, 0 or more.
        """
        self._refuse_records = records

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
        return started_at is not None and self.clock.now() - started_at < timedelta(minutes=TTL_MIN)

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

    def _rows(self, request_id: str) -> list[StoredRow]:
        return [row for row in self.rows if request_id in ("", row.request_id)]

    def _newest(self, group_id: str, *statuses: str) -> Post | None:
        return next((post for post in reversed(self._posts_of[group_id]) if post.status in statuses), None)

    def _running(self) -> dict[str, Post | None]:
        return {group_id: self._newest(group_id, "running") for group_id in self.groups}

    def _remaining(self, post: Post) -> int:
        return len(self._members[post.group_id]) - len(self._served[post.request_id])

    def _eligible(self, limit: int) -> Iterator[tuple[ManagedAccount, Post]]:
        running = self._running()
        for account in self.accounts.values():
            if limit <= 0:
                return
            post = running[account.group_id]
            if post is None or account.status not in _ELIGIBLE or account.account_id in self._served[post.request_id]:
                continue
            if not self.is_claimed(account.account_id):
                limit -= 1
                yield account, post

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

    def _resolve(self, record: _Record) -> tuple[ManagedAccount | None, str]:
        post = self.posts.get(record.request_id)
        if post is None:
            return None, "post not found"
        if record.account_id:
            account = self.accounts.get(record.account_id)
            if account is None or account.group_id != post.group_id:
                return None, "account not found in the post's group"
            return account, ""
        for member in self._members[post.group_id]:
            if member.domain == record.domain:
                return member, ""
        return None, "no account of the post's group has this domain"

    def _store(self, record: _Record, account: ManagedAccount | None, problem: str) -> dict[str, Any]:
        if account is not None and self._refuse_records > 0:
            self._refuse_records -= 1
            problem = "the sandbox was told to refuse this record"
        if account is not None and not problem:
            if record.link_index == 0:
                account.credentials.update(record.credentials)
            account.posting_started_at = None
            self._served[record.request_id].add(account.account_id)
            self.rows.append(
                StoredRow(
                    record.request_id,
                    account.account_id,
                    account.domain,
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
            "account_id": account.account_id if account else record.account_id,
            "domain": account.domain if account else record.domain,
            "link_post": record.link_post,
            "success": not problem,
            **({"message": problem} if problem else {}),
        }


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


def _items(body: object) -> list[Mapping[str, Any]]:
    items = body.get("items", [body]) if isinstance(body, Mapping) else body
    if not isinstance(items, list) or not items:
        raise ErrorAnswer(400, "send one item, a list of items, or {'items': [...]}")
    for item in items:
        if not isinstance(item, Mapping):
            raise ErrorAnswer(400, "every item must be an object")
    return items


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ErrorAnswer(400, f"{name} must be a string")
    return value.strip()


def _expand(index: int, item: Mapping[str, Any]) -> list[_Record]:
    request_id = _text(item, "request_id") or _text(item, "post_id")
    account_id, domain = _text(item, "account_id"), _text(item, "domain")
    urls = [url.strip() for url in _text(item, "link_post").split(",") if url.strip()]
    status = _text(item, "status") or "completed"
    for problem, found in (
        ("request_id is required", not request_id),
        ("account_id or domain is required", not account_id and not domain),
        ("link_post is required", not urls),
        (f"status must be one of {', '.join(LINK_STATUSES)}", status not in LINK_STATUSES),
    ):
        if found:
            raise ErrorAnswer(400, f"item {index}: {problem}")
    credentials = {name: value for name in CREDENTIAL_FIELDS if (value := _text(item, name))}
    note = _text(item, "note")
    return [
        _Record(index, link_index, request_id, account_id, domain, url, status, note, credentials)
        for link_index, url in enumerate(urls)
    ]
