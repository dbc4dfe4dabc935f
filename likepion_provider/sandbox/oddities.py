"""Odd answers on demand: what the page of the manager API leaves possible, and what a defect there would send.

An :class:`Oddity` waits for one call of an endpoint, changes its answer and, for an insert, what is stored. It never
changes the claims: an account whose row is odd was claimed like the others.

========= ===========================================================================================================
endpoint  what ``entries`` does
========= ===========================================================================================================
pull      deals the names of :data:`ODD_ROWS` to the rows, the first name to the first row; the other rows are honest.
          Names that find no row get a stray one, of an account that does not exist
account   the first name of :data:`ODD_ROWS` changes the answer's ``data``
claim     each name of :data:`ODD_CLAIMED` changes ``claimed``, one after the other
insert    each name of :data:`ODD_RESULTS` changes ``results``, one after the other
========= ===========================================================================================================
"""

from __future__ import annotations

import dataclasses
import itertools
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from likepion_provider.sandbox.contract import CREDENTIAL_FIELDS

#: An account and a post that are never at the manager.
NOBODY = "00000000-0000-4000-8000-000000000000"

_IDS = ("id", "account_id", "request_id", "group_id", "post_id")


def _with(**fields: Any) -> Callable[[dict[str, Any]], list[Any]]:
    return lambda entry: [{**entry, **fields}]


def _without(*names: str) -> Callable[[dict[str, Any]], list[Any]]:
    return lambda entry: [{name: value for name, value in entry.items() if name not in names}]


def _instead(value: Any) -> Callable[[dict[str, Any]], list[Any]]:
    return lambda _: [value]


def _upper_case(entry: dict[str, Any]) -> list[Any]:
    return [{name: value.upper() if name in _IDS else value for name, value in entry.items()}]


#: Changes to one row of a pull, or to the ``data`` of an account; the result takes the row's place.
ODD_ROWS: Mapping[str, Callable[[dict[str, Any]], list[Any]]] = {
    "null": _instead(None),
    "text": _instead("a task"),
    "list": _instead([]),
    "no_account_id": _without("account_id"),
    "no_ids": _without("id", "account_id"),
    "no_request_id": _without("request_id"),
    "long_account_id": _with(id="a" * 65, account_id="a" * 65),
    "long_request_id": _with(request_id="p" * 65),
    "long_group_id": _with(group_id="g" * 65),
    "long_domain": _with(domain=f"{'d' * 292}.example"),
    "no_host_name": _with(domain="../not a host name?"),
    "null_optionals": _with(**dict.fromkeys(("website", "target", "accounts_remaining", *CREDENTIAL_FIELDS))),
    "target_text": _with(target="5"),
    "target_float": _with(target=1e10),
    "target_huge": _with(target=10**30),
    "target_negative": _with(target=-1),
    "target_true": _with(target=True),
    # JSON holds both; UTF-8 has no lone surrogate, and PostgreSQL no NUL.
    "unwritable_text": _with(website="https://\ud83d.example", username="pod\x00"),
    "upper_case": _upper_case,
    "twice": lambda row: [row, row],
}

#: Changes to the list of claimed ids.
ODD_CLAIMED: Mapping[str, Callable[[list[Any]], list[Any]]] = {
    "objects": lambda ids: [{"account_id": each} for each in ids],
    "upper_case": lambda ids: [each.upper() if isinstance(each, str) else each for each in ids],
    "fewer": lambda ids: ids[:-1],
    "none": lambda _: [],
    "doubled": lambda ids: ids * 2,
    "unasked": lambda ids: [*ids, NOBODY],
    "nulls": lambda ids: [None] * len(ids),
}


def _each(change: Callable[[dict[str, Any]], list[Any]]) -> Callable[[list[Any]], list[Any]]:
    # What an oddity before this one made no object, stays as it is.
    return lambda results: [new for old in results for new in (change(old) if isinstance(old, dict) else [old])]


def _opposite(result: dict[str, Any]) -> dict[str, Any]:
    return {**result, "success": not result["success"]}


def _respelled(respell: Callable[[str], str]) -> Callable[[dict[str, Any]], list[Any]]:
    return lambda result: [{**result, "link_post": respell(result["link_post"])} if "link_post" in result else result]


def _host_in_upper_case(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.upper()))


def _last_character_encoded(url: str) -> str:
    return f"{url[:-1]}%{ord(url[-1]):02X}"


