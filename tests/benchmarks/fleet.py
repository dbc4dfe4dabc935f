"""Many workers on one PostgreSQL journal, without Airflow and platforms: what gives out first, and when."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import psutil
from sqlalchemy import create_engine, text

from likepion_provider.journal import open_journal
from tests import MANAGER
from tests.benchmarks.journal import LINKS_AN_ACCOUNT, ROUND, grow, one_round
from tests.benchmarks.report import row
from tests.postgres import postgres, server_binaries

WORKERS = (1, 2, 4, 8, 16)
#: How long each number of workers works.
SECONDS = 20.0
#: Delivered links that are there already.
LINKS = (0, 10_000_000)
SAMPLE_S = 0.1
#: At least so much of the machine's cores in use is all there is.
FULL = 0.9


@dataclasses.dataclass(frozen=True)
class Worked:
    """What one worker did.

    :param cpu_s: of its process.
    """

    accounts: int
    cpu_s: float
    seconds: float


def work(url: str, number: int, seconds: float) -> Worked:
    """Take accounts through all states, 500 at a time, for so long; what comes before the first 500 is not counted."""
    journal = open_journal(url, MANAGER)
    one_round(journal, number * 1_000_000)
    began_s, cpu_s, rounds = time.monotonic(), time.process_time(), 0
    while time.monotonic() - began_s < seconds:
        rounds += 1
        one_round(journal, number * 1_000_000 + rounds)
    took_s = time.monotonic() - began_s
    journal.database.close()
    return Worked(rounds * ROUND, time.process_time() - cpu_s, took_s)


class Server:
    """What the database does meanwhile."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url, isolation_level="AUTOCOMMIT")
        self._ended = threading.Event()
        self._waits: Counter[str] = Counter()
        self._sampler = threading.Thread(target=self._sample)

    def __enter__(self) -> Server:
        self._cpu_s, self._wal = self._cpu(), self._one("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
        self._deadlocks = self._one("SELECT sum(deadlocks) FROM pg_stat_database")
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._sampler.join()
        self.cpu_s = self._cpu() - self._cpu_s
        self.wal_bytes = self._one("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn") - self._wal
        self.deadlocks = self._one("SELECT sum(deadlocks) FROM pg_stat_database") - self._deadlocks
        self._engine.dispose()

    @property
    def waits_for(self) -> str:
        """What the backends that were at work waited for most often, with the part of the samples."""
        (most, times), *_ = self._waits.most_common(1) or [("nothing", 0)]
        return f"{most} in {times / max(1, self._waits.total()):.0%} of samples"

    def _sample(self) -> None:
        query = text(
            "SELECT coalesce(wait_event_type || ':' || wait_event, 'CPU') FROM pg_stat_activity"
            " WHERE state = 'active' AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        while not self._ended.wait(SAMPLE_S):
            with self._engine.connect() as connection:
                self._waits.update(connection.execute(query).scalars())

    def _one(self, query: str) -> float:
        with self._engine.connect() as connection:
            return float(connection.execute(text(query)).scalar_one() or 0)

    def _cpu(self) -> float:
        """Of the server's processes, with those that have ended."""
        found = 0.0
        for each in psutil.process_iter(["name", "cpu_times", "cmdline"]):
            if each.info["name"] == "postgres" and (times := each.info["cpu_times"]):
                found += times.user + times.system
                # Only the first of them has a data directory in its command; it knows what its ended children took.
                found += times.children_user + times.children_system if "-D" in (each.info["cmdline"] or ()) else 0
        return found


def main(*, quick: bool) -> None:
    """Print the figures."""
    binaries = server_binaries()
    if binaries is None:
        print("fleet: not measured, PostgreSQL's server is not installed")
        return
    with postgres(binaries) as server:
        url, began_with, first = server.format(database="postgres"), 0, 0
        journal = open_journal(url, MANAGER)
        for links in LINKS[:1] if quick else LINKS:
            grow(journal, links, began_with)
            began_with = links
            for workers in WORKERS[:3] if quick else WORKERS:
                _measure(url, workers, first, links)
                first += workers
        journal.database.close()


def _measure(url: str, workers: int, first: int, links: int) -> None:
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool, Server(url) as server:
        jobs = [pool.submit(work, url, first + number, SECONDS) for number in range(workers)]
        done = [job.result() for job in jobs]
    a_second = sum(each.accounts / each.seconds for each in done)
    worker_s = sum(each.cpu_s for each in done) / sum(each.accounts for each in done)
    # What the server did includes the rounds that the workers do not count.
    of_all = sum(each.accounts for each in done) + ROUND * workers
    server_s, wal_kb = server.cpu_s / of_all, server.wal_bytes / of_all / 1024
    cores = os.cpu_count() or 1
    busy = a_second * (worker_s + server_s) / cores
    row(
        f"fleet, {workers} workers on one PostgreSQL, beside {links:,} links",
        f"{a_second * 3600:,.0f} accounts/h of {LINKS_AN_ACCOUNT} links; each {worker_s * 1000:.1f} ms of CPU in its"
        f" worker, {server_s * 1000:.1f} ms in the server, {wal_kb:,.0f} KB of WAL; {busy:.0%} of {cores} cores"
        f"{', all there is' if busy >= FULL else ''}; {server.deadlocks:.0f} deadlocks; the server's processes at"
        f" {server.waits_for}",
    )
