"""What the board's requests take when the journal holds 100,000 accounts and 1,000,000 links."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, insert, text

from likepion_provider.board.api import create_app
from likepion_provider.board.questions import SORTS
from likepion_provider.clock import SYSTEM_CLOCK, Moment
from likepion_provider.journal import Journal, open_journal
from likepion_provider.journal.schema import claim, history, link, submission
from tests import MANAGER
from tests.benchmarks.report import row
from tests.postgres import postgres, server_binaries
from tests.unit.board.client import Client
from tests.unit.board.conftest import FakeAccess

ACCOUNTS = 100_000
LINKS_AN_ACCOUNT = 10
GROUPS = 1000
GOAL_MS = 200
ROUNDS = 5
PATHS = {
    "overview": "api/overview",
    "groups, first page": "api/groups",
    "groups, last page": f"api/groups?offset={GROUPS - 20}",
    "accounts, first page": "api/accounts",
    "accounts, last page": f"api/accounts?offset={ACCOUNTS - 50}",
    "accounts of a group": "api/accounts?group_id=group-00042",
    "accounts of a domain": "api/accounts?domain=site3.example",
    "accounts that failed": "api/accounts?standing=failed",
    "accounts of a run": "api/accounts?run_id=run-77&map_index=3",
    "search by a part of a name": "api/accounts?text=pod09999",
    "search that finds nothing": "api/accounts?text=nobody-is-called-so",
    "links of an account": "api/links?request_id=post-00042&account_id=account-004200",
    "unknown outcomes": "api/unknown",
    "delivered a day": "api/delivered",
    "delivered a day, 90 days": "api/delivered?days=90",
    "failures a day, 90 days": "api/failed?days=90",
    "time to delivery, 90 days": "api/times?days=90",
    "failures by reason": "api/reasons",
    "who waits longest": "api/waiting",
    "who waits longest at a domain": "api/waiting?domain=site3.example",
    "history of an account": "api/history?request_id=post-00042&account_id=account-004200",
    "accounts of a reason": "api/accounts?reason=the%20platform%20does%20not%20accept%20the%20credentials",
    "unknown outcomes of a domain": "api/unknown?domain=site3.example",
    **{
        f"accounts by {by}, {where} page": f"api/accounts?sort={by}&descending=false&offset={offset}"
        for by in SORTS
        for where, offset in (("first", 0), ("last", ACCOUNTS - 50))
    },
    "CSV of a domain that failed": "api/accounts.csv?domain=site1.example&standing=failed",
}


def rows(now: datetime) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]]:
    """An account, its links and its history; two of a hundred failed, one is parked, three wait."""
    for number in range(ACCOUNTS):
        group = number * GROUPS // ACCOUNTS
        kind = number % 100
        state = "failed" if kind < 2 else "in_review" if 3 <= kind < 6 else "listed"
        link_state = "unknown" if kind == 2 else "prepared" if kind < 6 else "stored"
        at = now - timedelta(minutes=number % (60 * 24 * 30))
        key = {
            "request_id": f"post-{group:05}",
            "account_id": f"account-{number:06}",
            "updated_at": at,
        }
        stored = LINKS_AN_ACCOUNT if link_state == "stored" else 0
        account = key | {
            "group_id": f"group-{group:05}",
            "domain": f"site{number % 12}.example",
            "label": f"pod{number:06}@site{number % 12}.example",
            "state": state,
            "message": "the platform does not accept the credentials" if state == "failed" else "",
            "run_id": f"run-{number // 1000}",
            "map_index": number % 16,
            "noted_at": at - timedelta(seconds=number % 9000),
            "links": LINKS_AN_ACCOUNT,
            "stored": stored,
            "parked": LINKS_AN_ACCOUNT if link_state == "unknown" else 0,
            "delivered_first": f"{at:%Y-%m-%d}" if stored else "",
            "delivered_on": f"{at:%Y-%m-%d}" if stored else "",
        }
        ended = "failed" if state == "failed" else "delivered" if stored else "waiting"
        changes = [
            key
            | {"domain": account["domain"], "standing": standing, "state": change, "run_id": account["run_id"]}
            | {"message": account["message"], "age_s": number % 9000, "at": at}
            for standing, change in (("waiting", "submitting"), ("waiting", "listed"), (ended, state))
        ]
        for each in changes:
            del each["updated_at"]
        yield (
            account,
            [
                key
                | {
                    "url_sha256": f"{number:058}{n:06}",
                    "url": f"https://site{number % 12}.example/shows/{number}/episodes/{n}",
                    "episode": f"{number:058}{n:06}",
                    "state": link_state,
                    "sent_at": at,
                }
                for n in range(LINKS_AN_ACCOUNT)
            ],
            changes,
        )


def fill(url: str) -> Journal:
    """A journal of that size."""
    journal = open_journal(url, MANAGER)
    now = Moment.read(SYSTEM_CLOCK).at
    accounts: list[dict[str, Any]] = []
    links: list[dict[str, Any]] = []
    changes: list[dict[str, Any]] = []
    for account, its_links, its_changes in rows(now):
        accounts.append(account)
        links += its_links
        changes += its_changes
        if len(accounts) == 5000:
            with journal.database.writing() as connection:
                connection.execute(insert(submission), accounts)
                connection.execute(insert(link), links)
                connection.execute(insert(history), changes)
            accounts, links, changes = [], [], []
    with journal.database.writing() as connection:
        live = {"scope": "dag/run-0", "expires_at": now + timedelta(minutes=10)}
        mine = [{"request_id": "post-00000", "account_id": f"account-{n:06}"} | live for n in range(100)]
        connection.execute(insert(claim), mine)
        connection.execute(text("ANALYZE"))
    return journal


def worst_ms(get: Callable[[], Any]) -> tuple[float, float, float]:
    """Median and worst of some rounds, the first included; and the worst in this process's own CPU time."""
    taken, busy = [], []
    for _ in range(ROUNDS):
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        get()
        taken.append((time.perf_counter() - began_s) * 1000)
        busy.append((time.process_time() - began_cpu_s) * 1000)
    return statistics.median(taken), max(taken), max(busy)


def measure(name: str, url: str) -> None:
    """Print every request's figures on one database."""
    journal = fill(url)
    client = Client(create_app(FakeAccess(journal)))

    def get(path: str) -> None:
        answer = client.get(f"/{path}")
        assert answer.status_code == 200, answer.status_code

    size = f"{ACCOUNTS:,} accounts, {ACCOUNTS * LINKS_AN_ACCOUNT:,} links"
    for what, path in PATHS.items():
        median, worst, busy = worst_ms(lambda path=path: get(path))  # type: ignore[misc]
        figure = f"median {median:.0f} ms, worst of {ROUNDS} {worst:.0f} ms, {busy:.0f} ms CPU"
        row(f"board, {name}, {size}, {what}", figure, f"under {GOAL_MS} ms", met=worst < GOAL_MS)
    journal.database.close()


def main(*, quick: bool) -> None:
    """Print the figures; the quick form leaves PostgreSQL out."""
    with tempfile.TemporaryDirectory() as folder:
        measure("SQLite", f"sqlite:///{Path(folder) / 'journal.db'}")
    binaries = server_binaries()
    if quick or binaries is None:
        row("board, PostgreSQL", "SKIPPED: " + ("the quick form" if quick else "no server is installed"))
        return
    with postgres(binaries) as url:
        with create_engine(url.format(database="postgres"), isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text("CREATE DATABASE board"))
        measure("PostgreSQL", url.format(database="board"))
