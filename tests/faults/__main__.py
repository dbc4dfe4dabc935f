"""``python -m tests.faults [examples] [answers] [seed]``: the long campaign, and its figures."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections import Counter

import hypothesis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from likepion_provider.protocol import Endpoint
from tests.faults import model, moments
from tests.faults.fuzz import fuzz

MODELS: dict[str, tuple[type[RuleBasedStateMachine], Counter[str]]] = {
    "model": (model.Faults, model.FIGURES),
    "moments": (moments.Moments, moments.FIGURES),
}


def main() -> int:
    """Run both models, then read odd answers; every failure ends it with what reproduces it."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("examples", nargs="?", type=int, default=1000, help="of each model (default 1000)")
    parser.add_argument("answers", nargs="?", type=int, default=100_000, help="to each endpoint (default 100,000)")
    parser.add_argument("seed", nargs="?", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    print(f"seed {arguments.seed}")
    for name, (machine, figures) in MODELS.items():
        if arguments.examples:
            _campaign(name, machine, figures, arguments.examples, arguments.seed)
    for endpoint in Endpoint:
        outcomes = fuzz(endpoint, arguments.answers, arguments.seed)
        print(f"{arguments.answers} answers to {endpoint.value}: {dict(sorted(outcomes.items()))}")
    return 0


def _campaign(name: str, machine: type[RuleBasedStateMachine], figures: Counter[str], examples: int, seed: int) -> None:
    began_s = time.monotonic()
    chosen = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(hypothesis.seed(seed)(machine), settings=chosen)
    finally:
        print(f"{name}: {time.monotonic() - began_s:.0f} s")
        for figure in sorted({*figures, "duplicates", "lost"}):
            print(f"  {figure:<38}{figures[figure]}")


if __name__ == "__main__":
    sys.exit(main())
