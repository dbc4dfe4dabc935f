"""The manager API without I/O: builds requests, reads answers, knows which failure means what.

The transport, :mod:`likepion_provider.manager.client`, only moves the bytes. The contract is the owner's page of the
podcast API; what that page leaves open is marked *inferred* here and decided in this module alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlsplit

from likepion_provider.errors import (
    BadRequest,
    LikepionError,
    NotAuthorised,
    OutcomeUnknown,
    Rejected,
    Transient,
)
from likepion_provider.models import Account, Credentials, SecondaryTask

API_PATH = "/api/v1/podcast"
API_KEY_HEADER = "X-API-Key"
DEFAULT_HOST = "https://manager.likepion.com"
#: No longer wait than this is taken from a ``Retry-After``.
_MAX_RETRY_AFTER_S = 86_400.0

#: Bounds stated by the API.
MAX_PULL = 1000
MAX_CLAIM_IDS = 200
MAX_INSERT_RECORDS = 200
#: A claim's length where an answer does not say; also the most we ever count on.
CLAIM_TTL_S = 900.0

#: No answer is read beyond this: 1,000 tasks are about 1 MB.
MAX_ANSWER_BYTES = 16 * 1024 * 1024
#: How much of a server's message goes into an error.
MESSAGE_CHARS = 200

T = TypeVar("T")


class Endpoint(Enum):
    """The four calls, by what a lost answer means.

    A lost pull strands the accounts it claimed, a lost insert may have stored its links: neither is ever sent again
    by itself. Claiming twice or reading twice does no harm.
    """

    PULL = "pull"
    CLAIM = "claim"
    INSERT = "insert"
    ACCOUNT = "account"

    @property
    def repeatable(self) -> bool:
        """Whether sending it again after a lost answer is harmless."""
        return self in (Endpoint.CLAIM, Endpoint.ACCOUNT)


class Loss(Enum):
    """How a request failed without an answer."""

    #: Provably never reached the server: refused, DNS, TLS handshake or connect timeout.
    NOT_SENT = "not sent"
    #: Anything else: reset, read timeout, connection closed early.
    ANSWER_LOST = "answer lost"


@dataclasses.dataclass(frozen=True)
class Request:
    """One HTTP request, relative to the manager's host."""

    endpoint: Endpoint
    method: str
    path: str
    params: Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: JSON body; may hold a renewed cookie, so it is never shown.
    body: Any = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back, unread."""

    status: int
    #: Header names in lower case.
    headers: Mapping[str, str] = dataclasses.field(repr=False)
    body: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Call(Generic[T]):
    """A request together with the reader of its answer."""

    request: Request
    _read: Any

    def read(self, answer: Answer) -> T:
        """The answer's meaning.

        :raises LikepionError: the class says what to do.
        """
        result: T = self._read(answer)
        return result


@dataclasses.dataclass(frozen=True)
class Claimed:
    """The answer to a claim."""

    claimed: frozenset[str]
    not_found: frozenset[str]
    #: The server's TTL, at most :data:`CLAIM_TTL_S`.
    ttl_s: float


@dataclasses.dataclass(frozen=True)
class LinkReport:
    """The links of one account for one post, as they are sent.

    :param urls: at most :data:`MAX_INSERT_RECORDS`; see :func:`split_urls`.
    :param cookie: a session cookie that an import renewed; empty leaves the account's as it is.
    """

    request_id: str
    account_id: str
    urls: tuple[str, ...]
    cookie: str = dataclasses.field(default="", repr=False)
    status: str = "completed"
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Record:
    """What became of one URL of a :class:`LinkReport`.

    :param stored: True or False as the server says; None where the answer has no word on it.
    """

    url: str
    stored: bool | None
    message: str = ""


#: What the address in a report of a failure may be made of.
FAILURE_LINK_FIELDS = ("link_rss", "website", "domain", "account_id", "request_id", "group_id")


# --- requests ---------------------------------------------------------------------------------------------------


def pull(limit: int) -> Call[list[Account]]:
    """Pull and claim up to ``limit`` secondary tasks.

    :param limit: 1 to :data:`MAX_PULL`.
    :raises BadRequest: ``limit`` is out of bounds.
    """
    params = {"type": "secondary", "limit": str(whole("limit", limit))}
    return Call(Request(Endpoint.PULL, "GET", f"{API_PATH}/links", params), _read_pull)


def whole(name: str, value: object) -> int:
    """A number of accounts that somebody asks for.

    :param name: what it is called, for the error.
    :raises BadRequest: it is no whole number from 1 to :data:`MAX_PULL`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_PULL:
        raise BadRequest(f"{name} must be a whole number from 1 to {MAX_PULL}, not {value!r}")
    return value


