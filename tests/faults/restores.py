"""Walks in which the journal is backed up at any moment, and put back to any of its backups, or lost, at any other.

A restore after whose backup no mark was left outside cannot be noticed by anybody: those are counted and left out.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any
from unittest import mock

from sqlalchemy import Delete, Update, text

from likepion_provider.journal import Journal, links, marks
from likepion_provider.journal.marks import Mark, Marks
from likepion_provider.journal.schema import claim, link
from likepion_provider.models import PostAccount, SecondaryTask
from likepion_provider.steps import importing
from tests.faults.moments import FIGURES, FragileJournal, Model, Run
from tests.faults.rules import Removal
from tests.faults.settled import reported_for_another_post, reported_twice, sendable_again
from tests.faults.walk import NEXT, Walk

#: Of each moment.
BACK_UP = 0.02
#: Backups that are kept; the first is of the empty journal.
KEPT = 6


class RestoredModel(Model):
    """The world of ``moments.py``, whose journal goes back."""

    def __init__(self, accounts: int, posts: int) -> None:
        #: What the tasks leave outside.
        self.outside: Mark | None = None
        self.backups: list[sqlite3.Connection] = []
        self.is_restored = False
        #: Accounts with a row that the journal of that time had forgotten.
        self.forgotten: set[str] = set()
        super().__init__(accounts, posts)
        self.back_up()

    def close(self) -> None:
        for each in self.backups:
            each.close()
        super().close()

    @contextlib.asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        await self._leave_mark()
        try:
            yield
        except Exception:
            await self._leave_mark()
            raise
        await self._leave_mark()

    async def _leave_mark(self) -> None:
        journal = FragileJournal(self.database, self.fuse)
        outside = self.outside
        self.fuse.burn()
        fresh = await journal.commit(journal.marks.meet, outside, self.clock.now())
        self.outside = fresh

    def others_move(self) -> None:
        super().others_move()
        if self.rng.random() < BACK_UP:
            self.back_up()

    def _must_have(self, run: Run, tasks: Sequence[SecondaryTask]) -> None:
        # The journal may have gone back since, which the run's next step sees.
        if not self.is_restored:
            super()._must_have(run, tasks)

    # --- what happens to the journal ---

    def back_up(self) -> None:
        """While it is in use."""
        FIGURES["backups"] += 1
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        with contextlib.closing(self._file()) as journal:
            journal.backup(copy)
        self.backups.append(copy)
        if len(self.backups) > KEPT:
            self.backups.pop(1).close()

    def restore(self, which: int | None = None) -> None:
        """Put a backup back; the first is of an empty journal, as after a loss.

        :param which: any, by default.
        """
        backup = self.rng.choice(self.backups) if which is None else self.backups[which]
        if self.outside is None or self._has(backup, self.outside):
            FIGURES["restores that no mark can tell"] += 1
            return
        FIGURES["restores" if backup is not self.backups[0] else "losses"] += 1
        with contextlib.closing(self._file()) as journal:
            backup.backup(journal)
        self.is_restored = True
        known = self.known()
        self.forgotten |= {row[1] for row in self.stored() if row not in known}

    def accept(self) -> None:
        """A person goes on with the journal as it is."""
        FIGURES["accepted"] += Journal(self.database).marks.accept(self.clock.now())

    def settle(self) -> None:
        """A person looks at the manager, and says of each parked link what is true."""
        journal, stored = Journal(self.database), self.stored()
        for (request_id, account_id, url), state in self.known().items():
            if state.value == "unknown" and account_id not in self.served_by_them:
                (found,) = [
                    each for each in journal.links.of_key(PostAccount(request_id, account_id)) if each.url == url
                ]
                is_there = (request_id, account_id, url) in stored
                journal.settling.settle(found.id, is_there=is_there, who="p", note="", at=self.clock.now())
                FIGURES["links settled by a person"] += 1

    def _file(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "journal.db", timeout=5)

    @staticmethod
    def _has(backup: sqlite3.Connection, mark: Mark) -> bool:
        query = "SELECT 1 FROM likepion_mark WHERE number = ? AND journal = ? AND token = ?"
        return backup.execute(query, tuple(mark)).fetchone() is not None

    # --- what must hold ---

    def check(self) -> None:
        if not self.is_restored:
            super().check()
            return
        assert not self.broken, self.broken
        assert [url for url, count in self.stored().items() if count > 1] == []
        assert not reported_twice(self.manager.rows), "one episode, two URLs"
        assert not reported_for_another_post(self.manager.rows)
        journal = Journal(self.database)
        if self.outside and journal.marks.knows(self.outside):
            sendable = sendable_again(journal, self.manager.rows, self.served_by_them)
            assert sendable == [], "stored, but the journal would send it again"
        twice = {account_id: count for account_id, count in self.platform.submissions.items() if count > 1}
        assert twice == {}, "imported twice"
        assert journal.settling.mode() == "reappearance", "the tripwire went off without reason"

    def rest(self) -> None:
        self.play_whole(Run("notices"))
        assert bool(Journal(self.database).marks.restored()) == self.is_restored, "noticed, and without false alarm"
        self.accept()
        super().rest()
        FIGURES["accounts delivered in part, forgotten"] += len({*super().lost()} & self.forgotten)

    def lost(self) -> list[str]:
        """Without those that were delivered in part by what is forgotten: no call of the manager's tells of them."""
        return [each for each in super().lost() if each not in self.forgotten]

    def play_whole(self, run: Run, limit: int = 1000) -> None:
        before_s = self.clock.boot_s()
        super().play_whole(run, limit)
        if run.name.startswith("rest"):
            FIGURES["longest run at rest, s"] = max(
                FIGURES["longest run at rest, s"], int(self.clock.boot_s() - before_s)
            )


