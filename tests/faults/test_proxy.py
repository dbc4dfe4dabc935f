"""A few sequences through a bad network; ``make faults`` plays many."""

from __future__ import annotations

import random
from collections import Counter

from tests.faults.proxy import FATES, sequence


async def test_through_a_bad_network_nothing_is_stored_twice_and_nothing_is_lost() -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    figures: Counter[str] = Counter()
    for number in range(3):
        await sequence(seed + number, figures)
    assert sum(figures[fate] for fate in FATES) > 3, figures