def account(account_id: str) -> Call[Account]:
    """Read one account, without claiming it.

    :raises BadRequest: ``account_id`` is empty.
    """
    if not account_id:
        raise BadRequest("an account id must not be empty")
    request = Request(Endpoint.ACCOUNT, "GET", f"{API_PATH}/accounts/{quote(account_id, safe='')}")
    return Call(request, _read_account)


def claims(account_ids: Iterable[str]) -> list[Call[Claimed]]:
    """Claim, or extend the claims of, any number of accounts: one call per :data:`MAX_CLAIM_IDS`.

    The server does not refuse an account that another worker holds (inferred): claim only what is ours.
    """
    ids = list(dict.fromkeys(account_ids))
    return [
        Call(
            Request(Endpoint.CLAIM, "POST", f"{API_PATH}/accounts/claim", body={"account_ids": chunk}),
            _ClaimReader(frozenset(chunk)),
        )
        for chunk in _chunks(ids, MAX_CLAIM_IDS)
    ]


def insert(report: LinkReport) -> Call[list[Record]]:
    """Report one account's links. One account a call limits what a lost answer can touch.

    :raises BadRequest: no URL, too many, or one that is not http(s).
    """
    if not 1 <= len(report.urls) <= MAX_INSERT_RECORDS:
        raise BadRequest(f"an insert takes 1 to {MAX_INSERT_RECORDS} URLs, not {len(report.urls)}")
    item = {
        "request_id": report.request_id,
        "account_id": report.account_id,
        "status": report.status,
        "link_post": ",".join(wire_url(url) for url in report.urls),
    }
    item |= {name: value for name, value in (("cookie", report.cookie), ("note", report.note)) if value}
    request = Request(Endpoint.INSERT, "POST", f"{API_PATH}/links/insert", body={"items": [item]})
    return Call(request, _InsertReader(report.urls))


def failure_report(link: str, account: Account, note: str) -> LinkReport:
    """The report that an account failed for good. The API asks for a ``link_post`` even then.

    :param link: what that is: a URL, with :data:`FAILURE_LINK_FIELDS` in braces.
    :raises BadRequest: it has another field, or makes no public http(s) URL.
    """
    task = account.task
    values = {"link_rss": account.link_rss} | {name: getattr(task, name) for name in FAILURE_LINK_FIELDS[1:]}
    try:
        url = wire_url(link.format_map(values))
    except (BadRequest, KeyError, ValueError, IndexError, AttributeError, TypeError):
        # Without what came out: a feed's URL can hold a private token.
        raise BadRequest(
            f"failure_link {link!r} makes no public http(s) URL",
            remedy=f"Set it to a URL that may have the fields {', '.join(FAILURE_LINK_FIELDS)} in braces.",
        ) from None
    return LinkReport(task.request_id, task.account_id, (url,), status="failed", note=note)


def probe(api_key: str) -> Request:
    """A request that proves reachability and the key without touching the queue: an account that cannot exist.

    :raises NotAuthorised: ``api_key`` is empty.
    """
    if not api_key:
        raise NotAuthorised("the connection has no API key", status=401)
    return Request(Endpoint.ACCOUNT, "GET", f"{API_PATH}/accounts/00000000-0000-0000-0000-000000000000")


def read_probe(answer: Answer) -> None:
    """Read the answer to :func:`probe`: that the account is not found is what success looks like.

    :raises LikepionError: the key is refused, or this is not the manager's API.
    """
    if answer.status == 404 and _is_json_object(answer.body):
        return
    try:
        _payload(Endpoint.ACCOUNT, answer)
    except NotAuthorised:
        raise
    except Rejected as error:
        if error.status == 404:
            raise


def split_urls(urls: Sequence[str]) -> list[tuple[str, ...]]:
    """Cut an account's URLs into pieces that one insert may carry."""
    return [tuple(chunk) for chunk in _chunks(urls, MAX_INSERT_RECORDS)]


