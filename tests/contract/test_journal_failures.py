"""What the journal promises of reports that an account failed, on every database it works on."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from likepion_provider.board.questions import Filter, Overview
from likepion_provider.clock import Moment
from likepion_provider.errors import LeaseLost
from likepion_provider.journal import Journal
from likepion_provider.journal.keys import named, of_key
from likepion_provider.journal.schema import failure
from likepion_provider.journal.unfinished import Left
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Record
from likepion_provider.models import LinkState, PostAccount, SecondaryTask
from tests.clocks import VirtualClock
from tests.fakes import episodes

KEY = PostAccount("post", "account")
OTHER = PostAccount("next post", "account")
TASK = SecondaryTask("account", "post", "group", "tide.example")
URL = "https://tide.example/1"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def hold(journal: Journal, clock: VirtualClock) -> Moment:
    now = Moment.read(clock)
    journal.submissions.note([TASK], "run", now.at)
    journal.claims.grant("run", {KEY: Lease.granted(now)})
    journal.claims.take_over("run", "holder", [KEY], now)
    return now


def begin_under_a_claim_of_its_own(journal: Journal, now: Moment) -> str:
    """Claim anew before each try: others' requests end the claim."""
    while True:
        journal.claims.claim_anew("run", "holder", "account", Lease.granted(now))
        with contextlib.suppress(LeaseLost):
            return journal.failures.begin_send(KEY, "holder", now)


def state_of(journal: Journal, key: PostAccount = KEY) -> LinkState | None:
    with journal.database.reading() as connection:
        return connection.execute(select(failure.c.state).where(of_key(failure)), named(key)).scalar()


def send(journal: Journal, clock: VirtualClock, state: LinkState) -> str:
    now = hold(journal, clock)
    journal.failures.put(KEY, "holder", "wrong password", now)
    send_id = journal.failures.begin_send(KEY, "holder", now)
    if send_id:
        journal.failures.end_send(KEY, send_id, state)
    return send_id


