"""What a link costs the journal, and whether that stays flat as the journal grows."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from sqlalchemy import text

from likepion_provider.clock import SYSTEM_CLOCK, Moment
from likepion_provider.journal import Journal, open_journal
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Record
from likepion_provider.models import ImportState, PostAccount, SecondaryTask
from tests import MANAGER
from tests.benchmarks.report import row
from tests.postgres import postgres, server_binaries

LINKS_AN_ACCOUNT = 20
ROUND = 500
#: Accounts that a batch works at a time.
SIDE_BY_SIDE = 64
#: Links a second.
GOALS = {"SQLite": 2000, "PostgreSQL": 1000}
#: Links that are put in before another round, to see whether the cost of one grows.
GROWN_TO = (1_000_000, 10_000_000)
#: Of one transaction.
FILL = 1_000_000


def one_round(journal: Journal, number: int) -> float:
    """Take 500 accounts through all states, as many side by side as in a batch.

    :return: links a second.
    """
    now = Moment.read(SYSTEM_CLOCK)
    keys = [PostAccount(f"post-{number}-{index % 5}", f"account-{number}-{index}") for index in range(ROUND)]
    urls = [f"https://tide.example/shows/{number}/episodes/{index}" for index in range(LINKS_AN_ACCOUNT)]

    async def work(key: PostAccount) -> None:
        await journal.commit(journal.submissions.begin, key, "holder", now)
        await journal.commit(journal.links.prepare, key, [(url, url) for url in urls], now.at)
        await journal.commit(journal.submissions.record, key, "holder", now, state=ImportState.LISTED)
        sending = await journal.commit(journal.links.begin_send, key, "holder", urls, now)
        await journal.commit(journal.links.end_send, key, sending, [Record(url, True) for url in urls], now.at)

    async def batches() -> None:
        for start in range(0, ROUND, SIDE_BY_SIDE):
            await asyncio.gather(*map(work, keys[start : start + SIDE_BY_SIDE]))

    began_s = time.perf_counter()
    journal.submissions.note([SecondaryTask(key.account_id, key.request_id, "g", "d") for key in keys], "r", now.at)
    journal.claims.grant("scope", {key: Lease.granted(now) for key in keys})
    journal.claims.take_over("scope", "holder", keys, now)
    asyncio.run(batches())
    return ROUND * LINKS_AN_ACCOUNT / (time.perf_counter() - began_s)


def grow(journal: Journal, rows: int, began_with: int = 0) -> None:
    """Fill the journal up to some number of delivered links of other posts, as a year of runs would.

    :param rows: a multiple of 20, the links of an account.
    :param began_with: how many are there.
    """
    is_sqlite = journal.database.engine.dialect.name == "sqlite"
    series = (
        "WITH RECURSIVE n(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM n WHERE n + 1 < :after) SELECT {} FROM n"
    )
    if not is_sqlite:
        series = "SELECT {} FROM generate_series(CAST(:first AS bigint), :after - 1) AS s(n)"
    sha256 = "printf('%016x%016x%016x%016x', n, n, n, n)" if is_sqlite else "repeat(lpad(to_hex(n), 16, '0'), 4)"
    at = "'2026-01-01 00:00:00.000000'" if is_sqlite else "timestamptz '2026-01-01 00:00:00+00'"
    # As ids are: 36 characters.
    id_of = "'{}0000-1111-2222-' || " + ("printf('%020d', {})" if is_sqlite else "lpad(CAST({} AS text), 20, '0')")
    post, account = id_of.format("p", "n / 20 / 1000"), id_of.format("a", "n / 20")
    links = {
        "manager_id": ":manager",
        "request_id": post,
        "account_id": account,
        "url_sha256": sha256,
        "url": "'https://tide.example/shows/' || n / 20 || '/episodes/' || n",
        "episode": sha256,
        "state": "'stored'",
        "send_id": "substr(" + sha256 + ", 1, 32)",
        "sends": "1",
        "sent_at": at,
        "updated_at": at,
    }
    at_account = {name: text.replace("n / 20", "n") for name, text in (("request_id", post), ("account_id", account))}
    submissions = at_account | {
        "manager_id": ":manager",
        "group_id": id_of.format("g", "n / 10"),
        "domain": "'tide.example'",
        "label": "'pod' || n || '@tide.example'",
        "state": "'listed'",
        "attempts": "1",
        "links": str(LINKS_AN_ACCOUNT),
        "stored": str(LINKS_AN_ACCOUNT),
        "delivered_first": "'2026-01-01'",
        "delivered_on": "'2026-01-01'",
        "submitted_at": at,
        "updated_at": at,
    }
    for table, values, per in (("likepion_submission", submissions, LINKS_AN_ACCOUNT), ("likepion_link", links, 1)):
        statement = f"INSERT INTO {table} ({', '.join(values)}) {series.format(', '.join(values.values()))}"
        for start in range(began_with, rows, FILL):
            bounds = {"first": start // per, "after": min(start + FILL, rows) // per}
            with journal.database.writing() as connection:
                connection.execute(text(statement), bounds | {"manager": journal.database.manager_id})


def size_bytes(journal: Journal) -> int:
    """Of the whole database on the disk, after it was made as small as it goes."""
    engine = journal.database.engine
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("VACUUM FULL"))
            return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
    path = Path(str(engine.url.database))
    engine.dispose()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("VACUUM")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


def main(*, quick: bool) -> None:
    """Print the figures."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _measure("SQLite", f"sqlite:///{folder / 'journal.db'}", quick=quick)
        binaries = server_binaries()
        if binaries is None:
            print("journal: PostgreSQL is not measured, its server is not installed")
        else:
            url = stack.enter_context(postgres(binaries)).format(database="postgres")
            _measure("PostgreSQL", url, quick=quick)


def _measure(name: str, url: str, *, quick: bool) -> None:
    journal = open_journal(url, MANAGER)
    one_round(journal, -1)
    first = sorted(one_round(journal, number) for number in range(3))[1]
    goal = GOALS[name]
    case = f"journal, {name}"
    count = ROUND * LINKS_AN_ACCOUNT
    row(f"{case}, {count:,} links through all states", f"{first:,.0f} links/s", f"at least {goal:,}", met=first >= goal)
    began_with = 0
    for number, grown_to in enumerate(GROWN_TO[:1] if quick else GROWN_TO, 1):
        grow(journal, grown_to, began_with)
        began_with = grown_to
        grown = sorted(one_round(journal, 3 * number + each) for each in range(3))[1]
        ratio = first / grown
        row(
            f"{case}, beside {grown_to:,} links",
            f"{grown:,.0f} links/s, {ratio:.2f} x the cost",
            "at most 1.2 x",
            met=ratio <= 1.2,
        )
    full = size_bytes(journal)
    journal.links.prune(datetime.now(timezone.utc) - timedelta(days=1))
    pruned = size_bytes(journal)
    row(
        f"{case}, {began_with:,} links on the disk",
        f"{full / began_with:,.0f} bytes each; {pruned / began_with:,.0f} after prune and VACUUM",
    )
    journal.database.close()
