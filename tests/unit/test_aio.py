"""What coroutines share: each mechanism's bound, and that no failure is silent."""

from __future__ import annotations

import asyncio
import threading

import pytest

from likepion_provider.aio import MAX_PAUSE_S, Gate, Together, all_of, beside, patiently, within
from likepion_provider.errors import JournalUnusable, LeaseLost, Transient
from tests.clocks import VirtualClock


class Failing:
    """Fails so many times, then answers; the errors that it raises are given."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


# --- patiently ---


async def test_a_read_is_repeated_with_growing_pauses() -> None:
    clock, call = VirtualClock(), Failing(Transient("gone"), Transient("gone"), Transient("gone"))
    began_s = clock.boot_s()
    assert await patiently(call, clock) == "answer"
    assert clock.boot_s() - began_s == 1 + 3 + 10


async def test_the_last_failure_comes_out() -> None:
    call = Failing(*[Transient(f"gone {number}") for number in range(9)])
    with pytest.raises(Transient, match="gone 3"):
        await patiently(call, VirtualClock())
    assert call.calls == 4


async def test_a_pause_that_was_asked_for_is_kept_and_a_long_one_is_a_later_runs() -> None:
    clock, call = VirtualClock(), Failing(Transient("slow", retry_after_s=7))
    began_s = clock.boot_s()
    await patiently(call, clock)
    assert clock.boot_s() - began_s == 7
    with pytest.raises(Transient, match="much slower"):
        await patiently(Failing(Transient("much slower", retry_after_s=86_400)), clock)


async def test_only_what_is_worth_another_try_is_tried_again() -> None:
    call = Failing(LeaseLost("lapsed"))
    with pytest.raises(LeaseLost):
        await patiently(call, VirtualClock())
    assert call.calls == 1
    assert await patiently(Failing(JournalUnusable("locked")), VirtualClock(), on=JournalUnusable) == "answer"


# --- the gate ---


async def test_a_gate_lets_so_many_in_at_once() -> None:
    gate, inside, most = Gate(3), 0, 0

    async def visit() -> None:
        nonlocal inside, most
        async with gate.passage():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await all_of(visit() for _ in range(20))
    assert most == 3


async def test_a_gate_keeps_its_pace() -> None:
    clock = VirtualClock()
    gate = Gate(8, clock=clock, apart_s=0.5)
    entered_s: list[float] = []

    async def visit() -> None:
        async with gate.passage():
            entered_s.append(clock.boot_s())

    await all_of(visit() for _ in range(4))
    assert [moment_s - entered_s[0] for moment_s in entered_s] == [0, 0.5, 1.0, 1.5]


async def test_a_day_that_was_asked_for_closes_a_gate_for_two_minutes() -> None:
    gate = Gate(1, clock=VirtualClock())
    gate.close_for(86_400)
    assert gate.closed_for_s == MAX_PAUSE_S


async def test_nobody_waits_at_a_gate_that_is_closed_again_and_again() -> None:
    clock = VirtualClock()
    gate = Gate(1, clock=clock, max_pause_s=30)
    began_s = clock.boot_s()
    gate.close_for(20)

    async def close_again() -> None:
        for _ in range(100):
            gate.close_for(86_400)
            await asyncio.sleep(0)

    closing = asyncio.create_task(close_again())
    with pytest.raises(Transient, match="keeps asking"):
        await gate.passage().__aenter__()
    assert clock.boot_s() - began_s <= 30
    closing.cancel()
    async with gate.passage():
        assert gate.closed_for_s <= 0, "the slot was given back"


# --- within ---


async def test_a_deadline_ends_what_is_too_slow() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("slow")

    with pytest.raises(asyncio.TimeoutError):
        await within(slow(), VirtualClock(), 5)
    assert ended == ["slow"]
    assert await within(asyncio.sleep(0, "quick"), VirtualClock(), 5) == "quick"


# --- a side task ---


async def test_a_side_task_that_dies_ends_the_work_at_once() -> None:
    async def keep() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError("a defect of the keeper")

    async def work() -> None:
        async with beside(keep()):
            await asyncio.sleep(60)

    with pytest.raises(ZeroDivisionError, match="defect"):
        await work()
    await asyncio.sleep(0)  # The cancellation is used up: nothing is cancelled any more.


async def test_a_side_task_ends_with_the_work() -> None:
    ended: list[str] = []

    async def keep() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("keeper")

    async with beside(keep()):
        await asyncio.sleep(0)
    assert ended == ["keeper"]


async def test_an_error_of_the_work_comes_out_as_it_is() -> None:
    async def work() -> None:
        async with beside(asyncio.sleep(60)):
            raise LeaseLost("lapsed")

    with pytest.raises(LeaseLost):
        await work()


async def test_a_cancelled_work_stays_cancelled() -> None:
    async def work() -> None:
        async with beside(asyncio.sleep(60)):
            await asyncio.sleep(60)

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working


async def test_the_first_that_fails_ends_the_others() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("slow")

    async def fails() -> None:
        raise LeaseLost("lapsed")

    with pytest.raises(LeaseLost):
        await all_of([slow(), fails()])
    assert ended == ["slow"]


# --- together ---


def test_an_event_loop_that_ended_in_the_middle_keeps_nobody_waiting() -> None:
    began, goes_on = threading.Event(), threading.Event()

    def answer(questions: list[str]) -> list[str | Exception]:
        began.set()
        goes_on.wait(5)
        return [each.upper() for each in questions]

    together: Together[str, str] = Together(answer)
    loop = asyncio.new_event_loop()
    # Kept: as a task that is collected, they would be ended.
    left = [loop.create_task(together.ask(each)) for each in ("first", "second")]
    assert loop.run_until_complete(asyncio.to_thread(began.wait, 5))
    loop.close()
    goes_on.set()

    async def ask() -> str:
        return await asyncio.wait_for(together.ask("third"), 5)

    assert asyncio.run(ask()) == "THIRD"
    assert not any(each.done() for each in left)


class Calls:
    """What a :class:`Together` was called with; the first calls go on once as many as are meant to are under way."""

    def __init__(self, side_by_side: int = 1, least: int = 1) -> None:
        self.sizes: list[int] = []
        self._all_there = threading.Barrier(side_by_side)
        self.together: Together[int, int] = Together(self._answer, side_by_side=side_by_side, least=least)

    def _answer(self, questions: list[int]) -> list[int | Exception]:
        self.sizes.append(len(questions))
        self._all_there.wait(5)
        return [-each for each in questions]

    async def ask(self, number: int) -> list[int]:
        questions = (self.together.ask(each) for each in range(number))
        return await asyncio.wait_for(asyncio.gather(*questions), 5)


@pytest.mark.parametrize(("side_by_side", "sizes"), [(1, [9]), (2, [5, 4]), (3, [3, 3, 3])])
async def test_what_waits_is_shared_among_the_calls(side_by_side: int, sizes: list[int]) -> None:
    calls = Calls(side_by_side)
    assert await calls.ask(9) == [-each for each in range(9)]
    assert calls.sizes == sizes


async def test_a_few_questions_are_not_shared() -> None:
    calls = Calls(2, least=16)
    assert await calls.ask(40) == [-each for each in range(40)]
    assert calls.sizes == [20, 20]
    calls = Calls(2, least=16)
    calls._all_there = threading.Barrier(1)
    await calls.ask(16)
    assert calls.sizes == [16]


@pytest.mark.parametrize("side_by_side", [1, 2])
async def test_what_is_asked_as_an_answer_comes_is_answered(side_by_side: int) -> None:
    """All who asked together ask again at the same moment: when the call that answered them is just ending."""
    together: Together[int, int] = Together(lambda questions: [*questions], side_by_side=side_by_side)

    async def ask_again_and_again(number: int) -> None:
        for _ in range(50):
            await together.ask(number)

    await asyncio.wait_for(asyncio.gather(*map(ask_again_and_again, range(20))), 10)