#: Changes to the list of an insert's records.
ODD_RESULTS: Mapping[str, Callable[[list[Any]], list[Any]]] = {
    "all_false": _each(_with(success=False)),
    "all_true": _each(_with(success=True)),
    "opposite": _each(lambda result: [_opposite(result)]),
    "fewer": lambda results: results[:-1],
    "none": lambda _: [],
    "doubled": _each(lambda result: [result, result]),
    "contradicted": _each(lambda result: [result, _opposite(result)]),
    "another_account": _each(_with(account_id=NOBODY)),
    "another_post": _each(_with(post_id=NOBODY)),
    "upper_case": _each(_upper_case),
    "host_case": _each(_respelled(_host_in_upper_case)),
    "percent_encoded": _each(_respelled(_last_character_encoded)),
    "reversed": lambda results: results[::-1],
    "no_link_index": _each(_without("link_index")),
    "no_link_post": _each(_without("link_post")),
    "success_text": _each(lambda result: [{**result, "success": str(result["success"]).lower()}]),
    "nulls": lambda results: [None] * len(results),
}

#: The names that ``entries`` may have, by endpoint.
ENTRIES: Mapping[str, Mapping[str, Callable[[Any], list[Any]]]] = {
    "pull": ODD_ROWS,
    "claim": ODD_CLAIMED,
    "insert": ODD_RESULTS,
    "account": ODD_ROWS,
}


@dataclasses.dataclass(frozen=True)
class Oddity:
    """One odd answer; with the defaults it is an ordinary one.

    :param endpoint: ``pull``, ``claim``, ``insert`` or ``account``.
    :param entries: the changes to the answer's list; see the module's docstring.
    :param fields: values that replace the answer's own, e.g. ``{"success": False, "inserted": 0}`` or
        ``{"ttl_min": "15"}``; any JSON.
    :param absent: the answer's fields that are left out.
    :param status: the HTTP status, 200 to 599. Default 200.
    :param store: for an insert: the positions of the records that are stored, from 0; the others fail. None: all.
    :param beyond: for a pull: how many rows more than ``limit``, 0 or more. Stray ones fill up where too few accounts
        are free. Default 0.
    :param other: for an account: the id of the account whose data is answered; empty: the right one.
    :raises ValueError: a field is out of its bounds or belongs to another endpoint.
    """

    endpoint: str
    entries: Sequence[str] = ()
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    absent: Collection[str] = ()
    status: int = 200
    store: Collection[int] | None = None
    beyond: int = 0
    other: str = ""

    def __post_init__(self) -> None:
        known = ENTRIES.get(self.endpoint, {})
        checks = {
            f"endpoint {self.endpoint!r} is none of {', '.join(ENTRIES)}": self.endpoint in ENTRIES,
            f"entries of {self.endpoint} are {', '.join(known)}": set(self.entries) <= known.keys(),
            "fields must be an object": isinstance(self.fields, Mapping),
            "status must be in 200..599": 200 <= self.status <= 599,
            "store is for insert": self.store is None or self.endpoint == "insert",
            "beyond is for pull, 0 or more": self.beyond == 0 or (self.beyond > 0 and self.endpoint == "pull"),
            "other is for account": not self.other or self.endpoint == "account",
        }
        for message, holds in checks.items():
            if not holds:
                raise ValueError(message)

    @property
    def is_enveloped(self) -> bool:
        """Whether the answer's status or a field beside its list is odd."""
        return bool(self.fields or self.absent or self.status != 200)

    def stores(self, position: int) -> bool:
        """Whether a record of an insert is stored.

        :param position: the record's, from 0, over all items.
        """
        return self.store is None or position in self.store

    def rows(self, rows: Sequence[dict[str, Any]], limit: int = 0) -> list[Any]:
        """The rows of a pull or an account as they are answered.

        :param rows: the honest ones.
        :param limit: how many were asked for.
        """
        wanted = max(len(self.entries), limit + self.beyond if self.beyond else 0)
        padded = [*rows, *map(_stray_row, range(wanted - len(rows)))]
        dealt = itertools.zip_longest(padded, self.entries)
        return [each for row, name in dealt for each in (ODD_ROWS[name](row) if name else [row])]

    def changed(self, entries: list[Any]) -> list[Any]:
        """The list of a claim or an insert as it is answered.

        :param entries: the honest one.
        """
        for name in self.entries:
            entries = ENTRIES[self.endpoint][name](entries)
        return entries

    def envelope(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The whole answer as it is sent.

        :param answer: the honest one, its list changed already.
        """
        return {name: value for name, value in {**answer, **self.fields}.items() if name not in self.absent}


def _stray_row(number: int) -> dict[str, Any]:
    account_id, request_id, group_id = (
        str(uuid.uuid5(uuid.NAMESPACE_URL, f"stray:{kind}:{number}")) for kind in ("account", "post", "group")
    )
    return {
        "id": account_id,
        "request_id": request_id,
        "type_request": "post",
        "status": "queued",
        "account_id": account_id,
        "group_id": group_id,
        "target": 5,
        "accounts_remaining": 1,
        "domain": "stray.example",
        "website": "https://stray.example",
        **dict.fromkeys(CREDENTIAL_FIELDS, ""),
        "link_rss": "https://stray.example/feed.xml",
    }
