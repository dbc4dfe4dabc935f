"""Whose rows a statement reads and writes: every row belongs to one manager, and managers do not see each other.

A transaction is one manager's: see :meth:`~likepion_provider.journal.database.Database.of`. Statements name it by
:func:`of_manager`, and what is put gets it as the column's default, so that no caller can hand on the wrong one.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from sqlalchemy import ColumnElement, FromClause, SmallInteger, bindparam

#: What belongs to the journal itself.
NOBODY = 0
#: Execution options of the few statements that are about all managers' rows on purpose.
OF_ALL = {"likepion_of_all": True}


class _Current(threading.local):
    manager_id: int | None = None


_current = _Current()


def manager_id() -> int:
    """The manager whose transaction this thread is in.

    :raises RuntimeError: it is in no manager's.
    """
    if _current.manager_id is None:
        raise RuntimeError("this database was opened for no manager: see Database.of()")
    return _current.manager_id


@contextlib.contextmanager
def rows_of(manager: int | None) -> Iterator[None]:
    """For as long as the body runs, statements of this thread are about one manager's rows."""
    before = _current.manager_id
    _current.manager_id = manager
    try:
        yield
    finally:
        _current.manager_id = before


#: The statements' parameter for it.
MANAGER = "manager"
#: Asked anew whenever a statement is run, so statements are made once for all managers.
_MANAGER = bindparam(MANAGER, callable_=manager_id, type_=SmallInteger())


def of_manager(table: FromClause) -> ColumnElement[bool]:
    """The rows of the manager whose transaction it is; every statement has this for every table that it names."""
    return table.c.manager_id == _MANAGER


def of_manager_too(table: FromClause) -> ColumnElement[bool]:
    """The same, in a statement that names its rows by keys: no index of PostgreSQL's answers it.

    In a table that it has no statistics of yet, PostgreSQL takes a manager to have a row or two, and would read all the
    manager's rows by whatever index has the manager, where the keys would find the few.
    """
    return table.c.manager_id.is_not_distinct_from(_MANAGER)
