"""A run without Airflow: intake, import and delivery against the manager's rules, with time moved by hand."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from pathlib import Path

import pytest
from yarl import URL

from likepion_provider.clock import Moment
from likepion_provider.errors import (
    LeaseLost,
    LoginRefused,
    NeedsVerification,
    NotAuthorised,
    OutcomeUnknown,
    Transient,
)
from likepion_provider.manager.protocol import Endpoint
from likepion_provider.models import Account, Feed, ImportState, LinkState, Outcome, SecondaryTask
from likepion_provider.platforms import Job, Progress
from likepion_provider.sandbox.manager import SandboxManager
from likepion_provider.steps.batches import Batch, batches
from likepion_provider.steps.importing import RESUBMIT_AFTER, SHOW_UP_WITHIN_S
from likepion_provider.steps.intake import Choice
from likepion_provider.steps.waiting import Waits
from tests.clocks import VirtualClock
from tests.fakes import ScriptedPlatform, Worker, feed_of, fresh_journal, small_manager


class World:
    def __init__(self, folder: Path, accounts: int = 2, posts: int = 1, *, ready: bool = True) -> None:
        self.clock = VirtualClock()
        self.manager: SandboxManager = small_manager(self.clock, accounts, posts, ready=ready)
        self.worker = Worker(self.manager, fresh_journal(folder), self.clock)

    async def run(self, run: str = "run-1", limit: int = 100, **options: object) -> dict[str, Outcome]:
        """Pull, claim, import, insert; the outcome by account."""
        intake = self.worker.intake(run)
        tasks = await intake.reaffirm(await intake.pull(limit))
        return await self.work(tasks, run, **options)

    async def work(self, tasks: list[SecondaryTask], run: str, **options: object) -> dict[str, Outcome]:
        reports = {each.task.account_id: each for each in await self.worker.batch(run, **options).run(tasks)}
        reports |= {each.task.account_id: each for each in await self.worker.delivery(run).run(tasks)}
        self.messages = {account_id: each.message for account_id, each in reports.items()}
        return {account_id: each.outcome for account_id, each in reports.items()}

    def stored(self) -> dict[str, int]:
        assert not self.manager.duplicates()
        accounts: dict[str, int] = self.manager.rows_report()["accounts"]
        return accounts


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_everything_is_delivered_once_and_the_feed_is_read_once(world: World) -> None:
    assert await world.run() == {"account-0": Outcome.DELIVERED, "account-1": Outcome.DELIVERED}
    assert world.stored() == {"account-0": 3, "account-1": 3}
    assert world.worker.feeds_read == ["https://feeds.example/0"]
    assert await world.run("run-2") == {}


async def test_running_the_steps_again_sends_nothing(world: World) -> None:
    intake = world.worker.intake("run-1")
    tasks = await intake.pull(10)
    await world.work(tasks, "run-1")
    sent = len(world.worker.client.sent)
    outcomes = await world.work(tasks, "run-1")
    assert set(outcomes.values()) == {Outcome.DELIVERED}, "the report still knows what is stored"
    assert len(world.worker.client.sent) == sent
    assert world.stored() == {"account-0": 3, "account-1": 3}


async def test_a_lost_answer_parks_that_accounts_links_and_no_others(world: World) -> None:
    world.worker.client.fail(Endpoint.INSERT, "lose_answer")
    outcomes = await world.run()
    assert sorted(each.value for each in outcomes.values()) == ["delivered", "unknown"]
    assert sum(world.stored().values()) == 6, "it had taken effect"
    assert await world.run("run-2") == {}


async def test_what_was_not_stored_is_sent_again_once_the_manager_hands_the_account_out_again(world: World) -> None:
    world.worker.client.fail(Endpoint.INSERT, "lose_request")
    await world.run()
    assert sum(world.stored().values()) == 3
    world.clock.advance(901)
    assert list((await world.run("run-2")).values()) == [Outcome.DELIVERED]
    assert world.stored() == {"account-0": 3, "account-1": 3}


async def test_what_is_not_handed_out_any_more_is_presumed_stored(world: World) -> None:
    world.worker.client.fail(Endpoint.INSERT, "lose_answer")
    await world.run()
    (unknown, *_) = world.worker.journal.links.listed(state=LinkState.UNKNOWN)
    world.clock.advance(901)
    await world.run("run-2")
    states = world.worker.journal.links.states([unknown.key])[unknown.key]
    assert states == {LinkState.STORED: 3}
    assert all(link.presumed for link in world.worker.journal.links.of_key(unknown.key))


async def test_a_confirmed_link_that_reappears_switches_settling_off_for_good(world: World) -> None:
    world.worker.client.fail(Endpoint.INSERT, "lose_request")
    await world.run()
    delivered = next(iter(world.stored()))
    world.manager.rows.clear()
    world.manager._served["post-0"].discard(delivered)
    world.clock.advance(901)
    await world.run("run-2")
    assert world.worker.journal.settling.mode() == "manual"
    assert world.stored() == {}, "neither the confirmed nor the unknown links are sent again"


@pytest.mark.parametrize(("fault", "state"), [("500", "unknown"), ("502", "unknown"), ("garbled", "unknown")])
async def test_no_insert_is_sent_again_after_an_unclear_answer(world: World, fault: str, state: str) -> None:
    world.worker.client.fail(Endpoint.INSERT, fault)
    outcomes = await world.run()
    assert sorted(each.value for each in outcomes.values()) == ["delivered", state]
    inserts = [each for each in world.worker.client.sent if each.endpoint is Endpoint.INSERT]
    assert len(inserts) == 2


@pytest.mark.parametrize("fault", ["429", "not_sent"])
async def test_what_provably_did_not_arrive_is_sent_again_in_the_same_run(world: World, fault: str) -> None:
    world.worker.client.fail(Endpoint.INSERT, fault)
    assert set((await world.run()).values()) == {Outcome.DELIVERED}


async def test_a_refused_insert_is_reported_with_the_managers_words(world: World) -> None:
    world.worker.client.fail(Endpoint.INSERT, "400")
    outcomes = await world.run()
    assert sorted(each.value for each in outcomes.values()) == ["delivered", "failed"]
    assert any("fault 400" in message for message in world.messages.values())
    world.clock.advance(901)
    assert list((await world.run("run-2")).values()) == [Outcome.DELIVERED]


async def test_a_wrong_key_leaves_the_links_to_be_sent(world: World) -> None:
    world.worker.client.fail(Endpoint.INSERT, "401")
    with pytest.raises(NotAuthorised):
        await world.run()
    assert {link.state for link in world.worker.journal.links.listed()} <= {LinkState.PREPARED, LinkState.STORED}


async def test_a_run_that_lost_its_claim_touches_nothing(world: World) -> None:
    tasks = await world.worker.intake("run-1").pull(10)
    world.clock.advance(841)
    assert set((await world.work(tasks, "run-1")).values()) == {Outcome.LEASE_LOST}
    assert not world.worker.platform.submissions
    assert await world.worker.intake("run-1").reaffirm(tasks) == []
    assert "claim" not in {event.kind for event in world.manager.events}, "it would steal"


@pytest.mark.parametrize("jump_s", [-3600, 3600])
async def test_a_wall_clock_that_jumps_never_lengthens_a_claim(world: World, jump_s: float) -> None:
    tasks = await world.worker.intake("run-1").pull(10)
    world.clock.advance(841)
    world.clock.jump(jump_s)
    assert set((await world.work(tasks, "run-1")).values()) == {Outcome.LEASE_LOST}


async def test_an_attempt_that_was_overtaken_writes_nothing(world: World) -> None:
    (task, *_) = await world.worker.intake("run-1").pull(10)
    first, second = world.worker.keeper("run-1"), world.worker.keeper("run-1")
    await first.take_over([task.key])
    await second.take_over([task.key])
    with pytest.raises(LeaseLost, match="taken over by a later attempt"):
        await first.check(task.key)
    journal, now = world.worker.journal, Moment.read(world.clock)
    journal.links.prepare(task.key, [("g1", "https://scripted.example/1")], now.at)
    for write in (
        lambda: journal.submissions.begin(task.key, first.holder, now),
        lambda: journal.links.begin_send(task.key, first.holder, ["https://scripted.example/1"], now),
    ):
        with pytest.raises(LeaseLost):
            write()
    await second.check(task.key)
    await first.renew()
    assert "claim" not in {event.kind for event in world.manager.events}, "the first one does not renew either"


async def test_what_an_earlier_attempt_left_between_post_and_answer_is_parked(world: World) -> None:
    (task, *_) = await world.worker.intake("run-1").pull(10)
    keeper = world.worker.keeper("run-1")
    await keeper.take_over([task.key])
    links = world.worker.journal.links
    links.prepare(task.key, [("g1", "https://scripted.example/1")], world.clock.now())
    links.begin_send(task.key, keeper.holder, ["https://scripted.example/1"], Moment.read(world.clock))
    await world.worker.keeper("run-1").take_over([task.key])
    assert [each.state for each in links.of_key(task.key)] == [LinkState.UNKNOWN]
    assert links.to_send([task.key])[task.key] == []


async def test_an_import_whose_answer_was_lost_is_read_back_before_it_is_submitted_again(world: World) -> None:
    def lose(when: str, _: Job) -> None:
        if when == "after":
            raise Transient("the platform's answer was lost")

    world.worker.platform.trouble = lose
    assert set((await world.run()).values()) == {Outcome.WAITING}
    world.worker.platform.trouble = lambda _when, _job: None
    world.clock.advance(901)
    assert set((await world.run("run-2")).values()) == {Outcome.DELIVERED}
    assert set(world.worker.platform.submissions.values()) == {1}


async def test_a_partial_listing_waits_for_the_rest_and_is_reported_after_a_day(world: World) -> None:
    world.worker.platform.lists = {"account-0": 2}
    outcomes = await world.run(collect_timeout_s=20)
    assert outcomes == {"account-0": Outcome.WAITING, "account-1": Outcome.DELIVERED}
    assert "lists 2 of 3 episodes" in world.messages["account-0"]
    world.clock.advance(24 * 3600)
    assert await world.run("run-2", collect_timeout_s=20) == {"account-0": Outcome.DELIVERED}
    assert world.stored() == {"account-0": 2, "account-1": 3}


async def test_what_a_partial_report_left_out_is_looked_for_every_three_hours_for_two_weeks(world: World) -> None:
    world.worker.platform.lists = {"account-0": 2}
    await world.run(collect_timeout_s=20)
    world.clock.advance(24 * 3600)
    await world.run("run-2", collect_timeout_s=20)
    world.clock.advance(3600)
    assert await world.run("run-3", collect_timeout_s=20) == {}
    world.clock.advance(2 * 3600)
    assert await world.run("run-4", collect_timeout_s=20) == {"account-0": Outcome.DELIVERED}
    assert world.stored()["account-0"] == 2, "still not listed"
    world.clock.advance(3600)
    assert await world.run("run-5", collect_timeout_s=20) == {}
    world.worker.platform.lists = {}
    world.clock.advance(2 * 3600)
    assert await world.run("run-6") == {"account-0": Outcome.DELIVERED}
    assert world.stored()["account-0"] == 3
    world.clock.advance(4 * 3600)
    assert await world.run("run-7") == {}
    assert world.worker.platform.submissions["account-0"] == 1


async def test_a_feed_that_was_not_read_to_its_end_is_said_and_read_again(world: World) -> None:
    async def read_feed(url: str, **_: object) -> Feed:
        return dataclasses.replace(feed_of(url, 2), newest_certain=False, left_out=("item 3 ('Long') is too large",))

    whole, world.worker.read_feed = world.worker.read_feed, read_feed  # type: ignore[method-assign]
    assert set((await world.run(collect_timeout_s=20)).values()) == {Outcome.WAITING}
    assert "not read to its end, so newer episodes may be missing" in world.messages["account-0"]
    assert "'Long'" in world.messages["account-0"]
    world.clock.advance(24 * 3600)
    assert set((await world.run("run-2")).values()) == {Outcome.DELIVERED}
    world.worker.read_feed = whole  # type: ignore[method-assign]
    world.clock.advance(3 * 3600)
    await world.run("run-3")
    assert world.stored() == {"account-0": 3, "account-1": 3}


async def test_what_a_partial_report_left_out_is_looked_for_at_once_by_hand(world: World) -> None:
    world.worker.platform.lists = {"account-0": 2}
    await world.run(collect_timeout_s=20)
    world.clock.advance(24 * 3600)
    await world.run("run-2", collect_timeout_s=20)
    world.worker.platform.lists = {}
    tasks = await world.worker.intake("run-3").choose(Choice(account_ids=("account-0", "account-1")))
    assert [task.account_id for task in tasks] == ["account-0"], "the other one is done"
    assert await world.work(tasks, "run-3") == {"account-0": Outcome.DELIVERED}
    assert world.stored() == {"account-0": 3, "account-1": 3}


async def test_what_is_never_listed_is_given_up_after_two_weeks(world: World) -> None:
    world.worker.platform.lists = {"account-0": 2}
    await world.run(collect_timeout_s=20)
    world.clock.advance(24 * 3600)
    await world.run("run-2", collect_timeout_s=20)
    world.clock.advance(14 * 24 * 3600)
    assert await world.run("run-3", collect_timeout_s=20) == {}


async def test_one_accounts_failure_is_its_own_and_it_is_set_aside_after_three(world: World) -> None:
    def refuse(_: str, job: Job) -> None:
        if job.task.account_id == "account-0":
            raise LoginRefused("wrong password", platform="scripted")

    world.worker.platform.trouble = refuse
    assert await world.run() == {"account-0": Outcome.FAILED, "account-1": Outcome.DELIVERED}
    for number in range(2, 4):
        world.clock.advance(6 * 3600)
        assert await world.run(f"run-{number}") == {"account-0": Outcome.FAILED}
    world.clock.advance(6 * 3600)
    assert await world.run("run-4") == {"account-0": Outcome.SET_ASIDE}
    assert not Outcome.SET_ASIDE.needs_attention
    world.worker.platform.trouble = lambda _when, _job: None
    world.clock.advance(901)
    tasks = await world.worker.intake("run-5").choose(Choice(account_ids=("account-0",)))
    assert await world.work(tasks, "run-5") == {"account-0": Outcome.DELIVERED}


async def test_an_account_that_does_not_get_through_is_tried_less_and_less_often_and_by_hand_at_once(
    world: World,
) -> None:
    def refuse(_: str, _job: Job) -> None:
        raise NeedsVerification("open the page")

    world.worker.platform.trouble = refuse
    tried_after_h = []
    for hour in range(20):
        outcomes = await world.run(f"run-{hour}")
        if outcomes["account-0"] is Outcome.NEEDS_PERSON:
            tried_after_h.append(hour)
        else:
            assert outcomes["account-0"] is Outcome.BACKING_OFF
            assert "open the page" in world.messages["account-0"]
        world.clock.advance(3600)
    assert tried_after_h == [0, 1, 3, 7, 13, 19]
    assert not Outcome.BACKING_OFF.needs_attention
    world.worker.platform.trouble = lambda _when, _job: None
    tasks = await world.worker.intake("by-hand").choose(Choice(account_ids=("account-0",)))
    assert await world.work(tasks, "by-hand") == {"account-0": Outcome.DELIVERED}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NeedsVerification("open the page"), Outcome.NEEDS_PERSON),
        (Transient("later"), Outcome.WAITING),
        (ZeroDivisionError(), Outcome.FAILED),
    ],
)
async def test_what_an_importer_raises_says_how_the_account_came_out(
    world: World, error: Exception, outcome: Outcome
) -> None:
    def trouble(_when: str, _job: Job) -> None:
        raise error

    world.worker.platform.trouble = trouble
    assert set((await world.run()).values()) == {outcome}


async def test_a_dry_run_writes_nothing(world: World) -> None:
    tasks = await world.worker.intake("run-1").pull(10)
    reports = await world.worker.batch("run-1", dry_run=True).run(tasks)
    assert {each.outcome for each in reports} == {Outcome.WAITING}
    assert "would import the feed and report 3 URLs" in reports[0].message
    assert not world.worker.platform.submissions
    assert world.worker.journal.links.listed() == []


async def test_more_than_200_links_go_in_several_posts_under_a_renewed_claim(tmp_path: Path) -> None:
    world = World(tmp_path, accounts=1)
    world.manager.update_post("post-0", target=450)
    world.worker.episodes = 450
    assert await world.run() == {"account-0": Outcome.DELIVERED}
    assert world.stored() == {"account-0": 450}
    kinds = [event.kind for event in world.manager.events if event.kind != "pull"]
    assert kinds == ["claim", "insert", "claim", "insert", "claim", "insert"]
    assert not [event for event in world.manager.events if event.kind == "insert" and event.unclaimed]


async def test_leftovers_of_an_account_that_no_pull_brings_back_are_taken_along(tmp_path: Path) -> None:
    world = World(tmp_path, accounts=1)
    world.manager.update_post("post-0", target=250)
    world.worker.episodes = 250
    world.worker.client.fail(Endpoint.INSERT, "")
    world.worker.client.fail(Endpoint.INSERT, "400")
    assert await world.run() == {"account-0": Outcome.FAILED}
    assert world.stored() == {"account-0": 200}
    assert await world.run("run-2") == {"account-0": Outcome.DELIVERED}
    assert world.stored() == {"account-0": 250}


async def test_a_pull_whose_answer_is_lost_is_not_sent_again(world: World) -> None:
    world.worker.client.fail(Endpoint.PULL, "lose_answer")
    with pytest.raises(OutcomeUnknown, match="pull: answer lost"):
        await world.worker.intake("run-1").pull(10)
    assert len(world.worker.client.sent) == 1


@pytest.mark.parametrize("delivers", ["while it sleeps", "when it is awake"])
async def test_a_pull_that_slept_through_its_claims_proves_nothing_and_takes_nothing(
    world: World, delivers: str
) -> None:
    """A process stood still between a pull's answer and what it does with it, and another run took over."""
    pull = world.worker.client.pull
    overtaking: list[SecondaryTask] = []

    async def slow(limit: int) -> list[Account]:
        world.worker.client.pull = pull
        answer: list[Account] = await pull(limit)
        world.clock.advance(901)
        overtaking.extend(await world.worker.intake("run-2").pull(limit))
        if delivers == "while it sleeps":
            await world.work(overtaking, "run-2")
        return answer

    world.worker.client.pull = slow
    assert await world.worker.intake("run-1").pull(10) == []
    assert world.worker.journal.settling.mode() == "reappearance"
    assert set((await world.work(overtaking, "run-2")).values()) == {Outcome.DELIVERED}
    assert world.stored() == {"account-0": 3, "account-1": 3}


