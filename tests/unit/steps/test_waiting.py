"""Many waits at once: what they share, and that none holds up or ends another."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from likepion_provider.clock import Moment
from likepion_provider.errors import NotAuthorised, Rejected, Transient
from likepion_provider.manager.client import ManagerAddress
from likepion_provider.manager.protocol import Answer, Endpoint, Request
from likepion_provider.models import SecondaryTask
from likepion_provider.steps import keeper
from likepion_provider.steps import waiting as room
from likepion_provider.steps.waiting import Waits, shared_waits
from tests.clocks import VirtualClock
from tests.fakes import Worker, fresh_journal, small_manager

INTERVAL_S = 70


class Scene:
    """Accounts of several posts without a feed, pulled by one run or by two; a clock that moves by hand."""

    def __init__(self, folder: Path, accounts: int, posts: int) -> None:
        self.clock = VirtualClock()
        self.manager = small_manager(self.clock, accounts, posts, ready=False)
        self.worker = Worker(self.manager, fresh_journal(folder), self.clock)
        self.waits = Waits(self.worker.client, self.worker.journal, self.clock)

    async def pulled(self, run: str = "run", limit: int = 1000) -> list[SecondaryTask]:
        tasks = await self.worker.intake(run).pull(limit)
        self.worker.client.sent.clear()
        return tasks

    def begin(self, tasks: Sequence[SecondaryTask], run: str = "run", timeout_s: float = 5000) -> asyncio.Task[bool]:
        call = self.waits.any_feed_set(scope=run, tasks=tasks, poke_interval_s=INTERVAL_S, timeout_s=timeout_s)
        return asyncio.create_task(call)

    def answering(self) -> asyncio.Event:
        """Hold back the answers about accounts until it is set."""
        answering = asyncio.Event()
        exchange = self.worker.client._exchange

        async def slow(request: Request) -> Answer:
            if request.endpoint is Endpoint.ACCOUNT:
                await answering.wait()
            return await exchange(request)

        self.worker.client._exchange = slow  # type: ignore[method-assign]
        return answering

    def calls(self, endpoint: Endpoint) -> list[Request]:
        return [each for each in self.worker.client.sent if each.endpoint is endpoint]

    async def pass_time(self, seconds: int) -> None:
        for _ in range(seconds // 10):
            self.clock.advance(10)
            await settled()

    def live(self, tasks: Sequence[SecondaryTask], run: str = "run") -> set[str]:
        ids = [task.account_id for task in tasks]
        return set(self.worker.journal.claims.live(run, ids, Moment.read(self.clock)))


async def settled() -> None:
    """Let everything run that can run, threads included."""
    for _ in range(20):
        await asyncio.sleep(0.0005)


async def ended(*waiting: asyncio.Task[bool]) -> None:
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_what_waits_for_one_post_shares_its_polls(tmp_path: Path) -> None:
    scene = Scene(tmp_path, accounts=6, posts=1)
    tasks = await scene.pulled()
    waiting = [scene.begin([task]) for task in tasks]
    await settled()
    assert len(scene.calls(Endpoint.ACCOUNT)) == 1
    await scene.pass_time(INTERVAL_S)
    assert len(scene.calls(Endpoint.ACCOUNT)) == 2
    scene.manager.set_link_rss("post-0", "https://feeds.example/0")
    await scene.pass_time(INTERVAL_S)
    assert len(scene.calls(Endpoint.ACCOUNT)) == 3
    assert await asyncio.gather(*waiting) == [True] * 6


async def test_all_claims_of_a_run_are_renewed_in_one_call(tmp_path: Path) -> None:
    scene = Scene(tmp_path, accounts=40, posts=20)
    tasks = await scene.pulled()
    by_post = {task.request_id: [each for each in tasks if each.request_id == task.request_id] for task in tasks}
    waiting = [scene.begin(each) for each in by_post.values()]
    await settled()
    await scene.pass_time(360)
    (claim,) = scene.calls(Endpoint.CLAIM)
    assert len(claim.body["account_ids"]) == 40
    await scene.pass_time(1200)
    assert scene.live(tasks) == {task.account_id for task in tasks}
    await ended(*waiting)


async def test_a_claim_that_joins_late_and_is_due_early_is_renewed_in_time(tmp_path: Path) -> None:
    scene = Scene(tmp_path, accounts=2, posts=2)
    old, young = await scene.pulled(limit=1), []
    await scene.pass_time(600)
    young = await scene.pulled(limit=1)
    first = scene.begin(young)
    await settled()
    second = scene.begin(old)
    await settled()
    await scene.pass_time(240)
    assert scene.live(old), "it had 240 s left when it joined a keeper that meant to sleep for 300"
    await ended(first, second)


async def test_one_run_that_ends_leaves_the_others_claims_renewed(tmp_path: Path) -> None:
    scene = Scene(tmp_path, accounts=2, posts=1)
    tasks = await scene.pulled()
    both = [scene.begin(tasks), scene.begin(tasks)]
    await settled()
    await ended(both[0])
    await scene.pass_time(2000)
    assert scene.live(tasks) == {"account-0", "account-1"}, "the same accounts, kept by the wait that is left"
    await ended(both[1])


async def test_accounts_that_nobody_waits_for_are_renewed_no_more(tmp_path: Path) -> None:
    scene = Scene(tmp_path, accounts=2, posts=2)
    tasks = await scene.pulled()
    gone, left = scene.begin(tasks[:1]), scene.begin(tasks[1:])
    await settled()
    await ended(gone)
    await scene.pass_time(400)
    assert [call.body["account_ids"] for call in scene.calls(Endpoint.CLAIM)] == [[tasks[1].account_id]]
    await ended(left)
    assert len(asyncio.all_tasks()) == 1


async def test_where_renewing_fails_the_waits_end_when_their_claims_lapse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "RETRY_S", 70.0)
    scene = Scene(tmp_path, accounts=4, posts=2)
    tasks = await scene.pulled()
    for _ in range(100):
        scene.worker.client.fail(Endpoint.CLAIM, "lose_request")
    waiting = [scene.begin(tasks[:1]), scene.begin(tasks[1:2])]
    await settled()
    await scene.pass_time(830)
    assert not any(each.done() for each in waiting)
    await scene.pass_time(100)
    assert await asyncio.gather(*waiting) == [False, False]
    assert scene.live(tasks) == set()


async def test_an_account_that_is_gone_does_not_end_the_wait_of_its_posts_others(tmp_path: Path) -> None:
    scene = Scene(tmp_path, accounts=2, posts=1)
    tasks = await scene.pulled()
    del scene.manager.accounts[tasks[0].account_id]
    answering = scene.answering()
    first = scene.begin(tasks[:1])
    await settled()
    second = scene.begin(tasks[1:])
    await settled()
    assert len(scene.calls(Endpoint.ACCOUNT)) == 0, "both wait for the answer about the account that is gone"
    answering.set()
    await settled()
    assert isinstance(first.exception(), Rejected)
    assert not second.done()
    scene.manager.set_link_rss("post-0", "https://feeds.example/0")
    await scene.pass_time(INTERVAL_S)
    assert await second


async def test_posts_that_wait_together_end_as_soon_as_all_are_set(tmp_path: Path) -> None:
    scene = Scene(tmp_path, accounts=6, posts=3)
    waiting = scene.begin(await scene.pulled())
    await settled()
    for post in range(3):
        scene.manager.set_link_rss(f"post-{post}", "https://feeds.example/0")
    await scene.pass_time(INTERVAL_S)
    assert waiting.done()
    assert await waiting


async def test_the_first_of_posts_that_wait_together_does_not_wait_long_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "TOGETHER_S", 100.0)
    scene = Scene(tmp_path, accounts=6, posts=3)
    tasks = await scene.pulled()
    waiting = scene.begin(tasks)
    await settled()
    await scene.pass_time(INTERVAL_S)
    scene.manager.set_link_rss("post-1", "https://feeds.example/0")
    await scene.pass_time(INTERVAL_S + 20)
    assert not waiting.done()
    await scene.pass_time(110)
    assert waiting.done()
    assert await waiting
    assert scene.live(tasks) == {task.account_id for task in tasks}, "all are still held"
    assert len(asyncio.all_tasks()) == 1


async def test_what_fails_for_one_of_posts_that_wait_together_is_no_matter_of_the_others(tmp_path: Path) -> None:
    scene = Scene(tmp_path, accounts=3, posts=3)
    tasks = await scene.pulled()
    for task in tasks[:2]:
        del scene.manager.accounts[task.account_id]
    waiting, in_vain = scene.begin(tasks), scene.begin(tasks[:2])
    await settled()
    assert isinstance(in_vain.exception(), Rejected), "there are no others"
    assert not waiting.done()
    scene.manager.set_link_rss(tasks[2].request_id, "https://feeds.example/0")
    await scene.pass_time(INTERVAL_S)
    assert await waiting


async def test_a_wait_that_is_cancelled_while_it_asks_leaves_the_answer_to_the_others(tmp_path: Path) -> None:
    scene = Scene(tmp_path, accounts=2, posts=1)
    tasks = await scene.pulled()
    answering = scene.answering()
    first, second = scene.begin(tasks[:1]), scene.begin(tasks[1:])
    await settled()
    await ended(first)
    scene.manager.set_link_rss("post-0", "https://feeds.example/0")
    answering.set()
    assert await second
    assert len(scene.calls(Endpoint.ACCOUNT)) == 1


async def test_a_busy_manager_holds_up_the_polls_of_every_post(tmp_path: Path) -> None:
    scene = Scene(tmp_path, accounts=3, posts=3)
    tasks = await scene.pulled()
    exchange, asked_s = scene.worker.client._exchange, []

    async def busy(request: Request) -> Answer:
        if request.endpoint is not Endpoint.ACCOUNT:
            return await exchange(request)
        asked_s.append(scene.clock.boot_s())
        if len(asked_s) == 1:
            return Answer(429, {"retry-after": "200"}, b"{}")
        return await exchange(request)

    scene.worker.client._exchange = busy  # type: ignore[method-assign]
    first = scene.begin(tasks[:1])
    await settled()
    others = [scene.begin([task]) for task in tasks[1:]]
    await settled()
    await scene.pass_time(300)
    assert min(asked_s[1:]) - asked_s[0] >= 200
    await ended(first, *others)


async def test_polls_of_many_posts_keep_their_distance(tmp_path: Path) -> None:
    scene = Scene(tmp_path, accounts=70, posts=70)
    tasks = await scene.pulled()
    asked_s = []
    exchange = scene.worker.client._exchange

    async def noted(request: Request) -> Answer:
        asked_s.append(scene.clock.boot_s())
        return await exchange(request)

    scene.worker.client._exchange = noted  # type: ignore[method-assign]
    waiting = [scene.begin([task]) for task in tasks]
    await asyncio.sleep(0.3)
    await settled()
    assert len(asked_s) == 70
    assert max(asked_s) - min(asked_s) == pytest.approx(69 * room.PACE_S, abs=room.BURST_S)
    assert max(Counter(asked_s).values()) == math.floor(room.BURST_S / room.PACE_S) + 1, "in groups"
    await ended(*waiting)


async def test_a_manager_that_asks_for_a_day_ends_no_wait_late(tmp_path: Path) -> None:
    scene = Scene(tmp_path, accounts=3, posts=3)
    tasks = await scene.pulled()
    exchange = scene.worker.client._exchange

    async def busy(request: Request) -> Answer:
        if request.endpoint is Endpoint.ACCOUNT:
            return Answer(429, {"retry-after": "86400"}, b"{}")
        return await exchange(request)

    scene.worker.client._exchange = busy  # type: ignore[method-assign]
    waits = [scene.begin([task], timeout_s=1800) for task in tasks]
    await settled()
    await scene.pass_time(1800 + int(room.GIVE_UP_AFTER_S))
    assert all(wait.done() for wait in waits)
    await asyncio.gather(*waits, return_exceptions=True)


async def test_a_keeper_that_dies_ends_the_waits_it_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path, accounts=2, posts=1)
    tasks = await scene.pulled()

    async def defect(*_: object) -> None:
        raise ZeroDivisionError("a defect of the keeper")

    monkeypatch.setattr(keeper.Keeper, "renew", defect)
    waiting = scene.begin(tasks)
    await settled()
    await scene.pass_time(400)
    with pytest.raises(ZeroDivisionError, match="defect"):
        await waiting


async def test_a_manager_that_keeps_failing_ends_the_wait(tmp_path: Path) -> None:
    scene = Scene(tmp_path, accounts=2, posts=1)
    tasks = await scene.pulled()
    polls = math.ceil(room.GIVE_UP_AFTER_S / INTERVAL_S) + 1
    for _ in range(polls):
        scene.worker.client.fail(Endpoint.ACCOUNT, "lose_request")
    waiting = [scene.begin([task]) for task in tasks]
    await settled()
    await scene.pass_time(INTERVAL_S * (polls - 2))
    assert not any(each.done() for each in waiting)
    await scene.pass_time(INTERVAL_S * 2)
    assert [type(each) for each in await asyncio.gather(*waiting, return_exceptions=True)] == [Transient, Transient]


async def test_a_refused_key_ends_the_wait_at_once(tmp_path: Path) -> None:
    scene = Scene(tmp_path, accounts=1, posts=1)
    tasks = await scene.pulled()
    scene.worker.client.fail(Endpoint.ACCOUNT, "401")
    with pytest.raises(NotAuthorised):
        await scene.begin(tasks)


async def test_a_manager_and_journal_have_one_shared_client_for_as_long_as_it_is_used(tmp_path: Path) -> None:
    journal = fresh_journal(tmp_path)
    here, there = ManagerAddress("http://manager.invalid", "key"), ManagerAddress("http://manager.invalid", "other key")
    async with shared_waits(here, journal) as first:
        async with shared_waits(here, fresh_journal(tmp_path)) as second, shared_waits(there, journal) as third:
            assert first is second
            assert third is not first
        assert len(room._shared) == 1
    assert len(room._shared) == 0
    async with shared_waits(here, journal) as again:
        assert again is not first
