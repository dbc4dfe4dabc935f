"""What coroutines of one event loop need of each other, one mechanism for each need.

:class:`Shared` shares a value, :class:`Together` batches calls, :class:`Gate` paces and caps, :func:`patiently`
retries, :func:`within` sets a deadline, :func:`beside` supervises a side task, :func:`all_of` works side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable, Iterable
from typing import Any, Generic, TypeVar

from likepion_provider.clock import SYSTEM_CLOCK, Clock
from likepion_provider.errors import LikepionError, Transient

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Question = TypeVar("Question")
Answer = TypeVar("Answer")

#: The waits between tries of a read that does no harm when it is repeated, in seconds.
READ_WAITS_S = (1.0, 3.0, 10.0)
#: The longest pause that another side may ask for within a run, in seconds; longer ones are a later run's.
MAX_PAUSE_S = 120.0


class Shared(Generic[K, V]):
    """Values by key, each as long as somebody uses it: made by the first user, closed by the last.

    :param make: must not wait, so that nobody can come between the question and the answer.
    :param close: called once the last user has left; a new user gets a new value.
    """

    def __init__(self, make: Callable[[K], V], close: Callable[[V], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._values: dict[K, V] = {}
        self._users: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._values)

    @contextlib.asynccontextmanager
    async def use(self, key: K) -> AsyncIterator[V]:
        """The key's value, for as long as the body runs."""
        if key not in self._values:
            self._values[key] = self._make(key)
            self._users[key] = 0
        self._users[key] += 1
        try:
            yield self._values[key]
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                await self._close(self._values.pop(key))


class Together(Generic[Question, Answer]):
    """Gathers what coroutines ask while answers are under way, and answers many questions at once, in a thread.

    :param answer: takes questions and returns, in their order, an answer or an exception for each.
    :param most: questions of one call.
    :param side_by_side: calls at a time, among which what waits is shared.
    :param least: questions that are not shared, but answered by one call.
    """

    def __init__(
        self,
        answer: Callable[[list[Question]], list[Answer | Exception]],
        most: int = 256,
        *,
        side_by_side: int = 1,
        least: int = 1,
    ) -> None:
        self._answer = answer
        self._most = most
        self._side_by_side = side_by_side
        self._least = least
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._answering: set[asyncio.Task[Any] | None] = set()
        #: Those of them whose call is under way.
        self._calling: set[asyncio.Task[Any] | None] = set()

    async def ask(self, question: Question) -> Answer:
        """The answer; what it rests on is read after this was called.

        :raises Exception: the one that was given as the answer, or that ended the whole call.
        """
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, done))
        for tasks in (self._answering, self._calling):
            # A loop that was closed in the middle, without ending its tasks, will not go on.
            tasks.difference_update([each for each in tasks if each and each.get_loop().is_closed()])
        if len(self._answering) < self._side_by_side:
            self._answering.add(asyncio.create_task(self._answer_all()))
        return await done

    async def _answer_all(self) -> None:
        task = asyncio.current_task()
        try:
            while self._waiting:
                await self._answer_some(task)
        finally:
            self._answering.discard(task)

    async def _answer_some(self, task: asyncio.Task[Any] | None) -> None:
        # A caller that has ended, perhaps with its event loop, is not there to use what it asked for.
        self._waiting = [each for each in self._waiting if not (each[1].done() or each[1].get_loop().is_closed())]
        share = max(self._least, math.ceil(len(self._waiting) / (self._side_by_side - len(self._calling))))
        group = self._waiting[: min(self._most, share)]
        del self._waiting[: len(group)]
        self._calling.add(task)
        try:
            answers = await asyncio.to_thread(self._answer_safely, [question for question, _ in group])
        finally:
            self._calling.discard(task)
        for (_, done), answer in zip(group, answers, strict=True):
            _settle(done, answer)

    def _answer_safely(self, questions: list[Question]) -> list[Answer | Exception]:
        try:
            return self._answer(questions)
        except Exception as error:  # noqa: BLE001 - every caller gets it
            return [error] * len(questions)


def _settle(done: asyncio.Future[Any], answer: Any) -> None:
    if done.done():
        return
    if isinstance(answer, Exception):
        done.set_exception(answer)
    else:
        done.set_result(answer)


