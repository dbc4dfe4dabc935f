"""One episode once, whatever a platform calls its page, over runs of intake, import and delivery."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from likepion_provider.errors import Transient
from likepion_provider.manager.protocol import Endpoint
from likepion_provider.models import ImportState, Outcome
from likepion_provider.platforms import Job, Progress
from likepion_provider.steps.reports import AccountReport
from tests.fakes import DOMAIN, ScriptedPlatform
from tests.unit.steps.test_importing import World


class Renaming(ScriptedPlatform):
    """Names pages as a test says, by guid; lists nothing for ``hides_for`` looks after a submission."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: dict[str, str] = {}
        self.hides_for = 0

    async def collect(self, job: Job) -> Progress:
        seen = await super().collect(job)
        if self.hides_for and self.submissions[job.task.account_id]:
            self.hides_for -= 1
            return Progress(ImportState.NEW)
        named = [dataclasses.replace(each, url=self.pages.get(each.guid, each.url)) for each in seen.episodes]
        return dataclasses.replace(seen, episodes=tuple(named))


class OneAccount(World):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, accounts=1)
        self.platform = Renaming()
        self.worker.use(self.platform)

    def rows(self) -> list[str]:
        """What the manager has, in order."""
        assert not self.manager.duplicates()
        return [row.link_post for row in self.manager.rows]

    async def reports(self, run: str, **options: Any) -> list[AccountReport]:
        """The import's reports of one run, which delivers as well."""
        intake = self.worker.intake(run)
        tasks = await intake.reaffirm(await intake.pull(10))
        reports = await self.worker.batch(run, **options).run(tasks)
        await self.worker.delivery(run).run(tasks)
        return reports


@pytest.fixture
def world(tmp_path: Path) -> OneAccount:
    return OneAccount(tmp_path)


PAGES = [f"https://{DOMAIN}/account-0/0/g{number}" for number in range(3)]


@pytest.mark.parametrize("fault", ["400", "crash"])
async def test_a_page_that_was_not_stored_and_is_renamed_is_reported_under_its_new_name(
    world: OneAccount, fault: str
) -> None:
    if fault == "crash":
        intake = world.worker.intake("run-1")
        await world.worker.batch("run-1").run(await intake.reaffirm(await intake.pull(10)))
    else:
        world.worker.client.fail(Endpoint.INSERT, fault)
        await world.run()
    world.platform.pages["g1"] = "https://scripted.example/corrected-slug"
    world.clock.advance(901)
    assert await world.run("run-2") == {"account-0": Outcome.DELIVERED}
    assert world.rows() == [PAGES[0], "https://scripted.example/corrected-slug", PAGES[2]]


async def test_a_page_that_was_stored_and_is_renamed_is_not_reported_again(world: OneAccount) -> None:
    world.platform.lists = {"account-0": 2}
    await world.run(collect_timeout_s=10)
    world.clock.advance(24 * 3600)
    await world.run("partial", collect_timeout_s=10)
    assert world.rows() == PAGES[:2]
    world.platform.pages = {"g0": f"{PAGES[0]}?utm_source=feed", "g1": PAGES[1].replace("https", "HTTPS")}
    world.platform.lists = {}
    world.clock.advance(3 * 3600)
    assert await world.run("run-2") == {"account-0": Outcome.DELIVERED}
    assert world.rows() == PAGES


async def test_two_episodes_with_one_page_are_one_link_and_hold_nothing_up(world: OneAccount) -> None:
    world.platform.pages["g1"] = PAGES[0]
    began_s = world.clock.boot_s()
    assert await world.run() == {"account-0": Outcome.DELIVERED}
    assert world.rows() == [PAGES[0], PAGES[2]]
    assert world.clock.boot_s() - began_s < 10


async def test_white_space_around_a_page_does_not_travel(world: OneAccount) -> None:
    world.platform.pages["g1"] = f"\n {PAGES[1]} "
    assert await world.run() == {"account-0": Outcome.DELIVERED}
    assert world.rows() == PAGES


# --- url_once_per ---


async def test_a_new_post_gets_every_episode_again(world: OneAccount) -> None:
    await world.run()
    next_post(world)
    assert await world.run("run-2") == {"account-0": Outcome.DELIVERED}
    assert world.rows() == [*PAGES, *PAGES]


async def test_once_per_account_a_new_post_gets_what_is_new(world: OneAccount) -> None:
    await world.run(once_per_account=True)
    next_post(world)
    world.worker.episodes = 4
    assert await world.run("run-2", once_per_account=True) == {"account-0": Outcome.DELIVERED}
    assert world.rows() == [*PAGES, f"https://{DOMAIN}/account-0/0/g3"]


async def test_once_per_account_one_with_nothing_new_is_delivered_and_left_alone_for_an_hour(world: OneAccount) -> None:
    await world.run(once_per_account=True)
    next_post(world)
    (report,) = await world.reports("run-2", once_per_account=True)
    assert (report.outcome, report.found, report.new) == (Outcome.DELIVERED, 0, 0)
    assert report.message == "nothing new: 3 episodes sent under another post"
    assert world.rows() == PAGES
    world.clock.advance(901)
    (report,) = await world.reports("run-3", once_per_account=True)
    assert report.outcome is Outcome.BACKING_OFF
    assert "nothing new" in report.message
    world.clock.advance(2701)
    world.worker.episodes = 4
    (report,) = await world.reports("run-4", once_per_account=True)
    assert (report.outcome, report.new) == (Outcome.COLLECTED, 1)
    assert len(world.rows()) == 4


def next_post(world: OneAccount) -> None:
    """End the group's post and begin another, of the same feed."""
    world.manager.update_post("post-0", status="completed")
    world.manager.add_post("group-0", target=10, link_rss="https://feeds.example/0", request_id="post-1")


# --- an import whose answer was lost ---


async def test_an_import_whose_answer_was_lost_is_read_back_for_an_hour_before_it_is_submitted_again(
    world: OneAccount,
) -> None:
    def lose(when: str, _: Job) -> None:
        if when == "after":
            raise Transient("the platform's answer was lost")

    world.platform.trouble = lose
    assert await world.run() == {"account-0": Outcome.WAITING}
    world.platform.trouble = lambda _when, _job: None
    world.platform.hides_for = 1000
    for number in range(2):
        world.clock.advance(901)
        assert await world.run(f"look-{number}", collect_timeout_s=10) == {"account-0": Outcome.WAITING}
        assert world.platform.submissions["account-0"] == 1
    world.platform.hides_for = 0
    world.clock.advance(901)
    assert await world.run("run-2") == {"account-0": Outcome.DELIVERED}
    assert world.platform.submissions["account-0"] == 1


async def test_an_import_that_never_got_there_is_submitted_again_after_an_hour(world: OneAccount) -> None:
    def fail(when: str, _: Job) -> None:
        if when == "before":
            raise Transient("the platform's answer was lost")

    world.platform.trouble = fail
    await world.run()
    world.platform.trouble = lambda _when, _job: None
    world.clock.advance(901)
    assert await world.run("run-2", collect_timeout_s=10) == {"account-0": Outcome.WAITING}
    world.clock.advance(3600)
    assert await world.run("run-3") == {"account-0": Outcome.DELIVERED}
    assert world.platform.submissions["account-0"] == 1
