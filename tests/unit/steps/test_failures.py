"""Accounts that are set aside are reported to the manager, once, where that is switched on."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from sqlalchemy import select

from likepion_provider.errors import BadRequest, LoginRefused
from likepion_provider.journal.keys import named, of_key
from likepion_provider.journal.schema import failure
from likepion_provider.manager.protocol import Endpoint, failure_report
from likepion_provider.models import Account, Credentials, LinkState, Outcome, PostAccount, SecondaryTask
from likepion_provider.platforms import Job
from likepion_provider.steps.intake import Choice
from tests.clocks import VirtualClock
from tests.fakes import Crash, Worker, fresh_journal, small_manager

KEY = PostAccount("post-0", "account-0")
LINK = "https://site.example/{domain}/{account_id}?feed={link_rss}"
SENT = "https://site.example/scripted.example/account-0?feed=https://feeds.example/0"


class World:
    """One account, whose password the platform refuses."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock()
        self.manager = small_manager(self.clock, accounts=1)
        self.worker = Worker(self.manager, fresh_journal(folder), self.clock)
        self.worker.platform.trouble = self.refuse
        self.runs = 0

    @staticmethod
    def refuse(_: str, __: Job) -> None:
        raise LoginRefused("wrong password", platform="scripted")

    async def run(
        self, *, link: str = LINK, choice: Choice | None = None, dry_run: bool = False, after_s: float = 6 * 3600
    ) -> tuple[list[Outcome], list[Outcome]]:
        """What the import and the delivery say; by default after as long as every back-off lasts."""
        self.clock.advance(after_s)
        self.runs += 1
        run = f"run-{self.runs}"
        intake = self.worker.intake(run)
        tasks = await (intake.choose(choice) if choice else intake.pull(10))
        imported = await self.worker.batch(run, report_failures=bool(link), dry_run=dry_run).run(tasks)
        delivered = [] if dry_run else await self.worker.delivery(run, failure_link=link).run(tasks)
        return [each.outcome for each in imported], [each.outcome for each in delivered]

    async def set_aside(self) -> None:
        for _ in range(3):
            assert await self.run() == ([Outcome.FAILED], [])

    def rows(self) -> list[tuple[str, str]]:
        return [(row.status, row.link_post) for row in self.manager.rows]

    def inserts(self) -> int:
        return len([each for each in self.worker.client.sent if each.endpoint is Endpoint.INSERT])

    @property
    def state(self) -> LinkState | None:
        with self.worker.journal.database.reading() as connection:
            return connection.execute(select(failure.c.state).where(of_key(failure)), named(KEY)).scalar()


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    await world.set_aside()
    return world


async def test_it_is_reported_once_with_why_and_is_no_delivery(world: World) -> None:
    assert await world.run() == ([Outcome.SET_ASIDE], []), "the report of the run has no link of it"
    (row,) = world.manager.rows
    assert (row.status, row.link_post) == ("failed", SENT)
    assert row.note == "set aside after 3 permanent failures, the last: wrong password"
    assert await world.run() == ([], []), "the manager does not hand it out again for this post"
    assert world.state is LinkState.STORED
    assert world.inserts() == 1


