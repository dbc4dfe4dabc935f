"""A journal that went back behind its last use is noticed, and nothing that it cannot know is taken for true."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from likepion_provider.clock import Moment
from likepion_provider.errors import LeaseLost
from likepion_provider.journal import Journal
from likepion_provider.journal.links import MAX_SENDS
from likepion_provider.journal.marks import KEPT, Mark
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import link, submission
from likepion_provider.journal.unfinished import Left
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Record
from likepion_provider.models import ImportState, LinkState, PostAccount, SecondaryTask, Standing
from tests.clocks import VirtualClock
from tests.fakes import episodes

URLS = ["https://tide.example/1", "https://tide.example/2", "https://tide.example/3"]
STRANGE = Mark(7, "another", "token")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def claimed(journal: Journal, clock: VirtualClock, account: str, urls: list[str]) -> PostAccount:
    """An account that a task works, with links to send."""
    now, key = Moment.read(clock), PostAccount("post", account)
    journal.submissions.note([SecondaryTask(account, "post", "group", "tide.example")], "run", now.at, pulled=True)
    journal.claims.grant("run", {key: Lease.granted(now)})
    journal.claims.take_over("run", "holder", [key], now)
    journal.links.prepare(key, episodes(urls), now.at)
    return key


def sent(journal: Journal, clock: VirtualClock, account: str, *stored: bool | None) -> PostAccount:
    """The same after its insert, whose records said so."""
    urls = URLS[: len(stored)]
    key, now = claimed(journal, clock, account, urls), Moment.read(clock)
    sending = journal.links.begin_send(key, "holder", urls, now)
    journal.links.end_send(key, sending, [Record(*each) for each in zip(urls, stored, strict=True)], now.at)
    return key


def restored(journal: Journal, clock: VirtualClock) -> None:
    """A task finds a mark outside that the journal does not know."""
    assert journal.marks.notice(STRANGE, clock.now())


def states(journal: Journal, key: PostAccount) -> list[str]:
    return [each.state.value for each in journal.links.of_key(key)]


# --- marks ---


def test_a_mark_survives_as_text() -> None:
    mark = Mark(42, "1a2b", "c3d4")
    assert Mark.parse(str(mark)) == mark
    assert Mark.parse(f" {mark}\n") == mark


@pytest.mark.parametrize(
    "text", ["", "none", "4.a", "4..b", "x.a.b", "-4.a.b", "٤.a.b", "4.a." + 20 * "b", 20 * "4" + ".a.b"]
)
def test_what_is_no_mark_is_none(text: str) -> None:
    assert Mark.parse(text) is None


def test_tasks_over_one_journal_raise_no_alarm(journal: Journal, clock: VirtualClock) -> None:
    outside = None
    marks = []
    for _ in range(20):
        outside = journal.marks.meet(outside, clock.now())
        marks.append(outside)
    for late in marks:
        journal.marks.meet(late, clock.now())
    assert journal.marks.restored() is None


def test_a_first_use_a_deleted_mark_and_one_that_is_long_forgotten_raise_no_alarm(
    journal: Journal, clock: VirtualClock
) -> None:
    first = journal.marks.meet(None, clock.now())
    with journal.database.writing():
        for _ in range(KEPT + 10):
            journal.marks.advance()
    assert not journal.marks.notice(first, clock.now()), "another Airflow shares the journal, and was away"
    assert journal.marks.restored() is None


def test_a_mark_of_another_journal_or_of_a_later_time_is_noticed_once(journal: Journal, clock: VirtualClock) -> None:
    ours = journal.marks.advance()
    later = ours._replace(number=ours.number + 5, token="later")
    assert journal.marks.notice(later, clock.now())
    assert not journal.marks.notice(later, clock.now()), "the next task has heard of it"
    assert journal.marks.advance().number > later.number
    last = journal.marks.unaccepted()
    assert last is not None
    assert last.noticed_at == clock.now()
    assert "restored from a backup, or lost" in last.message


def test_tasks_that_go_on_over_a_restored_journal_do_not_hide_it(journal: Journal, clock: VirtualClock) -> None:
    backup = journal.marks.advance()
    outside = backup._replace(number=backup.number + 2, token="given since")
    for _ in range(10):
        journal.marks.advance()
    assert journal.marks.notice(outside, clock.now())


def test_a_lost_journal_is_noticed_and_accepted(journal: Journal, clock: VirtualClock) -> None:
    restored(journal, clock)
    assert journal.marks.accept(clock.now())
    assert not journal.marks.accept(clock.now())
    assert journal.marks.unaccepted() is None
    assert journal.marks.restored() is not None


# --- what follows ---


def test_no_claim_of_a_backup_is_believed(journal: Journal, clock: VirtualClock) -> None:
    key = claimed(journal, clock, "account", URLS)
    restored(journal, clock)
    now = Moment.read(clock)
    assert journal.claims.ours(["account"], now) == []
    assert journal.claims.take_over("run", "holder", [key], now) == {}
    assert not journal.claims.reserve("another run", [key], Lease.granted(now), now).taken
    with pytest.raises(LeaseLost):
        journal.links.begin_send(key, "holder", URLS, now)


@pytest.mark.parametrize("stored", [(True, False), (True, None), (False, False), ()])
def test_what_could_be_sent_is_parked(journal: Journal, clock: VirtualClock, stored: tuple[bool | None, ...]) -> None:
    key = sent(journal, clock, "account", *stored) if stored else claimed(journal, clock, "account", URLS)
    restored(journal, clock)
    left = ["stored" if each else "unknown" for each in stored] or ["unknown"] * 3
    assert states(journal, key) == left
    assert journal.links.to_send([key]) == {key: []}
    assert journal.links.leftovers([key]) == set()
    with journal.database.reading() as connection:
        columns = (submission.c.standing, submission.c.parked, submission.c.refused)
        found = connection.execute(select(*columns).where(of_manager(submission))).one()
    assert tuple(found) == (Standing.UNKNOWN, left.count("unknown"), 0)


def test_until_it_is_accepted_no_leftover_is_taken(journal: Journal, clock: VirtualClock) -> None:
    key = sent(journal, clock, "account", True, False)
    clock.advance(901)
    restored(journal, clock)
    now = Moment.read(clock)
    assert [journal.unfinished.due(why, 9, now.at) for why in Left] == [[], [], []]
    assert not journal.claims.reserve("run", [key], Lease.granted(now), now).taken
    journal.marks.accept(now.at)
    assert journal.unfinished.due(Left.REST, 9, now.at) == [key]
    assert key in journal.claims.reserve("run", [key], Lease.granted(now), now).taken


def test_what_is_delivered_stays_as_it_is(journal: Journal, clock: VirtualClock) -> None:
    key = claimed(journal, clock, "account", URLS[:2])
    now = Moment.read(clock)
    journal.submissions.record(key, "holder", now, state=ImportState.LISTED)
    sending = journal.links.begin_send(key, "holder", URLS[:2], now)
    journal.links.end_send(key, sending, [Record(url, True) for url in URLS[:2]], now.at)
    restored(journal, clock)
    assert states(journal, key) == ["stored", "stored"]
    with journal.database.reading() as connection:
        assert connection.execute(select(submission.c.doubted).where(of_manager(submission))).scalar() == 0


@pytest.mark.parametrize("accepted", [True, False])
def test_what_a_pull_hands_out_goes_on_at_once(journal: Journal, clock: VirtualClock, *, accepted: bool) -> None:
    key = sent(journal, clock, "account", False, False)
    restored(journal, clock)
    if accepted:
        journal.marks.accept(clock.now())
    again, proof = journal.settling.reappeared([key], clock.now())
    assert (again, proof) == (2, set())
    assert journal.links.to_send([key]) == {key: URLS[:2]}
    claimed(journal, clock, "account", URLS)
    assert journal.links.to_send([key]) == {key: URLS}, "what is new is sent, too"


def test_in_review_what_is_new_to_the_backup_is_parked(journal: Journal, clock: VirtualClock) -> None:
    key = sent(journal, clock, "account", True)
    restored(journal, clock)
    journal.marks.accept(clock.now())
    assert journal.links.prepare(key, episodes(URLS), clock.now()).new == 2
    assert states(journal, key) == ["stored", "unknown", "unknown"]
    (_, second, third) = journal.links.of_key(key)
    assert "restored or lost" in second.evidence
    journal.settling.settle(second.id, is_there=True, who="p", note="", at=clock.now())
    journal.settling.settle(third.id, is_there=False, who="p", note="", at=clock.now())
    assert states(journal, key) == ["stored", "stored", "prepared"], "a person has looked"
    assert journal.links.to_send([key]) == {key: URLS[2:]}


def test_silence_proves_nothing_of_what_a_backup_has_forgotten(journal: Journal, clock: VirtualClock) -> None:
    key = sent(journal, clock, "account", None, None)
    clock.advance(901)
    assert journal.settling.presumable([], clock.now()) == [key]
    restored(journal, clock)
    assert journal.settling.presumable([], clock.now()) == []
    journal.marks.accept(clock.now())
    clock.advance(901)
    assert journal.settling.presumable([], clock.now()) == []


def test_refused_for_good_is_parked_too(journal: Journal, clock: VirtualClock) -> None:
    key = claimed(journal, clock, "account", URLS[:1])
    with journal.database.writing() as connection:
        connection.execute(update(link).where(of_manager(link)).values(state=LinkState.REFUSED, sends=MAX_SENDS))
    restored(journal, clock)
    assert states(journal, key) == [LinkState.UNKNOWN.value]


def test_a_person_who_knows_may_say_so(journal: Journal, clock: VirtualClock) -> None:
    claimed(journal, clock, "account", URLS)
    outside = Mark(3, "a", "b")
    journal.marks.doubt(clock.now(), [outside])
    assert journal.marks.unaccepted() is not None
    assert not journal.marks.notice(outside, clock.now() + timedelta(1))
    journal.marks.accept(clock.now())
    assert journal.marks.doubted() == 1
