"""The journal: what makes delivery exactly-once. The manager neither deduplicates nor can be asked.

Rows are committed before and after every write to the outside, so that a crash at any point leaves a state with a rule
of its own. The module docstrings of :mod:`~likepion_provider.journal.links`,
:mod:`~likepion_provider.journal.settling` and :mod:`~likepion_provider.journal.claims` have the rules.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from likepion_provider.journal.claims import Claims
from likepion_provider.journal.commit import SharedCommit
from likepion_provider.journal.database import Database, open_database
from likepion_provider.journal.failures import Failures
from likepion_provider.journal.links import Link, Links, Prepared, Sending
from likepion_provider.journal.managers import KnownManager, Managers
from likepion_provider.journal.marks import Marks
from likepion_provider.journal.names import Names
from likepion_provider.journal.settings import Settings
from likepion_provider.journal.settling import Settling
from likepion_provider.journal.sites import Sites
from likepion_provider.journal.submissions import Submission, Submissions, TaskName
from likepion_provider.journal.unfinished import Unfinished

__all__ = [
    "Journal",
    "KnownManager",
    "Link",
    "Managers",
    "Prepared",
    "Sending",
    "Submission",
    "TaskName",
    "open_journal",
    "open_managers",
]

T = TypeVar("T")


class Journal:
    """The tables over one database, as far as one manager's rows are concerned.

    Their methods are plain and blocking. :meth:`commit` is how coroutines call those that write.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._commits = SharedCommit(database)
        self.claims = Claims(database)
        self.submissions = Submissions(database)
        self.names = Names(database)
        self.links = Links(database)
        self.failures = Failures(database)
        self.unfinished = Unfinished(database)
        self.settling = Settling(database)
        self.settings = Settings(database)
        self.managers = Managers(database)
        self.sites = Sites(database)
        self.marks = Marks(database)

    async def commit(self, operation: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a writing method off the event loop; it is committed when this returns.

        What many coroutines write at the same time shares a transaction.

        :param operation: a method of one of the tables.
        :raises LikepionError: the operation's own.
        """
        result: T = await self._commits.run(functools.partial(operation, *args, **kwargs))
        return result


def open_managers(url: str) -> Managers:
    """The managers that the journal behind an SQLAlchemy URL knows.

    :raises JournalUnusable: it cannot be used as configured.
    """
    return Managers(open_database(url))


def open_journal(url: str, manager: str) -> Journal:
    """A manager's part of the journal behind an SQLAlchemy URL, created or brought to the newest schema where needed.

    :param manager: its address, in any spelling.
    :raises JournalUnusable: it cannot be used as configured.
    """
    return Journal(open_database(url).of(manager))
