"""Statements that are run for many rows of values at once.

PostgreSQL gets the rows as one parameter, and the statement once: a parameter for each value, or an execution for each
row, costs its driver and its server several times what the rows do. SQLite is in the process, where one after the other
costs least.
"""

from __future__ import annotations

import functools
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import (
    JSON,
    BindParameter,
    Connection,
    Delete,
    FromClause,
    Integer,
    Table,
    Text,
    Update,
    bindparam,
    column,
    func,
    select,
    true,
)
from sqlalchemy.sql import visitors
from sqlalchemy.types import TypeEngine

from likepion_provider.journal.database import put_absent
from likepion_provider.journal.engine import PLANNED_ANEW, not_taken
from likepion_provider.journal.keys import in_parts
from likepion_provider.journal.owner import MANAGER, manager_id
from likepion_provider.models import PostAccount

_Row: TypeAlias = Mapping[str, Any]
_Types: TypeAlias = dict[str, TypeEngine[Any]]

#: Rows from which on one execution costs PostgreSQL less than one for each, though it is planned anew.
JOINED_FROM = 4

_COUNTED = {"preserve_rowcount": True}
#: For the rest of the transaction: by the index of the keys, in the order of the rows. A table that has no statistics
#: yet would be read whole, and in its own order, in which two transactions could wait for each other in a circle.
_BY_KEYS = select(*(func.set_config(f"enable_{each}", "off", true()) for each in ("seqscan", "hashjoin", "mergejoin")))


def run_each(connection: Connection, statement: Update | Delete, rows: Sequence[_Row]) -> int:
    """Run a statement for each row of its parameters, no two of which are about the same row of the table.

    :param statement: made once.
    :param rows: all of the same parameters, in the one order that all writers keep.
    :return: how many rows of the table it changed.
    """
    if not rows:
        return 0
    if connection.dialect.name != "postgresql" or len(rows) < JOINED_FROM:
        return connection.execute(statement, rows, execution_options=_COUNTED).rowcount
    joined, types = _joined(statement, tuple(rows[0]))
    connection.execute(_BY_KEYS)
    changed = 0
    for part in in_parts(rows):
        given = _values(connection, types, [{**row, MANAGER: manager_id()} for row in part])
        changed += connection.execute(joined, given, execution_options=PLANNED_ANEW).rowcount
    return changed


def put_each_absent(connection: Connection, table: Table, rows: Sequence[_Row]) -> Counter[PostAccount]:
    """Put the rows that are not there.

    :param rows: all of the same columns.
    :return: how many were put, by post and account.
    """
    put: Counter[PostAccount] = Counter()
    if connection.dialect.name != "postgresql":
        by_key: defaultdict[PostAccount, list[_Row]] = defaultdict(list)
        for row in rows:
            by_key[PostAccount(row["request_id"], row["account_id"])].append(row)
        statement = put_absent(connection, table)
        for key, of_key in by_key.items():
            put[key] = connection.execute(statement, of_key, execution_options=_COUNTED).rowcount
        return put
    for part in in_parts(rows):
        joined, types = _put_joined(put_absent(connection, table), table, tuple(part[0]))
        for request_id, account_id, number in connection.execute(joined, _values(connection, types, part)):
            put[PostAccount(request_id, account_id)] += number
    return put


@functools.cache
def _joined(statement: Update | Delete, names: tuple[str, ...]) -> tuple[Any, _Types]:
    """The statement with the columns of its rows in place of its parameters, and of the manager's."""
    from sqlalchemy.dialects import postgresql  # late: no journal on SQLite needs it

    # Compiled, a parameter has the type of the column that it is for.
    parameters: dict[str, BindParameter[Any]] = statement.compile(dialect=postgresql.dialect()).binds  # type: ignore[no-untyped-call]
    types: _Types = {name: parameters[name].type for name in (*names, MANAGER)}
    rows = _recordset(types)

    def column_of(element: Any, **_: Any) -> Any:
        return rows.c[element.key] if isinstance(element, BindParameter) and element.key in types else None

    return visitors.replacement_traverse(statement, {}, column_of), types


@functools.cache
def _put_joined(statement: Any, table: Table, names: tuple[str, ...]) -> tuple[Any, _Types]:
    types: _Types = {name: table.c[name].type for name in names}
    put = statement.from_select(names, select(_recordset(types)))
    keys = put.returning(table.c.request_id, table.c.account_id).cte("put")
    return select(*keys.c, func.count()).group_by(*keys.c), types


def _recordset(types: _Types) -> FromClause:
    """The rows that the statement is run with, as a table."""
    rows = func.json_to_recordset(bindparam("rows", type_=Text).cast(JSON))
    columns = (column(name, each) for name, each in types.items())
    table = rows.table_valued(*columns).render_derived(with_types=True)
    return select(table).limit(bindparam("number", type_=Integer)).subquery()


def _values(connection: Connection, types: _Types, rows: Sequence[_Row]) -> dict[str, Any]:
    """The rows as one parameter; each value is changed or refused as its type does.

    :raises NotJournaled: the database does not take a value.
    """
    of_types = ((name, each.bind_processor(connection.dialect)) for name, each in types.items())
    processes = [(name, process) for name, process in of_types if process]
    try:
        processed = [{**row, **{name: process(row[name]) for name, process in processes}} for row in rows]
    except ValueError as error:
        raise not_taken(error) from error
    return {"rows": json.dumps(processed, default=datetime.isoformat), "number": len(rows)}