def test_a_report_is_put_once_and_begun_once(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    with ThreadPoolExecutor(6) as pool:
        puts = [pool.submit(journal.failures.put, KEY, "holder", f"note {number}", now) for number in range(6)]
        assert [each.result() for each in puts] == [None] * 6
        note = journal.failures.to_send(KEY)
        begun = [pool.submit(begin_under_a_claim_of_its_own, journal, now) for _ in range(6)]
        assert len([each for each in begun if each.result()]) == 1
    assert note in {f"note {number}" for number in range(6)}
    assert journal.failures.to_send(KEY) is None
    assert state_of(journal, OTHER) is None, "another post is another matter"


def test_only_who_holds_the_account_puts_and_sends(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    with pytest.raises(LeaseLost):
        journal.failures.put(KEY, "somebody else", "no", now)
    journal.failures.put(KEY, "holder", "yes", now)
    clock.advance(900)
    with pytest.raises(LeaseLost):
        journal.failures.begin_send(KEY, "holder", Moment.read(clock))
    assert state_of(journal) is LinkState.PREPARED


@pytest.mark.parametrize("state", [LinkState.STORED, LinkState.UNKNOWN, LinkState.REFUSED])
def test_what_went_out_is_not_sent_again(journal: Journal, clock: VirtualClock, state: LinkState) -> None:
    assert send(journal, clock, state)
    assert state_of(journal) is state
    assert send(journal, clock, state) == ""


def test_what_provably_did_not_go_out_is_sent_by_the_next(journal: Journal, clock: VirtualClock) -> None:
    assert send(journal, clock, LinkState.PREPARED)
    assert send(journal, clock, LinkState.STORED)


def test_a_crash_after_the_request_leaves_a_report_that_may_be_there(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    journal.failures.put(KEY, "holder", "wrong password", now)
    journal.failures.begin_send(KEY, "holder", now)
    journal.claims.take_over("run", "next", [KEY], now)
    assert state_of(journal) is LinkState.UNKNOWN
    with pytest.raises(LeaseLost, match="an insert has ended the claim"):
        journal.failures.begin_send(KEY, "next", now)
    hold(journal, clock)
    assert journal.failures.begin_send(KEY, "holder", now) == ""


def test_an_account_that_is_handed_out_again_has_no_report(journal: Journal, clock: VirtualClock) -> None:
    first = send(journal, clock, LinkState.UNKNOWN)
    clock.advance(899)
    journal.settling.reappeared({KEY}, clock.now())
    assert state_of(journal) is LinkState.UNKNOWN, "that POST may still be under way"
    clock.advance(1)
    journal.settling.reappeared({OTHER}, clock.now())
    assert state_of(journal) is LinkState.UNKNOWN
    journal.settling.reappeared({KEY}, clock.now())
    assert state_of(journal) is LinkState.PREPARED
    assert send(journal, clock, LinkState.UNKNOWN)
    journal.failures.end_send(KEY, first, LinkState.REFUSED)
    assert state_of(journal) is LinkState.UNKNOWN, "an answer to an older POST changes nothing"


@pytest.mark.parametrize("state", [LinkState.STORED, LinkState.REFUSED])
def test_a_reappearance_changes_nothing_of_what_the_manager_said(
    journal: Journal, clock: VirtualClock, state: LinkState
) -> None:
    send(journal, clock, state)
    clock.advance(901)
    journal.settling.reappeared({KEY}, clock.now())
    assert state_of(journal) is state


@pytest.mark.parametrize(
    ("state", "left"),
    [
        (LinkState.PREPARED, None),
        (LinkState.REFUSED, None),
        (LinkState.UNKNOWN, LinkState.UNKNOWN),
        (LinkState.STORED, LinkState.STORED),
    ],
)
def test_another_try_withdraws_what_is_not_there(
    journal: Journal, clock: VirtualClock, state: LinkState, left: LinkState | None
) -> None:
    send(journal, clock, state)
    journal.settling.forgive([PostAccount("post", "somebody else"), OTHER], clock.now())
    assert state_of(journal) is state
    journal.settling.forgive([PostAccount("post", "somebody else"), KEY], clock.now())
    assert state_of(journal) is left


def test_an_account_with_links_is_not_reported(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    journal.failures.put(KEY, "holder", "wrong password", now)
    journal.links.prepare(KEY, episodes([URL]), now.at)
    assert journal.failures.to_send(KEY) is None
    assert journal.failures.begin_send(KEY, "holder", now) == ""


def test_a_report_is_counted_nowhere(journal: Journal, clock: VirtualClock) -> None:
    send(journal, clock, LinkState.STORED)
    _, (row,) = Overview(journal.database).accounts(Filter(), Moment.read(clock))
    assert (row.standing.value, row.links, row.stored, row.parked, row.refused) == ("waiting", 0, 0, 0, 0)
    assert Overview(journal.database).delivered(clock.now().date()) == []
    assert Overview(journal.database).unknown() == (0, [])
    assert journal.links.listed() == []
    assert journal.links.states([KEY])[KEY].total() == 0
    assert journal.unfinished.due(Left.REST, 10, clock.now()) == []


@pytest.mark.parametrize(("state", "left"), [(LinkState.STORED, [KEY]), (LinkState.UNKNOWN, [KEY]), (None, [])])
def test_links_of_an_account_that_no_pull_brings_back_are_leftovers(
    journal: Journal, clock: VirtualClock, state: LinkState | None, left: list[PostAccount]
) -> None:
    if state:
        send(journal, clock, state)
    journal.links.prepare(KEY, episodes([URL]), clock.now())
    assert journal.unfinished.due(Left.REST, 10, clock.now()) == left


@pytest.mark.parametrize(("reported", "presumed"), [(True, []), (False, [KEY])])
def test_where_the_report_may_be_why_an_account_is_away_its_links_are_not_presumed(
    journal: Journal, clock: VirtualClock, *, reported: bool, presumed: list[PostAccount]
) -> None:
    if reported:
        send(journal, clock, LinkState.STORED)
    now = hold(journal, clock)
    journal.links.prepare(KEY, episodes([URL]), now.at)
    sending = journal.links.begin_send(KEY, "holder", [URL], now)
    journal.links.end_send(KEY, sending, [Record(URL, None)], now.at)
    clock.advance(901)
    assert journal.settling.presumable([], clock.now()) == presumed