async def test_reads_of_the_manager_are_tried_again_a_few_times(world: World) -> None:
    for kind in ("500", "lose_answer", "not_sent"):
        world.worker.client.fail(Endpoint.ACCOUNT, kind)
    assert set((await world.run()).values()) == {Outcome.DELIVERED}


async def test_a_choice_takes_what_is_not_done_and_says_what_it_leaves(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await world.run(limit=1)
    (left,) = await world.worker.intake("run-2").choose(Choice(group_id="group-0"))
    assert left.account_id == "account-1", "the pull brings what the journal has never seen"
    intake = world.worker.intake("run-3")
    assert await intake.choose(Choice(group_id="group-0")) == []
    assert [(each.account_id, each.reason) for each in intake.refusals] == [
        ("account-0", "all its links are stored"),
        ("account-1", "another run works it"),
    ]
    assert "Not taken: account-@scripted.example, all its links are stored" in caplog.text


async def test_two_runs_never_take_the_same_account_by_hand(world: World) -> None:
    choice = Choice(account_ids=("account-0", "account-1"))
    assert len(await world.worker.intake("run-1").choose(choice)) == 2
    assert await world.worker.intake("run-2").choose(choice) == []
    world.clock.advance(901)
    assert len(await world.worker.intake("run-2").choose(choice)) == 2


async def test_the_wait_ends_when_the_feed_is_set_and_keeps_the_claims(tmp_path: Path) -> None:
    world = World(tmp_path, ready=False)
    tasks = await world.worker.intake("run-1").pull(10)
    waits = Waits(world.worker.client, world.worker.journal, world.clock)
    assert not await waits.any_feed_set(scope="run-1", tasks=tasks, poke_interval_s=30, timeout_s=100)
    assert world.worker.journal.claims.live("run-1", ["account-0"], Moment.read(world.clock)) == {}, "let go"
    world.clock.advance(901)
    tasks = await world.worker.intake("run-1").pull(10)
    world.manager.set_link_rss("post-0", "https://feeds.example/0")
    assert await waits.any_feed_set(scope="run-1", tasks=tasks, poke_interval_s=30, timeout_s=100)


async def test_what_waited_together_and_is_not_set_is_the_next_runs_at_once(tmp_path: Path) -> None:
    world = World(tmp_path, 4, 2, ready=False)
    tasks = await world.worker.intake("run-1").pull(10)
    world.manager.set_link_rss("post-1", "https://feeds.example/1")
    assert await world.work(tasks, "run-1") == {
        "account-0": Outcome.WAITING,
        "account-1": Outcome.DELIVERED,
        "account-2": Outcome.WAITING,
        "account-3": Outcome.DELIVERED,
    }
    calls = len(world.worker.client.sent)
    world.manager.set_link_rss("post-0", "https://feeds.example/0")
    again = await world.worker.intake("run-2").pull(2)
    assert [task.account_id for task in again] == ["account-0", "account-2"]
    sent = {each.endpoint for each in world.worker.client.sent[calls:]}
    assert sent == {Endpoint.ACCOUNT}, "nothing is pulled, nothing is claimed: the claims are ours"
    assert set((await world.work(again, "run-2")).values()) == {Outcome.DELIVERED}
    assert world.stored() == dict.fromkeys([f"account-{number}" for number in range(4)], 3)


async def test_a_dry_run_hands_nothing_over(tmp_path: Path) -> None:
    world = World(tmp_path, ready=False)
    tasks = await world.worker.intake("run-1").pull(10)
    assert set((await world.work(tasks, "run-1", dry_run=True)).values()) == {Outcome.WAITING}
    assert world.worker.journal.claims.adopt("run-2", 10, Moment.read(world.clock)) == []


def test_batches_keep_posts_apart_while_they_are_few_and_ready_ones_from_waiting_ones() -> None:
    def tasks(post: int, count: int, *, ready: bool = True) -> list[SecondaryTask]:
        return [
            SecondaryTask(f"{post}-{n}", f"post-{post}", f"group-{post}", "d", feed_ready=ready) for n in range(count)
        ]

    few = batches(tasks(1, 8) + tasks(2, 8) + tasks(3, 2, ready=False))
    assert [(len(each.tasks), each.waits) for each in few] == [(8, False), (8, False), (2, True)]
    many = batches([task for post in range(100) for task in tasks(post, 10)])
    assert len(many) == 8
    assert sum(len(each.tasks) for each in many) == 1000
    waiting = batches([task for post in range(8) for task in tasks(post, 10, ready=False)])
    assert [len(each.tasks) for each in waiting] == [10] * 8
    waiting = batches([task for post in range(50) for task in tasks(post, 10, ready=post == 49)])
    assert [(len(each.tasks), each.waits) for each in waiting] == [(10, False)] + [(70, True)] * 7
    assert [len({task.request_id for task in each.tasks}) for each in waiting[1:]] == [7] * 7, "no post is cut"
    assert [len(each.tasks) for each in batches(tasks(1, 5), 2)] == [2, 2, 1]
    assert Batch.from_public(few[0].to_public()) == few[0]
    assert batches([]) == []


async def test_a_submission_that_may_be_lost_is_looked_for_and_holds_nobody_up(world: World) -> None:
    def lost(when: str, job: Job) -> None:
        if when == "before" and job.task.account_id == "account-0":
            raise Transient("no answer from the platform")

    world.worker.platform.trouble = lost
    assert await world.run() == {"account-0": Outcome.WAITING, "account-1": Outcome.DELIVERED}
    world.worker.platform.trouble = lambda _when, _job: None
    world.clock.advance(901)
    began_s = world.clock.boot_s()
    assert await world.run("run-2") == {"account-0": Outcome.WAITING}
    assert world.clock.boot_s() - began_s <= SHOW_UP_WITHIN_S, "not for as long as a platform may take"
    assert not world.worker.platform.submissions["account-0"], "it may still show up"
    world.clock.advance(RESUBMIT_AFTER.total_seconds())
    assert await world.run("run-3") == {"account-0": Outcome.DELIVERED}


class Resuming(ScriptedPlatform):
    """Makes one episode a visit, and then does not answer."""

    async def submit(self, job: Job) -> Progress:
        made = self.lists.get(job.task.account_id, 0) + 1
        self.lists[job.task.account_id] = made
        await super().submit(job)
        if made < len(job.feed.episodes):
            raise Transient("no answer from the platform")
        return await self.collect(job)

    async def collect(self, job: Job) -> Progress:
        seen = await super().collect(job)
        whole = len(seen.episodes) == len(job.feed.episodes)
        return seen if whole else dataclasses.replace(seen, state=ImportState.NEW, stalled=True)


async def test_an_import_that_can_be_resumed_goes_on_in_the_next_run(world: World) -> None:
    world.worker.use(Resuming())
    for run in ("run-1", "run-2"):
        assert set((await world.run(run)).values()) == {Outcome.WAITING}
        world.clock.advance(901)
    assert set((await world.run("run-3")).values()) == {Outcome.DELIVERED}
    assert world.stored() == {"account-0": 3, "account-1": 3}


async def test_what_of_an_import_that_is_resumed_never_comes_is_left_out_after_a_day(world: World) -> None:
    class Stubborn(Resuming):
        async def submit(self, job: Job) -> Progress:
            self.lists[job.task.account_id] = 1
            self.submissions[job.task.account_id] += 1
            return dataclasses.replace(await self.collect(job), state=ImportState.SUBMITTED, stalled=False)

    world.worker.use(Stubborn())
    assert set((await world.run()).values()) == {Outcome.WAITING}
    world.clock.advance(13 * 3600)
    assert set((await world.run("run-2")).values()) == {Outcome.WAITING}
    world.clock.advance(13 * 3600)
    assert set((await world.run("run-3")).values()) == {Outcome.DELIVERED}
    assert world.stored() == {"account-0": 1, "account-1": 1}


async def test_a_site_that_takes_for_ever_is_let_go_when_its_time_is_up_and_no_other_account_waits(
    world: World,
) -> None:
    """Endless looks: the visit's own time ends them, not only the pause between two visits."""

    class Endless(ScriptedPlatform):
        async def collect(self, job: Job) -> Progress:
            for _ in range(10_000 if job.task.account_id == "account-0" else 0):
                job.http.visit.remaining_s()
                await asyncio.sleep(0.02)
            return await super().collect(job)

    world.worker.use(Endless())
    began_s = time.monotonic()
    await world.run(collect_timeout_s=3, platform_timeout_s=0.5)
    assert time.monotonic() - began_s < 10
    assert world.stored() == {"account-1": 3}


@pytest.mark.parametrize(("news", "handed_on"), [("", ""), ("sid=2", 'prefs={"a":1}; sid=2')])
async def test_only_a_cookie_that_the_site_set_is_handed_on(world: World, news: str, handed_on: str) -> None:
    class Signed(ScriptedPlatform):
        async def collect(self, job: Job) -> Progress:
            job.http._cookies.take(URL(job.http.base_url), [news])
            return dataclasses.replace(await super().collect(job), cookie=job.http.cookie)

    world.worker.use(Signed())
    for account in world.manager.accounts.values():
        account.credentials["cookie"] = 'prefs={"a":1}; sid=1'
    tasks = await world.worker.intake("run-1").pull(1)
    (report,) = await world.worker.batch("run-1").run(tasks)
    assert (report.outcome, report.cookie) == (Outcome.COLLECTED, handed_on)


def test_as_few_batches_as_airflow_maps_whatever_size_was_asked_for() -> None:
    ready = [SecondaryTask(f"a{n}", "post", "g", "d.example", feed_ready=True) for n in range(1100)]
    assert [len(each.tasks) for each in batches(ready, 1)] == [2] * 550
    waiting = [SecondaryTask(f"w{n}", f"post-{n // 2}", "g", "d.example") for n in range(8)]
    assert [len(each.tasks) for each in batches(waiting, 1, most=4)] == [2] * 4
    cut = batches([*ready[:10], *waiting], 1, most=4)
    assert [(each.waits, len(each.tasks)) for each in cut] == [(False, 5), (False, 5), (True, 4), (True, 4)]
    assert [(each.waits, len(each.tasks)) for each in batches([*ready, *waiting], 1, most=2)] == [
        (False, 1100),
        (True, 8),
    ]


async def test_a_platform_that_does_not_answer_is_red_after_a_day(world: World) -> None:
    def trouble(when: str, _: Job) -> None:
        if when == "collect":
            raise Transient("scripted: no answer from https://127.0.0.1:9 (refused)")

    world.worker.platform.trouble = trouble
    for number in range(5):
        assert set((await world.run(f"run-{number}")).values()) == {Outcome.WAITING}
        world.clock.advance(6 * 3600)
    assert set((await world.run("a-day")).values()) == {Outcome.FAILED}
    assert (
        "no answer from https://127.0.0.1:9 (refused); nothing else has come of it since" in world.messages["account-0"]
    )
    world.clock.advance(1200)
    assert set((await world.run("soon")).values()) == {Outcome.BACKING_OFF}
    world.clock.advance(3600)
    assert set((await world.run("later")).values()) == {Outcome.FAILED}, "said again, less and less often"
    world.clock.advance(6 * 3600)
    world.worker.platform.trouble = lambda *_: None
    assert set((await world.run("at last")).values()) == {Outcome.DELIVERED}
    assert set(world.worker.platform.submissions.values()) == {1}
