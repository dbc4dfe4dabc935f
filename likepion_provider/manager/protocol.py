"""The manager API without I/O: builds requests, reads answers, knows which failure means what.

The transport, :mod:`likepion_provider.manager.client`, only moves the bytes. The contract is the owner's page of the
podcast API; what that page leaves open is marked *inferred* and decided here and, for the answers to inserts, in
:mod:`likepion_provider.manager.inserts`.
"""

from __future__ import annotations

import dataclasses
import json
import math
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
from likepion_provider.manager.inserts import MESSAGE_CHARS, read_records, whole, words_of
from likepion_provider.manager.inserts import LinkReport as LinkReport
from likepion_provider.manager.inserts import LinkStatus as LinkStatus
from likepion_provider.manager.inserts import Record as Record
from likepion_provider.manager.inserts import canonical_url as canonical_url
from likepion_provider.manager.inserts import wire_url as wire_url
from likepion_provider.manager.tasks import (
    CREDENTIAL_FIELDS,
    Odd,
    account_id_of,
    normal_id,
    number,
    read_account,
    read_tasks,
)
from likepion_provider.manager.tasks import Pulled as Pulled
from likepion_provider.manager.urls import normal_url as normal_url
from likepion_provider.models import Account, writable

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
#: Shorter claims leave no time to work: a lease is lost a minute before its end and renewed after a third of it.
MIN_CLAIM_MIN = 3

#: No answer is read beyond this: 1,000 tasks are about 1 MB.
MAX_ANSWER_BYTES = 16 * 1024 * 1024
#: No answer to an insert is read beyond so many records.
MAX_RESULTS = 5 * MAX_INSERT_RECORDS

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


#: What the address in a report of a failure may be made of.
FAILURE_LINK_FIELDS = ("link_rss", "website", "domain", "account_id", "request_id", "group_id")


# --- requests ---------------------------------------------------------------------------------------------------


def pull(limit: int, *, kind: str | None = "secondary") -> Call[Pulled]:
    """Pull and claim up to ``limit`` tasks.

    :param limit: 1 to :data:`MAX_PULL`.
    :param kind: ``secondary``, or None to leave the API's ``type`` out: then primary sites' tasks come too.
    :raises BadRequest: ``limit`` or ``kind`` is out of bounds.
    """
    if kind not in ("secondary", None):
        raise BadRequest(f"kind must be 'secondary' or None, not {kind!r}")
    params = ({"type": kind} if kind else {}) | {"limit": str(bounded("limit", limit))}
    return Call(Request(Endpoint.PULL, "GET", f"{API_PATH}/links", params), _PullReader(limit, kind))


