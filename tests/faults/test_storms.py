"""Storms of 429 and 5xx; ``make faults`` goes through all of them."""

from __future__ import annotations

from collections import Counter

import pytest

from likepion_provider.manager.protocol import Endpoint
from likepion_provider.steps.delivery import SEND_WAITS_S
from tests.faults.proxy import ACCOUNTS, EPISODES
from tests.faults.storms import STATUSES, judge, storm


@pytest.mark.parametrize("status", [each for each in STATUSES if each != 429])
@pytest.mark.parametrize("after_effect", [False, True])
async def test_no_insert_is_sent_again_after_a_5xx_by_itself(status: int, after_effect: bool) -> None:
    weather = await storm("insert", status, None, after_effect=after_effect)
    judge(weather, status, Counter())
    assert weather.most[Endpoint.INSERT] == 1
    assert weather.stored == ACCOUNTS * EPISODES, "what was not stored is sent once the account is handed out again"


async def test_an_insert_that_was_turned_away_is_sent_again_a_few_times_and_as_late_as_told() -> None:
    weather = await storm("insert", 429, "7", after_effect=False)
    assert weather.most[Endpoint.INSERT] == len(SEND_WAITS_S) + 1
    assert all(wait_s >= 7 for wait_s in weather.sent.waits_s(Endpoint.INSERT))
    assert weather.stored == ACCOUNTS * EPISODES


async def test_told_to_wait_for_long_a_run_ends_and_does_not_ask_again() -> None:
    weather = await storm("insert", 429, "3600", after_effect=False)
    assert weather.most[Endpoint.INSERT] == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_a_manager_that_turns_everything_away_is_asked_a_bounded_number_of_times(status: int) -> None:
    weather = await storm("*", status, None, after_effect=False)
    assert weather.in_all == 1, "the pull, which is not repeated by itself"


async def test_reads_are_repeated_a_few_times_and_as_late_as_told() -> None:
    weather = await storm("account", 503, "4", after_effect=False)
    judge(weather, 503, Counter())
    assert weather.most[Endpoint.ACCOUNT] == 4
    assert all(wait_s >= 4 for wait_s in weather.sent.waits_s(Endpoint.ACCOUNT))
