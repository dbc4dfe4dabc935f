"""A few odd answers; ``make faults`` reads 100,000 to each endpoint."""

from __future__ import annotations

import random

import pytest

from likepion_provider.manager.protocol import Endpoint
from tests.faults.fuzz import fuzz


@pytest.mark.parametrize("endpoint", Endpoint)
def test_any_answer_is_a_named_error_or_a_result_that_it_bears_out(endpoint: Endpoint) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    outcomes = fuzz(endpoint, 1500, seed)
    assert outcomes["result"] > 100
    assert len(outcomes) >= 4