async def test_an_account_that_may_still_get_through_is_not_reported(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert await world.run() == ([Outcome.FAILED], [])
    assert await world.run(after_s=1000) == ([Outcome.BACKING_OFF], [])
    assert world.state is None
    assert world.rows() == []


async def test_switched_off_nothing_is_put_or_sent(world: World) -> None:
    assert await world.run(link="") == ([Outcome.SET_ASIDE], [])
    assert world.state is None
    assert world.inserts() == 0


async def test_what_was_put_before_it_was_switched_off_stays_where_it_is(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.worker.client.fail(Endpoint.INSERT, "not_sent")
    await world.run()
    caplog.clear()
    await world.run(link="")
    assert world.state is LinkState.PREPARED
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


async def test_a_dry_run_puts_nothing(world: World) -> None:
    await world.run(dry_run=True)
    assert world.state is None


async def test_a_lost_answer_is_never_followed_by_a_second_report(world: World) -> None:
    world.worker.client.fail(Endpoint.INSERT, "lose_answer")
    assert await world.run() == ([Outcome.SET_ASIDE], [])
    assert world.state is LinkState.UNKNOWN
    assert await world.run() == ([], [])
    assert world.rows() == [("failed", SENT)]


async def test_a_lost_request_is_sent_again_once_the_account_comes_back(world: World) -> None:
    world.worker.client.fail(Endpoint.INSERT, "lose_request")
    await world.run()
    assert world.state is LinkState.UNKNOWN
    assert world.rows() == []
    assert await world.run() == ([Outcome.SET_ASIDE], [])
    assert world.rows() == [("failed", SENT)]


async def test_where_people_settle_a_lost_request_is_not_sent_again(world: World) -> None:
    world.worker.journal.settling.set_mode("manual")
    world.worker.client.fail(Endpoint.INSERT, "lose_request")
    await world.run()
    await world.run()
    assert world.inserts() == 1


@pytest.mark.parametrize("fault", ["not_sent", "429", "401"])
async def test_what_provably_did_not_arrive_is_left_to_the_next_run(world: World, fault: str) -> None:
    world.worker.client.fail(Endpoint.INSERT, fault)
    if fault == "401":
        with pytest.raises(Exception, match="401"):
            await world.run()
    else:
        await world.run()
    assert world.state is LinkState.PREPARED
    await world.run()
    assert world.rows() == [("failed", SENT)]


async def test_a_refused_report_is_not_repeated(world: World) -> None:
    world.worker.client.fail(Endpoint.INSERT, "400")
    await world.run()
    assert world.state is LinkState.REFUSED
    await world.run()
    assert world.inserts() == 1


async def test_a_refused_record_is_not_repeated(world: World) -> None:
    world.manager.refuse_records(1)
    await world.run()
    assert world.state is LinkState.REFUSED


@pytest.mark.parametrize(("crash", "rows"), [("crash_before", 0), ("crash_after", 1)])
async def test_a_crash_amid_the_report_sends_nothing_blindly(world: World, crash: str, rows: int) -> None:
    world.worker.client.fail(Endpoint.INSERT, crash)
    with pytest.raises(Crash):
        await world.run()
    assert world.state is LinkState.UNKNOWN
    assert len(world.rows()) == rows
    await world.run()
    assert world.rows() == [("failed", SENT)]


async def test_no_report_goes_out_once_the_claim_has_lapsed(world: World) -> None:
    world.clock.advance(901)
    tasks = await world.worker.intake("late").pull(10)
    await world.worker.batch("late", report_failures=True).run(tasks)
    assert world.state is LinkState.PREPARED
    delivery = world.worker.delivery("late", failure_link=LINK)
    world.clock.advance(841)
    await delivery.run(tasks)
    assert world.inserts() == 0


async def test_a_person_who_corrects_the_password_gets_the_links_delivered(world: World) -> None:
    await world.run()
    world.worker.platform.trouble = lambda _when, _job: None
    by_hand = Choice(account_ids=("account-0",))
    assert await world.run(choice=by_hand) == ([Outcome.COLLECTED], [Outcome.DELIVERED])
    assert sorted(status for status, _ in world.rows()) == ["completed"] * 3 + ["failed"]


async def test_a_report_that_did_not_go_out_is_dropped_when_a_person_tries_again(world: World) -> None:
    world.worker.client.fail(Endpoint.INSERT, "not_sent")
    await world.run()
    world.worker.platform.trouble = lambda _when, _job: None
    await world.run(choice=Choice(account_ids=("account-0",)))
    assert [status for status, _ in world.rows()] == ["completed"] * 3
    assert world.state is None


async def test_an_address_that_cannot_be_sent_is_said_without_the_feeds_url(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await world.run(link="{link_rss} {account_id}")
    assert "failure_link '{link_rss} {account_id}' makes no public http(s) URL" in caplog.text
    assert "feeds.example" not in caplog.text
    assert world.state is LinkState.PREPARED


@pytest.mark.parametrize(
    "link", ["{nobody}", "{", "{0}", "{domain.nope}", "{domain[x]}", "no address", "", "{link_rss}"]
)
def test_a_template_that_makes_no_address_is_refused(link: str) -> None:
    account = Account(SecondaryTask("account", "post", "group", "a.example"), Credentials(), link_rss="")
    with pytest.raises(BadRequest, match="makes no public http") as error:
        failure_report(link, account, "")
    assert "{" not in error.value.remedy
    assert "account_id" in error.value.remedy