def wire_url(url: str) -> str:
    """A URL as it travels in ``link_post``: the server splits at commas, so they are percent-encoded.

    :raises BadRequest: not an absolute http(s) URL, or it holds white space or control characters.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable or " " in url or not url.isprintable():
        raise BadRequest(f"not a public http(s) URL: {url[:MESSAGE_CHARS]!r}")
    return url.replace(",", "%2C")


def _chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


# --- failures ---------------------------------------------------------------------------------------------------


def lost(endpoint: Endpoint, loss: Loss, detail: str) -> LikepionError:
    """The error for a request that brought no answer.

    :param detail: the transport's words; must hold no secret.
    """
    message = f"{endpoint.value}: {loss.value} ({detail[:MESSAGE_CHARS]})"
    if loss is Loss.NOT_SENT:
        remedy = "Check that the connection's host is right and that the manager is up; it is tried again by itself."
        return Transient(message, remedy=remedy)
    return _unclear(endpoint, message)


def _unclear(endpoint: Endpoint, message: str) -> LikepionError:
    if endpoint.repeatable:
        return Transient(message)
    if endpoint is Endpoint.PULL:
        remedy = "Do not pull again at once: what it may have claimed is handed out again within 15 minutes."
        return OutcomeUnknown(message, remedy=remedy)
    return OutcomeUnknown(message)


def _refusal(endpoint: Endpoint, answer: Answer) -> LikepionError | None:
    """The error that the status alone calls for; None where the body decides."""
    status = answer.status
    if 200 <= status < 300:
        return None
    words = _server_message(answer)
    message = f"{endpoint.value}: the manager answered {status}" + (f": {words}" if words else "")
    if status == 429:
        return Transient(message, retry_after_s=retry_after_s(answer.headers))
    if status in (401, 403):
        return NotAuthorised(message, status=status, server_message=words)
    if 400 <= status < 500 and status != 408:
        return Rejected(message, status=status, server_message=words, remedy=_remedy_for(endpoint, status))
    if status == 503 and endpoint is not Endpoint.INSERT:
        return Transient(message, retry_after_s=retry_after_s(answer.headers))
    return _unclear(endpoint, message)


def _remedy_for(endpoint: Endpoint, status: int) -> str | None:
    if status != 404:
        return None
    if endpoint is Endpoint.ACCOUNT:
        return "Check the account id, and that the connection's host is the manager's."
    return "Check the connection's host: the manager's API is not at this address."


def retry_after_s(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """``Retry-After`` in seconds, 0 to 86,400, from either of its forms (RFC 9110, 10.2.3).

    :param headers: with lower-case names, or names in any case where the mapping does not mind.
    :param now: aware; the current time by default.
    :return: None where it is absent or unreadable.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), _MAX_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    wait_s = (moment - (now or datetime.now(timezone.utc))).total_seconds()
    return min(max(wait_s, 0.0), _MAX_RETRY_AFTER_S)


# --- answers ----------------------------------------------------------------------------------------------------


def _payload(endpoint: Endpoint, answer: Answer) -> dict[str, Any]:
    """The JSON object of a successful answer; every other answer raises what it calls for."""
    refusal = _refusal(endpoint, answer)
    if refusal:
        raise refusal
    try:
        payload = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise _unclear(endpoint, f"{endpoint.value}: the answer is not JSON ({len(answer.body)} bytes)") from None
    if not isinstance(payload, dict) or not isinstance(payload.get("success"), bool):
        raise _unclear(endpoint, f"{endpoint.value}: the answer has no success field")
    if not payload["success"]:
        words = _server_message(answer)
        raise Rejected(
            f"{endpoint.value}: the manager refused" + (f": {words}" if words else ""),
            status=answer.status,
            server_message=words,
        )
    return payload


def _is_json_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


