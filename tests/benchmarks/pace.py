"""A day of runs with one slow hour: what the pace lets a run take, what lapses, and how soon it is over.

Nothing is measured but the rule: the journal's own, with a clock of runs in place of time.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from likepion_provider.journal import open_journal
from likepion_provider.journal.settings import Settings
from tests import MANAGER
from tests.benchmarks.report import row

#: A run every five minutes; accounts that come in between, and accounts that a run gets to before claims lapse.
RUNS = 24 * 12
ARRIVE = 150
GETS_TO, SLOW = 1000, 40
SLOW_HOUR = range(10 * 12, 11 * 12)
LIMIT = 1000
#: Claims that lapse are held back from everybody for as many runs.
HELD_FOR = 3


@dataclasses.dataclass(frozen=True)
class Day:
    """What came of it.

    :param lapsed: claims that lapsed before their import began.
    :param recovered_in: runs after the slow hour until the pace bounds nothing.
    :param waiting: accounts that are left at the end of the day.
    """

    lapsed: int
    recovered_in: int
    waiting: int


def main(*, quick: bool) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        journal = open_journal(f"sqlite:///{Path(name) / 'journal.db'}", MANAGER)
        day = play(journal.settings)
        journal.database.close()
    row("pace, a slow hour, claims that lapsed", f"{day.lapsed:,}")
    row("pace, a slow hour, runs until it is over", f"{day.recovered_in}", "at most 6", met=day.recovered_in <= 6)
    row("pace, a slow hour, accounts left at the end", f"{day.waiting:,}", "none", met=not day.waiting)


def play(settings: Settings, arrivals: Sequence[int] = (ARRIVE,) * RUNS) -> Day:
    """Play a day."""
    waiting = lapsed = 0
    recovered_in: int | None = None
    held = [0] * HELD_FOR
    for number, arrive in enumerate(arrivals):
        waiting += arrive + held.pop(0)
        took = min(waiting, settings.pace() or LIMIT, LIMIT)
        late = max(0, took - (SLOW if number in SLOW_HOUR else GETS_TO))
        settings.note_pace(took, late)
        waiting -= took
        lapsed += late
        held.append(late)
        if number >= SLOW_HOUR.stop and recovered_in is None and settings.pace() is None:
            recovered_in = number - SLOW_HOUR.stop + 1
    return Day(lapsed, RUNS if recovered_in is None else recovered_in, waiting + sum(held))
