"""Whether the journal is as new as the last run that used it, or was restored from a backup, or lost.

A journal cannot know by itself that it went back: all that would say so went back with it. So each task that uses it
gives a *mark*, at its beginning and at its end, and leaves it at a place outside. Who finds a mark there that the
journal does not know holds an older journal, or another one. Marks are drawn at random, so tasks that go on over a
restored journal cannot give the same ones once more; a mark outside may be late, which only hides what happened since.

What an older journal says was stored is true; what it says was not, may have been stored since, and what it does not
know may exist. So all claims are forgotten, every link that could be sent is filed as unknown, and accounts that are
not finished are *doubted*: nothing new of them is sent. A pull ends that for an account: the manager hands out only
accounts without a row for their post (inferred). Until a person accepts the journal, nothing is taken but by a pull.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, select, update

from likepion_provider.journal.database import Database, put_absent
from likepion_provider.journal.owner import OF_ALL, of_manager, rows_of
from likepion_provider.journal.schema import claim, link, manager, mark, restore, submission
from likepion_provider.journal.tally import retally
from likepion_provider.models import ImportState, LinkState, Standing

log = logging.getLogger(__name__)

#: Marks that are remembered; the one outside is at most a few tasks old.
KEPT = 1000
EVIDENCE = "the journal was restored or lost: it may have been sent since"
REMEDY = (
    "Restore the newest backup, if there is a newer one; else go on with this journal by 'likepion journal accept'. "
    "Until then runs work only what the manager hands out."
)


class Mark(NamedTuple):
    """One mark.

    :param number: higher than all before it in the same journal.
    :param journal: the same for all marks of a journal, and of what was restored or copied from it.
    :param token: random.
    """

    number: int
    journal: str
    token: str

    def __str__(self) -> str:
        return f"{self.number}.{self.journal}.{self.token}"

    @classmethod
    def parse(cls, text: str) -> Mark | None:
        """What :meth:`__str__` made; None for anything else."""
        number, _, rest = text.strip().partition(".")
        journal, _, token = rest.partition(".")
        if not (number.isdecimal() and number.isascii() and len(number) < 18 and 0 < len(journal) <= 16):
            return None
        return cls(int(number), journal, token) if 0 < len(token) <= 16 else None


@dataclasses.dataclass(frozen=True)
class Restored:
    """That the journal was found to be older than what had used it.

    :param accepted_at: when a person said to go on with it; None until then.
    """

    noticed_at: datetime
    accepted_at: datetime | None

    @property
    def message(self) -> str:
        """For people."""
        return (
            f"the journal is older than the last run that used it: it was restored from a backup, or lost (noticed at "
            f"{self.noticed_at:%Y-%m-%d %H:%M}Z)"
        )


class Marks:
    """The tables of marks, and of the times that one was unknown; of the journal as a whole, whichever manager."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def advance(self) -> Mark:
        """Give a new mark; committed when this returns, so that it may be left outside."""
        with self._database.writing() as connection:
            newest = _newest(connection)
            number, journal = (newest.number + 1, newest.journal) if newest else (1, secrets.token_hex(4))
            fresh = Mark(number, journal, secrets.token_hex(8))
            connection.execute(mark.insert(), fresh._asdict())
            connection.execute(delete(mark).where(mark.c.number <= number - KEPT))
        return fresh

    def meet(self, outside: Mark | None, at: datetime) -> Mark:
        """What a task does at its beginning and at its end: see whether the mark outside is known, and give a new one.

        :param at: aware.
        """
        if outside and self.notice(outside, at):
            log.error("The journal is older than the last run that used it: it was restored, or lost. %s", REMEDY)
        return self.advance()

    def knows(self, outside: Mark) -> bool:
        """Whether the journal has given a mark, or has been told of it."""
        with self._database.reading() as connection:
            return _knows(connection, outside)

    def notice(self, outside: Mark, at: datetime) -> bool:
        """Note that a mark was found which the journal does not know; and doubt what it cannot be sure of any more.

        :param at: aware.
        :return: False where it is known, or another task has noticed.
        """
        with self._database.writing() as connection:
            if _knows(connection, outside):
                return False
            first = connection.execute(put_absent(connection, mark), outside._asdict()).rowcount
            return bool(first) and _doubt(connection, at)

    def doubt(self, at: datetime, heard: Collection[Mark] = ()) -> None:
        """Take a person's word that the journal was restored, whatever the marks say.

        :param at: aware.
        :param heard: marks that are no surprise any more.
        """
        with self._database.writing() as connection:
            for each in heard:
                connection.execute(put_absent(connection, mark), each._asdict())
            _doubt(connection, at)

    def newest(self) -> Mark | None:
        """The newest mark; None before the first."""
        with self._database.reading() as connection:
            return _newest(connection)

    def restored(self) -> Restored | None:
        """The last time that the journal was found to be restored or lost, accepted or not."""
        with self._database.reading() as connection:
            row = connection.execute(_LAST_RESTORE).one_or_none()
        return None if row is None else Restored(*row)

    def unaccepted(self) -> Restored | None:
        """As :meth:`restored`, as long as no person has accepted it."""
        last = self.restored()
        return last if last and last.accepted_at is None else None

    def accept(self, at: datetime) -> bool:
        """Go on with the journal as it is. What it doubts, it doubts until a pull or a person says more.

        :param at: aware.
        :return: whether there was anything to accept.
        """
        with self._database.writing() as connection:
            pending = restore.c.accepted_at.is_(None)
            return bool(connection.execute(update(restore).where(pending).values(accepted_at=at)).rowcount)

    def doubted(self) -> int:
        """How many accounts, of whichever manager, are doubted and have links parked."""
        parked = and_(submission.c.doubted > 0, submission.c.parked > 0)
        count = select(func.count()).select_from(submission).where(parked).execution_options(**OF_ALL)
        with self._database.reading() as connection:
            return connection.execute(count).scalar() or 0


