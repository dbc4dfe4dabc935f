"""What many accounts write at the same moment: few statements, and each account's own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from likepion_provider.clock import SYSTEM_CLOCK, Moment
from likepion_provider.errors import LeaseLost, NotJournaled
from likepion_provider.journal import Journal
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Record
from likepion_provider.models import ImportState, LinkState, PostAccount, SecondaryTask

KEYS = [PostAccount(f"post-{number % 5}", f"account-{number:02}") for number in range(64)]
URLS = [f"https://tide.example/{number}" for number in range(20)]


@contextmanager
def counted(journal: Journal) -> Iterator[list[str]]:
    """The statements that go to the database."""
    statements: list[str] = []

    def count(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement)

    event.listen(journal.database.engine, "before_cursor_execute", count)
    yield statements
    event.remove(journal.database.engine, "before_cursor_execute", count)


def claim(journal: Journal, keys: list[PostAccount], now: Moment) -> None:
    journal.submissions.note([SecondaryTask(key.account_id, key.request_id, "g", "d") for key in keys], "run", now.at)
    journal.claims.grant("scope", {key: Lease.granted(now) for key in keys})
    journal.claims.take_over("scope", "holder", keys, now)


async def work(journal: Journal, key: PostAccount, now: Moment, urls: list[str]) -> None:
    """An account's way through the journal, as the steps write it."""
    await journal.commit(journal.submissions.begin, key, "holder", now)
    prepared = await journal.commit(journal.links.prepare, key, [(url, url) for url in urls], now.at)
    assert prepared.new == prepared.links == len(urls)
    await journal.commit(journal.submissions.record, key, "holder", now, state=ImportState.LISTED)
    sending = await journal.commit(journal.links.begin_send, key, "holder", urls, now)
    assert sending.urls == tuple(urls)
    await journal.commit(journal.links.end_send, key, sending, [Record(url, True) for url in urls], now.at)


async def together(*coroutines: Any) -> list[Any]:
    return await asyncio.gather(*coroutines, return_exceptions=True)


def test_sixty_four_accounts_take_as_many_statements_as_a_few(journal: Journal) -> None:
    now = Moment.read(SYSTEM_CLOCK)
    claim(journal, KEYS, now)
    with counted(journal) as statements:
        assert asyncio.run(together(*(work(journal, key, now, URLS) for key in KEYS))) == [None] * len(KEYS)
    all_stored = {key: {LinkState.STORED: len(URLS)} for key in KEYS}
    assert {key: dict(states) for key, states in journal.links.states(KEYS).items()} == all_stored
    # One account at a time, it was fourteen for each.
    assert len(statements) < 4 * len(KEYS), len(statements)


def test_one_without_a_claim_is_refused_alone(journal: Journal) -> None:
    now = Moment.read(SYSTEM_CLOCK)
    claim(journal, KEYS[1:], now)
    refused, *others = asyncio.run(together(*(work(journal, key, now, URLS[:2]) for key in KEYS)))
    assert isinstance(refused, LeaseLost)
    assert others == [None] * (len(KEYS) - 1)


def test_one_with_a_value_that_no_journal_takes_fails_alone(journal: Journal) -> None:
    now = Moment.read(SYSTEM_CLOCK)
    claim(journal, KEYS, now)
    odd = ["https://tide.example/\x00"]
    works = [work(journal, key, now, odd if key == KEYS[3] else URLS[:2]) for key in KEYS]
    outcomes = asyncio.run(together(*works))
    assert isinstance(outcomes.pop(3), NotJournaled)
    assert outcomes == [None] * (len(KEYS) - 1)


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_inserts_of_one_account_at_a_time_the_second_is_refused(journal: Journal, first: int) -> None:
    now = Moment.read(SYSTEM_CLOCK)
    claim(journal, KEYS[:1], now)
    journal.links.prepare(KEYS[0], [(url, url) for url in URLS], now.at)
    begin = journal.links.begin_send

    async def both() -> list[Any]:
        halves = [URLS[:10], URLS[10:]][:: 1 if first == 0 else -1]
        return await together(*(journal.commit(begin, KEYS[0], "holder", half, now) for half in halves))

    sent, refused = asyncio.run(both())
    assert len(sent.urls) == 10
    assert isinstance(refused, LeaseLost)


def test_a_url_that_went_out_is_in_no_other_accounts_way(journal: Journal) -> None:
    now = Moment.read(SYSTEM_CLOCK)
    claim(journal, KEYS[:3], now)
    for key in KEYS[:3]:
        journal.links.prepare(key, [(url, url) for url in URLS], now.at)
    begin = journal.links.begin_send
    gone = begin(KEYS[0], "holder", URLS[:5], now)
    journal.links.fail_send(KEYS[0], gone, LinkState.UNKNOWN, "lost", now.at)
    journal.claims.claim_anew("scope", "holder", KEYS[0].account_id, Lease.granted(now))

    async def all_three() -> list[Any]:
        return await together(*(journal.commit(begin, key, "holder", URLS, now) for key in KEYS[:3]))

    first, *others = asyncio.run(all_three())
    assert first.urls == tuple(URLS[5:])
    assert [each.urls for each in others] == [tuple(URLS)] * 2


def test_a_table_that_was_never_counted_is_read_by_the_keys(journal: Journal) -> None:
    """On a journal's first day PostgreSQL has no statistics, and takes its tables to be as good as empty."""
    if journal.database.engine.dialect.name != "postgresql":
        pytest.skip("SQLite plans without statistics: see tests/contract/test_journal_names.py")
    tables = ("likepion_submission", "likepion_link")
    with journal.database.writing() as connection:
        for table in tables:
            connection.exec_driver_sql(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    now = Moment.read(SYSTEM_CLOCK)
    for day in range(12):
        asyncio.run(worked(journal, [PostAccount(f"post-{day}", f"{day}-{key.account_id}") for key in KEYS], now))
    claim(journal, KEYS, now)
    links, submissions = journal.links, journal.submissions
    with journal.database.writing() as connection:
        submissions.begin.all([submissions.begin.call(key, "holder", now) for key in KEYS])
        links.prepare.all([links.prepare.call(key, [(url, url) for url in URLS], now.at) for key in KEYS])
        sendings = links.begin_send.all([links.begin_send.call(key, "holder", URLS, now) for key in KEYS])
        ends = [links.end_send.call(key, sent, [], now.at) for key, sent in zip(KEYS, sendings, strict=True)]
        links.end_send.all(ends)
        counts = connection.exec_driver_sql("SELECT relname, seq_tup_read FROM pg_stat_xact_user_tables").all()
    assert {table: count for table, count in counts if table in tables} == dict.fromkeys(tables, 0)


async def worked(journal: Journal, keys: list[PostAccount], now: Moment) -> None:
    claim(journal, keys, now)
    await asyncio.gather(*(work(journal, key, now, URLS[:5]) for key in keys))
