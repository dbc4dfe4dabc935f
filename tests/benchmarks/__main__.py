"""``python -m tests.benchmarks [name ...]``: figures side by side in one run, with whether each meets its goal."""

from __future__ import annotations

import argparse
import time

from tests.benchmarks import report
from tests.benchmarks.alone import alone, stop_children_too

NAMES = (
    "feed",
    "journal",
    "batch",
    "board",
    "growth",
    "imports",
    "prices",
    "waiting",
    "pace",
    "fleet",
    "runs",
    "cluster",
)


def main() -> None:
    """Run what is named, or everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(NAMES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="smaller, some of it left out")
    parser.add_argument("--write", action="store_true", help="write results.md beside the code")
    args = parser.parse_args()
    if unknown := set(args.names) - set(NAMES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    stop_children_too()
    before, began_s = report.machine(), time.monotonic()
    for name in args.names or NAMES:
        report.rows += alone(name, quick=args.quick)
        if args.write:
            report.write(before, began_s)


if __name__ == "__main__":
    main()
