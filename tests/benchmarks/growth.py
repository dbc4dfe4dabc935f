"""Ten and thirty times the accounts: how wall time and a task's memory grow.

Batches are worked in forked processes, as tasks are, eight at a time; no Airflow, whose share is measured elsewhere.
"""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from likepion_provider.cli.local import sandbox_process
from likepion_provider.clock import SYSTEM_CLOCK
from likepion_provider.journal import open_journal
from likepion_provider.manager.client import ManagerAddress, ManagerClient
from likepion_provider.manager.protocol import MAX_PULL
from likepion_provider.steps.batches import Batch, batches
from likepion_provider.steps.intake import Intake
from tests import MANAGER
from tests.benchmarks.batch import Addresses, work_batch, world
from tests.benchmarks.report import row

SIZES = (100, 300, 1_000, 3_000)
SIDE_BY_SIDE = 8
#: What a measurement on a shared machine may be off by.
NOISE = 1.2


def main(*, quick: bool) -> None:
    """Print the figures."""
    sizes = SIZES[:3] if quick else SIZES
    found = {size: measure(size) for size in sizes}
    for size, (wall_s, peak_mb) in found.items():
        row(
            f"growth, {size:,} accounts",
            f"{wall_s:.1f} s, {wall_s / size * 1000:.0f} ms an account, a task's peak {peak_mb:.0f} MB",
        )
    (least, (least_s, least_mb)), *_, (most, (most_s, most_mb)) = found.items()
    ratio = (most_s / most) / (least_s / least)
    row(
        f"growth, {most:,} accounts beside {least:,}",
        f"{ratio:.2f} x the time an account",
        f"at most {NOISE} x",
        met=ratio <= NOISE,
    )
    memory = most_mb / least_mb
    row(
        f"growth, {most:,} accounts beside {least:,}, memory",
        f"{memory:.2f} x a task's peak",
        f"at most {NOISE} x",
        met=memory <= NOISE,
    )


def measure(accounts: int) -> tuple[float, float]:
    """All accounts, in as many runs as the manager's limit makes of them.

    :return: seconds, and the largest peak of a batch's process in MB.
    """
    with tempfile.TemporaryDirectory() as name, sandbox_process(Path(name), *world(accounts)) as addresses:
        journal_url = f"sqlite:///{Path(name) / 'journal.db'}"
        open_journal(journal_url, MANAGER).database.close()
        peaks: list[float] = []
        began_s = time.perf_counter()
        for number in range(-(-accounts // MAX_PULL)):
            run = (addresses, journal_url, f"run-{number}")
            with _forked(1) as pool:
                cut = pool.submit(_pull, *run).result()
            with _forked(SIDE_BY_SIDE) as pool:
                peaks += pool.map(functools.partial(_work, *run), cut)
        return time.perf_counter() - began_s, max(peaks)


def _forked(processes: int) -> ProcessPoolExecutor:
    """Processes that begin with what this one has imported, as tasks do."""
    return ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("fork"))


def _pull(addresses: dict[str, str], journal_url: str, scope: str) -> list[dict[str, object]]:
    """What the tasks before the import do, in a process of their own, too: its memory is none of theirs."""

    async def pull() -> list[Batch]:
        async with ManagerClient(ManagerAddress(addresses["manager_url"], addresses["api_key"])) as manager:
            journal = open_journal(journal_url, MANAGER)
            intake = Intake(manager=manager, journal=journal, clock=SYSTEM_CLOCK, scope=scope, run_id=scope)
            return batches(await intake.reaffirm(await intake.pull(MAX_PULL)))

    return [batch.to_public() for batch in asyncio.run(pull())]


def _work(addresses: dict[str, str], journal_url: str, scope: str, batch: dict[str, object]) -> float:
    tasks = Batch.from_public(batch).tasks
    asyncio.run(work_batch(Addresses(**addresses), open_journal(journal_url, MANAGER), scope, tasks))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(quick=False)
