"""What reaches the manager, and in which spelling."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from likepion_provider.manager.client import LastLook
from likepion_provider.manager.protocol import Endpoint, LinkReport, Record
from likepion_provider.models import LinkState, Outcome, PostAccount
from likepion_provider.platforms import Job, Progress
from likepion_provider.steps.keeper import LAPSE_MARGIN_S, Keeper
from tests.clocks import VirtualClock
from tests.fakes import Crash, ScriptedPlatform, Worker, fresh_journal, small_manager

KEY = PostAccount("post-0", "account-0")


class Spelling(ScriptedPlatform):
    """Lists its pages with commas, encoded or not."""

    comma = ","

    async def collect(self, job: Job) -> Progress:
        progress = await super().collect(job)
        spelt = tuple(dataclasses.replace(each, url=f"{each.url}{self.comma}") for each in progress.episodes)
        return dataclasses.replace(progress, episodes=spelt)


async def run(worker: Worker, name: str) -> list[Outcome]:
    tasks = await worker.intake(name).pull(10)
    await worker.batch(name, partial_after_s=0, collect_timeout_s=5).run(tasks)
    return [each.outcome for each in await worker.delivery(name).run(tasks)]


async def test_two_spellings_of_one_page_are_sent_once(tmp_path: Path) -> None:
    clock = VirtualClock()
    manager = small_manager(clock, 1)
    worker = Worker(manager, fresh_journal(tmp_path), clock)
    platform = Spelling()
    worker.use(platform)
    tasks = await worker.intake("run-1").pull(10)
    await worker.batch("run-1").run(tasks)
    platform.comma = "%2C"
    await worker.batch("run-1").run(tasks)
    assert [each.outcome for each in await worker.delivery("run-1").run(tasks)] == [Outcome.DELIVERED]
    assert len(manager.rows) == 3
    assert not manager.duplicates()


async def test_a_record_that_the_answer_does_not_name_is_unknown_and_its_siblings_are_not(tmp_path: Path) -> None:
    clock = VirtualClock()
    manager = small_manager(clock, 1)
    worker = Worker(manager, fresh_journal(tmp_path), clock)
    manager.refuse_records(1)
    assert await run(worker, "run-1") == [Outcome.FAILED]
    states = [link.state for link in worker.journal.links.of_key(KEY)]
    assert states == [LinkState.REFUSED, LinkState.STORED, LinkState.STORED]
    assert manager.pull(10) == [], "no pull brings the account back"
    assert await run(worker, "run-2") == [Outcome.DELIVERED], "but the journal does"
    assert len(manager.rows) == 3


async def test_a_renewed_cookie_travels_with_the_links_of_its_account_only(tmp_path: Path) -> None:
    clock = VirtualClock()
    manager = small_manager(clock, 2)
    worker = Worker(manager, fresh_journal(tmp_path), clock)
    tasks = await worker.intake("run-1").pull(10)
    await worker.batch("run-1").run(tasks)
    delivery = worker.delivery("run-1")
    delivery._cookies = {"account-0": "session=canary"}
    await delivery.run(tasks)
    cookies = {each.account_id: each.credentials["cookie"] for each in manager.accounts.values()}
    assert cookies == {"account-0": "session=canary", "account-1": ""}
    sent = [each for each in worker.client.sent if each.endpoint is Endpoint.INSERT]
    assert "canary" not in repr(sent)


async def test_an_insert_is_not_waited_for_longer_than_its_claim_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_renewal(_: Keeper) -> None:
        await asyncio.Event().wait()

    # The claim is due for a renewal, which may or may not come before the insert.
    monkeypatch.setattr(Keeper, "keep", no_renewal)
    clock = VirtualClock()
    worker = Worker(small_manager(clock, 1), fresh_journal(tmp_path), clock)
    tasks = await worker.intake("run-1").pull(10)
    await worker.batch("run-1").run(tasks)
    within_s: list[float] = []
    insert = worker.client.insert

    async def noted(report: LinkReport, last_look: LastLook) -> list[Record]:
        within_s.append(last_look())
        return await insert(report, last_look=last_look)

    worker.client.insert = noted  # type: ignore[method-assign, assignment]
    clock.advance(800)
    assert [each.outcome for each in await worker.delivery("run-1").run(tasks)] == [Outcome.DELIVERED]
    assert within_s == [pytest.approx(900 - 800 - LAPSE_MARGIN_S, abs=10)]


def many(folder: Path, episodes: int = 450) -> Worker:
    """One account with so many episodes that they take several inserts."""
    clock = VirtualClock()
    manager = small_manager(clock, 1)
    manager.update_post("post-0", target=episodes)
    worker = Worker(manager, fresh_journal(folder), clock)
    worker.episodes = episodes
    return worker


def kinds(worker: Worker) -> list[str]:
    return [event.kind for event in worker.client.manager.events if event.worker == "ours"]


async def test_after_a_part_that_stored_nothing_no_claim_is_asked_for(tmp_path: Path) -> None:
    worker = many(tmp_path)
    worker.client.manager.refuse_records(200)
    tasks = await worker.intake("run-1").pull(10)
    await worker.batch("run-1").run(tasks)
    assert [each.outcome for each in await worker.delivery("run-1").run(tasks)] == [Outcome.FAILED]
    assert kinds(worker) == ["pull", "insert"]
    assert len(worker.client.manager.pull(10, worker="stranger")) == 1, "it is anybody's"
    assert await worker.intake("run-2").pull(10) == []
    assert kinds(worker) == ["pull", "insert", "pull"]
    worker.clock.advance(901)
    assert await run(worker, "run-3") == [Outcome.DELIVERED]
    assert len(worker.client.manager.rows) == 450
    assert not worker.client.manager.duplicates()


async def test_after_a_part_that_stored_one_link_the_next_goes_out_under_a_new_claim(tmp_path: Path) -> None:
    worker = many(tmp_path)
    worker.client.manager.refuse_records(199)
    assert await run(worker, "run-1") == [Outcome.FAILED]
    assert kinds(worker) == ["pull", "insert", "claim", "insert", "claim", "insert"]
    assert len(worker.client.manager.rows) == 251
    assert await run(worker, "run-2") == [Outcome.DELIVERED]
    assert len(worker.client.manager.rows) == 450


@pytest.mark.parametrize("fault", ["lose_answer", "garbled", "500"])
async def test_after_a_part_whose_outcome_is_unknown_nothing_more_is_sent(tmp_path: Path, fault: str) -> None:
    worker = many(tmp_path)
    worker.client.fail(Endpoint.INSERT, fault)
    assert await run(worker, "run-1") == [Outcome.UNKNOWN]
    assert kinds(worker) == ["pull", "insert"]


async def test_what_an_attempt_left_after_its_first_part_is_the_next_runs(tmp_path: Path) -> None:
    worker = many(tmp_path)
    tasks = await worker.intake("run-1").pull(10)
    await worker.batch("run-1").run(tasks)
    worker.client.fail(Endpoint.INSERT, "")
    worker.client.fail(Endpoint.CLAIM, "crash_before")
    with pytest.raises(Crash):
        await worker.delivery("run-1").run(tasks)
    (report,) = await worker.delivery("run-1").run(tasks)
    assert (report.outcome, report.message) == (Outcome.WAITING, "not sent yet; a later run sends it")
    worker.clock.advance(901)
    assert await run(worker, "run-2") == [Outcome.DELIVERED]
    assert len(worker.client.manager.rows) == 450
    assert not worker.client.manager.duplicates()


async def test_an_insert_that_was_not_sent_is_tried_again_under_the_same_claim(tmp_path: Path) -> None:
    worker = many(tmp_path, 3)
    for _ in range(3):
        worker.client.fail(Endpoint.INSERT, "not_sent")
    assert await run(worker, "run-1") == [Outcome.DELIVERED]
    assert kinds(worker) == ["pull", "insert"]
