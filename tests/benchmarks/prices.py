"""What an account costs the worker, and how much of that each guard takes: samples of its CPU, without Airflow."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from likepion_provider.cli.local import sandbox_process
from likepion_provider.hooks.output import output_masked
from tests.benchmarks.batch import Addresses, ours, world
from tests.benchmarks.report import row

ACCOUNTS = 600
#: Of CPU, between two samples.
SAMPLE_S = 0.001
#: Where a sample belongs: the first of these that is in its stack, from the innermost call on.
ROOMS = {
    "masks": ("/masking.py", "/redact.py", "/hooks/output.py"),
    "claim rule": ("/journal/claims.py", "/steps/keeper.py", "/manager/lease.py"),
    "gate and visits": ("/web/visit.py", "/steps/turns.py", "/aio.py:passage", "/aio.py:_turn", "/aio.py:_early_s"),
    "feed reader": ("/feed/",),
    "rest of the journal": ("/journal/",),
    "HTTP": ("/aiohttp/", "/web/", "/wire.py"),
    "importer": ("/platforms/",),
}
#: Where a thread waits.
_IDLE = ("selectors.py", "threading.py", "queue.py", "thread.py", "unix_events.py")


class Samples:
    """Where the process's CPU goes, by room, for as long as the body runs."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def __enter__(self) -> Samples:
        self._children_s, self._cpu_s = _children_s(), time.process_time()
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_S, SAMPLE_S)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.cpu_s = time.process_time() - self._cpu_s
        self.children_s = _children_s() - self._children_s

    def _sample(self, _: int, frame: FrameType | None) -> None:
        # The handler runs in the main thread, whichever the time was of: while that waits, it was another's.
        others = sys._current_frames()
        main = threading.main_thread().ident
        stacks = [frame, *(each for ident, each in others.items() if ident != main)]
        busy = next((each for each in stacks if each and not each.f_code.co_filename.endswith(_IDLE)), None)
        self.found[_room(busy)] += 1


def _room(frame: FrameType | None) -> str:
    for place in _places(frame):
        for name, parts in ROOMS.items():
            if any(part in place for part in parts):
                return name
    return "the rest"


def _places(frame: FrameType | None) -> Iterator[str]:
    while frame:
        yield f"{frame.f_code.co_filename}:{frame.f_code.co_name}"
        frame = frame.f_back


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Have what the process prints and logs go nowhere."""
    kept = {number: os.dup(number) for number in (1, 2)}
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a descriptor is wanted
        for number in kept:
            os.dup2(nowhere.fileno(), number)
    try:
        yield
    finally:
        for number, each in kept.items():
            os.dup2(each, number)
            os.close(each)


def main(*, quick: bool) -> None:
    """Print the figures."""
    accounts = ACCOUNTS // 6 if quick else ACCOUNTS
    with tempfile.TemporaryDirectory() as name, sandbox_process(Path(name), *world(accounts)) as sandbox:
        # As a task's log is: at the level INFO, and masked.
        logging.basicConfig(level=logging.INFO)
        with _unheard(), output_masked(), Samples() as samples:
            asyncio.run(ours(Addresses(**sandbox), Path(name)))
    each_ms, feeds_ms = (seconds / accounts * 1000 for seconds in (samples.cpu_s, samples.children_s))
    case = f"price of an account of {accounts}, without Airflow"
    row(case, f"{each_ms:.2f} ms of CPU in the worker, {feeds_ms:.2f} ms in the processes that read feeds")
    for room, count in samples.found.most_common():
        share = count / samples.found.total()
        row(f"{case}: {room}", f"{share * each_ms:.2f} ms, {share:.0%}")


if __name__ == "__main__":
    main(quick=False)
