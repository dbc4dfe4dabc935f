"""A guard over every journal that a test opens: no statement reads or writes a row without naming its manager."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import Engine, event

from likepion_provider.journal import database
from likepion_provider.journal.schema import metadata

OWNED = [table.name for table in metadata.sorted_tables if "manager_id" in table.c]
_VERBS = re.compile(r"\s*(WITH|SELECT|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)
_IS = "(?:=|IS|IS NOT DISTINCT FROM)"
# The parameter, or the column of it in a statement that is run for many rows.
_BOUND = re.compile(rf"\bmanager_id {_IS} (\?|%\(|anon_\d+\.manager\b)")


def nameless(statement: str) -> list[str]:
    """The tables of a statement whose rows may be any manager's."""
    if not _VERBS.match(statement):
        return []
    named = [table for table in OWNED if re.search(rf"\b{table}\b", statement)]
    return [table for table in named if not _is_bound(statement, table)]


def _is_bound(statement: str, table: str) -> bool:
    if re.search(rf"\bINSERT INTO {table} \(", statement):
        return re.search(rf"\bINSERT INTO {table} \([^)]*\bmanager_id\b", statement) is not None
    # By the manager itself, or by another table that is.
    own = re.search(rf"\b{table}\.manager_id {_IS} |= {table}\.manager_id\b", statement)
    return own is not None and _BOUND.search(statement) is not None


def guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail every statement of the journal that is nameless, in whatever database is opened from now on."""
    make = database.make_engine

    def guarded(url: str) -> Engine:
        engine = make(url)
        event.listen(engine, "before_cursor_execute", _require_names)
        return engine

    monkeypatch.setattr(database, "make_engine", guarded)


def _require_names(
    _connection: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, _executemany: bool
) -> None:
    of_all = context is not None and context.execution_options.get("likepion_of_all")
    if not of_all and (tables := nameless(statement)):
        raise AssertionError(f"no manager is named for {', '.join(tables)} in: {statement}")