def is_unaccepted(connection: Connection) -> bool:
    """Whether the journal is known to be restored or lost, and no person has accepted it."""
    return bool(connection.execute(_IS_UNACCEPTED).scalar())


def _newest(connection: Connection) -> Mark | None:
    row = connection.execute(_NEWEST).one_or_none()
    return None if row is None else Mark(*row)


def _knows(connection: Connection, outside: Mark) -> bool:
    if connection.execute(_KNOWN, outside._asdict()).scalar():
        return True
    newest, oldest = _newest(connection), connection.execute(select(func.min(mark.c.number))).scalar()
    # Forgotten, of this journal's own: somebody has shared the journal, and was away for long.
    return newest is not None and newest.journal == outside.journal and outside.number < (oldest or 0)


def _doubt(connection: Connection, at: datetime) -> bool:
    connection.execute(restore.insert(), {"noticed_at": at})
    for manager_id in connection.execute(select(manager.c.id)).scalars().all():
        with rows_of(manager_id):
            _doubt_all(connection, at)
    return True


def _doubt_all(connection: Connection, at: datetime) -> None:
    connection.execute(delete(claim).where(of_manager(claim)))
    is_finished = and_(submission.c.standing == Standing.DELIVERED, submission.c.state == ImportState.LISTED)
    connection.execute(update(submission).where(of_manager(submission), ~is_finished).values(doubted=1))
    filed: dict[str, Any] = {"state": LinkState.UNKNOWN, "sent_at": None, "evidence": EVIDENCE, "updated_at": at}
    could_be_sent = link.c.state.in_((LinkState.PREPARED, LinkState.REFUSED))
    connection.execute(update(link).where(of_manager(link), could_be_sent).values(filed))
    retally(connection, submission.c.doubted > 0)


_COLUMNS = tuple(mark.c[name] for name in Mark._fields)
_NEWEST = select(*_COLUMNS).order_by(mark.c.number.desc(), mark.c.token).limit(1)
_KNOWN = select(exists().where(*(column == bindparam(column.name) for column in _COLUMNS)))
_LAST_RESTORE = select(restore.c.noticed_at, restore.c.accepted_at).order_by(restore.c.id.desc()).limit(1)
_IS_UNACCEPTED = select(exists().where(restore.c.accepted_at.is_(None)))
