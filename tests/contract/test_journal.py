"""What the journal promises, on every database it works on."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, inspect, text

from likepion_provider.clock import Moment
from likepion_provider.errors import BadRequest, JournalUnusable, LeaseLost, LikepionError
from likepion_provider.journal import Journal, Prepared, Sending, open_journal
from likepion_provider.journal.database import HEAD, Database
from likepion_provider.journal.links import MAX_SENDS
from likepion_provider.journal.schema import metadata
from likepion_provider.journal.settling import BY_HAND
from likepion_provider.journal.unfinished import Left
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Record
from likepion_provider.models import ImportState, LinkState, PostAccount, SecondaryTask
from tests import MANAGER
from tests.clocks import VirtualClock
from tests.fakes import episodes

KEY = PostAccount("post", "account")
TASK = SecondaryTask("account", "post", "group", "tide.example", username="pod", target=2)
URLS = ["https://tide.example/1", "https://tide.example/2"]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def hold(journal: Journal, clock: VirtualClock, holder: str = "holder", scope: str = "run") -> Moment:
    """Grant the claim and take it over."""
    now = Moment.read(clock)
    journal.submissions.note([TASK], scope, now.at)
    journal.claims.grant(scope, {KEY: Lease.granted(now)})
    assert set(journal.claims.take_over(scope, holder, [KEY], now)) == {KEY}
    return now


def begin_under_a_claim_of_its_own(journal: Journal, urls: list[str], now: Moment) -> Sending:
    """Claim anew before each try: others' inserts end the claim."""
    while True:
        journal.claims.claim_anew("run", "holder", "account", Lease.granted(now))
        with contextlib.suppress(LeaseLost):
            return journal.links.begin_send(KEY, "holder", urls, now)


def send(journal: Journal, now: Moment, holder: str = "holder") -> Sending:
    journal.links.prepare(KEY, episodes(URLS), now.at)
    return journal.links.begin_send(KEY, holder, journal.links.to_send([KEY])[KEY], now)


def states(journal: Journal) -> list[LinkState]:
    return [link.state for link in journal.links.of_key(KEY)]


def test_a_url_is_put_once_whoever_finds_it(journal: Journal, clock: VirtualClock) -> None:
    now = clock.now()
    with ThreadPoolExecutor(8) as pool:
        new = list(pool.map(lambda _: journal.links.prepare(KEY, episodes([*URLS, *URLS]), now), range(16)))
    assert sum(each.new for each in new) == 2
    assert len(journal.links.of_key(KEY)) == 2
    assert journal.links.prepare(PostAccount("other", "account"), episodes(URLS), now).new == 2, (
        "another post is another matter"
    )