class RestoreWalk(Walk):
    """A walk whose journal goes back now and then."""

    next = NEXT | {
        "restore": 3,
        "lose": 1,
        "restore_within": 2,
        "accept": 3,
        "settle": 2,
        "back_before_the_insert": 1,
        "back_before_the_rest": 1,
    }
    model: RestoredModel

    def __init__(self, number: int) -> None:
        super().__init__(number, RestoredModel)

    def play(self) -> None:
        super().play()
        self.count()

    def count(self) -> None:
        FIGURES["walks"] += 1
        FIGURES["rows"] += len(self.model.manager.rows)
        FIGURES["duplicates"] += len(self.model.manager.duplicates())
        FIGURES["walks with a restore"] += self.model.is_restored

    def _restore(self) -> None:
        self.model.restore()

    def _lose(self) -> None:
        self.model.restore(0)

    def _restore_within(self) -> None:
        self.model.fuse.set(self.rng.randint(1, 40), self.model.restore)
        self._whole_run()

    def _back_before_the_insert(self) -> None:
        """The backup says that the claim holds; an insert has ended it since, and a stranger has the account."""
        run = self._new_run()
        self.model.play(self.model.pull(run, 1000))
        self.model.play(self.model.bring_in(run))
        self.model.back_up()
        self.model.manager.refuse_records(6)
        self.model.refused = True
        self.model.play(self.model.deliver(run))
        self.model.manager.refuse_records(0)
        self.model.they_pull()
        self.model.restore(-1)
        self.model.play_by_hand(self._new_run(), self._any_choice())

    def _back_before_the_rest(self) -> None:
        """The backup knows of a part of the episodes, which is stored; the rest has been reported since."""
        accounts = [f"account-{number}" for number in range(self.model.accounts)]
        self.model.platform.lists |= dict.fromkeys(accounts, 1)
        self._runs_after(1, 90_000)
        self.model.back_up()
        backup = self.model.backups[-1]
        self.model.platform.lists.clear()
        self._runs_after(11_000)
        if backup in self.model.backups:
            self.model.restore(self.model.backups.index(backup))
        self._runs_after(1)
        self.model.accept()
        self._runs_after(11_000)

    def _runs_after(self, *pauses_s: float) -> None:
        for pause_s in pauses_s:
            self.model.clock.advance(pause_s)
            self.model.play_whole(self._new_run())

    def _accept(self) -> None:
        self.model.accept()

    def _settle(self) -> None:
        self.model.settle()


# --- without one rule ---


def older_journals_are_not_noticed() -> contextlib.AbstractContextManager[Any]:
    """Marks are given, and nobody looks at them."""
    return mock.patch.object(Marks, "notice", return_value=False)


def a_restored_claim_counts() -> contextlib.AbstractContextManager[Any]:
    """What the backup says of claims is believed."""
    return _doubting_without(Delete, claim)


def a_restored_link_may_be_sent() -> contextlib.AbstractContextManager[Any]:
    """What could be sent when the backup was made still can."""
    return _doubting_without(Update, link)


def what_is_new_of_a_doubted_account_is_sent() -> contextlib.AbstractContextManager[Any]:
    """The journal does not know it, so it is not stored."""
    return mock.patch.object(links, "_DOUBTED", text("SELECT 0"))


def imports_are_not_read_back() -> contextlib.AbstractContextManager[Any]:
    """What the journal does not know was not submitted."""
    return mock.patch.multiple(importing, READ_BACK_FOR=timedelta(0), RESUBMIT_AFTER=timedelta(0))


def _doubting_without(kind: type[Delete | Update], table: Any) -> contextlib.AbstractContextManager[Any]:
    doubt = marks._doubt

    def careless(connection: Any, *args: Any) -> Any:
        class Forgetful:
            @staticmethod
            def execute(statement: Any, *parameters: Any) -> Any:
                skips = isinstance(statement, kind) and statement.table is table
                return None if skips else connection.execute(statement, *parameters)

        return doubt(Forgetful(), *args)  # type: ignore[arg-type]

    return mock.patch.object(marks, "_doubt", careless)


#: Each with the number of the first walk that it breaks.
RESTORE_REMOVALS: dict[Removal, int] = {
    older_journals_are_not_noticed: 0,
    a_restored_claim_counts: 35,
    a_restored_link_may_be_sent: 3,
    what_is_new_of_a_doubted_account_is_sent: 8,
    imports_are_not_read_back: 13,
}
