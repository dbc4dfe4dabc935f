"""What the journal promises where many, long or odd things meet, on every database it works on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import event

from likepion_provider.clock import Moment
from likepion_provider.errors import JournalUnusable
from likepion_provider.journal import Journal, open_journal
from likepion_provider.journal.commit import SIDE_BY_SIDE
from likepion_provider.journal.database import Database
from likepion_provider.journal.links import MAX_SENDS
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import failure, link, submission
from likepion_provider.manager.lease import Lease
from likepion_provider.models import LinkState, Outcome, PostAccount, SecondaryTask
from tests import MANAGER
from tests.clocks import VirtualClock
from tests.fakes import Worker, episodes, small_manager

KEY = PostAccount("post", "account")
URLS = ["https://tide.example/1", "https://tide.example/2"]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def hold(journal: Journal, clock: VirtualClock) -> Moment:
    now = Moment.read(clock)
    journal.claims.grant("run", {KEY: Lease.granted(now)})
    journal.claims.take_over("run", "holder", [KEY], now)
    return now


def lose_an_answer(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    sending = journal.links.begin_send(KEY, "holder", URLS, now)
    assert sending.urls == tuple(URLS)
    journal.links.fail_send(KEY, sending, LinkState.UNKNOWN, "reset", now.at)


def test_what_reappears_is_sent_however_often_its_answer_was_lost(journal: Journal, clock: VirtualClock) -> None:
    journal.links.prepare(KEY, episodes(URLS), clock.now())
    for _ in range(MAX_SENDS + 2):
        lose_an_answer(journal, clock)
        clock.advance(901)
        assert journal.settling.reappeared({KEY}, clock.now()) == (2, set())
        assert journal.links.to_send([KEY])[KEY] == URLS


def test_send_again_by_a_person_means_it_however_often_it_was_sent(journal: Journal, clock: VirtualClock) -> None:
    journal.links.prepare(KEY, episodes(URLS), clock.now())
    for _ in range(MAX_SENDS + 1):
        lose_an_answer(journal, clock)
        for parked in journal.links.of_key(KEY):
            journal.settling.settle(parked.id, is_there=False, who="somebody", note="", at=clock.now())
    assert journal.links.to_send([KEY])[KEY] == URLS


def confirm_a_report(journal: Journal, key: PostAccount) -> None:
    """A record of the account, which lets it be claimed without a pull; nobody has claimed it yet."""
    row = {"request_id": key.request_id, "account_id": key.account_id, "note": "", "state": LinkState.STORED}
    with journal.database.writing() as connection:
        connection.execute(failure.insert(), row)


def test_one_of_many_runs_reserves_an_account_that_nobody_worked_before(journal: Journal, clock: VirtualClock) -> None:
    now = Moment.read(clock)
    lease = Lease.granted(now)
    for number in range(12):
        key = PostAccount("post", f"account-{number}")
        confirm_a_report(journal, key)
        with ThreadPoolExecutor(6) as pool:
            reserve = [pool.submit(journal.claims.reserve, f"run-{run}", [key], lease, now) for run in range(6)]
        assert sorted(len(each.result().taken) for each in reserve) == [0] * 5 + [1]
        assert sorted(len(each.result().busy) for each in reserve) == [0] + [1] * 5


def test_runs_that_meet_the_same_accounts_in_another_order_do_not_block_each_other(
    journal: Journal, clock: VirtualClock
) -> None:
    now = Moment.read(clock)
    keys = [PostAccount("post", f"account-{number}") for number in range(40)]
    journal.claims.grant("old", {key: Lease.granted(now) for key in keys})
    urls = [f"https://tide.example/{number}" for number in range(40)]

    def work(number: int) -> None:
        turn = 1 if number % 2 else -1
        journal.claims.reserve(f"run-{number}", keys[::turn], Lease.granted(now), now)
        journal.claims.grant(f"run-{number % 3}", {key: Lease.granted(now) for key in keys[::turn]})
        journal.claims.take_over(f"run-{number % 3}", f"holder-{number}", keys[::turn], now)
        journal.submissions.note([_task(key) for key in keys[::turn]], f"run-{number}", now.at)
        journal.links.prepare(PostAccount("post", f"account-{number // 8}"), episodes(urls[::turn]), now.at)
        journal.links.orphaned(keys[::turn], now.at)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(48)))


def _task(key: PostAccount, username: str = "") -> SecondaryTask:
    return SecondaryTask(key.account_id, key.request_id, "group", "tide.example", username=username)


def test_a_long_name_fits(journal: Journal, clock: VirtualClock) -> None:
    journal.submissions.note([_task(KEY, "u" * 400)], "run", clock.now())
    assert journal.submissions.get([KEY])[KEY].label.startswith("uuu")


@pytest.mark.parametrize("place", ["/proc/none/journal.db", "/dev/null/journal.db"])
def test_a_place_that_cannot_be_written_is_named(place: str) -> None:
    with pytest.raises(JournalUnusable):
        open_journal(f"sqlite:///{place}", MANAGER)


async def test_attempts_that_lock_in_a_circle_are_disentangled(
    journal: Journal, journal_url: str, clock: VirtualClock
) -> None:
    now = Moment.read(clock)
    keys = [PostAccount("post", f"account-{number}") for number in range(20)]
    journal.claims.grant("run", {key: Lease.granted(now) for key in keys})
    journal.claims.take_over("run", "holder", keys, now)
    other = Journal(Database(journal_url).of(MANAGER))
    both = [(journal, keys), (other, keys[::-1])]
    for _ in range(3):
        note = [each.commit(each.submissions.begin, key, "holder", now) for each, in_order in both for key in in_order]
        await asyncio.gather(*note)
    other.database.close()


async def test_what_nobody_waits_for_any_more_is_not_begun(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    journal.links.prepare(KEY, episodes(URLS), now.at)
    others = []
    for _ in range(SIDE_BY_SIDE):
        others.append(asyncio.create_task(journal.commit(time.sleep, 0.3)))
        await asyncio.sleep(0.05)
    second = asyncio.create_task(journal.commit(journal.links.begin_send, KEY, "holder", URLS, now))
    await asyncio.sleep(0.05)
    second.cancel()
    await asyncio.gather(*others)
    await journal.commit(time.sleep, 0)
    assert [link.state for link in journal.links.of_key(KEY)] == [LinkState.PREPARED] * 2


def test_a_pool_without_a_connection_left_is_named(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'journal.db'}")
    database.engine.pool._timeout = 0.05
    with contextlib.ExitStack() as held:
        for _ in range(15):
            held.enter_context(database.reading())
        with pytest.raises(JournalUnusable, match="no connection in time"), database.reading():
            pass
    database.close()


async def test_a_run_reads_no_more_because_the_journal_has_a_past(tmp_path: Path) -> None:
    young = await _steps_of_a_run(open_journal(f"sqlite:///{tmp_path / 'young.db'}", MANAGER), posts=1)
    old = await _steps_of_a_run(open_journal(f"sqlite:///{tmp_path / 'old.db'}", MANAGER), posts=400)
    assert old < 1.5 * young


async def _steps_of_a_run(journal: Journal, posts: int) -> int:
    """What SQLite does, in tens of its machine's instructions, for two accounts that had so many posts before."""
    clock = VirtualClock()
    worker = Worker(small_manager(clock), journal, clock)
    _deliver_earlier(journal, clock, posts)
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    event.listen(journal.database.engine, "checkout", lambda raw, *_: raw.set_progress_handler(step, 10))
    tasks = await worker.intake("run").pull(100)
    await worker.batch("run").run(tasks)
    assert [report.outcome for report in await worker.delivery("run").run(tasks)] == [Outcome.DELIVERED] * 2
    journal.database.close()
    return steps


def _deliver_earlier(journal: Journal, clock: VirtualClock, posts: int) -> None:
    at = clock.now()
    keys = [PostAccount(f"old-{post}", f"account-{number}") for post in range(posts) for number in range(2)]
    journal.submissions.note([_task(key) for key in keys], "old", at)
    times = {"updated_at": at, "sent_at": at, "sends": 1}
    rows = [
        {
            "request_id": key.request_id,
            "account_id": key.account_id,
            "url_sha256": str(number),
            "url": "",
            "episode": str(number),
            **times,
        }
        for key in keys
        for number in range(10)
    ]
    with journal.database.writing() as connection:
        connection.execute(link.insert().values(state=LinkState.STORED.value), rows)
        connection.execute(submission.update().where(of_manager(submission)).values(links=10, stored=10))
