"""How statements name rows by their key, one or many of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar

from sqlalchemy import ColumnElement, Table, and_, bindparam

from likepion_provider.models import PostAccount

#: SQLite takes 32,766 variables a statement, PostgreSQL 65,535.
IDS_A_QUERY = 10_000

_Id = TypeVar("_Id", str, int)


def of_key(table: Table) -> ColumnElement[bool]:
    """The rows of the key that the statement is run with: see :func:`named`.

    For statements that are made once: to build one costs more than to run it.
    """
    return and_(table.c.request_id == bindparam("request"), table.c.account_id == bindparam("account"))


def named(key: PostAccount) -> dict[str, str]:
    """What a statement with :func:`of_key` is run with."""
    return {"request": key.request_id, "account": key.account_id}


def among(table: Table, keys: Iterable[PostAccount]) -> Iterator[ColumnElement[bool]]:
    """Conditions, a query each, that together name a table's rows of some keys.

    By post first: an account has rows for every post there ever was.
    """
    by_post: defaultdict[str, list[str]] = defaultdict(list)
    for key in keys:
        by_post[key.request_id].append(key.account_id)
    for request_id, ids in by_post.items():
        for part in in_parts(ids):
            yield and_(table.c.request_id == request_id, table.c.account_id.in_(part))


def in_parts(ids: list[_Id]) -> Iterable[list[_Id]]:
    """Pieces that fit into one statement's variables."""
    return (ids[start : start + IDS_A_QUERY] for start in range(0, len(ids), IDS_A_QUERY))
