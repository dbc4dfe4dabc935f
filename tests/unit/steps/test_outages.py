"""What a run says of a platform that is down: never as if it only were slow."""

from __future__ import annotations

from pathlib import Path

from likepion_provider.errors import Transient
from likepion_provider.models import Outcome
from likepion_provider.platforms import Job
from likepion_provider.steps.reports import AccountReport
from tests.clocks import VirtualClock
from tests.fakes import Worker, fresh_journal, small_manager


class World:
    """One account, on a platform that is down at some moments."""

    def __init__(self, folder: Path, *down: str) -> None:
        self.down = {*down}
        self.clock = VirtualClock()
        self.worker = Worker(small_manager(self.clock, accounts=1), fresh_journal(folder), self.clock)
        self.worker.platform.trouble = self.trouble
        self.worker.platform.lists["account-0"] = 0

    def trouble(self, when: str, _: Job) -> None:
        if when in self.down:
            raise Transient("the site answered 503")

    async def run(self) -> AccountReport:
        run = f"run at {self.clock.now()}"
        (report,) = await self.worker.batch(run).run(await self.worker.intake(run).pull(10))
        self.clock.advance(16 * 60)
        return report


async def test_a_platform_that_goes_down_after_the_import_is_named(tmp_path: Path) -> None:
    report = await World(tmp_path, "collect").run()
    assert report.outcome is Outcome.WAITING
    assert report.message == "Scripted lists 0 of 3 episodes so far; the last look failed: the site answered 503"


async def test_a_feed_that_may_not_have_been_taken_is_told_from_one_that_was(tmp_path: Path) -> None:
    world = World(tmp_path, "before")
    assert (await world.run()).message == "the site answered 503"
    world.down.clear()
    again = (await world.run()).message
    assert again.startswith("Scripted lists 0 of 3 episodes so far; it did not say whether it took the feed at 00:0")
    assert again.endswith(", and is handed it again after 01:00Z")
