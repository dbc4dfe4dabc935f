"""A platform that has forgotten what it was doing is asked again at once, and waited for no longer than that helps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from likepion_provider.models import ImportState, Outcome
from likepion_provider.platforms import Job, Progress, Rereads
from likepion_provider.steps.reports import AccountReport
from tests.clocks import VirtualClock
from tests.fakes import ScriptedPlatform, Worker, fresh_journal, small_manager

ACCOUNT = "account-0"


class Forgetful(ScriptedPlatform):
    """Is restarted at its second look, and lists so many episodes until it is asked again."""

    rereads = Rereads(on_request=True)

    def __init__(self, listed: int, *, recovers: bool = True) -> None:
        super().__init__()
        self.lists[ACCOUNT] = listed
        self.recovers = recovers
        self.looks = 0
        self.asked: list[str] = []

    async def submit(self, job: Job) -> Progress:
        self.asked.append("submit")
        if len(self.asked) > 1:
            self._resume()
        return await super().submit(job)

    async def refresh(self, job: Job) -> None:
        self.asked.append("refresh")
        self._resume()

    async def collect(self, job: Job) -> Progress:
        seen = await super().collect(job)
        self.looks += 1
        lost = self.looks > 1 and ACCOUNT in self.lists
        state = ImportState.LISTED if seen.episodes else ImportState.NEW if lost else ImportState.SUBMITTED
        return dataclasses.replace(seen, state=state, stalled=lost)

    def _resume(self) -> None:
        if self.recovers:
            self.lists.clear()


class World:
    def __init__(self, folder: Path, platform: Forgetful) -> None:
        self.clock = VirtualClock()
        self.manager = small_manager(self.clock, 1)
        self.worker = Worker(self.manager, fresh_journal(folder), self.clock)
        self.worker.use(platform)
        self.runs = 0

    async def import_(self) -> AccountReport:
        self.runs += 1
        run = f"run-{self.runs}"
        self.clock.advance(901)
        (report,) = await self.worker.batch(run).run(await self.worker.intake(run).pull(10))
        return report


@pytest.mark.parametrize("listed", [0, 2])
async def test_a_restart_amid_an_import_is_noticed_in_the_same_run(tmp_path: Path, listed: int) -> None:
    platform = Forgetful(listed)
    world = World(tmp_path, platform)
    began_s = world.clock.boot_s()
    report = await world.import_()
    assert (report.outcome, report.found) == (Outcome.COLLECTED, 3)
    assert platform.asked == ["submit", "refresh"]
    assert world.clock.boot_s() - began_s < 901 + 30, "it is not waited for"


async def test_a_restart_between_two_runs_is_noticed_within_the_hour(tmp_path: Path) -> None:
    platform = Forgetful(0)
    world = World(tmp_path, platform)
    platform.looks = -1000
    assert (await world.import_()).outcome is Outcome.WAITING
    platform.looks = 1
    report = await world.import_()
    assert (report.outcome, report.found) == (Outcome.COLLECTED, 3)
    assert platform.asked == ["submit", "submit"]


async def test_what_stalls_again_is_waited_for_no_longer(tmp_path: Path) -> None:
    platform = Forgetful(2, recovers=False)
    world = World(tmp_path, platform)
    began_s = world.clock.boot_s()
    report = await world.import_()
    assert (report.outcome, report.found) == (Outcome.WAITING, 2)
    assert "2 of 3" in report.message
    assert platform.asked == ["submit", "refresh"]
    assert world.clock.boot_s() - began_s < 901 + 60, "the slot is given back"
