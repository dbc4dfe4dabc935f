"""How statements name rows: by one key, by many, by the key of another table; and what they give back."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Executable,
    FromClause,
    Table,
    Text,
    TypeDecorator,
    and_,
    bindparam,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal

from likepion_provider.journal.owner import of_manager_too
from likepion_provider.models import PostAccount

#: SQLite takes 32,766 variables per statement, PostgreSQL 65,535.
IDS_PER_QUERY = 10_000

_Item = TypeVar("_Item")
_Row = TypeVar("_Row")


def key_columns(table: Table) -> tuple[Column[str], Column[str]]:
    """The two columns of a table that :class:`~likepion_provider.models.PostAccount` names."""
    return table.c.request_id, table.c.account_id


def of_key(table: Table) -> ColumnElement[bool]:
    """The rows of the key that the statement is run with: see :func:`named`.

    For statements that are made once: to build one costs more than to run it.
    """
    key = (table.c.request_id == bindparam("request"), table.c.account_id == bindparam("account"))
    return and_(of_manager_too(table), *key)


def named(key: PostAccount) -> dict[str, Any]:
    """The parameters of a statement with :func:`of_key`."""
    return {"request": key.request_id, "account": key.account_id}


def each_named(keys: Iterable[PostAccount], also: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The parameters of a statement with :func:`of_key` that is run for many keys.

    They are in the one order that all writers keep, so that they wait for each other and never in a circle.

    :param also: more parameters, the same for every key.
    """
    return [{**named(key), **(also or {})} for key in sorted(keys)]


def each_with(parameters: Mapping[PostAccount, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """As :func:`each_named`, with each key's own parameters beside."""
    return [{**named(key), **parameters[key]} for key in sorted(parameters)]


def same_key(table: FromClause, other: FromClause) -> ColumnElement[bool]:
    """The rows of one table whose key a row of the other has."""
    names = ("manager_id", "request_id", "account_id")
    return and_(*(table.c[name] == other.c[name] for name in names))


def among(table: Table, keys: Iterable[PostAccount]) -> Iterator[ColumnElement[bool]]:
    """Conditions, one per query, that together name a table's rows of some keys.

    By post first: an account has rows for every post there ever was.
    """
    by_post: defaultdict[str, list[str]] = defaultdict(list)
    for key in keys:
        by_post[key.request_id].append(key.account_id)
    for request_id, ids in by_post.items():
        for part in in_parts(ids):
            yield and_(of_manager_too(table), table.c.request_id == request_id, table.c.account_id.in_(part))


def in_parts(items: Sequence[_Item]) -> Iterable[Sequence[_Item]]:
    """Pieces that fit into one statement's variables."""
    return (items[start : start + IDS_PER_QUERY] for start in range(0, len(items), IDS_PER_QUERY))


class _Texts(TypeDecorator[Any]):
    """A list of texts as one parameter: an array, where the database has those, else JSON."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        """The database's own type."""
        return dialect.type_descriptor(ARRAY(Text) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """As the database takes it."""
        return value if dialect.name == "postgresql" else json.dumps(value)


class one_of(ColumnElement[bool]):  # noqa: N801 - reads as a condition
    """Whether a column has one of the texts in a list that the statement is run with.

    Unlike ``IN``, it is the same statement for lists of any length, so that it can be run for many keys at once.

    :param name: the list's parameter.
    """

    inherit_cache = True
    _traverse_internals = [
        ("column", InternalTraversal.dp_clauseelement),
        ("texts", InternalTraversal.dp_clauseelement),
    ]

    def __init__(self, column: ColumnElement[str], name: str) -> None:
        self.column = column
        self.texts = bindparam(name, type_=_Texts())
        self.type = Boolean()


@compiles(one_of, "postgresql")
def _any(element: one_of, compiler: Any, **words: Any) -> str:
    column, texts = (compiler.process(each, **words) for each in (element.column, element.texts))
    return f"{column} = ANY ({texts})"


@compiles(one_of, "sqlite")
def _in_json(element: one_of, compiler: Any, **words: Any) -> str:
    column, texts = (compiler.process(each, **words) for each in (element.column, element.texts))
    return f"{column} IN (SELECT value FROM json_each({texts}))"  # noqa: S608 - nothing of it is a value


def read_keys(connection: Connection, query: Executable) -> list[PostAccount]:
    """The keys that a query of :func:`key_columns` finds."""
    return [PostAccount(request_id, account_id) for request_id, account_id in connection.execute(query)]


def row_columns(table: Table, row: type[Any]) -> tuple[Column[Any], ...]:
    """The columns that a dataclass names whose first field is ``key``."""
    return *key_columns(table), *(table.c[field.name] for field in dataclasses.fields(row) if field.name != "key")


def read_rows(
    connection: Connection, query: Executable, row: Callable[..., _Row], parameters: Mapping[str, Any] | None = None
) -> list[_Row]:
    """What a query of :func:`row_columns`, or of the same in other words, finds."""
    found = connection.execute(query, parameters)
    return [row(PostAccount(request_id, account_id), *fields) for request_id, account_id, *fields in found]
