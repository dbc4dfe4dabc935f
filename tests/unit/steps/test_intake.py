"""Which accounts a run takes: by the claim rule, from a pull, from what was handed over; and why not the others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from likepion_provider.clock import Moment
from likepion_provider.errors import BadRequest, LoginRefused
from likepion_provider.manager.protocol import Endpoint
from likepion_provider.models import LinkState, Outcome, PostAccount, SecondaryTask
from likepion_provider.platforms import Job, Progress
from likepion_provider.steps.intake import Choice, Intake
from likepion_provider.steps.waiting import Waits
from tests.clocks import VirtualClock
from tests.fakes import ScriptedPlatform, Worker, fresh_journal, small_manager

GROUP = Choice(group_id="group-0")
FAILURE_LINK = "https://site.example/{account_id}?feed={link_rss}"


def named(*numbers: int) -> Choice:
    return Choice(account_ids=tuple(f"account-{number}" for number in numbers))


class World:
    """Accounts of two groups, a run of ours at a time, and a stranger."""

    def __init__(self, folder: Path, accounts: int = 4, posts: int = 2) -> None:
        self.clock = VirtualClock()
        self.manager = small_manager(self.clock, accounts, posts)
        self.worker = Worker(self.manager, fresh_journal(folder), self.clock)
        self.runs = 0

    def intake(self) -> Intake:
        self.runs += 1
        return self.worker.intake(f"run-{self.runs}")

    async def pull(self, limit: int = 100) -> list[SecondaryTask]:
        self.read = self.intake()
        return await self.read.pull(limit)

    async def choose(self, choice: Choice, limit: int = 1000, **how: Any) -> list[SecondaryTask]:
        self.read = self.intake()
        return await self.read.choose(choice, limit, **how)

    async def work(self, tasks: list[SecondaryTask], **delivery: Any) -> dict[str, Outcome]:
        """Import and deliver, under the claims of the newest intake."""
        run, feeds = f"run-{self.runs}", self.read.feeds
        batch, deliver = self.worker.batch(run, feeds=feeds), self.worker.delivery(run, feeds=feeds, **delivery)
        self.imported = {each.task.account_id: each.outcome for each in await batch.run(tasks)}
        return {each.task.account_id: each.outcome for each in await deliver.run(tasks)}

    def strangers(self, limit: int = 100) -> list[str]:
        return [task["account_id"] for task in self.manager.pull(limit, worker="stranger")]

    def refusals(self) -> dict[str, str]:
        return {each.account_id: each.reason for each in self.read.refusals}

    def calls(self, endpoint: Endpoint) -> int:
        return len([each for each in self.worker.client.sent if each.endpoint is endpoint])

    def stored(self) -> dict[str, int]:
        assert not self.manager.duplicates()
        assert not [event for event in self.manager.events if event.worker == "ours" and event.foreign]
        accounts: dict[str, int] = self.manager.rows_report()["accounts"]
        return accounts


def ids(tasks: list[SecondaryTask]) -> list[str]:
    return sorted(task.account_id for task in tasks)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("choice", [GROUP, named(0, 2), Choice(domains=("scripted.example",))])
async def test_a_choice_takes_nothing_that_a_stranger_holds(world: World, choice: Choice) -> None:
    await world.pull()
    world.clock.advance(901)
    held = world.strangers()
    assert await world.choose(choice) == []
    assert set(world.refusals().values()) == {
        "the manager did not hand it out: somebody else holds it, or it has what it needs"
    }
    assert world.refusals().keys() == (
        {"account-0", "account-2"} if choice != Choice(domains=choice.domains) else {*held}
    )
    assert "claim" not in {event.kind for event in world.manager.events if event.worker == "ours"}


async def test_a_choice_without_a_journal_pulls_what_is_free_and_hands_the_others_over(world: World) -> None:
    assert ids(await world.choose(named(0, 1))) == ["account-0", "account-1"]
    assert (world.calls(Endpoint.PULL), world.calls(Endpoint.CLAIM)) == (1, 0)
    assert world.read.feeds == {"post-0": "https://feeds.example/0", "post-1": "https://feeds.example/1"}
    world.clock.advance(60)
    assert ids(await world.pull()) == ["account-2", "account-3"], "the next ordinary run takes them up"
    assert world.calls(Endpoint.PULL) == 2
    assert await world.work(await world.pull()) == {}, "once"


async def test_what_was_handed_over_is_delivered_and_counts_as_pulled(world: World) -> None:
    await world.choose(named(0))
    tasks = await world.pull(limit=2)
    assert ids(tasks) == ["account-1", "account-2"]
    assert world.calls(Endpoint.PULL) == 1, "it had what it may have"
    assert set((await world.work(tasks)).values()) == {Outcome.DELIVERED}
    known = world.worker.journal.submissions.get([task.key for task in tasks])
    assert len(known) == 2
    tasks = await world.pull(limit=5)
    assert ids(tasks) == ["account-3"]
    limits = [each.params["limit"] for each in world.worker.client.sent if each.endpoint is Endpoint.PULL]
    assert limits == ["1000", "4"]
    assert set((await world.work(tasks)).values()) == {Outcome.DELIVERED}


async def test_what_was_handed_over_and_lapsed_may_be_a_strangers(world: World) -> None:
    await world.choose(named(0))
    world.clock.advance(901)
    assert len(world.strangers()) == 4
    assert await world.pull() == []


async def test_a_choice_takes_what_was_handed_over_without_a_pull(world: World) -> None:
    await world.choose(named(0))
    assert ids(await world.choose(named(2))) == ["account-2"]
    assert world.calls(Endpoint.PULL) == 1
    assert ids(await world.pull()) == ["account-1", "account-3"]


async def test_a_choice_takes_what_an_earlier_run_let_go_and_still_holds(world: World) -> None:
    tasks = await world.pull()
    world.worker.journal.claims.let_go("run-1", ids(tasks))
    assert ids(await world.choose(named(0, 1))) == ["account-0", "account-1"]
    assert world.calls(Endpoint.PULL) == 1


async def test_the_limit_is_the_pulls(world: World) -> None:
    assert ids(await world.choose(named(0, 1, 2), limit=2)) == ["account-0", "account-1"]
    assert list(world.refusals()) == ["account-2"]


async def test_every_refusal_has_its_reason(world: World) -> None:
    tasks = await world.pull()
    await world.work(tasks[:1])
    world.worker.journal.claims.let_go("run-1", ["account-3"])
    world.manager.add_group("idle")
    world.manager.add_account("idle", "scripted.example", account_id="account-9")
    assert ids(await world.choose(named(0, 1, 3, 9))) == ["account-3"]
    assert world.refusals() == {
        "account-0": "all its links are stored",
        "account-1": "another run works it",
        "account-9": "no post runs in its group",
    }


async def test_a_group_that_neither_journal_nor_pull_knows_is_refused(world: World) -> None:
    with pytest.raises(BadRequest, match="never seen group 'nobody', and the manager handed none of it out"):
        await world.choose(Choice(group_id="nobody"))
    assert len(await world.pull()) == 4, "what the pull brought is not lost"
    with pytest.raises(BadRequest, match="never seen domains nowhere.example"):
        await world.choose(Choice(domains=("nowhere.example",)))


async def test_an_account_that_the_manager_does_not_know_is_refused(world: World) -> None:
    with pytest.raises(BadRequest, match="account 'nobody' cannot be read"):
        await world.choose(Choice(account_ids=("account-0", "nobody")))
    assert world.calls(Endpoint.PULL) == 0


async def test_a_group_that_only_the_pull_knows_is_taken(world: World) -> None:
    assert ids(await world.choose(GROUP)) == ["account-0", "account-2"]


async def test_a_dry_run_asks_for_no_claim_and_changes_nothing(world: World) -> None:
    await world.pull(limit=2)
    world.worker.journal.claims.let_go("run-1", ["account-0"])
    refuse_password(world)
    assert ids(await world.choose(named(0, 1, 2), pulls=False)) == ["account-0"]
    assert world.refusals() == {
        "account-1": "another run works it",
        "account-2": "no claim of ours holds it, and a dry run pulls nothing",
    }
    assert (world.calls(Endpoint.PULL), world.calls(Endpoint.CLAIM)) == (1, 0)


def refuse_password(world: World) -> None:
    def refuse(_: str, __: Job) -> None:
        raise LoginRefused("wrong password", platform="scripted")

    world.worker.platform.trouble = refuse


async def test_a_dry_run_forgives_nothing(world: World) -> None:
    refuse_password(world)
    await world.work(await world.pull())
    key = PostAccount("post-0", "account-0")
    await world.choose(named(0), pulls=False)
    assert world.worker.journal.submissions.get([key])[key].failures == 1
    await world.choose(named(0))
    assert world.worker.journal.submissions.get([key])[key].failures == 0


async def test_a_claim_is_not_asked_for_if_the_process_stood_still_before(world: World) -> None:
    tasks = await world.pull()
    claims = world.worker.journal.claims
    claims.let_go("run-1", ids(tasks))
    reserve: Callable[..., Any] = claims.reserve

    def slow(*args: Any, **kwargs: Any) -> Any:
        answer = reserve(*args, **kwargs)
        world.clock.advance(901)
        world.strangers()
        return answer

    claims.reserve = slow  # type: ignore[method-assign]
    assert await world.choose(named(0, 1)) == []
    assert world.stored() == {}


async def test_what_a_pull_brings_again_is_worked_once(world: World) -> None:
    world.worker.journal.claims.let_go("run-1", ids(await world.pull()))
    pull: Callable[[int], Any] = world.worker.client.pull

    async def slow(limit: int) -> Any:
        world.clock.advance(901)
        return await pull(limit)

    world.worker.client.pull = slow
    assert ids(await world.choose(GROUP)) == ["account-0", "account-2"]


async def test_resend_takes_nothing_on_a_record_that_may_be_lost(world: World) -> None:
    await world.work(await world.pull())
    later = world.clock.now().replace(year=2027)
    resend = Choice(group_id="group-0", resend_before=later)
    assert await world.choose(resend) == [], "the manager still has them: it hands out nothing"
    assert world.calls(Endpoint.CLAIM) == 0
    lose_rows(world, "post-0")
    tasks = await world.choose(resend)
    assert ids(tasks) == ["account-0", "account-2"]
    assert world.worker.journal.settling.mode() == "reappearance", "no proof against the inference"
    assert set((await world.work(tasks)).values()) == {Outcome.DELIVERED}
    assert world.stored() == dict.fromkeys(["account-0", "account-1", "account-2", "account-3"], 3)


async def test_resend_of_what_a_stranger_holds_waits(world: World) -> None:
    await world.work(await world.pull())
    lose_rows(world, "post-0")
    world.strangers()
    later = datetime.fromisoformat("2027-01-01T00:00:00+00:00")
    assert await world.choose(Choice(account_ids=("account-0",), resend_before=later)) == []
    assert list(world.refusals()) == ["account-0"]
    assert world.worker.journal.links.to_send([PostAccount("post-0", "account-0")]) == {
        PostAccount("post-0", "account-0"): []
    }


async def test_resend_names_whose_links_are_missing(world: World) -> None:
    with pytest.raises(BadRequest, match="resend needs group_id or account_ids"):
        await world.choose(Choice(domains=("scripted.example",), resend_before=world.clock.now()))


def lose_rows(world: World, request_id: str) -> None:
    """The manager is restored from a backup."""
    world.manager.rows = [row for row in world.manager.rows if row.request_id != request_id]
    world.manager._served[request_id].clear()


# --- a pending post beside the running one ---


@pytest.fixture
def beside(tmp_path: Path) -> World:
    """One group of two accounts; its next post is pending."""
    world = World(tmp_path, accounts=2, posts=1)
    world.manager.add_post(
        "group-0", target=7, link_rss="https://feeds.example/9", status="pending", request_id="post-9"
    )
    return world


async def test_the_running_post_is_delivered_with_the_feed_that_the_pull_told(beside: World) -> None:
    tasks = await beside.pull()
    assert {task.request_id for task in tasks} == {"post-0"}
    assert set((await beside.work(tasks)).values()) == {Outcome.DELIVERED}
    assert beside.worker.feeds_read == ["https://feeds.example/0"]
    assert {row.request_id for row in beside.manager.rows} == {"post-0"}
    assert beside.stored() == {"account-0": 3, "account-1": 3}


async def test_a_platform_may_be_written_to_while_another_post_is_pending(beside: World) -> None:
    class Written(ScriptedPlatform):
        async def submit(self, job: Job) -> Progress:
            async with job.http.turn(writes=True):
                return await super().submit(job)

    beside.worker.use(Written())
    assert set((await beside.work(await beside.pull())).values()) == {Outcome.DELIVERED}
    assert beside.stored() == {"account-0": 3, "account-1": 3}


async def test_a_run_by_group_delivers_the_running_post(beside: World) -> None:
    tasks = await beside.choose(GROUP)
    assert set((await beside.work(tasks)).values()) == {Outcome.DELIVERED}
    assert {row.request_id for row in beside.manager.rows} == {"post-0"}


async def test_without_the_pulls_word_the_account_waits_and_no_claim_is_lost(beside: World) -> None:
    tasks = await beside.pull()
    beside.worker.journal.claims.let_go("run-1", ids(tasks))
    tasks = await beside.choose(GROUP)
    assert {task.request_id for task in tasks} == {"post-0"}, "the claim's post"
    assert await beside.work(tasks) == {}
    assert set(beside.imported.values()) == {Outcome.WAITING}
    assert beside.worker.feeds_read == [], "the other post's feed is not taken for its own"


async def test_what_was_handed_over_is_worked_as_a_pull_tells_of_its_post(beside: World) -> None:
    await beside.choose(named(0))
    beside.manager.add_account("group-0", "scripted.example", account_id="account-5")
    tasks = await beside.pull()
    assert {(task.account_id, task.request_id, task.target) for task in tasks} == {
        ("account-1", "post-0", 3),
        ("account-5", "post-0", 3),
    }
    assert set((await beside.work(tasks)).values()) == {Outcome.DELIVERED}


async def test_a_wait_for_the_running_posts_feed_ends_and_lets_go(beside: World) -> None:
    beside.manager.set_link_rss("post-0", "")
    tasks = await beside.pull()
    waits = Waits(beside.worker.client, beside.worker.journal, beside.clock)
    assert not await waits.any_feed_set(scope="run-1", tasks=tasks, poke_interval_s=30, timeout_s=3000)
    assert beside.worker.journal.claims.live("run-1", ids(tasks), Moment.read(beside.clock)) == {}
    beside.manager.set_link_rss("post-0", "https://feeds.example/0")
    beside.clock.advance(901)
    assert set((await beside.work(await beside.pull())).values()) == {Outcome.DELIVERED}


async def test_leftovers_of_the_running_post_are_taken_where_a_pull_names_it(beside: World) -> None:
    beside.manager.refuse_records(1)
    outcomes = await beside.work(await beside.pull())
    assert sorted(each.value for each in outcomes.values()) == ["delivered", "failed"]
    assert await beside.pull() == [], "nothing says which post runs"
    beside.manager.add_account("group-0", "scripted.example", account_id="account-5")
    tasks = await beside.pull()
    assert {task.request_id for task in tasks} == {"post-0"}
    assert {task.target for task in tasks} == {3}
    assert set((await beside.work(tasks)).values()) == {Outcome.DELIVERED}
    assert beside.stored() == {"account-0": 3, "account-1": 3, "account-5": 3}
    assert {row.request_id for row in beside.manager.rows} == {"post-0"}


async def test_a_report_of_failure_names_the_running_post_and_its_feed(beside: World) -> None:
    refuse_password(beside)
    for _ in range(3):
        await beside.work(await beside.pull())
        beside.clock.advance(6 * 3600)
    tasks = await beside.pull()
    batch = beside.worker.batch(f"run-{beside.runs}", report_failures=True)
    await batch.run(tasks)
    await beside.worker.delivery(f"run-{beside.runs}", feeds=beside.read.feeds, failure_link=FAILURE_LINK).run(tasks)
    rows = sorted((row.request_id, row.link_post) for row in beside.manager.rows)
    assert rows == [
        ("post-0", f"https://site.example/account-{number}?feed=https://feeds.example/0") for number in range(2)
    ]


async def test_an_outcome_that_is_unknown_is_not_presumed_for_a_post_that_may_not_run(beside: World) -> None:
    beside.worker.client.fail(Endpoint.INSERT, "lose_answer")
    await beside.work(await beside.pull())
    beside.clock.advance(901)
    assert await beside.pull() == []
    assert len(beside.worker.journal.links.listed(state=LinkState.UNKNOWN)) == 3
