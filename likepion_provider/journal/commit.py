"""Operations of many accounts that come at the same time share one transaction, and one wait for the disk.

Databases call this *group commit*; it has nothing to do with the manager's podcast groups.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

from likepion_provider.aio import Together
from likepion_provider.errors import JournalUnusable, LeaseLost
from likepion_provider.journal.bulk import OfTable
from likepion_provider.journal.database import Database

#: Operations of one transaction; a limit to how long it holds SQLite's lock.
MAX_OPERATIONS = 256
#: Transactions at a time on PostgreSQL, which works one while the worker makes the other; SQLite has one writer.
SIDE_BY_SIDE = 2
#: Operations that are worth a transaction of their own where others are under way.
MIN_OPERATIONS = 16
#: How often a transaction is tried that PostgreSQL ended because it and another waited for each other.
DEADLOCK_TRIES = 5

Operation: TypeAlias = "partial[Any]"


class SharedCommit:
    """Runs blocking operations in a thread, those that wait at the same moment in one transaction.

    An operation that fails, fails alone. A refusal for want of a claim comes before it writes, so the others' writes
    stay as they are; after any other failure nothing of the transaction is kept, and each gets one of its own. A
    failing database fails them all.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        side_by_side = SIDE_BY_SIDE if database.engine.dialect.name == "postgresql" else 1
        self._together: Together[Operation, Any] = Together(
            self._answer, MAX_OPERATIONS, side_by_side=side_by_side, least=MIN_OPERATIONS
        )

    async def run(self, operation: Operation) -> Any:
        """The operation's result, once it is committed. A caller that is cancelled once it began undoes nothing.

        :raises LikepionError: the operation's own, or the database's.
        """
        return await self._together.ask(operation)

    def _answer(self, operations: list[Operation]) -> list[Any]:
        try:
            return self._transaction(operations)
        except JournalUnusable:
            raise
        except Exception:  # noqa: BLE001 - whose it is comes out now
            return self._one_by_one(operations)

    def _one_by_one(self, operations: list[Operation]) -> list[Any]:
        outcomes: list[Any] = []
        for operation in operations:
            try:
                outcomes += self._transaction([operation])
            except JournalUnusable as error:
                return outcomes + [error] * (len(operations) - len(outcomes))
            except Exception as error:  # noqa: BLE001 - who asked for it gets it
                outcomes.append(error)
        return outcomes

    def _transaction(self, operations: list[Operation]) -> list[Any]:
        for _ in range(DEADLOCK_TRIES - 1):
            try:
                return self._try(operations)
            except JournalUnusable as error:
                if not _is_deadlock(error):
                    raise
            time.sleep(random.uniform(0.05, 0.5))  # noqa: S311 - so that the other one gets through
        return self._try(operations)

    def _try(self, operations: list[Operation]) -> list[Any]:
        outcomes: dict[int, Any] = {}
        with self._database.writing():
            for group in _alike(operations):
                outcomes |= zip(group, _outcomes([operations[place] for place in group]), strict=True)
        return [outcomes[place] for place in range(len(operations))]


def _is_deadlock(error: JournalUnusable) -> bool:
    return getattr(getattr(error.__cause__, "orig", None), "sqlstate", "") == "40P01"


def _alike(operations: Sequence[Operation]) -> Iterable[list[int]]:
    """The places of operations that go together: those of one bulk method, and of no account two."""
    groups: defaultdict[Any, list[int]] = defaultdict(list)
    earlier: Counter[Any] = Counter()
    for place, operation in enumerate(operations):
        method = operation.func
        if isinstance(method, OfTable):
            account = method, method.call_of(operation).key.account_id
            groups[method, earlier[account]].append(place)
            earlier[account] += 1
        else:
            groups[place].append(place)
    return groups.values()


def _outcomes(operations: Sequence[Operation]) -> list[Any]:
    method = operations[0].func
    if isinstance(method, OfTable):
        return method.all([method.call_of(each) for each in operations])
    return [_outcome(each) for each in operations]


def _outcome(operation: Operation) -> Any:
    try:
        return operation()
    except LeaseLost as refusal:
        return refusal
