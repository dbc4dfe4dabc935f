"""What was measured: printed as it comes, and written to ``results.md`` at the end."""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
import time
from pathlib import Path

PATH = Path(__file__).with_name("results.md")


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure beside its goal; without a goal it is there to compare with."""

    case: str
    figure: str
    goal: str
    verdict: str


rows: list[Row] = []


def row(case: str, figure: str, goal: str = "", *, met: bool | None = None) -> None:
    """Print a figure, and keep it."""
    verdict = "" if met is None else "passes" if met else "falls short"
    rows.append(Row(case, figure, goal, verdict))
    print(f"{case:<44} {figure}{f'  (goal {goal}): {verdict}' if goal else ''}", flush=True)


def machine() -> str:
    """The machine in words."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[2]
    cores = os.cpu_count() or 1
    how = "loaded by other work" if load > cores else "otherwise idle" if load < 0.5 else "in use"
    python = platform.python_version()
    return f"{cores} cores, {memory_gb:.0f} GB of memory, Python {python}; load {load:.1f} over 15 minutes: {how}"


def write(before: str, began_s: float) -> None:
    """Write ``results.md``.

    :param before: :func:`machine`, asked before the measurements began.
    :param began_s: ``time.monotonic()`` then.
    """
    minutes = (time.monotonic() - began_s) / 60
    lines = [
        "# Measured performance",
        "",
        f"Written by `python -m tests.benchmarks {' '.join(sys.argv[1:])}`".rstrip() + f" in {minutes:.0f} minutes.",
        "",
        f"- Before: {before}.",
        f"- After: {machine()}.",
        "",
        "| case | measured | goal | |",
        "|---|---|---|---|",
        *(f"| {each.case} | {each.figure} | {each.goal} | {each.verdict} |" for each in rows),
        "",
    ]
    PATH.write_text("\n".join(lines), encoding="utf-8")
