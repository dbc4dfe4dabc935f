"""A site that keeps one state for all its users: its accounts are worked one after the other, by all tasks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from likepion_provider.models import ImportState, Outcome, SecondaryTask
from likepion_provider.platforms import Job, PlatformSettings, Progress
from likepion_provider.steps.reports import AccountReport
from tests.clocks import VirtualClock
from tests.fakes import DOMAIN, ScriptedPlatform, Worker, fresh_journal, small_manager

FOR_EVER = 1


class OneState(ScriptedPlatform):
    """Notes who is there at the same time; an import takes its time."""

    one_at_a_time = True

    def __init__(self, clock: VirtualClock, takes_s: int = 40) -> None:
        super().__init__()
        self.clock = clock
        self.takes_s = takes_s
        self.inside: set[str] = set()
        self.most = 0
        self.entered = asyncio.Event()

    async def submit(self, job: Job) -> Progress:
        self.inside.add(job.task.account_id)
        self.entered.set()
        self.most = max(self.most, len(self.inside))
        for _ in range(self.takes_s // 20):
            await self.clock.sleep(20)
        if self.takes_s == FOR_EVER:
            await asyncio.Event().wait()
        self.inside.discard(job.task.account_id)
        await super().submit(job)
        return await self.collect(job)


class World:
    def __init__(self, folder: Path, accounts: int = 4, takes_s: int = 40) -> None:
        self.clock = VirtualClock()
        self.manager = small_manager(self.clock, accounts)
        self.worker = Worker(self.manager, fresh_journal(folder), self.clock)
        self.platform = OneState(self.clock, takes_s)
        self.worker.use(self.platform)

    async def tasks(self, run: str = "run") -> list[SecondaryTask]:
        return await self.worker.intake(run).pull(100)

    async def side_by_side(self, *parts: list[SecondaryTask], **options: object) -> list[AccountReport]:
        """Each part in a batch of its own, as two tasks of a run, or of two runs, work them."""
        batches = [self.worker.batch("run", **options).run(part) for part in parts]
        return [each for reports in await asyncio.gather(*batches) for each in reports]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def outcomes(reports: list[AccountReport]) -> list[Outcome]:
    return [each.outcome for each in reports]


async def test_accounts_of_one_batch_are_worked_one_after_the_other(world: World) -> None:
    reports = await world.side_by_side(await world.tasks())
    assert outcomes(reports) == [Outcome.COLLECTED] * 4
    assert world.platform.most == 1


async def test_accounts_of_two_tasks_are_worked_one_after_the_other(world: World) -> None:
    tasks = await world.tasks()
    reports = await world.side_by_side(tasks[:2], tasks[2:])
    assert outcomes(reports) == [Outcome.COLLECTED] * 4
    assert world.platform.most == 1


async def test_platforms_without_such_a_state_are_worked_side_by_side(world: World) -> None:
    world.platform.one_at_a_time = False  # type: ignore[misc]
    tasks = await world.tasks()
    await world.side_by_side(tasks[:2], tasks[2:])
    assert world.platform.most > 1


@pytest.mark.parametrize("split", [4, 2], ids=["one task", "two tasks"])
async def test_who_does_not_get_the_turn_is_let_go_with_words(tmp_path: Path, split: int) -> None:
    world = World(tmp_path, takes_s=400)
    tasks = await world.tasks()
    reports = await world.side_by_side(*filter(None, [tasks[:split], tasks[split:]]))
    assert sorted(each.outcome.value for each in reports) == ["collected", "collected", "waiting", "waiting"]
    assert world.platform.most == 1
    late = next(each for each in reports if each.outcome is Outcome.WAITING)
    assert late.message == "another account is being worked at scripted.invalid, which takes one at a time"
    assert world.platform.submissions[late.task.account_id] == 0
    (known,) = world.worker.journal.submissions.of_account(late.task.account_id)
    assert (known.state, known.attempts, known.failures, known.setbacks) == (ImportState.NEW, 0, 0, 0)


async def test_a_failure_or_a_crash_gives_the_turn_back(world: World) -> None:
    def fail(when: str, job: Job) -> None:
        if job.task.account_id == "account-0":
            raise RuntimeError("a defect")

    world.platform.trouble = fail
    reports = await world.side_by_side(await world.tasks())
    assert sorted(each.outcome.value for each in reports) == ["collected", "collected", "collected", "failed"]


async def test_a_cancelled_task_gives_the_turn_back(tmp_path: Path) -> None:
    world = World(tmp_path, takes_s=FOR_EVER)
    tasks = await world.tasks()
    work = asyncio.ensure_future(world.side_by_side(tasks[:1]))
    await world.platform.entered.wait()
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    world.platform.takes_s = 40
    assert outcomes(await world.side_by_side(tasks[1:2])) == [Outcome.COLLECTED]


async def test_a_dry_run_waits_for_nobody(world: World) -> None:
    tasks = await world.tasks()
    assert outcomes(await world.side_by_side(tasks, dry_run=True)) == [Outcome.WAITING] * 4


async def test_a_site_is_the_same_however_its_address_is_spelled(world: World) -> None:
    tasks = await world.tasks()
    batches = [world.worker.batch("run") for _ in range(2)]
    for batch, base_url in zip(batches, ["http://scripted.invalid", "https://u:p@Scripted.INVALID:443/"], strict=True):
        batch._settings = {DOMAIN: PlatformSettings(base_url=base_url)}
    await asyncio.gather(batches[0].run(tasks[:2]), batches[1].run(tasks[2:]))
    assert world.platform.most == 1