def bounded(name: str, value: object) -> int:
    """A number of accounts that somebody asks for.

    :param name: what it is called, for the error.
    :raises BadRequest: it is no whole number from 1 to :data:`MAX_PULL`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_PULL:
        raise BadRequest(f"{name} must be a whole number from 1 to {MAX_PULL}, not {value!r}")
    return value


def account(account_id: str) -> Call[Account]:
    """Read one account, without claiming it. An answer that holds another account's data is refused.

    :raises BadRequest: ``account_id`` is empty.
    """
    asked = _given_id("account id", account_id)
    request = Request(Endpoint.ACCOUNT, "GET", f"{API_PATH}/accounts/{quote(asked, safe='')}")
    return Call(request, _AccountReader(asked))


def claims(account_ids: Iterable[str]) -> list[Call[Claimed]]:
    """Claim, or extend the claims of, any number of accounts: one call per :data:`MAX_CLAIM_IDS`.

    The server does not refuse an account that another worker holds (inferred): claim only what is ours.

    :raises BadRequest: an id is empty.
    """
    asked: dict[str, set[str]] = {}
    for each in account_ids:
        asked.setdefault(_given_id("account id", each), set()).add(each)
    return [
        _claim({"account_ids": chunk}, {each: asked[each] for each in chunk})
        for chunk in _chunks(list(asked), MAX_CLAIM_IDS)
    ]


def claim_one(account_id: str) -> Call[Claimed]:
    """Claim, or extend the claim of, one account: the API's form for a single id; see :func:`claims`.

    :raises BadRequest: ``account_id`` is empty.
    """
    asked = _given_id("account id", account_id)
    return _claim({"account_id": asked}, {asked: {account_id}})


def _claim(body: Mapping[str, Any], asked: Mapping[str, Iterable[str]]) -> Call[Claimed]:
    spellings: dict[str, set[str]] = {}
    for sent, given in asked.items():
        spellings.setdefault(sent.casefold(), set()).update(given)
    return Call(Request(Endpoint.CLAIM, "POST", f"{API_PATH}/accounts/claim", body=body), _ClaimReader(spellings))


def insert(report: LinkReport) -> Call[list[Record]]:
    """Report one account's links. One account a call limits what a lost answer can touch.

    :return: one record per URL, in their order: see :mod:`likepion_provider.manager.inserts`.
    :raises BadRequest: as :func:`insert_items`.
    """
    call = insert_items([report])
    return Call(call.request, lambda answer: list(call.read(answer)[0]))


def insert_items(reports: Sequence[LinkReport]) -> Call[list[tuple[Record, ...]]]:
    """Report the links of several accounts in one call. The manager stores a URL as often as it is sent.

    :return: for each report its records, one per URL, in the order given.
    :raises BadRequest: no report, one without URLs, or more than :data:`MAX_INSERT_RECORDS` URLs together; a URL that
        is not http(s); an empty id; a status that the API does not have.
    """
    counts = [len(report.urls) for report in reports]
    if not counts or not all(counts) or sum(counts) > MAX_INSERT_RECORDS:
        raise BadRequest(f"an insert takes 1 to {MAX_INSERT_RECORDS} URLs, not {sum(counts)} in {len(counts)} items")
    body = {"items": [_item(report) for report in reports]}
    return Call(Request(Endpoint.INSERT, "POST", f"{API_PATH}/links/insert", body=body), _InsertReader(tuple(reports)))


def _item(report: LinkReport) -> dict[str, str]:
    item = {"request_id": _given_id("request_id", report.request_id)}
    if report.account_id or not report.domain:
        item["account_id"] = _given_id("account_id", report.account_id)
    if report.domain:
        item["domain"] = _given_id("domain", report.domain).lower()
    item["status"] = LinkStatus.named(report.status).value
    item["link_post"] = ",".join(wire_url(url) for url in report.urls)
    renewed = {name: getattr(report.credentials, name) for name in CREDENTIAL_FIELDS}
    renewed |= {"cookie": report.cookie or report.credentials.cookie, "note": report.note}
    return item | {name: value for name, value in renewed.items() if value}


def _given_id(name: str, text: str) -> str:
    if not text.strip():
        raise BadRequest(f"{name} must not be empty")
    return normal_id(text)


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
    return LinkReport(task.request_id, task.account_id, (url,), status=LinkStatus.FAILED, note=note)


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
    try:
        _payload(Endpoint.ACCOUNT, answer)
    except NotAuthorised:
        raise
    except Rejected as error:
        if error.status in _REDIRECTS or _object(answer) is None:
            raise


def split_urls(urls: Sequence[str]) -> list[tuple[str, ...]]:
    """Cut an account's URLs into pieces that one insert may carry."""
    return [tuple(chunk) for chunk in _chunks(urls, MAX_INSERT_RECORDS)]


