"""A few odd answers to each importer; ``make faults`` gives each 10,000."""

from __future__ import annotations

import random

import pytest

from tests.faults.pages import campaign, platforms


@pytest.mark.parametrize("name", sorted(platforms()))
async def test_any_answer_of_a_platform_is_a_named_error_or_a_result(name: str) -> None:
    seed = random.randrange(10**6)
    outcomes, unnamed = await campaign(name, 60, seed)
    assert unnamed == []
    assert outcomes["PlatformChanged"] > 5
    assert outcomes["answers"] >= 60
