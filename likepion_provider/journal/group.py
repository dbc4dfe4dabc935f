"""Group commit: what many accounts write at the same time shares one transaction, and one wait for the disk."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from likepion_provider.errors import JournalUnusable, LikepionError
from likepion_provider.journal.database import Database

#: Operations of one transaction; a limit to how long it holds SQLite's lock.
MAX_OPERATIONS = 256
#: How often a transaction is tried that PostgreSQL ended because it and another waited for each other.
DEADLOCK_TRIES = 5


class GroupCommit:
    """Runs blocking operations in a thread, those that wait at the same moment in one transaction.

    An operation refuses (:class:`~likepion_provider.errors.LikepionError`) before it writes, so its refusal leaves
    the others' writes as they are. A failing database fails them all, and nothing of the transaction is kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def run(self, operation: Callable[[], Any]) -> Any:
        """The operation's result, once it is committed. A caller that is cancelled once it began undoes nothing.

        :raises LikepionError: the operation's own, or the database's.
        """
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, done))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return await done

    async def _flush(self) -> None:
        try:
            while self._waiting:
                # A caller that has ended, perhaps with its event loop, is not there to use what it asked for.
                self._waiting = [each for each in self._waiting if not each[1].done()]
                group = self._waiting[:MAX_OPERATIONS]
                del self._waiting[:MAX_OPERATIONS]
                outcomes = await asyncio.to_thread(self._transaction, [operation for operation, _ in group])
                for (_, done), outcome in zip(group, outcomes, strict=True):
                    _settle(done, outcome)
        finally:
            self._flushing = None

    def _transaction(self, operations: list[Callable[[], Any]]) -> list[Any]:
        for _ in range(DEADLOCK_TRIES - 1):
            outcomes = self._try(operations)
            if not _is_deadlock(outcomes):
                return outcomes
            time.sleep(random.uniform(0.05, 0.5))  # noqa: S311 - so that the other one gets through
        return self._try(operations)

    def _try(self, operations: list[Callable[[], Any]]) -> list[Any]:
        try:
            with self._database.writing():
                return [_outcome(operation) for operation in operations]
        except Exception as error:  # noqa: BLE001 - every caller gets it
            return [error] * len(operations)


def _is_deadlock(outcomes: list[Any]) -> bool:
    cause = outcomes[0].__cause__ if outcomes and isinstance(outcomes[0], JournalUnusable) else None
    return getattr(getattr(cause, "orig", None), "sqlstate", "") == "40P01"


def _outcome(operation: Callable[[], Any]) -> Any:
    try:
        return operation()
    except LikepionError as refusal:
        return refusal


def _settle(done: asyncio.Future[Any], outcome: Any) -> None:
    if done.done():
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)