class Gate:
    """Lets some pass at a time, one after another at a pace, and nobody while it is closed.

    :param most: how many may be inside at once.
    :param apart_s: the least time between two that enter, in seconds.
    :param together_s: how much earlier than that some may enter: groups of as many as this has room for, at a pace
        that is the same. A process that wakes for each of them alone takes several times the CPU.
    :param max_pause_s: the longest that :meth:`close_for` closes it, and that anybody waits because it is closed.
    """

    def __init__(
        self,
        most: int,
        *,
        clock: Clock = SYSTEM_CLOCK,
        apart_s: float = 0.0,
        together_s: float = 0.0,
        max_pause_s: float = MAX_PAUSE_S,
    ) -> None:
        self._slots = asyncio.Semaphore(most)
        self._entrance = asyncio.Lock()
        self._clock = clock
        self._apart_s = apart_s
        self._together_s = together_s
        self._max_pause_s = max_pause_s
        self._next_s = 0.0
        self._opens_s = 0.0

    @contextlib.asynccontextmanager
    async def passage(self) -> AsyncIterator[None]:
        """One's turn.

        :raises Transient: the gate was closed again and again, for longer than anybody waits.
        """
        came_s = self._clock.boot_s()
        async with self._slots:
            if self._apart_s or self.closed_for_s > 0:
                await self._turn(came_s)
            yield

    async def _turn(self, came_s: float) -> None:
        async with self._entrance:
            while (pause_s := max(self.closed_for_s, self._early_s())) > 0:
                leaves_s = self._clock.boot_s() + self.closed_for_s
                if self.closed_for_s > 0 and leaves_s - came_s > self._max_pause_s:
                    raise Transient("the other side keeps asking for a pause", retry_after_s=self.closed_for_s)
                await self._clock.sleep(pause_s)
            self._next_s = max(self._next_s, self._clock.boot_s()) + self._apart_s

    def _early_s(self) -> float:
        """How much too early one comes, in seconds; a whole group's time, so that the next one can be a group too."""
        early_s = self._next_s - self._clock.boot_s()
        return early_s if early_s > self._together_s else 0.0

    @property
    def closed_for_s(self) -> float:
        """Seconds until it opens; not positive if it is open."""
        return self._opens_s - self._clock.boot_s()

    def close_for(self, pause_s: float) -> None:
        """Let nobody in for a while, at most ``max_pause_s``."""
        self._opens_s = max(self._opens_s, self._clock.boot_s() + min(pause_s, self._max_pause_s))


async def patiently(
    call: Callable[[], Awaitable[V]],
    clock: Clock,
    *,
    waits_s: tuple[float, ...] = READ_WAITS_S,
    on: type[LikepionError] = Transient,
) -> V:
    """Repeat a call that does no harm when it is repeated.

    :param waits_s: the pauses between tries, in seconds; a ``retry_after_s`` up to the longest of them is waited for.
    :param on: what is worth another try.
    :raises LikepionError: the last try failed too, or the other side asked for a longer wait.
    """
    for wait_s in waits_s:
        try:
            return await call()
        except on as error:
            asked_s = error.retry_after_s or 0.0
            if asked_s > waits_s[-1]:
                raise
            pause_s = max(wait_s, asked_s)
            log.info("%s; the next try is in %.0f s", error, pause_s)
        await clock.sleep(pause_s)
    return await call()


async def within(call: Awaitable[V], clock: Clock, limit_s: float) -> V:
    """What a call gives, if it does so in time; else it is cancelled.

    :param limit_s: seconds on ``clock``.
    :raises asyncio.TimeoutError: it did not.
    """
    work, alarm = asyncio.ensure_future(call), asyncio.ensure_future(clock.sleep(limit_s))
    try:
        await asyncio.wait([work, alarm], return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise asyncio.TimeoutError
    finally:
        work.cancel()
        alarm.cancel()
        await asyncio.gather(work, alarm, return_exceptions=True)


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run something beside the body, for as long as the body takes.

    If it fails, the body is cancelled at once, and its error comes out of here.
    """
    body = asyncio.current_task()
    side = asyncio.create_task(work)
    failures: list[BaseException] = []

    def heard(task: asyncio.Task[None]) -> None:
        if body and not task.cancelled() and (error := task.exception()):
            failures.append(error)
            body.cancel()

    side.add_done_callback(heard)
    try:
        yield
    except asyncio.CancelledError:
        if not failures:
            raise
        if body and hasattr(body, "uncancel"):  # Python 3.11
            body.uncancel()
        raise failures[0] from None
    finally:
        side.remove_done_callback(heard)
        side.cancel()
        await asyncio.gather(side, return_exceptions=True)


async def all_of(calls: Iterable[Awaitable[V]]) -> list[V]:
    """All results, in order; the first that raises ends the others, and nothing is left running."""
    running = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*running))
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
