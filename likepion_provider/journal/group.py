"""Group commit: what many accounts write at the same time shares one transaction, and one wait for the disk."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from likepion_provider.errors import JournalUnusable, LikepionError
from likepion_provider.journal.database import Database

Question = TypeVar("Question")
Answer = TypeVar("Answer")

#: Operations of one transaction; a limit to how long it holds SQLite's lock.
MAX_OPERATIONS = 256
#: How often a transaction is tried that PostgreSQL ended because it and another waited for each other.
DEADLOCK_TRIES = 5


class Together(Generic[Question, Answer]):
    """Gathers what coroutines ask while an answer is under way, and answers all of it at once, in a thread.

    :param answer: takes questions and returns, in their order, an answer or an exception for each.
    :param most: questions of one call.
    """

    def __init__(
        self, answer: Callable[[list[Question]], list[Answer | Exception]], most: int = MAX_OPERATIONS
    ) -> None:
        self._answer = answer
        self._most = most
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._answering: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        """The answer; what it rests on is read after this was called.

        :raises Exception: the one that was given as the answer, or that ended the whole call.
        """
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, done))
        if self._answering is None:
            self._answering = asyncio.create_task(self._answer_all())
        return await done

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                # A caller that has ended, perhaps with its event loop, is not there to use what it asked for.
                self._waiting = [each for each in self._waiting if not each[1].done()]
                group = self._waiting[: self._most]
                del self._waiting[: self._most]
                answers = await asyncio.to_thread(self._answer_safely, [question for question, _ in group])
                for (_, done), answer in zip(group, answers, strict=True):
                    _settle(done, answer)
        finally:
            self._answering = None

    def _answer_safely(self, questions: list[Question]) -> list[Answer | Exception]:
        try:
            return self._answer(questions)
        except Exception as error:  # noqa: BLE001 - every caller gets it
            return [error] * len(questions)


class GroupCommit:
    """Runs blocking operations in a thread, those that wait at the same moment in one transaction.

    An operation refuses (:class:`~likepion_provider.errors.LikepionError`) before it writes, so its refusal leaves
    the others' writes as they are. A failing database fails them all, and nothing of the transaction is kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._together: Together[Callable[[], Any], Any] = Together(self._transaction)

    async def run(self, operation: Callable[[], Any]) -> Any:
        """The operation's result, once it is committed. A caller that is cancelled once it began undoes nothing.

        :raises LikepionError: the operation's own, or the database's.
        """
        return await self._together.ask(operation)

    def _transaction(self, operations: list[Callable[[], Any]]) -> list[Any]:
        for _ in range(DEADLOCK_TRIES - 1):
            try:
                return self._try(operations)
            except JournalUnusable as error:
                if not _is_deadlock(error):
                    raise
            time.sleep(random.uniform(0.05, 0.5))  # noqa: S311 - so that the other one gets through
        return self._try(operations)

    def _try(self, operations: list[Callable[[], Any]]) -> list[Any]:
        with self._database.writing():
            return [_outcome(operation) for operation in operations]


def _is_deadlock(error: JournalUnusable) -> bool:
    return getattr(getattr(error.__cause__, "orig", None), "sqlstate", "") == "40P01"


def _outcome(operation: Callable[[], Any]) -> Any:
    try:
        return operation()
    except LikepionError as refusal:
        return refusal


def _settle(done: asyncio.Future[Any], answer: Any) -> None:
    if done.done():
        return
    if isinstance(answer, Exception):
        done.set_exception(answer)
    else:
        done.set_result(answer)
