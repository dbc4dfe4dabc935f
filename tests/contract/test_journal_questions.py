"""What is asked of the journal in SQL: each account once, days by link, lists of any length."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event

from likepion_provider.board.questions import DeliveryDay, Overview
from likepion_provider.clock import Moment
from likepion_provider.journal import Journal, keys
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Record
from likepion_provider.models import LinkState, PostAccount, SecondaryTask
from tests.clocks import VirtualClock
from tests.fakes import episodes

DAY_S = 24 * 3600
URLS = [f"https://tide.example/{number}" for number in range(4)]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def task(account: str, post: str = "post", domain: str = "tide.example", group: str = "group") -> SecondaryTask:
    return SecondaryTask(account, post, group, domain)


def deliver(journal: Journal, clock: VirtualClock, account: str, *urls: str, domain: str = "tide.example") -> None:
    now, key = Moment.read(clock), PostAccount("post", account)
    journal.submissions.note([task(account, domain=domain)], "run", now.at)
    journal.claims.grant("run", {key: Lease.granted(now)})
    journal.claims.take_over("run", "holder", [key], now)
    journal.links.prepare(key, episodes(urls), now.at)
    sending = journal.links.begin_send(key, "holder", urls, now)
    journal.links.end_send(key, sending, [Record(url, True) for url in urls], now.at)


def test_an_account_of_many_posts_is_named_once_and_those_with_something_to_do_first(
    journal: Journal, clock: VirtualClock
) -> None:
    for number in range(20):
        journal.submissions.note([task("old", f"post-{number}"), task("new", f"post-{number}")], "run", clock.now())
        clock.advance(60)
    journal.submissions.note([task("new", "newest")], "run", clock.now())
    deliver(journal, clock, "done", URLS[0])
    journal.submissions.note([task("elsewhere", domain="moon.example", group="other")], "run", clock.now())
    ids = journal.submissions.account_ids
    assert ids(domains=["tide.example"], limit=10) == ["new", "old", "done"]
    assert ids(domains=["tide.example"], limit=1) == ["new"]
    assert set(ids(domains=["tide.example", "moon.example"], limit=10)) == {"new", "old", "done", "elsewhere"}
    assert ids(group_id="other", limit=10) == ["elsewhere"]
    assert ids(group_id="unknown", limit=10) == []


def test_links_count_for_the_day_on_which_they_were_stored(journal: Journal, clock: VirtualClock) -> None:
    first = clock.now().date()
    deliver(journal, clock, "at once", *URLS)
    deliver(journal, clock, "bit by bit", *URLS[:1])
    clock.advance(DAY_S)
    deliver(journal, clock, "bit by bit", *URLS[1:3])
    deliver(journal, clock, "elsewhere", URLS[0], domain="moon.example")
    clock.advance(DAY_S)
    deliver(journal, clock, "bit by bit", *URLS[3:])
    days = [(first + timedelta(days=number)).isoformat() for number in range(3)]
    overview = Overview(journal.database)
    everything = [
        DeliveryDay(days[0], "tide.example", 5),
        DeliveryDay(days[1], "moon.example", 1),
        DeliveryDay(days[1], "tide.example", 2),
        DeliveryDay(days[2], "tide.example", 1),
    ]
    assert overview.delivered(first) == everything
    assert overview.delivered(first + timedelta(days=1)) == everything[1:]
    journal.links.prune(clock.now() + timedelta(days=1))
    assert overview.delivered(first) == everything, "their text is gone, they are not"


def test_a_link_that_is_sent_again_counts_for_its_new_day(journal: Journal, clock: VirtualClock) -> None:
    first = clock.now().date()
    deliver(journal, clock, "account", *URLS[:2])
    clock.advance(DAY_S)
    key = PostAccount("post", "account")
    assert journal.settling.resend([key], clock.now(), "run", clock.now()) == 2
    deliver(journal, clock, "account", *URLS[:2])
    second = (first + timedelta(days=1)).isoformat()
    assert Overview(journal.database).delivered(first) == [DeliveryDay(second, "tide.example", 2)]


def test_no_statement_names_more_than_a_part_of_many(
    journal: Journal, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "IDS_PER_QUERY", 7)
    now = Moment.read(clock)
    many = [PostAccount("post", f"account-{number:02}") for number in range(40)]
    ids = [key.account_id for key in many]
    longest = 0

    def watch(_c: object, _cursor: object, _s: object, parameters: object, _context: object, is_many: bool) -> None:
        nonlocal longest
        sizes = map(len, parameters) if is_many else [len(parameters)]  # type: ignore[arg-type, call-overload]
        longest = max(longest, *sizes)

    journal.submissions.note([task(each) for each in ids], "run", now.at)
    journal.claims.grant("run", {key: Lease.granted(now) for key in many})
    # With the parts that a statement has besides.
    event.listen(journal.database.engine, "before_cursor_execute", watch)
    claims = journal.claims
    assert list(claims.take_over("run", "holder", many[::-1], now)) == many
    assert len(claims.leases("run", many, now)) == 40
    assert claims.live("run", ids, now, "holder").keys() == set(ids)
    assert claims.refusals(many, "holder", now) == [None] * 40
    assert len(claims.ours(ids, now)) == 40
    claims.extend("run", ids, Lease.granted(now))
    claims.confirm("run", ids, Lease.granted(now))
    assert len(journal.submissions.get(many)) == 40
    assert journal.links.leftovers(many) == set()
    assert journal.submissions.incomplete(many, now.at) == set()
    assert journal.submissions.known_groups([f"g-{number}" for number in range(40)] + ["group"]) == {"group"}
    claims.let_go("run", ids, "holder")
    assert claims.live("run", ids, now) == {}
    assert 7 <= longest <= 20
    event.remove(journal.database.engine, "before_cursor_execute", watch)
    assert {each.state for each in journal.links.listed()} <= {LinkState.STORED}
