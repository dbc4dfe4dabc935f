"""What a link costs the journal, and whether that stays flat as the journal grows."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path

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
#: Links a second.
GOALS = {"SQLite": 2000, "PostgreSQL": 1000}
#: Rows that are put in before the last round, to see whether the cost of a link grows.
GROWN_TO = 1_000_000


def one_round(journal: Journal, number: int) -> float:
    """Take 500 accounts through all states.

    :return: links a second.
    """
    now = Moment.read(SYSTEM_CLOCK)
    keys = [PostAccount(f"post-{number}-{index % 5}", f"account-{number}-{index}") for index in range(ROUND)]
    urls = [f"https://tide.example/shows/{number}/episodes/{index}" for index in range(LINKS_AN_ACCOUNT)]
    began_s = time.perf_counter()
    journal.submissions.note([SecondaryTask(key.account_id, key.request_id, "g", "d") for key in keys], "r", now.at)
    journal.claims.grant("scope", {key: Lease.granted(now) for key in keys})
    journal.claims.take_over("scope", "holder", keys, now)
    # As many at a time as a batch works side by side.
    for start in range(0, ROUND, 64):
        group = keys[start : start + 64]
        with journal.database.writing():
            for key in group:
                journal.submissions.begin(key, "holder", now)
        with journal.database.writing():
            for key in group:
                journal.links.prepare(key, [(url, url) for url in urls], now.at)
                journal.submissions.record(key, "holder", now, state=ImportState.LISTED)
        with journal.database.writing():
            sendings = {key: journal.links.begin_send(key, "holder", urls, now) for key in group}
        with journal.database.writing():
            for key, sending in sendings.items():
                journal.links.end_send(key, sending, [Record(url, True) for url in urls], now.at)
    return ROUND * LINKS_AN_ACCOUNT / (time.perf_counter() - began_s)


def grow(journal: Journal, rows: int) -> None:
    """Fill the table of links with rows of other posts."""
    now = Moment.read(SYSTEM_CLOCK).at
    for number in range(rows // 10_000):
        with journal.database.writing():
            for account in range(100):
                key = PostAccount(f"old-{number}", f"old-{number}-{account}")
                journal.links.prepare(key, [(f"{n}", f"https://old.example/{number}/{n}") for n in range(100)], now)


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
    grown_to = GROWN_TO // 10 if quick else GROWN_TO
    grow(journal, grown_to)
    grown = sorted(one_round(journal, number) for number in range(3, 6))[1]
    ratio = first / grown
    row(
        f"{case}, beside {grown_to:,} rows",
        f"{grown:,.0f} links/s, {ratio:.2f} x the cost",
        "at most 1.2 x",
        met=ratio <= 1.2,
    )
    journal.database.close()
