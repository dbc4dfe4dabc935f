"""What is left of posts that no longer run is asked about less and less, in turn, and retired."""

from __future__ import annotations

from datetime import timedelta

import pytest

from likepion_provider.board.questions import Filter, Overview
from likepion_provider.clock import Moment
from likepion_provider.journal import Journal
from likepion_provider.journal.settling import BY_HAND
from likepion_provider.journal.unfinished import Left
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Record
from likepion_provider.models import LinkState, PostAccount, SecondaryTask, Standing
from tests.clocks import VirtualClock
from tests.fakes import episodes

URLS = ["https://tide.example/1", "https://tide.example/2"]
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
P, U, NO = LinkState.PREPARED, LinkState.UNKNOWN, LinkState.REFUSED


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def deliver(
    journal: Journal, clock: VirtualClock, account: str, second: bool | None, post: str = "post"
) -> PostAccount:
    """One link stored, the other as its record says; where that has no word, neither has the first."""
    now, key = Moment.read(clock), PostAccount(post, account)
    journal.submissions.note([SecondaryTask(account, post, "group", "tide.example")], "run", now.at)
    journal.claims.grant("run", {key: Lease.granted(now)})
    journal.claims.take_over("run", "holder", [key], now)
    journal.links.prepare(key, episodes(URLS), now.at)
    sending = journal.links.begin_send(key, "holder", URLS, now)
    first = None if second is None else True
    journal.links.end_send(key, sending, [Record(URLS[0], first), Record(URLS[1], second)], now.at)
    return key


@pytest.mark.parametrize(("second", "why"), [(True, None), (False, Left.REST), (None, Left.OUTCOME)])
def test_an_account_is_asked_about_for_one_reason(
    journal: Journal, clock: VirtualClock, second: bool | None, why: Left | None
) -> None:
    key = deliver(journal, clock, "account", second)
    assert [each for each in Left if journal.unfinished.due(each, 10, clock.now())] == ([why] if why else [])
    journal.unfinished.in_vain(["post"], [], clock.now())
    later = clock.now() + DAY
    assert [each for each in Left if journal.unfinished.due(each, 10, later)] == ([Left.DOUBTFUL] if why else [])
    journal.unfinished.revive(["another post"])
    assert journal.unfinished.due(Left.DOUBTFUL, 10, later) == ([key] if why else [])
    journal.unfinished.revive(["post"])
    assert [each for each in Left if journal.unfinished.due(each, 10, clock.now())] == ([why] if why else [])


def test_a_post_that_does_not_run_is_asked_about_less_and_less(journal: Journal, clock: VirtualClock) -> None:
    deliver(journal, clock, "account", second=False)
    waits = []
    for _ in range(8):
        journal.unfinished.in_vain(["post"], [], clock.now())
        began = clock.now()
        while not journal.unfinished.due(Left.DOUBTFUL, 1, clock.now()):
            clock.advance(600)
        waits.append((clock.now() - began) / HOUR)
    assert waits == [1, 2, 4, 8, 16, 24, 24, 24]


@pytest.mark.parametrize(("second", "parked"), [(False, 0), (None, 2)])
def test_after_two_weeks_it_is_retired_and_shown_so(
    journal: Journal, clock: VirtualClock, second: bool | None, parked: int
) -> None:
    key = deliver(journal, clock, "account", second)
    living = deliver(journal, clock, "living", second, "living post")
    overview = Overview(journal.database)
    assert overview.unknown()[0] == 2 * parked
    for _ in range(14):
        assert journal.unfinished.in_vain(["post"], [], clock.now()) == {}
        clock.advance(24 * 3600)
    assert journal.unfinished.in_vain(["post"], [], clock.now()) == {"post": 1}
    assert journal.unfinished.in_vain(["post"], [], clock.now() + DAY) == {}, "once"
    assert not any(key in journal.unfinished.due(each, 10, clock.now() + 365 * DAY) for each in Left)
    assert overview.accounts(Filter(standing=Standing.RETIRED), Moment.read(clock))[0] == 1
    assert overview.totals()["tide.example"][Standing.RETIRED] == 1
    assert overview.groups()[1][0].counts["retired"] == 1
    assert {each.key for each in overview.unknown()[1]} == ({living} if parked else set())
    assert overview.unknown()[0] == parked
    assert {each.key for each in journal.links.listed(retired=True)} == {key}
    assert {each.key for each in journal.links.listed(state=U)} == ({living} if parked else set())
    assert journal.submissions.get([key])[key].retired == 1
    left = [each.state for each in journal.links.of_key(key)]
    journal.unfinished.revive(["post"])
    assert [each.state for each in journal.links.of_key(key)] == left, "a post that runs again finds all as it was"
    assert key in journal.unfinished.due(Left.REST if second is False else Left.OUTCOME, 10, clock.now())


def test_each_has_its_turn(journal: Journal, clock: VirtualClock) -> None:
    keys = [deliver(journal, clock, f"account-{number}", second=False) for number in range(5)]
    seen: list[PostAccount] = []
    for _ in range(3):
        due = journal.unfinished.due(Left.REST, 2, clock.now())
        journal.unfinished.put_off(due, clock.now())
        seen += due
        clock.advance(1)
    assert set(seen) == set(keys), "the last was not starved by those before it"


def test_what_changes_is_asked_about_at_once(journal: Journal, clock: VirtualClock) -> None:
    key = deliver(journal, clock, "account", second=False)
    journal.unfinished.put_off([key], clock.now() + DAY)
    assert journal.unfinished.due(Left.REST, 1, clock.now()) == []
    journal.settling.forgive([key], clock.now())
    assert journal.unfinished.due(Left.REST, 1, clock.now()) == [key]


def test_a_silent_account_that_a_pull_does_not_speak_for_lets_others_have_their_turn(
    journal: Journal, clock: VirtualClock
) -> None:
    early = deliver(journal, clock, "account-0", second=None)
    clock.advance(901)
    recent = deliver(journal, clock, "account-1", second=None)
    assert journal.settling.presumable([], clock.now()) == [early]
    assert journal.unfinished.due(Left.OUTCOME, 9, clock.now()) == [early]
    clock.advance(901)
    assert journal.settling.presumable([], clock.now()) == [early, recent]
    journal.settling.set_mode(BY_HAND)
    assert journal.settling.presumable([], clock.now()) == []


def test_accounts_that_cannot_be_read_are_retired_one_by_one(journal: Journal, clock: VirtualClock) -> None:
    gone, there = (deliver(journal, clock, name, second=False) for name in ("gone", "there"))
    journal.unfinished.in_vain([], [gone], clock.now())
    assert journal.unfinished.due(Left.REST, 9, clock.now()) == [there]
    clock.advance(15 * 24 * 3600)
    assert journal.unfinished.in_vain([], [gone], clock.now()) == {"post": 1}
    assert journal.unfinished.due(Left.REST, 9, clock.now()) == [there]
