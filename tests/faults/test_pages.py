"""A few odd answers to each importer; ``make faults`` gives each 10,000."""

from __future__ import annotations

import random

import pytest

from likepion_provider import errors
from tests.faults.pages import campaign, platforms

ERRORS = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}


@pytest.mark.parametrize("name", sorted(platforms()))
async def test_any_answer_of_a_platform_is_a_named_error_or_a_result(name: str) -> None:
    seed = random.randrange(10**6)
    outcomes, unnamed = await campaign(name, 60, seed)
    assert unnamed == []
    assert outcomes["answers"] >= 60
    # That the answers were odd: of 60, each importer's runs find 20 to 50 out, 10 to 40 of them as changed.
    assert sum(number for outcome, number in outcomes.items() if outcome in ERRORS) >= 10
    assert outcomes["PlatformChanged"]
