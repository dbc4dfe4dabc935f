"""A later post's new episode: how a platform that has the show comes to read the feed again."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from likepion_provider.errors import LikepionError, LoginRefused, Transient
from likepion_provider.models import ImportState, Outcome
from likepion_provider.platforms import Job, ListedEpisode, Progress, Rereads
from likepion_provider.steps.reports import AccountReport
from tests.clocks import VirtualClock
from tests.fakes import ScriptedPlatform, Worker, fresh_journal, small_manager

ACCOUNT = "account-0"


class Rereading(ScriptedPlatform):
    """Has the show, one episode short, until it is asked to read the feed again."""

    rereads = Rereads(on_request=True)

    def __init__(self) -> None:
        super().__init__()
        self.submissions[ACCOUNT] = 1
        self.lists[ACCOUNT] = 2
        self.refreshes: list[str] = []
        self.on_refresh: Callable[[], None] = self.lists.clear

    async def submit(self, job: Job) -> Progress:
        """It has the show already."""
        return await self.collect(job)

    async def refresh(self, job: Job) -> None:
        self.refreshes.append(job.reference)
        self.on_refresh()


class World:
    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock()
        self.manager = small_manager(self.clock, 1)
        self.worker = Worker(self.manager, fresh_journal(folder), self.clock)
        self.platform = Rereading()
        self.worker.use(self.platform)
        self.runs = 0

    def use(self, platform: Rereading) -> None:
        self.platform = platform
        self.worker.use(platform)

    async def import_(self, **options: object) -> AccountReport:
        self.runs += 1
        run = f"run-{self.runs}"
        self.clock.advance(901)
        (report,) = await self.worker.batch(run, **options).run(await self.worker.intake(run).pull(10))
        return report


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_platform_that_lacks_a_new_episode_is_asked_to_read_the_feed_again(world: World) -> None:
    report = await world.import_()
    assert (report.outcome, report.found) == (Outcome.COLLECTED, 3)
    assert world.platform.refreshes == [f"show-{ACCOUNT}"], "it is told which show"


async def test_a_platform_that_lacks_nothing_is_not_asked(world: World) -> None:
    world.platform.lists.clear()
    assert (await world.import_()).outcome is Outcome.COLLECTED
    assert world.platform.refreshes == []


async def test_an_account_is_asked_for_once_an_hour_at_most(world: World) -> None:
    asked_at_s: list[float] = []
    world.platform.on_refresh = lambda: asked_at_s.append(world.clock.boot_s())
    for _ in range(8):
        report = await world.import_()
    assert len(asked_at_s) == 3
    assert all(later - before >= 3600 for before, later in itertools.pairwise(asked_at_s))
    assert "lists 2 of 3 episodes so far; it was asked at 2" in report.message
    assert report.remedy == ""


async def test_another_post_of_the_account_does_not_ask_again_within_the_hour(world: World) -> None:
    world.platform.on_refresh = lambda: None
    await world.import_()
    world.manager.add_post("group-0", target=3, link_rss="https://feeds.example/0", request_id="post-later")
    report = await world.import_()
    assert report.task.request_id == "post-later"
    assert len(world.platform.refreshes) == 1


@pytest.mark.parametrize("error", [Transient("busy"), LoginRefused("may not refresh")])
async def test_a_platform_that_cannot_be_asked_now_is_listed_all_the_same(world: World, error: LikepionError) -> None:
    def refuse() -> None:
        raise error

    world.platform.on_refresh = refuse
    report = await world.import_()
    assert (report.outcome, report.found) == (Outcome.WAITING, 2)
    assert f"it could not be asked to read the feed again: {error.message}" in report.message
    assert report.remedy == error.remedy
    (known,) = world.worker.journal.submissions.of_account(ACCOUNT)
    assert (known.failures, known.remedy) == (0, error.remedy)
    report = await world.import_(partial_after_s=1)
    assert (report.outcome, report.found) == (Outcome.COLLECTED, 2)


@pytest.mark.parametrize(
    ("rereads", "words", "remedy"),
    [
        (Rereads(by_itself="reads its feeds every two hours"), "it reads its feeds every two hours", ""),
        (Rereads(by_person="Press Refresh there."), "it cannot be asked", "Press Refresh there."),
        (Rereads(), "it cannot be asked", "Nothing says when Scripted reads a feed again"),
    ],
)
async def test_a_platform_that_cannot_be_asked_is_told_of(
    world: World, rereads: Rereads, words: str, remedy: str
) -> None:
    world.platform.rereads = rereads  # type: ignore[misc]
    report = await world.import_()
    assert report.outcome is Outcome.WAITING
    assert f"lists 2 of 3 episodes so far; {words}" in report.message
    assert report.remedy.startswith(remedy)
    assert bool(report.remedy) == bool(remedy)
    assert world.platform.refreshes == []


async def test_an_import_that_is_under_way_is_not_disturbed(world: World) -> None:
    class Slow(Rereading):
        async def submit(self, job: Job) -> Progress:
            return dataclasses.replace(await self.collect(job), state=ImportState.SUBMITTED, episodes=())

    world.use(Slow())
    world.platform.lists[ACCOUNT] = 1
    for _ in range(2):
        report = await world.import_()
        assert (report.outcome, report.found) == (Outcome.WAITING, 1)
    assert world.platform.refreshes == []


async def test_a_show_that_lists_only_other_episodes_is_read_again(world: World) -> None:
    class Old(Rereading):
        async def collect(self, job: Job) -> Progress:
            seen = await super().collect(job)
            return seen if self.refreshes else dataclasses.replace(seen, episodes=(ListedEpisode("https://x/1", "x"),))

    world.use(Old())
    assert (await world.import_()).found == 3


async def test_nobody_is_asked_without_a_claim(world: World) -> None:
    class Late(Rereading):
        async def submit(self, job: Job) -> Progress:
            seen = await self.collect(job)
            world.clock.advance(1000)
            return seen

    world.use(Late())
    assert (await world.import_()).outcome is Outcome.LEASE_LOST
    assert world.platform.refreshes == []


async def test_a_dry_run_asks_nobody(world: World) -> None:
    assert (await world.import_(dry_run=True)).outcome is Outcome.WAITING
    assert world.platform.refreshes == []
