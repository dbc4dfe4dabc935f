"""What a link costs the journal, and whether that stays flat as the journal grows."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from likepion_provider.journal import Journal, open_journal
from likepion_provider.lease import SYSTEM_CLOCK, Lease, Moment
from likepion_provider.models import ImportState, PostAccount, SecondaryTask
from likepion_provider.protocol import Record

LINKS_AN_ACCOUNT = 20
ROUND = 500
GOAL_LINKS_A_SECOND = 2000
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
                journal.links.prepare(key, urls, now.at)
                journal.submissions.record(key, "holder", now, state=ImportState.LISTED)
        with journal.database.writing():
            sendings = {key: journal.links.begin_send(key, "holder", urls, now) for key in group}
        with journal.database.writing():
            for key, sending in sendings.items():
                journal.links.end_send(key, sending, [Record(url, True) for url in urls], now.at)
    return ROUND * LINKS_AN_ACCOUNT / (time.perf_counter() - began_s)


def grow(journal: Journal) -> None:
    """Fill the table of links with rows of other posts."""
    now = Moment.read(SYSTEM_CLOCK).at
    for number in range(GROWN_TO // 10_000):
        with journal.database.writing():
            for account in range(100):
                key = PostAccount(f"old-{number}", f"old-{number}-{account}")
                journal.links.prepare(key, [f"https://old.example/{number}/{n}" for n in range(100)], now)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        journal = open_journal(f"sqlite:///{Path(folder) / 'journal.db'}")
        first = sorted(one_round(journal, number) for number in range(3))[1]
        verdict = "pass" if first >= GOAL_LINKS_A_SECOND else "falls short"
        print(
            f"journal  SQLite, {ROUND * LINKS_AN_ACCOUNT} links through all states: {first:.0f} links/s "
            f"(goal {GOAL_LINKS_A_SECOND}): {verdict}"
        )
        grow(journal)
        grown = sorted(one_round(journal, number) for number in range(3, 6))[1]
        ratio = first / grown
        print(
            f"journal  SQLite, the same beside {GROWN_TO:,} rows: {grown:.0f} links/s, {ratio:.2f} x the cost a link "
            f"(goal 1.2): {'pass' if ratio <= 1.2 else 'falls short'}"
        )
