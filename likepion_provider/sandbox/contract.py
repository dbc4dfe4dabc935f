"""The manager API's bounds, the form of its requests, and its error answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

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


class ErrorAnswer(Exception):
    """Answer the request with this status and body in place of the contract's answer.

    :param status: the HTTP status.
    :param message: what is wrong, for the caller.
    :param body: the answer's JSON; default: ``success`` false and the message.
    """

    def __init__(self, status: int, message: str, body: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: Mapping[str, Any] = {"success": False, "message": message} if body is None else body


@dataclasses.dataclass(frozen=True)
class Record:
    """One URL of an insert, checked for form."""

    index: int
    link_index: int
    request_id: str
    account_id: str
    domain: str
    link_post: str
    status: str
    note: str
    credentials: Mapping[str, str] = dataclasses.field(repr=False)


def insert_items(body: object) -> list[Mapping[str, Any]]:
    """The items of an insert.

    :param body: one item, a list of items, or ``{"items": [...]}``.
    :raises ErrorAnswer: 400, it is none of these, or there is no item.
    """
    items = body.get("items", [body]) if isinstance(body, Mapping) else body
    if not isinstance(items, list) or not items:
        raise ErrorAnswer(400, "send one item, a list of items, or {'items': [...]}")
    for item in items:
        if not isinstance(item, Mapping):
            raise ErrorAnswer(400, "every item must be an object")
    return items


def insert_records(items: list[Mapping[str, Any]]) -> list[Record]:
    """The records that the items of an insert expand to: one per URL.

    :param items: what :func:`insert_items` gave.
    :raises ErrorAnswer: 400, an item has a bad field, or there are more than :data:`MAX_RECORDS` records.
    """
    records = [record for index, item in enumerate(items) for record in _expand(index, item)]
    if len(records) > MAX_RECORDS:
        raise ErrorAnswer(400, f"at most {MAX_RECORDS} records after expansion, got {len(records)}")
    return records


def _expand(index: int, item: Mapping[str, Any]) -> list[Record]:
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
        Record(index, link_index, request_id, account_id, domain, url, status, note, credentials)
        for link_index, url in enumerate(urls)
    ]


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ErrorAnswer(400, f"{name} must be a string")
    return value.strip()
