"""What the journal does with values that no database takes, and that they hurt nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from likepion_provider import masking
from likepion_provider.board.questions import Filter, Overview
from likepion_provider.clock import Moment
from likepion_provider.errors import JournalUnusable, LeaseLost, LikepionError, NotJournaled
from likepion_provider.journal import Journal, open_journal
from likepion_provider.journal.schema import MOST_CHARS
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Record
from likepion_provider.models import ImportState, LinkState, PostAccount, SecondaryTask
from tests import MANAGER
from tests.clocks import VirtualClock
from tests.fakes import episodes

#: A lone surrogate, NUL, and what a terminal or a reader may find odd but a database takes.
ODD = "bad \ud83d\x00 ok \u202e \U0001f600 é"
CLEAN = "bad ? ok \u202e \U0001f600 é"
KEYS = [PostAccount("post", f"account-{number}") for number in range(8)]
KEY = KEYS[0]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def hold(journal: Journal, clock: VirtualClock, label: str = "pod") -> Moment:
    now = Moment.read(clock)
    tasks = [SecondaryTask(key.account_id, "post", "group", "tide.example", username=label) for key in KEYS]
    journal.submissions.note(tasks, "run", now.at)
    journal.claims.grant("run", {key: Lease.granted(now) for key in KEYS})
    journal.claims.take_over("run", "holder", KEYS, now)
    return now


def test_any_words_are_kept_as_far_as_a_database_takes_them(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock, ODD)
    said = {"state": ImportState.FAILED, "reference": ODD, "message": ODD, "remedy": ODD}
    journal.submissions.record(KEY, "holder", now, **said)
    known = journal.submissions.get([KEY])[KEY]
    assert (known.label, known.reference) == (f"{CLEAN}@tide.example", CLEAN)
    # What a person is shown turns nothing around either.
    shown = CLEAN.replace("\u202e ", "")
    assert (known.message, known.remedy) == (shown, shown)
    journal.failures.put(KEY, "holder", ODD, now)
    assert journal.failures.to_send(KEY) == CLEAN
    journal.links.prepare(KEY, episodes(["https://tide.example/1"]), now.at)
    sending = journal.links.begin_send(KEY, "holder", ["https://tide.example/1"], now)
    journal.links.end_send(KEY, sending, [Record("https://tide.example/1", None, ODD)], now.at)
    (link,) = journal.links.of_key(KEY)
    assert link.evidence == CLEAN
    settled = journal.settling.settle(link.id, is_there=True, who="ann", note=ODD, at=now.at)
    assert CLEAN in settled.evidence


def test_what_is_too_long_to_read_ends_in_an_ellipsis(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock, "ü" * 400)
    journal.submissions.record(
        KEY, "holder", now, state=ImportState.FAILED, message="x" * 100_000, reference="r" * 100_000
    )
    known = journal.submissions.get([KEY])[KEY]
    assert known.label == "ü" * 319 + "…"
    assert known.message == "x" * (masking.MOST_CHARS - 1) + "…"
    assert known.reference == "r" * (MOST_CHARS - 1) + "…"


@pytest.mark.parametrize("odd", ["a" * 65, "a\x00", "a\ud83d", "é" * 65])
def test_an_id_is_refused_rather_than_changed(journal: Journal, clock: VirtualClock, odd: str) -> None:
    now = hold(journal, clock)
    key = PostAccount("post", odd)
    task = SecondaryTask(odd, "post", "group", "tide.example")
    journal.database.close()
    writes: list[Callable[[], Any]] = [
        lambda: journal.submissions.note([task], "run", now.at),
        lambda: journal.claims.grant("run", {key: Lease.granted(now)}),
        lambda: journal.links.prepare(key, episodes(["https://tide.example/1"]), now.at),
    ]
    for write in writes:
        with pytest.raises(NotJournaled, match="too long, or has characters"):
            write()
    assert journal.submissions.of_account("a") == [], "no part of it was taken for another account"


@pytest.mark.parametrize("text", ["\ud83d", "pod\x00", "x" * 500])
def test_a_search_for_what_cannot_be_there_finds_nothing(journal: Journal, clock: VirtualClock, text: str) -> None:
    hold(journal, clock)
    total, _ = Overview(journal.database).accounts(Filter(text=text), Moment.read(clock))
    assert total == (len(KEYS) if text == "pod\x00" else 0)


def odd_reference(journal: Journal, now: Moment) -> Callable[[], None]:
    """An operation that writes, and fails for its value."""

    def operation() -> None:
        journal.submissions.record(KEYS[3], "holder", now, state=ImportState.SUBMITTED, message="kept by nobody")
        journal.links.prepare(KEYS[3], episodes([f"https://tide.example/{'x' * MOST_CHARS}"]), now.at)

    return operation


def defect(journal: Journal, now: Moment) -> Callable[[], None]:
    """An operation that writes, and has a defect."""

    def operation() -> None:
        journal.submissions.record(KEYS[3], "holder", now, state=ImportState.SUBMITTED, message="kept by nobody")
        raise KeyError("a defect")

    return operation


def too_large(journal: Journal, now: Moment) -> Callable[[], None]:
    """An operation whose number no database takes."""

    def operation() -> None:
        journal.submissions.record(KEYS[3], "holder", now, state=ImportState.SUBMITTED, message="kept by nobody")
        journal.settling.settle(10**30, is_there=True, who="ann", note="", at=now.at)

    return operation


@pytest.mark.parametrize(
    ("odd", "error"), [(odd_reference, NotJournaled), (defect, KeyError), (too_large, NotJournaled)]
)
async def test_an_operation_that_fails_fails_alone(
    journal: Journal, clock: VirtualClock, odd: Callable[..., Callable[[], None]], error: type[Exception]
) -> None:
    now = hold(journal, clock)
    begin = journal.submissions.begin
    others = [key for key in KEYS if key != KEYS[3]]
    results = await asyncio.gather(
        *(journal.commit(begin, key, "holder", now) for key in others[:4]),
        journal.commit(odd(journal, now)),
        journal.commit(begin, KEYS[4], "somebody else", now),
        *(journal.commit(begin, key, "holder", now) for key in others[4:]),
        return_exceptions=True,
    )
    failed = [type(each) for each in results if each is not None]
    assert failed == [error, LeaseLost]
    known = journal.submissions.get(KEYS)
    assert [known[key].attempts for key in KEYS] == [1, 1, 1, 0, 1, 1, 1, 1]
    assert known[KEYS[3]].message == "", "nothing of the one that failed is kept"


async def test_a_failing_database_fails_all_that_come_after(journal: Journal, clock: VirtualClock) -> None:
    now = hold(journal, clock)

    def gone() -> None:
        raise JournalUnusable("gone")

    begin = journal.submissions.begin
    results = await asyncio.gather(
        journal.commit(begin, KEYS[0], "holder", now),
        journal.commit(defect(journal, now)),
        journal.commit(gone),
        journal.commit(begin, KEYS[1], "holder", now),
        return_exceptions=True,
    )
    # The first begins alone; the others wait for it and share what follows.
    assert [type(each) for each in results] == [type(None), KeyError, JournalUnusable, JournalUnusable]
    assert [journal.submissions.get(KEYS)[key].attempts for key in KEYS[:2]] == [1, 0]


def test_a_value_that_is_not_taken_says_so_to_a_person(tmp_path: Path) -> None:
    journal = open_journal(f"sqlite:///{tmp_path / 'journal.db'}", MANAGER)
    with pytest.raises(LikepionError) as error:
        journal.links.prepare(PostAccount("post", "x" * 65), episodes(["https://tide.example/1"]), VirtualClock().now())
    assert not error.value.ends_batch
    assert error.value.link_state is LinkState.UNKNOWN
    assert "too long" in error.value.advice
    journal.database.close()


def test_a_time_without_a_zone_is_refused(journal: Journal, clock: VirtualClock) -> None:
    naive = clock.now().replace(tzinfo=None) + timedelta(days=1)
    with pytest.raises(NotJournaled, match="aware times only"):
        journal.links.prune(naive)