def test_one_of_many_attempts_sends_a_url(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    journal.links.prepare(KEY, episodes(URLS), now.at)
    with ThreadPoolExecutor(8) as pool:
        sendings = list(pool.map(lambda _: begin_under_a_claim_of_its_own(journal, URLS, now), range(16)))
    assert sorted(url for sending in sendings for url in sending.urls) == URLS


def test_one_of_many_attempts_begins_an_insert_under_a_claim(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    urls = [f"https://tide.example/{number}" for number in range(16)]
    journal.links.prepare(KEY, episodes(urls), now.at)
    with ThreadPoolExecutor(8) as pool:
        begun = [pool.submit(journal.links.begin_send, KEY, "holder", [url], now) for url in urls]
    errors = [each.exception() for each in begun if each.exception()]
    assert len(errors) == 15
    assert all(isinstance(each, LeaseLost) and "an insert has ended the claim" in str(each) for each in errors)
    assert Counter(states(journal)) == {S: 1, P: 15}


def test_each_account_is_told_why_it_may_not_be_written_to(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    other, stranger = PostAccount("another post", "account"), PostAccount("post", "stranger")
    refusals = journal.claims.refusals([KEY, other, stranger, KEY], "holder", now)
    assert [str(each or "") for each in refusals] == [
        "",
        "account account was taken over by a later attempt",
        "account stranger was taken over by a later attempt",
        "",
    ]
    clock.advance(901)
    (refusal,) = journal.claims.refusals([KEY], "holder", Moment.read(clock))
    assert "has lapsed" in str(refusal)


@pytest.mark.parametrize(
    ("state", "hours", "due"),
    [
        (ImportState.IN_REVIEW, 3, True),
        (ImportState.SUBMITTED, 3, True),
        (ImportState.IN_REVIEW, 2.9, False),
        (ImportState.IN_REVIEW, 14 * 24 + 1, False),
        (ImportState.LISTED, 3, False),
        (ImportState.FAILED, 3, False),
    ],
)
def test_an_account_that_is_not_listed_as_a_whole_is_due_for_another_look(
    journal: Journal, clock: VirtualClock, state: ImportState, hours: float, due: bool
) -> None:
    now = hold(journal, clock)
    journal.submissions.begin(KEY, "holder", now)
    journal.submissions.record(KEY, "holder", now, state=state)
    sending = send(journal, now)
    at = now.at + timedelta(hours=hours)
    assert journal.submissions.incomplete([KEY], at) == set(), "nothing is stored, so a pull brings it back"
    journal.links.end_send(KEY, sending, [Record(url, True) for url in URLS], now.at)
    assert journal.submissions.incomplete([KEY], at) == ({KEY} if due else set())
    assert journal.submissions.incomplete([], at) == set()
    journal.submissions.looked_at([KEY], at)
    assert journal.submissions.incomplete([KEY], at + timedelta(hours=1)) == set()
    journal.submissions.looked_at([KEY], now.at + timedelta(days=14))
    assert journal.submissions.incomplete([KEY], now.at + timedelta(days=14, hours=4)) == set(), (
        "looked for long enough"
    )


def test_one_of_two_processes_sends_a_url(journal: Journal, journal_url: str, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    journal.links.prepare(KEY, episodes([f"https://tide.example/{n}" for n in range(40)]), now.at)
    code = (
        "from likepion_provider.clock import Moment\n"
        "from likepion_provider.journal import open_journal\n"
        "from tests.clocks import VirtualClock\n"
        "from tests.contract.test_journal import KEY, begin_under_a_claim_of_its_own\n"
        f"journal = open_journal({journal_url!r}, {MANAGER!r})\n"
        "now = Moment.read(VirtualClock())\n"
        "for url in journal.links.to_send([KEY])[KEY]:\n"
        "    for sent in begin_under_a_claim_of_its_own(journal, [url], now).urls: print(sent)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sent = Counter(line for each in running for line in each.communicate(timeout=60)[0].split())
    assert len(sent) == 40
    assert set(sent.values()) == {1}


@pytest.mark.parametrize("write", ["begin", "record", "begin_send"])
@pytest.mark.parametrize("trouble", ["overtaken", "lapsed", "let go", "another run's", "another post's", "unknown"])
def test_no_write_begins_without_a_valid_claim(journal: Journal, clock: VirtualClock, write: str, trouble: str) -> None:
    if trouble != "unknown":
        hold(journal, clock)
    journal.links.prepare(KEY, episodes(URLS), clock.now())
    now = Moment.read(clock)
    if trouble == "overtaken":
        journal.claims.take_over("run", "a later attempt", [KEY], now)
    elif trouble == "lapsed":
        clock.advance(841)
    elif trouble == "let go":
        journal.claims.let_go("run", ["account"])
    elif trouble == "another run's":
        journal.claims.grant("another run", {KEY: Lease.granted(now)})
    elif trouble == "another post's":
        journal.claims.grant("run", {PostAccount("newer post", "account"): Lease.granted(now)})
    now = Moment.read(clock)
    calls = {
        "begin": lambda: journal.submissions.begin(KEY, "holder", now),
        "record": lambda: journal.submissions.record(KEY, "holder", now, state=ImportState.LISTED),
        "begin_send": lambda: journal.links.begin_send(KEY, "holder", URLS, now),
    }
    with pytest.raises(LeaseLost):
        calls[write]()
    assert states(journal) == [LinkState.PREPARED] * 2


P, S, OK, NO, U = LinkState.PREPARED, LinkState.SENDING, LinkState.STORED, LinkState.REFUSED, LinkState.UNKNOWN

#: What happens to a link that is being sent -> its state, and whether it is sent again.
OUTCOMES = {
    "stored": (OK, False),
    "refused": (NO, True),
    "no word": (U, False),
    "contradiction": (U, False),
    "POST not sent": (P, True),
    "POST refused": (NO, True),
    "POST unclear": (U, False),
    "crash": (U, False),
    "crash, the truth comes late": (OK, False),
}


@pytest.mark.parametrize("happened", OUTCOMES)
def test_every_outcome_of_an_insert_has_one_state(journal: Journal, clock: VirtualClock, happened: str) -> None:
    now = hold(journal, clock)
    sending = send(journal, now)
    links = journal.links
    assert states(journal) == [S, S]
    records = {"stored": True, "refused": False, "no word": None, "contradiction": None}
    whole = {"POST not sent": P, "POST refused": NO, "POST unclear": U}
    if happened in records:
        links.end_send(KEY, sending, [Record(url, records[happened]) for url in URLS], now.at)
    elif happened in whole:
        links.fail_send(KEY, sending, whole[happened], "evidence", now.at)
    else:
        journal.claims.take_over("run", "a later attempt", [KEY], now)
        links.orphaned([KEY], now.at)
        if happened.endswith("late"):
            links.end_send(KEY, sending, [Record(url, True) for url in URLS], now.at)
    state, again = OUTCOMES[happened]
    assert states(journal) == [state, state]
    assert links.to_send([KEY])[KEY] == (URLS if again else [])


@pytest.mark.parametrize("state", [P, NO, OK, U])
@pytest.mark.parametrize("late", [True, False, None])
def test_an_answer_to_an_older_post_changes_nothing(
    journal: Journal, clock: VirtualClock, state: LinkState, late: bool | None
) -> None:
    now = hold(journal, clock)
    old = send(journal, now)
    journal.links.fail_send(KEY, old, P, "", now.at)
    if state is not P:
        newer = journal.links.begin_send(KEY, "holder", URLS, now)
        journal.links.fail_send(KEY, newer, state, "", now.at)
    journal.links.end_send(KEY, old, [Record(url, late) for url in URLS], now.at)
    assert states(journal) == [state, state]


def test_a_refused_link_is_offered_a_few_times_only(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    for _ in range(MAX_SENDS):
        sending = send(journal, now)
        assert sending.urls
        journal.links.end_send(KEY, sending, [Record(url, False, "no") for url in URLS], now.at)
        hold(journal, clock)
    assert send(journal, now).urls == ()
    assert journal.links.evidence(KEY, NO) == "no"


def test_a_person_has_what_was_refused_too_often_offered_once_more(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    refuse = [Record(URLS[0], True), Record(URLS[1], False, "no")]
    for _ in range(MAX_SENDS):
        journal.links.end_send(KEY, send(journal, now), refuse, now.at)
        hold(journal, clock)
    journal.settling.forgive([PostAccount("post", "somebody else"), PostAccount("another post", "account")], now.at)
    assert send(journal, now).urls == ()
    journal.settling.forgive([PostAccount("post", "somebody else"), KEY], now.at)
    sending = send(journal, now)
    assert sending.urls == (URLS[1],), "what was stored stays"
    journal.links.end_send(KEY, sending, refuse[1:], now.at)
    assert states(journal) == [OK, NO]
    hold(journal, clock)
    assert send(journal, now).urls == ()


@pytest.mark.parametrize("passed_s", [0, 899, 900])
def test_reappearing_settles_what_was_sent_a_claims_length_ago(
    journal: Journal, clock: VirtualClock, passed_s: float
) -> None:
    now = hold(journal, clock)
    journal.links.fail_send(KEY, send(journal, now), U, "reset", now.at)
    clock.advance(passed_s)
    again, proof = journal.settling.reappeared([KEY], clock.now())
    assert (again, proof) == ((2, set()) if passed_s == 900 else (0, set()))
    assert states(journal) == ([P, P] if passed_s == 900 else [U, U])


def test_a_confirmed_link_that_reappears_trips_the_wire_for_good(
    journal: Journal, journal_url: str, clock: VirtualClock
) -> None:
    now = hold(journal, clock)
    journal.links.end_send(KEY, send(journal, now), [Record(URLS[0], True), Record(URLS[1], None)], now.at)
    clock.advance(901)
    assert journal.settling.reappeared([KEY], clock.now()) == (0, {KEY})
    assert states(journal) == [OK, U]
    other = Database(journal_url).of(MANAGER)
    assert Journal(other).settling.mode() == BY_HAND
    other.close()
    assert journal.settling.reappeared([KEY], clock.now() + timedelta(days=1))[0] == 0
    assert journal.settling.presumable([], clock.now()) == []


@pytest.mark.parametrize("presumed", [True, False])
def test_what_was_confirmed_after_a_pull_proves_nothing_and_stays(
    journal: Journal, clock: VirtualClock, *, presumed: bool
) -> None:
    now = hold(journal, clock)
    sending = send(journal, now)
    clock.advance(901)
    pulled_at = clock.now()
    clock.advance(60)
    # The answer to one link was late; the other is still open, or was taken for stored.
    journal.links.end_send(KEY, sending, [Record(URLS[0], True), Record(URLS[1], None)], clock.now())
    if presumed:
        journal.settling.presume(KEY, clock.now())
    before = states(journal)
    assert journal.settling.reappeared([KEY], pulled_at) == (0, set())
    assert states(journal) == before
    assert journal.settling.mode() != BY_HAND


@pytest.mark.parametrize(
    "obstacle",
    ["", "pulled", "too early", "claimed", "second POST", "a stored sibling", "more to send", "more to be listed"],
)
def test_an_exhaustive_pull_speaks_only_for_a_first_post(journal: Journal, clock: VirtualClock, obstacle: str) -> None:
    now = hold(journal, clock)
    if obstacle == "more to be listed":
        journal.submissions.record(KEY, "holder", now, state=ImportState.IN_REVIEW)
    sending = send(journal, now)
    if obstacle == "second POST":
        journal.links.fail_send(KEY, sending, P, "", now.at)
        journal.links.prepare(KEY, episodes(["https://tide.example/3"]), now.at)
        journal.links.begin_send(KEY, "holder", URLS[:1], now)
        hold(journal, clock)
        sending = journal.links.begin_send(KEY, "holder", URLS[1:], now)
        journal.links.orphaned([KEY], now.at)
    elif obstacle == "a stored sibling":
        journal.links.end_send(KEY, sending, [Record(URLS[0], True)], now.at)
    else:
        journal.links.fail_send(KEY, sending, U, "reset", now.at)
    if obstacle == "more to send":
        journal.links.prepare(KEY, episodes(["https://tide.example/3"]), now.at)
    clock.advance(800 if obstacle == "too early" else 901)
    if obstacle == "claimed":
        later = Moment.read(clock)
        journal.claims.grant("run", {KEY: Lease.granted(later)})
    pulled = [KEY] if obstacle == "pulled" else []
    assert journal.settling.presumable(pulled, clock.now()) == ([] if obstacle else [KEY])
    if not obstacle:
        journal.settling.presume(KEY, clock.now())
        assert all(link.presumed and link.state is OK for link in journal.links.of_key(KEY))
        clock.advance(901)
        assert journal.settling.reappeared([KEY], clock.now()) == (2, set()), "presumed wrongly: sent again"


@pytest.mark.parametrize(("is_there", "state"), [(True, OK), (False, P)])
def test_a_persons_word_settles_an_unknown_link_once(
    journal: Journal, clock: VirtualClock, state: LinkState, *, is_there: bool
) -> None:
    now = hold(journal, clock)
    journal.links.fail_send(KEY, send(journal, now), U, "reset", now.at)
    first, _ = journal.links.listed(state=U)
    settled = journal.settling.settle(first.id, is_there=is_there, who="ann", note="looked", at=now.at)
    assert settled.state is state
    assert "ann" in settled.evidence
    assert "looked" in settled.evidence
    with pytest.raises(BadRequest, match="not unknown"):
        journal.settling.settle(first.id, is_there=True, who="ann", note="", at=now.at)
    with pytest.raises(BadRequest, match="no link 999"):
        journal.settling.settle(999, is_there=True, who="ann", note="", at=now.at)


@pytest.mark.parametrize(("passed_s", "state"), [(899, S), (900, U)])
def test_a_send_that_nobody_ends_any_more_is_parked_and_still_takes_the_truth(
    journal: Journal, clock: VirtualClock, passed_s: float, state: LinkState
) -> None:
    sending = send(journal, hold(journal, clock))
    clock.advance(passed_s)
    assert journal.settling.park_stale(clock.now()) == (2 if state is U else 0)
    assert states(journal) == [state, state]
    journal.links.end_send(KEY, sending, [Record(url, True) for url in URLS], clock.now())
    assert states(journal) == [OK, OK]


def test_leftovers_are_those_that_no_pull_brings_back(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    journal.links.prepare(PostAccount("post", "untouched"), episodes(URLS), now.at)
    journal.links.end_send(KEY, send(journal, now), [Record(URLS[0], True), Record(URLS[1], False)], now.at)
    assert journal.links.leftovers([KEY]) == {KEY}
    assert journal.unfinished.due(Left.REST, 10, now.at) == [KEY]
    assert journal.unfinished.due(Left.REST, 0, now.at) == []


def test_failures_are_counted_until_a_listing_or_a_person_clears_them(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)

    def record(state: ImportState, *, permanent: bool = False) -> int:
        journal.submissions.record(KEY, "holder", now, state=state, message="m", permanent=permanent)
        return journal.submissions.get([KEY])[KEY].failures

    assert [record(ImportState.FAILED, permanent=True) for _ in range(2)] == [1, 2]
    assert record(ImportState.FAILED) == 2
    assert record(ImportState.LISTED) == 0
    record(ImportState.FAILED, permanent=True)
    journal.settling.forgive([KEY], now.at)
    assert journal.submissions.get([KEY])[KEY].failures == 0


def test_setbacks_are_counted_until_a_listing_or_a_person_clears_them(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    later = now.at + timedelta(hours=1)

    def record(state: ImportState, not_before: datetime | None = None) -> tuple[int, datetime | None]:
        journal.submissions.record(KEY, "holder", now, state=state, not_before=not_before)
        known = journal.submissions.get([KEY])[KEY]
        return known.setbacks, known.not_before

    assert [record(ImportState.NEEDS_VERIFICATION, later) for _ in range(2)] == [(1, later), (2, later)]
    assert record(ImportState.SUBMITTED) == (2, None)
    assert record(ImportState.LISTED) == (0, None)
    record(ImportState.FAILED, later)
    journal.settling.forgive([KEY], now.at)
    known = journal.submissions.get([KEY])[KEY]
    assert (known.setbacks, known.not_before) == (0, None)


def test_the_pace_falls_with_what_lapsed_and_grows_with_runs_that_got_through(
    journal: Journal, clock: VirtualClock
) -> None:
    settings = journal.settings
    assert settings.pace() is None
    settings.note_pace(200, 0)
    assert settings.pace() is None, "nothing lapsed: no bound is known"
    settings.note_pace(200, 120)
    assert settings.pace() == 80
    settings.note_pace(50, 0)
    assert settings.pace() == 80, "a small run says nothing of a larger one"
    settings.note_pace(80, 0)
    assert settings.pace() == 160
    settings.note_pace(160, 159)
    assert settings.pace() == 25
    for _ in range(6):
        settings.note_pace(settings.pace() or 1000, 0)
    assert settings.pace() is None


@pytest.mark.parametrize("known", [None, 400])
def test_a_small_run_with_a_lost_claim_bounds_no_other(journal: Journal, known: int | None) -> None:
    if known:
        journal.settings.note_pace(1000, 1000 - known)
    for late in (1, 6):
        journal.settings.note_pace(6, late)
    assert journal.settings.pace() == known


def test_an_outage_is_known_until_it_ends(journal: Journal, clock: VirtualClock) -> None:
    assert journal.settings.outage_reported_at() is None
    journal.settings.report_outage(clock.now())
    assert journal.settings.outage_reported_at() == clock.now()
    journal.settings.end_outage()
    assert journal.settings.outage_reported_at() is None


def test_a_person_may_have_confirmed_links_sent_again_once(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    journal.links.end_send(KEY, send(journal, now), [Record(URLS[0], True), Record(URLS[1], False)], now.at)
    later = now.at + timedelta(minutes=1)
    assert journal.settling.resend([KEY], later, "run-2", later) == 1
    assert sorted(journal.links.to_send([KEY])[KEY]) == URLS
    clock.advance(120)
    again = hold(journal, clock)
    sending = journal.links.begin_send(KEY, "holder", URLS, again)
    journal.links.end_send(KEY, sending, [Record(url, True) for url in URLS], again.at)
    assert journal.settling.resend([KEY], later, "run-2", again.at) == 0, "the run was cleared: it has sent them"


def test_pruning_forgets_the_text_and_never_that_it_was_sent(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    journal.links.end_send(KEY, send(journal, now), [Record(URLS[0], True), Record(URLS[1], False)], now.at)
    assert journal.links.prune(now.at) == 0
    assert journal.links.prune(now.at + timedelta(days=1)) == 1, "what is not stored keeps its text"
    assert [link.url for link in journal.links.of_key(KEY)] == ["", URLS[1]]
    assert journal.links.prepare(KEY, episodes(URLS), now.at).new == 0
    assert journal.links.to_send([KEY])[KEY] == [URLS[1]]
    assert journal.settling.resend([KEY], now.at + timedelta(days=1), "run", now.at) == 0


def test_what_is_known_of_an_import_outlives_a_new_pull(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    journal.submissions.begin(KEY, "holder", now)
    journal.submissions.record(KEY, "holder", now, state=ImportState.SUBMITTED, reference="show-1")
    journal.submissions.record(KEY, "holder", now, state=ImportState.IN_REVIEW)
    journal.submissions.note([TASK], "run-2", now.at)
    known = journal.submissions.get([KEY])[KEY]
    assert (known.state, known.reference, known.attempts) == (ImportState.IN_REVIEW, "show-1", 1)
    assert journal.submissions.account_ids(group_id="group", limit=9) == ["account"]
    assert journal.submissions.account_ids(domains=["tide.example"], limit=9) == ["account"]
    assert journal.submissions.known_groups(["group", "another"]) == {"group"}
    assert [each.key for each in journal.submissions.of_account("account")] == [KEY]


async def test_group_commit_keeps_one_refusal_apart_from_the_others(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    journal.links.prepare(KEY, episodes(URLS), now.at)
    results = await asyncio.gather(
        journal.commit(journal.links.begin_send, KEY, "holder", URLS[:1], now),
        journal.commit(journal.links.begin_send, KEY, "an orphan", URLS[1:], now),
        journal.commit(journal.links.prepare, KEY, episodes(["https://tide.example/3"]), now.at),
        return_exceptions=True,
    )
    assert isinstance(results[0], Sending)
    assert isinstance(results[1], LeaseLost)
    assert results[2] == Prepared(1, 3, 0)
    assert states(journal) == [S, P, P]


async def test_a_database_that_fails_fails_every_operation_of_the_group(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    with journal.database.writing() as connection:
        connection.execute(text("DROP TABLE likepion_link"))
    results = await asyncio.gather(
        journal.commit(journal.submissions.begin, KEY, "holder", now),
        journal.commit(journal.links.prepare, KEY, episodes(URLS), now.at),
        return_exceptions=True,
    )
    assert {type(each) for each in results} == {JournalUnusable}
    assert journal.submissions.get([KEY])[KEY].attempts == 0, "nothing of the transaction was kept"


def test_the_migrations_lead_to_the_schema_of_the_code(journal: Journal) -> None:
    migrated = tables(journal.database.engine)
    metadata.drop_all(journal.database.engine)
    metadata.create_all(journal.database.engine)
    assert migrated == tables(journal.database.engine)


def tables(engine: Engine) -> dict[str, list[object]]:
    """Every table but Alembic's own, as the database itself describes it."""
    found = inspect(engine)
    return {
        name: [
            [each | {"type": str(each["type"])} for each in found.get_columns(name)],
            sorted(found.get_indexes(name), key=str),
            found.get_unique_constraints(name),
            found.get_pk_constraint(name),
        ]
        for name in found.get_table_names()
        if name != "likepion_journal_version"
    }


def test_a_schema_of_the_future_is_refused(journal: Journal, journal_url: str) -> None:
    with journal.database.writing() as connection:
        connection.execute(text("UPDATE likepion_journal_version SET version_num = '9999'"))
    with pytest.raises(JournalUnusable, match="not one that this version knows") as error:
        Database(journal_url)
    assert "Update airflow-provider-likepion" in error.value.advice


def test_two_processes_may_create_the_journal_at_once(journal_url: str) -> None:
    code = f"from likepion_provider.journal import open_journal; open_journal({journal_url!r}, {MANAGER!r})"
    running = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [each.communicate(timeout=60)[1] for each in running]
    assert [each.returncode for each in running] == [0] * 4, errors
    database = Database(journal_url)
    with database.reading() as connection:
        assert connection.execute(text("SELECT version_num FROM likepion_journal_version")).scalars().all() == [HEAD]
    database.close()


@pytest.mark.parametrize("url", ["mysql://db/journal", "nonsense", "postgresql://127.0.0.1:1/none"])
def test_a_database_that_cannot_be_used_is_named(url: str) -> None:
    with pytest.raises(LikepionError) as error:
        open_journal(url, MANAGER)
    assert isinstance(error.value, JournalUnusable)
    assert "likepion_journal" in error.value.advice


def test_one_of_many_may_ask_a_platform_to_read_an_accounts_feed_again(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda _: journal.submissions.begin_refresh(KEY, "holder", now), range(16)))
    assert asked.count(None) == 1
    assert {*asked} == {None, now.at}
    clock.advance(3599)
    later = hold(journal, clock)
    assert journal.submissions.begin_refresh(KEY, "holder", later) == now.at
    clock.advance(1)
    assert journal.submissions.begin_refresh(KEY, "holder", Moment.read(clock)) is None
    with pytest.raises(LeaseLost):
        journal.submissions.begin_refresh(KEY, "another", Moment.read(clock))