def split_items(reports: Iterable[LinkReport]) -> list[list[LinkReport]]:
    """Cut reports, in their order, into requests that one insert may carry; a report may be cut, too."""
    parts: list[list[LinkReport]] = [[]]
    room = MAX_INSERT_RECORDS
    for report in reports:
        urls = report.urls
        while len(urls) > room:
            if room:
                parts[-1].append(dataclasses.replace(report, urls=urls[:room]))
            urls, room = urls[room:], MAX_INSERT_RECORDS
            parts.append([])
        parts[-1].append(dataclasses.replace(report, urls=urls))
        room -= len(urls)
    return parts


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
    words = _told(endpoint, status, _object(answer) or {})
    told = f"{status}, a redirect to {_target(answer)}" if status in _REDIRECTS else f"{status}"
    message = f"{endpoint.value}: the manager answered {told}" + (f": {words}" if words else "")
    if status in _REDIRECTS:
        if endpoint is Endpoint.INSERT and status in _AFTER_EFFECT:
            return OutcomeUnknown(message, remedy=f"{_REDIRECT_REMEDY} {OutcomeUnknown.remedy}")
        return Rejected(message, status=status, server_message=words, remedy=_REDIRECT_REMEDY)
    if status == 429:
        return Transient(message, retry_after_s=retry_after_s(answer.headers))
    if status in (401, 403):
        return NotAuthorised(message, status=status, server_message=words)
    if 400 <= status < 500 and status != 408:
        return Rejected(message, status=status, server_message=words, remedy=_remedy_for(endpoint, status))
    if status == 503 and endpoint is not Endpoint.INSERT:
        return Transient(message, retry_after_s=retry_after_s(answer.headers))
    return _unclear(endpoint, message)


def _told(endpoint: Endpoint, status: int, payload: Mapping[str, Any]) -> str:
    """The manager's own words, where they can hold no secret that this process does not know and so cannot mask.

    An account's are read by this very call; a pull that broke off may be told with the rows that it had.
    """
    holds_secrets = endpoint is Endpoint.ACCOUNT or (endpoint is Endpoint.PULL and status >= 500)
    return "" if holds_secrets else words_of(payload)


#: Statuses that send the caller elsewhere, and those of them that servers also give after a write took effect.
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AFTER_EFFECT = frozenset({302, 303})
_REDIRECT_REMEDY = f"Put that address, up to {API_PATH}, into the host of the connection to the manager."


def _target(answer: Answer) -> str:
    """Where a redirect points to, without user, query and fragment: these can hold secrets."""
    try:
        parts = urlsplit(answer.headers.get("location", ""))
    except ValueError:
        parts = urlsplit("")
    scheme = f"{parts.scheme}://" if parts.netloc and parts.scheme else ""
    place = writable(f"{scheme}{parts.netloc.rpartition('@')[2]}{parts.path}")
    return "".join(filter(str.isprintable, place))[:MESSAGE_CHARS] or "an address that it does not name"


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
    payload = _object(answer)
    if payload is None:
        raise _unclear(endpoint, f"{endpoint.value}: the answer is no JSON object ({len(answer.body)} bytes)")
    if not isinstance(payload.get("success"), bool):
        raise _unclear(endpoint, f"{endpoint.value}: the answer has no success field")
    if not payload["success"]:
        words = _told(endpoint, answer.status, payload)
        raise Rejected(
            f"{endpoint.value}: the manager refused" + (f": {words}" if words else ""),
            status=answer.status,
            server_message=words,
        )
    return payload


def _object(answer: Answer) -> dict[str, Any] | None:
    """The JSON object that is the answer's body; None where it is anything else."""
    try:
        payload = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


@dataclasses.dataclass(frozen=True)
class _PullReader:
    limit: int
    kind: str | None

    def __call__(self, answer: Answer) -> Pulled:
        rows = _payload(Endpoint.PULL, answer).get("data")
        if not isinstance(rows, list):
            raise _unclear(Endpoint.PULL, "pull: data is not a list")
        return read_tasks(rows, limit=self.limit, most=MAX_PULL, kind=self.kind)


@dataclasses.dataclass(frozen=True)
class _AccountReader:
    asked: str

    def __call__(self, answer: Answer) -> Account:
        row = _payload(Endpoint.ACCOUNT, answer).get("data")
        if not isinstance(row, dict) or not account_id_of(row):
            raise _unclear(Endpoint.ACCOUNT, "account: the answer has no account")
        try:
            return read_account(row, asked=self.asked)
        except Odd as error:
            raise Rejected(
                f"account: {self.asked[:MESSAGE_CHARS]!r} cannot be worked: {error}",
                status=answer.status,
                remedy="Correct the account at the manager, or have the manager's answer corrected, and run again.",
            ) from None