def _server_message(answer: Answer) -> str:
    try:
        payload = json.loads(answer.body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(payload, dict):
        return ""
    words = payload.get("message") or payload.get("error") or ""
    return " ".join(_writable(words).split())[:MESSAGE_CHARS] if isinstance(words, str) else ""


def _read_pull(answer: Answer) -> list[Account]:
    payload = _payload(Endpoint.PULL, answer)
    rows = payload.get("data")
    if not isinstance(rows, list):
        raise _unclear(Endpoint.PULL, "pull: data is not a list")
    accounts = [_parse_account(Endpoint.PULL, row) for row in rows]
    if any(not each.task.request_id for each in accounts):
        raise _unclear(Endpoint.PULL, "pull: a task has no request_id")
    return list({each.task.account_id: each for each in accounts}.values())


def _read_account(answer: Answer) -> Account:
    return _parse_account(Endpoint.ACCOUNT, _payload(Endpoint.ACCOUNT, answer).get("data"))


_SECRET_FIELDS = tuple(field.name for field in dataclasses.fields(Credentials))


def _parse_account(endpoint: Endpoint, row: Any) -> Account:
    if not isinstance(row, dict):
        raise _unclear(endpoint, f"{endpoint.value}: a task is not an object")
    account_id = _text(row, "account_id") or _text(row, "id")
    if not account_id:
        raise _unclear(endpoint, f"{endpoint.value}: a task has no account_id")
    link_rss = _text(row, "link_rss").strip()
    task = SecondaryTask(
        account_id=account_id,
        request_id=_text(row, "request_id"),
        group_id=_text(row, "group_id"),
        domain=_text(row, "domain").strip().lower(),
        website=_text(row, "website"),
        username=_text(row, "username"),
        target=_count(row, "target"),
        accounts_remaining=_count(row, "accounts_remaining"),
        feed_ready=bool(link_rss),
    )
    return Account(task, Credentials(**{name: _text(row, name) for name in _SECRET_FIELDS}), link_rss)


def _text(row: Mapping[str, Any], name: str) -> str:
    """A field as text; empty where it is missing, null or not a scalar."""
    value = row.get(name)
    if isinstance(value, str):
        return _writable(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _writable(text: str) -> str:
    """The text without what JSON allows but UTF-8 or PostgreSQL does not: lone surrogates and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "")


def _count(row: Mapping[str, Any], name: str) -> int:
    """A field as a whole number >= 0; 0 where it is missing or makes no sense. Numbers may come as strings."""
    try:
        return max(0, int(float(row.get(name) or 0)))
    except (TypeError, ValueError, OverflowError):
        return 0


@dataclasses.dataclass(frozen=True)
class _ClaimReader:
    asked: frozenset[str]

    def __call__(self, answer: Answer) -> Claimed:
        payload = _payload(Endpoint.CLAIM, answer)
        claimed = payload.get("claimed")
        if not isinstance(claimed, list):
            raise _unclear(Endpoint.CLAIM, "claim: the answer has no list of claimed accounts")
        not_found = payload.get("not_found")
        return Claimed(
            claimed=self.asked & {each for each in claimed if isinstance(each, str)},
            not_found=self.asked
            & {each for each in (not_found if isinstance(not_found, list) else ()) if isinstance(each, str)},
            ttl_s=_ttl_s(payload.get("ttl_min")),
        )


def _ttl_s(ttl_min: Any) -> float:
    try:
        ttl_s = float(ttl_min) * 60
    except (TypeError, ValueError, OverflowError):
        return CLAIM_TTL_S
    return min(ttl_s, CLAIM_TTL_S) if ttl_s >= 0 else CLAIM_TTL_S


@dataclasses.dataclass(frozen=True)
class _InsertReader:
    """Reads the answer to an insert of one account, record by record.

    A record is matched by ``link_index``; where that is missing or out of range, by its URL. Two records that
    contradict each other, or none, leave the URL's outcome unknown.
    """

    urls: tuple[str, ...]

    def __call__(self, answer: Answer) -> list[Record]:
        payload = _payload(Endpoint.INSERT, answer)
        results = payload.get("results")
        if not isinstance(results, list):
            raise _unclear(Endpoint.INSERT, "insert: the answer has no results")
        named: dict[str, list[int]] = {}
        for index, url in enumerate(self.urls):
            for spelling in {url, wire_url(url)}:
                named.setdefault(spelling, []).append(index)
        said: dict[int, set[tuple[bool, str]]] = {}
        for row in results:
            position = self._position(row, named)
            if position is not None and isinstance(row.get("success"), bool):
                said.setdefault(position, set()).add((row["success"], _row_message(row)))
        return [self._record(position, said.get(position, set())) for position in range(len(self.urls))]

    def _position(self, row: Any, named: Mapping[str, Sequence[int]]) -> int | None:
        if not isinstance(row, dict):
            return None
        url = row.get("link_post")
        candidates = named.get(url, ()) if isinstance(url, str) else ()
        position = row.get("link_index")
        if isinstance(position, int) and not isinstance(position, bool) and 0 <= position < len(self.urls):
            return position if url is None or position in candidates else None
        return candidates[0] if candidates else None

    def _record(self, position: int, said: set[tuple[bool, str]]) -> Record:
        stored = {success for success, _ in said}
        if len(stored) != 1:
            return Record(self.urls[position], None)
        return Record(self.urls[position], stored.pop(), next((words for _, words in said if words), ""))


def _row_message(row: Mapping[str, Any]) -> str:
    words = row.get("message") or row.get("error") or ""
    return " ".join(_writable(words).split())[:MESSAGE_CHARS] if isinstance(words, str) else ""
