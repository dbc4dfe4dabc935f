"""``python -m tests.faults [examples [answers]]``: the long campaign, and its figures."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from likepion_provider.protocol import Endpoint
from tests.faults import model, moments
from tests.faults.fuzz import fuzz
from tests.faults.year import Year


def main() -> int:
    """Run the two models and the odd answers."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("examples", type=int, nargs="?", default=1000, help="of each model (1,000)")
    parser.add_argument("answers", type=int, nargs="?", default=100_000, help="odd ones to each endpoint (100,000)")
    parser.add_argument("--accounts", type=int, default=2000, help="of the simulated year (2,000)")
    parser.add_argument("--weeks", type=int, default=52, help="of the simulated year (52)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="of the odd answers")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    campaign("steps", model.Faults, model.FIGURES, args.examples)
    campaign("moments", moments.Moments, moments.FIGURES, args.examples)
    for endpoint in Endpoint:
        print(
            f"{endpoint.value:<9} {args.answers} odd answers, seed {args.seed}: "
            f"{dict(fuzz(endpoint, args.answers, args.seed))}",
            flush=True,
        )
    return simulated_year(args.accounts, args.weeks, args.seed)


def simulated_year(accounts: int, weeks: int, seed: int) -> int:
    """Let a year pass, and print its quarters.

    :return: 0 if everything was delivered once, else 1.
    """
    with tempfile.TemporaryDirectory() as folder:
        year = Year(Path(folder), accounts, seed)
        for number, quarter in enumerate(year.weeks(weeks), 1):
            print(
                f"year      quarter {number}: {quarter.deliveries} deliveries, "
                f"{1000 * quarter.seconds / quarter.deliveries:.1f} ms each, "
                f"{quarter.links} links stored, {quarter.journal_bytes / quarter.links:.0f} bytes of journal each",
                flush=True,
            )
        twice, lost, parked = len(year.manager.duplicates()), year.lost(), year.parked()
        print(
            f"year      {accounts} accounts, {weeks} weeks, seed {seed}: {year.runs} runs, {year.crashes} ended in the "
            f"middle, {year.by_hand} by hand after a changed password; {twice} twice, {lost} lost, {parked} parked",
            flush=True,
        )
    return 1 if twice or lost else 0


def campaign(name: str, machine: type[RuleBasedStateMachine], figures: Counter[str], examples: int) -> None:
    """Play one model, and print what it did, whether it held or not."""
    began_s = time.monotonic()
    chosen = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(machine, settings=chosen)
    finally:
        told = ", ".join(f"{number} {what}" for what, number in figures.items())
        print(f"{name:<9} {told}, {time.monotonic() - began_s:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
