"""The keeper of claims: who is renewed, when, in how many calls, and what stops a write."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from likepion_provider.aio import beside
from likepion_provider.clock import Moment
from likepion_provider.errors import LeaseLost
from likepion_provider.journal import Sending
from likepion_provider.journal.keys import named, of_key
from likepion_provider.journal.schema import link
from likepion_provider.manager.protocol import Answer, Endpoint, Record, Request
from likepion_provider.models import PostAccount
from likepion_provider.steps.keeper import Keeper
from likepion_provider.steps.waiting import Waits
from tests.clocks import VirtualClock
from tests.fakes import Worker, episodes, fresh_journal, small_manager


class Scene:
    """Five accounts, pulled by one run."""

    def __init__(self, folder: Path, *, ready: bool = True) -> None:
        self.clock = VirtualClock()
        self.manager = small_manager(self.clock, 5, ready=ready)
        self.worker = Worker(self.manager, fresh_journal(folder), self.clock)
        self.client = self.worker.client
        self.keys = [PostAccount("post-0", f"account-{number}") for number in range(5)]

    async def held(self) -> Keeper:
        self.tasks = await self.worker.intake("run").pull(10)
        keeper = self.worker.keeper("run")
        assert await keeper.take_over(self.keys) == set(self.keys)
        self.client.sent.clear()
        return keeper

    def answers(self, change: Any) -> None:
        """Change every answer to a claim."""
        served = self.client._serve

        def serve(request: Request) -> Answer:
            answer = served(request)
            if request.endpoint is not Endpoint.CLAIM:
                return answer
            return Answer(200, {}, json.dumps(json.loads(answer.body) | change).encode())

        self.client._serve = serve  # type: ignore[method-assign]

    async def pass_time(self, seconds: int, step_s: int = 10) -> None:
        for _ in range(seconds // step_s):
            self.clock.advance(step_s)
            await settled()

    def waits(self) -> Waits:
        return Waits(self.client, self.worker.journal, self.clock)

    def claims(self) -> list[list[str]]:
        return [each.body["account_ids"] for each in self.client.sent if each.endpoint is Endpoint.CLAIM]


async def settled() -> None:
    """Let everything run that can run, threads included."""
    for _ in range(20):
        await asyncio.sleep(0.0005)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_all_unfinished_accounts_are_renewed_in_one_call_at_a_third_of_the_ttl(scene: Scene) -> None:
    keeper = await scene.held()
    keeper.done(scene.keys[0])
    async with beside(keeper.keep()):
        await settled()
        await scene.pass_time(260)
        assert scene.claims() == [], "not before 270 s"
        await scene.pass_time(80)
        assert scene.claims() == [[f"account-{number}" for number in range(1, 5)]]
        await scene.pass_time(600)
        assert 2 <= len(scene.claims()) <= 3
        for key in scene.keys[1:]:
            await keeper.check(key)
        with pytest.raises(LeaseLost):
            await keeper.check(scene.keys[0])


async def test_a_shorter_ttl_of_the_managers_is_renewed_at_its_third_and_not_in_a_storm(scene: Scene) -> None:
    keeper = await scene.held()
    scene.answers({"ttl_min": 5})
    await keeper.renew()
    scene.client.sent.clear()
    async with beside(keeper.keep()):
        await settled()
        await scene.pass_time(600)
    assert 5 <= len(scene.claims()) <= 7


async def test_renewing_that_fails_is_no_error_until_the_lease_is_lost(scene: Scene) -> None:
    keeper = await scene.held()
    for _ in range(100):
        scene.client.fail(Endpoint.CLAIM, "lose_request")
    await scene.pass_time(0)
    scene.clock.advance(839)
    await keeper.check(scene.keys[0])
    scene.clock.advance(1)
    with pytest.raises(LeaseLost, match="has lapsed"):
        await keeper.check(scene.keys[0])
    with pytest.raises(LeaseLost, match="has lapsed"):
        keeper.check_now(scene.keys[0])
    scene.client.sent.clear()
    await keeper.renew()
    assert scene.claims() == [], "what has lapsed is never claimed: it may be somebody else's"
    assert not keeper.any_left(scene.keys)


async def test_a_manager_that_says_when_is_not_asked_before(scene: Scene) -> None:
    keeper = await scene.held()
    exchange, asked_at = scene.client._exchange, []

    async def busy(request: Request) -> Answer:
        if request.endpoint is Endpoint.CLAIM:
            asked_at.append(scene.clock.boot_s())
            if len(asked_at) == 1:
                return Answer(429, {"retry-after": "150"}, b"{}")
        return await exchange(request)

    scene.client._exchange = busy  # type: ignore[method-assign]
    async with beside(keeper.keep()):
        await settled()
        await scene.pass_time(700)
    assert asked_at[1] - asked_at[0] >= 150


async def test_what_the_manager_does_not_confirm_keeps_its_old_end(scene: Scene) -> None:
    keeper = await scene.held()
    scene.clock.advance(400)
    scene.answers({"claimed": ["account-1"]})
    await keeper.renew()
    scene.clock.advance(450)
    with pytest.raises(LeaseLost):
        keeper.check_now(scene.keys[0])
    keeper.check_now(scene.keys[1])


async def test_a_lease_counts_from_before_a_slow_renewal(scene: Scene) -> None:
    keeper = await scene.held()
    served = scene.client._serve

    def slow(request: Request) -> Answer:
        scene.clock.advance(50)
        return served(request)

    scene.client._serve = slow  # type: ignore[method-assign]
    await keeper.renew()
    scene.clock.advance(789)
    keeper.check_now(scene.keys[0])
    scene.clock.advance(1)
    with pytest.raises(LeaseLost):
        keeper.check_now(scene.keys[0])


async def test_only_the_attempt_that_holds_renews(scene: Scene) -> None:
    first = await scene.held()
    second = scene.worker.keeper("run")
    await second.take_over(scene.keys[:2])
    await first.renew()
    assert scene.claims() == [["account-2", "account-3", "account-4"]]
    await second.renew()
    assert scene.claims()[1:] == [["account-0", "account-1"]]


async def test_a_triggers_keeper_renews_for_the_scope_and_cannot_write(scene: Scene) -> None:
    await scene.held()
    keeper = Keeper(scene.client, scene.worker.journal, scene.clock, "run", holder=None)
    await keeper.resume(scene.keys)
    await keeper.renew()
    assert len(scene.claims()) == 1
    with pytest.raises(RuntimeError, match="only renews"):
        await keeper.check(scene.keys[0])


async def test_another_runs_claims_are_neither_taken_over_nor_renewed(scene: Scene) -> None:
    await scene.held()
    other = scene.worker.keeper("another-run")
    assert await other.take_over(scene.keys) == set()
    await other.renew()
    assert scene.claims() == []


def begin_insert(scene: Scene, keeper: Keeper, key: PostAccount) -> None:
    links = scene.worker.journal.links
    links.prepare(key, episodes(["https://scripted.example/1"]), scene.clock.now())
    links.begin_send(key, keeper.holder, ["https://scripted.example/1"], Moment.read(scene.clock))


async def test_a_claim_that_an_insert_has_ended_is_never_renewed(scene: Scene) -> None:
    keeper = await scene.held()
    trigger = Keeper(scene.client, scene.worker.journal, scene.clock, "run", holder=None)
    await trigger.resume(scene.keys)
    begin_insert(scene, keeper, scene.keys[0])
    for each in (keeper, trigger):
        scene.client.sent.clear()
        await each.renew()
        assert scene.claims() == [[f"account-{number}" for number in range(1, 5)]]
        assert not each.any_left(scene.keys[:1])


async def test_an_insert_waits_for_the_renewal_that_is_under_way(scene: Scene) -> None:
    keeper = await scene.held()
    exchange, asked, answering = scene.client._exchange, asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Answer:
        asked.set()
        await answering.wait()
        return await exchange(request)

    scene.client._exchange = slow  # type: ignore[method-assign]
    renewal = asyncio.create_task(keeper.renew())
    await asked.wait()
    insert = asyncio.create_task(keeper.before_insert(scene.keys[0]))
    await settled()
    assert not insert.done(), "the claim could arrive after the insert, and steal"
    answering.set()
    await asyncio.gather(renewal, insert)


async def test_no_renewal_asks_for_an_account_whose_insert_is_about_to_begin(scene: Scene) -> None:
    keeper = await scene.held()
    await keeper.before_insert(scene.keys[0])
    await keeper.renew()
    live, reading = scene.worker.journal.claims.live, []

    def about_to_begin(*args: Any) -> Any:
        reading.append(asyncio.run_coroutine_threadsafe(keeper.before_insert(scene.keys[1]), loop))
        while scene.keys[1] not in keeper._inserting:
            time.sleep(0.001)
        return live(*args)

    loop = asyncio.get_running_loop()
    scene.worker.journal.claims.live = about_to_begin  # type: ignore[method-assign]
    await keeper.renew()
    await asyncio.wrap_future(reading[0])
    assert scene.claims() == [[f"account-{number}" for number in range(start, 5)] for start in (1, 2)]
    await keeper.check(scene.keys[0])


async def test_an_insert_under_way_makes_no_renewal_due(scene: Scene) -> None:
    keeper = await scene.held()
    await keeper.before_insert(scene.keys[0])
    async with beside(keeper.keep()):
        await settled()
        await scene.pass_time(700)
    assert 2 <= len(scene.claims()) <= 3, "not one a second while its lease runs out"


async def test_an_account_is_claimed_again_after_an_insert_only_if_a_record_is_confirmed(scene: Scene) -> None:
    keeper = await scene.held()
    links, (key, *_) = scene.worker.journal.links, scene.keys
    begin_insert(scene, keeper, key)
    with pytest.raises(LeaseLost, match="stored nothing"):
        await keeper.claim_served(key)
    assert scene.claims() == []
    (sent,) = links.of_key(key)
    links.end_send(key, Sending(_send_id(scene, key), (sent.url,)), [Record(sent.url, True)], scene.clock.now())
    scene.clock.advance(400)
    await keeper.claim_served(key)
    assert scene.claims() == [["account-0"]]
    scene.clock.advance(800)
    await keeper.check(key)


def _send_id(scene: Scene, key: PostAccount) -> str:
    with scene.worker.journal.database.reading() as connection:
        return str(connection.execute(select(link.c.send_id).where(of_key(link)), named(key)).scalar_one())


async def test_an_account_that_the_manager_no_longer_finds_is_not_written_to(scene: Scene) -> None:
    keeper = await scene.held()
    key = scene.keys[0]
    begin_insert(scene, keeper, key)
    (sent,) = scene.worker.journal.links.of_key(key)
    sending = Sending(_send_id(scene, key), (sent.url,))
    scene.worker.journal.links.end_send(key, sending, [Record(sent.url, True)], scene.clock.now())
    scene.answers({"claimed": [], "not_found": ["account-0"]})
    with pytest.raises(LeaseLost, match="does not find account account-0"):
        await keeper.claim_served(key)
    with pytest.raises(LeaseLost):
        await keeper.check(key)


async def test_the_renewing_ends_with_the_body_also_when_it_raises(scene: Scene) -> None:
    keeper = await scene.held()
    with pytest.raises(ZeroDivisionError):
        async with beside(keeper.keep()):
            raise ZeroDivisionError
    assert len(asyncio.all_tasks()) == 1


async def test_a_wait_keeps_its_claims_for_as_long_as_it_takes(tmp_path: Path) -> None:
    scene = Scene(tmp_path, ready=False)
    await scene.held()
    waiting = asyncio.create_task(
        scene.waits().any_feed_set(scope="run", tasks=scene.tasks, poke_interval_s=70, timeout_s=5000)
    )
    await settled()
    await scene.pass_time(3000)
    assert scene.manager.is_claimed("account-0")
    assert 8 <= len(scene.claims()) <= 12
    scene.manager.set_link_rss("post-0", "https://feeds.example/0")
    await scene.pass_time(80)
    assert await waiting
    live = scene.worker.journal.claims.live("run", ["account-0"], Moment.read(scene.clock))
    assert set(live) == {"account-0"}


async def test_a_wait_asks_no_sooner_than_it_was_told(tmp_path: Path) -> None:
    scene = Scene(tmp_path, ready=False)
    await scene.held()
    asked_at: list[float] = []
    exchange = scene.client._exchange

    async def busy(request: Request) -> Answer:
        if request.endpoint is not Endpoint.ACCOUNT:
            return await exchange(request)
        asked_at.append(scene.clock.boot_s())
        if len(asked_at) == 1:
            return Answer(429, {"retry-after": "45"}, b"{}")
        scene.manager.set_link_rss("post-0", "https://feeds.example/0")
        return await exchange(request)

    scene.client._exchange = busy  # type: ignore[method-assign]
    assert await scene.waits().any_feed_set(scope="run", tasks=scene.tasks, poke_interval_s=5, timeout_s=100)
    assert asked_at[1] - asked_at[0] >= 45
