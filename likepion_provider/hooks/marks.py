"""The journal's mark, where a backup of the journal does not reach: in a variable of Airflow's.

Variables are the one place that tasks can write and that nothing else empties: state stores end with a task's run, or
with the last DAG that names their asset, and one click clears them; XComs end with ``airflow db clean``; a file is on
one machine, and restored with the rest of its disk.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from airflow.providers.common.compat.sdk import Variable

from likepion_provider.clock import SYSTEM_CLOCK
from likepion_provider.errors import LikepionError
from likepion_provider.journal import Journal
from likepion_provider.journal.marks import Mark

log = logging.getLogger(__name__)

MARK_VARIABLE = "likepion_journal_mark"
_DESCRIPTION = "By this, runs notice that the journal was restored from a backup, or lost. Leave it as it is."


@contextlib.contextmanager
def marked(journal: Journal) -> Iterator[None]:
    """Around what a task does with the journal: see that nobody used a newer one, and leave a mark, twice.

    :raises JournalUnusable: at the beginning; what has been done is not undone for want of a mark.
    """
    leave_mark(journal)
    try:
        yield
    finally:
        try:
            leave_mark(journal)
        except LikepionError as error:
            log.warning("No mark of the journal could be left: %s", error)


def leave_mark(journal: Journal) -> None:
    """Compare the mark that was left last with the journal, and leave a new one.

    :raises JournalUnusable: the journal failed.
    """
    mark = journal.marks.meet(read_mark(), SYSTEM_CLOCK.now())
    try:
        Variable.set(MARK_VARIABLE, str(mark), description=_DESCRIPTION)
    except Exception as error:  # noqa: BLE001 - whatever Airflow has: the work goes on, and the next mark says as much
        log.warning("The variable %s could not be set: %s", MARK_VARIABLE, type(error).__name__)


def read_mark() -> Mark | None:
    """The mark that was left last; None where there is none, or where it cannot be read."""
    try:
        text = Variable.get(MARK_VARIABLE, default=None)
    except Exception as error:  # noqa: BLE001 - as above
        log.warning("The variable %s could not be read: %s", MARK_VARIABLE, type(error).__name__)
        return None
    mark = Mark.parse(str(text)) if text else None
    if text and mark is None:
        log.warning("The variable %s has been changed by hand: it is no mark", MARK_VARIABLE)
    return mark
