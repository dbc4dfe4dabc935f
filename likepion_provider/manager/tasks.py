"""Tasks and accounts as the manager hands them out: read row by row, bounded, and named where they are odd."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from likepion_provider.masking import clean, hide_account
from likepion_provider.models import Account, Credentials, SecondaryTask, writable

#: Bounds of what is read, which the journal and the feeds hold to as well.
MAX_ID_CHARS = 64
MAX_DOMAIN_CHARS = 253
MAX_TARGET = 10_000
#: Of a user name as it is shown.
MAX_SHOWN_CHARS = 300

#: The fields of a task, and of an insert, that hold an account's credentials.
CREDENTIAL_FIELDS = tuple(field.name for field in dataclasses.fields(Credentials))

_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
#: Labels (RFC 1123) of any script; a port for platforms that are tried out on a machine of one's own.
_LABEL = r"[^\W_](?:(?:[^\W_]|-){0,61}[^\W_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[1-9][0-9]{{0,4}})?")
_MAX_ACCOUNTS = 10**9


class Odd(Exception):
    """A row that cannot be worked; its words hold no secret."""


class Pulled(list[Account]):
    """The answer to a pull: the secondary tasks that can be worked, and what else was handed out.

    Everything in it is claimed, the odd rows too.
    """

    def __init__(
        self,
        accounts: Iterable[Account] = (),
        *,
        primary: Iterable[Account] = (),
        odd: Iterable[str] = (),
        is_exhaustive: bool = False,
    ) -> None:
        super().__init__(accounts)
        #: Tasks of primary sites, which come only where ``kind`` was left out.
        self.primary = tuple(primary)
        #: The rows that cannot be worked, each in a few words that hold no secret: its number, its id, what is wrong.
        self.odd = tuple(odd)
        #: Whether the manager had no further task: fewer rows than asked for, none of them odd.
        self.is_exhaustive = is_exhaustive


def read_tasks(rows: Sequence[Any], *, limit: int, most: int, kind: str | None) -> Pulled:
    """Read what a pull gave. A row that is odd is set aside and named, the others are worked.

    :param limit: how many were asked for.
    :param most: no row is read beyond so many.
    :param kind: what was asked for: ``secondary``, or None for primary sites' tasks as well.
    """
    found: dict[tuple[bool, str], Account] = {}
    odd: list[str] = []
    for position, row in enumerate(rows[:most]):
        try:
            _add(found, row, kind)
        except Odd as error:
            odd.append(f"row {position}{_shown_id(row)}: {error}")
    if len(rows) > most:
        odd.append(f"rows {most} to {len(rows) - 1}: more than the {most} that a pull may give")
    return Pulled(
        [account for (is_primary, _), account in found.items() if not is_primary],
        primary=[account for (is_primary, _), account in found.items() if is_primary],
        odd=odd,
        is_exhaustive=len(rows) < limit and not odd,
    )


def _add(found: dict[tuple[bool, str], Account], row: Any, kind: str | None) -> None:
    account = _read_row(row)
    if not account.task.request_id:
        raise Odd("no request_id")
    is_primary = _is_primary(row, asked=kind)
    if is_primary and kind:
        raise Odd("a primary site's task, which was not asked for")
    first = found.setdefault((is_primary, account.task.account_id.casefold()), account)
    if not is_same_id(first.task.request_id, account.task.request_id):
        raise Odd("the account is there already, for another post")


def _is_primary(row: Mapping[str, Any], *, asked: str | None) -> bool:
    """Whether a task is a primary site's: its ``type`` says so or, inferred, its ``id`` is not its account's.

    :param asked: the kind that was asked for; if there is one, nothing but ``type`` says otherwise.
    """
    kind = _text(row, "type").strip().lower()
    if asked or kind in ("primary", "secondary"):
        return kind == "primary"
    if not (_text(row, "id") and _text(row, "account_id")):
        raise Odd("nothing says whether it is a primary or a secondary site's task")
    return not is_same_id(_text(row, "id"), _text(row, "account_id"))


def _shown_id(row: Any) -> str:
    account_id = account_id_of(row) if isinstance(row, dict) else ""
    return f" ({account_id})" if _is_sane_id(account_id) else ""


def read_account(row: Mapping[str, Any], *, asked: str) -> Account:
    """Read one account, which has to be the one that was asked for.

    :raises Odd: it is another, or cannot be worked.
    """
    if not is_same_id(account_id_of(row), asked):
        raise Odd(f"the manager answered with another account{_shown_id(row)}; nothing was done with it")
    account = _read_row(row)
    return dataclasses.replace(account, task=dataclasses.replace(account.task, account_id=asked))


def normal_id(text: str) -> str:
    """An id as it is compared and filed: no outer white space, UUIDs in lower case."""
    text = text.strip()
    return text.lower() if _UUID.fullmatch(text) else text


def is_same_id(one: str, other: str) -> bool:
    """Whether two ids are one, without regard to case and outer white space."""
    return one.strip().casefold() == other.strip().casefold()


def _read_row(row: Any) -> Account:
    """One task.

    :raises Odd: it cannot be worked.
    """
    if not isinstance(row, dict):
        raise Odd("not an object")
    account_id, link_rss = account_id_of(row), _text(row, "link_rss").strip()
    request_id, group_id = normal_id(_text(row, "request_id")), normal_id(_text(row, "group_id"))
    if not account_id:
        raise Odd("no account_id")
    for name, value in (("account_id", account_id), ("request_id", request_id), ("group_id", group_id)):
        if value and not _is_sane_id(value):
            raise Odd(f"{name} is longer than {MAX_ID_CHARS} characters, or not printable")
    credentials = Credentials(**{name: _text(row, name) for name in CREDENTIAL_FIELDS})
    # Before anything of the row is shown.
    hide_account(credentials, link_rss)
    task = SecondaryTask(
        account_id=account_id,
        request_id=request_id,
        group_id=group_id,
        domain=_host_name(_text(row, "domain")),
        website=_text(row, "website").strip(),
        username=clean(credentials.username, MAX_SHOWN_CHARS),
        target=_count(row, "target", MAX_TARGET),
        accounts_remaining=_count(row, "accounts_remaining", _MAX_ACCOUNTS),
        feed_ready=bool(link_rss),
    )
    return Account(task, credentials, link_rss)


def _host_name(text: str) -> str:
    domain = text.strip().rstrip(".").lower()
    if not domain:
        raise Odd("no domain")
    if len(domain) > MAX_DOMAIN_CHARS or not _HOST_NAME.fullmatch(domain):
        raise Odd(f"domain is no host name of at most {MAX_DOMAIN_CHARS} characters")
    return domain


def account_id_of(row: Mapping[str, Any]) -> str:
    """The id of the account that a row is about; empty where it has none."""
    return normal_id(_text(row, "account_id")) or normal_id(_text(row, "id"))


def _is_sane_id(text: str) -> bool:
    return 0 < len(text) <= MAX_ID_CHARS and text.isprintable()


def _text(row: Mapping[str, Any], name: str) -> str:
    """A field as text; empty where it is missing, null or not a scalar."""
    value = row.get(name)
    if isinstance(value, str):
        return writable(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def number(value: Any) -> float:
    """A number, or a text that is one; NaN for anything else."""
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except ValueError:
        return math.nan
    except OverflowError:  # an integer of more than 308 digits
        return math.inf if int(value) > 0 else -math.inf


def _count(row: Mapping[str, Any], name: str, most: int) -> int:
    """A field as a whole number from 0 to ``most``; 0 where it is missing or makes no sense."""
    told = number(row.get(name))
    return 0 if math.isnan(told) else int(min(max(told, 0), most))
