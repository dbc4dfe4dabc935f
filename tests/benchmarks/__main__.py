"""``python -m tests.benchmarks [name ...]``: each module's figures, side by side in one run."""

from __future__ import annotations

import importlib
import sys

NAMES = ("feed", "journal", "batch", "board")


def main() -> int:
    """Run what is named, or everything."""
    names = sys.argv[1:] or list(NAMES)
    if unknown := set(names) - set(NAMES):
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in names:
        importlib.import_module(f"tests.benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
