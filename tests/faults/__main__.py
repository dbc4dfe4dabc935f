"""``python -m tests.faults [examples]``: the long campaign, and its figures."""

from __future__ import annotations

import logging
import sys
import time

from hypothesis import HealthCheck, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.faults.model import FIGURES, Faults


def main() -> int:
    """Run as many examples as were asked for, 1,000 by default."""
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    logging.disable(logging.CRITICAL)
    began_s = time.monotonic()
    chosen = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        print_blob=True,
        verbosity=Verbosity.normal,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(Faults, settings=chosen)
    finally:
        for name in ("examples", "steps", "inserts", "rows", "parked", "presumed", "duplicates", "lost"):
            print(f"{name:<12}{FIGURES[name]}")
        print(f"{'seconds':<12}{time.monotonic() - began_s:.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
