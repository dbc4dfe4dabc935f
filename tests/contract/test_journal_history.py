"""What the database keeps of each account's changes by itself, and what is asked of it; on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event

from likepion_provider.board.questions import SORTS, Change, Filter, Order, Overview
from likepion_provider.clock import Moment
from likepion_provider.journal import Journal
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Record
from likepion_provider.models import ImportState, LinkState, PostAccount, SecondaryTask, Standing
from tests.clocks import VirtualClock
from tests.fakes import episodes


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def taken(journal: Journal, clock: VirtualClock, account: str, domain: str = "tide.example") -> PostAccount:
    now, task = Moment.read(clock), SecondaryTask(account, "post", "group", domain)
    journal.submissions.note([task], "run", now.at)
    journal.claims.grant("run", {task.key: Lease.granted(now)})
    journal.claims.take_over("run", "holder", [task.key], now)
    return task.key


def park(journal: Journal, clock: VirtualClock, key: PostAccount, number: int) -> None:
    now = Moment.read(clock)
    urls = [f"https://tide.example/{key.account_id}/{n}" for n in range(number)]
    journal.links.prepare(key, episodes(urls), now.at)
    sending = journal.links.begin_send(key, "holder", urls, now)
    journal.links.end_send(key, sending, [Record(url, None) for url in urls], now.at)


def record(journal: Journal, clock: VirtualClock, key: PostAccount, state: ImportState, message: str = "") -> None:
    journal.submissions.record(key, "holder", Moment.read(clock), state=state, message=message)


def test_every_change_is_kept_with_its_time_and_words_and_nothing_else(journal: Journal, clock: VirtualClock) -> None:
    key = taken(journal, clock, "pod")
    began = clock.now()
    clock.advance(60)
    for _ in range(2):
        record(journal, clock, key, ImportState.FAILED, "no")
    taken(journal, clock, "pod")
    journal.submissions.set_aside([key], "admin", "its owner left", clock.now())
    journal.settling.forgive([key], clock.now())
    asked = Overview(journal.database)
    at = began + timedelta(seconds=60)
    word = f"admin at {at:%Y-%m-%d %H:%M}Z (its owner left)"
    assert asked.history(key) == [
        Change(at, Standing.FAILED, ImportState.FAILED, "taken back", "run"),
        Change(at, Standing.FAILED, ImportState.FAILED, f"set aside: {word}", "run"),
        Change(at, Standing.FAILED, ImportState.FAILED, "no", "run"),
    ]


def test_a_change_costs_no_statement_more(journal: Journal, clock: VirtualClock) -> None:
    key = taken(journal, clock, "pod")
    statements: list[str] = []
    event.listen(
        journal.database.engine, "before_cursor_execute", lambda _c, _cursor, text, *_: statements.append(text)
    )
    record(journal, clock, key, ImportState.FAILED, "no")
    assert [each.split()[0] for each in statements if "likepion" in each] == ["SELECT", "UPDATE"]
    assert len(Overview(journal.database).history(key)) == 1


def test_a_history_forgets_its_oldest(journal: Journal, clock: VirtualClock) -> None:
    keys = [taken(journal, clock, name) for name in ("pod", "other")]
    for number in range(35):
        for key in keys:
            record(journal, clock, key, ImportState.FAILED, f"failure {number}")
    for key in keys:
        messages = [each.message for each in Overview(journal.database).history(key)]
        assert messages == [f"failure {number}" for number in range(34, 4, -1)]


def test_failures_and_times_are_counted_by_day_and_platform(journal: Journal, clock: VirtualClock) -> None:
    day = clock.now().date()
    for name, domain in (("a", "tide.example"), ("b", "tide.example"), ("c", "moon.example")):
        record(journal, clock, taken(journal, clock, name, domain), ImportState.FAILED, "no")
    asked = Overview(journal.database)
    told = [(each.day, each.domain, each.failures) for each in asked.failed(day)]
    assert told == [(str(day), "moon.example", 1), (str(day), "tide.example", 2)]
    assert asked.failed(day + timedelta(days=1)) == []
    reasons = [(each.message, each.domain, each.accounts) for each in asked.reasons()]
    assert reasons == [("no", "tide.example", 2), ("no", "moon.example", 1)]


def test_many_links_are_settled_at_once(journal: Journal, clock: VirtualClock) -> None:
    for name in ("a", "b"):
        park(journal, clock, taken(journal, clock, name), 3)
    park(journal, clock, taken(journal, clock, "far", "moon.example"), 1)
    asked = Overview(journal.database)
    assert asked.unknown(Filter(domain="tide.example"))[0] == 6
    with journal.database.writing():
        ids = asked.parked_links(Filter(domain="tide.example"), 10)
        assert journal.settling.settle_all(ids, is_there=True, who="admin", note="", at=clock.now()) == 6
    assert [each.key.account_id for each in journal.links.listed(state=LinkState.UNKNOWN)] == ["far"]
    assert journal.settling.settle_all(ids, is_there=False, who="admin", note="", at=clock.now()) == 0
    assert [each.standing for each in asked.history(PostAccount("post", "a"))] == [Standing.DELIVERED, Standing.UNKNOWN]
    assert [(each.domain, each.step, each.accounts) for each in asked.delivery_times(clock.now().date())] == [
        ("tide.example", 0, 2)
    ]


def test_accounts_are_sorted_by_each_column(journal: Journal, clock: VirtualClock) -> None:
    for name in ("a", "b", "c"):
        taken(journal, clock, name)
        clock.advance(1)
    asked, now = Overview(journal.database), Moment.read(clock)
    for by in SORTS:
        pages = [asked.accounts(Filter(), now, order=Order(by, descending)) for descending in (False, True)]
        up, down = ([row.key.account_id for row in rows] for _, rows in pages)
        assert (up, down) == (["a", "b", "c"], ["c", "b", "a"]), by
    assert [row.key.account_id for row in asked.waiting(Filter(), 2)] == ["a", "b"]
    assert [key.account_id for key in asked.keys(Filter(account_id="b"), 5)] == ["b"]
