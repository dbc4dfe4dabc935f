"""The journal: what makes delivery exactly-once. The manager neither deduplicates nor can be asked.

Rows are committed before and after every write to the outside, so that a crash at any point leaves a state with a rule
of its own. The module docstrings of :mod:`~likepion_provider.journal.links` and
:mod:`~likepion_provider.journal.claims` have the rules.
"""

from __future__ import annotations

from likepion_provider.journal.claims import Claims
from likepion_provider.journal.database import Database, open_database
from likepion_provider.journal.links import Link, Links, Sending
from likepion_provider.journal.submissions import Submission, Submissions

__all__ = ["Journal", "Link", "Sending", "Submission", "open_journal"]


class Journal:
    """The three tables over one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.claims = Claims(database)
        self.submissions = Submissions(database)
        self.links = Links(database)


def open_journal(url: str) -> Journal:
    """The journal behind an SQLAlchemy URL, created or brought to the newest schema where needed.

    :raises JournalUnusable: it cannot be used as configured.
    """
    return Journal(open_database(url))
