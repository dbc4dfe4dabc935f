"""One benchmark in a process of its own: it has neither the memory nor the logging that those before it left."""

from __future__ import annotations

import importlib
import multiprocessing
import signal
import sys
from concurrent.futures import ProcessPoolExecutor

from tests.benchmarks import report


def alone(name: str, *, quick: bool) -> list[report.Row]:
    """Run a module of this folder.

    :return: what it measured.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, name, quick).result()


def stop_children_too() -> None:
    """Have SIGTERM end what was started, too."""
    signal.signal(signal.SIGTERM, _stop)


def _measure(name: str, quick: bool) -> list[report.Row]:
    stop_children_too()
    importlib.import_module(f"tests.benchmarks.{name}").main(quick=quick)
    return report.rows


def _stop(*_: object) -> None:
    for child in multiprocessing.active_children():
        child.terminate()
    sys.exit(143)