@dataclasses.dataclass(frozen=True)
class _ClaimReader:
    """Reads the answer to a claim; an account that is claimed and not found at once is not claimed.

    :param asked: by id without case, how the caller spelt it.
    """

    asked: Mapping[str, Iterable[str]]

    def __call__(self, answer: Answer) -> Claimed:
        payload = _payload(Endpoint.CLAIM, answer)
        claimed = payload.get("claimed")
        if not isinstance(claimed, list):
            raise _unclear(Endpoint.CLAIM, "claim: the answer has no list of claimed accounts")
        missed = payload.get("not_found")
        not_found = self._named(missed if isinstance(missed, list) else ())
        return Claimed(self._named(claimed) - not_found, not_found, _ttl_s(payload.get("ttl_min"), answer.status))

    def _named(self, said: Iterable[Any]) -> frozenset[str]:
        """Which of the ids that were asked for are named: as text, or in an object that does not say failure."""
        ids = [
            account_id_of(each) if isinstance(each, dict) and each.get("success") is not False else each
            for each in said
        ]
        return frozenset(
            spelling
            for each in ids
            if isinstance(each, str)
            for spelling in self.asked.get(each.strip().casefold(), ())
        )


def _ttl_s(ttl_min: Any, status: int) -> float:
    """How long a claim holds, as far as that is told in numbers >= 0; at most :data:`CLAIM_TTL_S`.

    :raises Rejected: too short to work in.
    """
    minutes = number(ttl_min)
    if math.isnan(minutes) or minutes < 0:
        return CLAIM_TTL_S
    if minutes < MIN_CLAIM_MIN:
        raise Rejected(
            f"claim: the manager gives claims of {minutes:g} minutes; at least {MIN_CLAIM_MIN} are needed",
            status=status,
            remedy=f"Have the manager give claims of {MIN_CLAIM_MIN} minutes or more; nothing can be done before.",
        )
    return min(minutes * 60, CLAIM_TTL_S)


@dataclasses.dataclass(frozen=True)
class _InsertReader:
    """Reads the answer to an insert: its records if it has any, whatever else it says; else as any other answer."""

    reports: tuple[LinkReport, ...]

    def __call__(self, answer: Answer) -> list[tuple[Record, ...]]:
        payload = _object(answer)
        if payload is None and answer.body.lstrip().startswith((b"{", b"[")):
            # Whatever its status: the part that is missing may be the records.
            raise _unclear(Endpoint.INSERT, f"insert: the answer is JSON that ends early ({len(answer.body)} bytes)")
        payload = payload or {}
        results = payload.get("results")
        accepted = 200 <= answer.status < 300 and payload.get("success") is True
        if not (isinstance(results, list) and results):
            if not accepted and _speaks_of_storing(payload, sum(len(report.urls) for report in self.reports)):
                message = (
                    f"insert: the manager answered {answer.status}, but speaks of stored links without naming them"
                )
                raise _unclear(Endpoint.INSERT, message)
            _payload(Endpoint.INSERT, answer)
        if not isinstance(results, list):
            raise _unclear(Endpoint.INSERT, "insert: the answer has no results")
        if len(results) > MAX_RESULTS:
            raise _unclear(Endpoint.INSERT, f"insert: the answer has {len(results)} results")
        return read_records(self.reports, payload, accepted=accepted)


def _speaks_of_storing(payload: Mapping[str, Any], sent: int) -> bool:
    """Whether an answer without records hints that some of the links it was sent are stored."""
    inserted, failed = payload.get("inserted"), whole(payload.get("failed"))
    return (
        payload.get("success") is True
        or bool(payload.get("results"))
        or bool(inserted and whole(inserted) != 0)
        or (inserted is None and failed is not None and failed < sent)
    )
