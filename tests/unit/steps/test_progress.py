"""What a task's log says while it works."""

from __future__ import annotations

import logging

import pytest

from likepion_provider.steps.progress import APART_S, StepCounter
from tests.clocks import VirtualClock


def test_progress_is_said_every_few_seconds_and_of_accounts_only_what_matters(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "likepion_provider")
    clock = VirtualClock()
    progress = StepCounter(1000, clock)
    for number in range(1000):
        clock.advance(APART_S / 80)
        progress.step(f"account-{number}", matters=number == 7)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "account-7"
    assert lines[1] == "80 of 1000 accounts, 16.0/s, about 58 s left"
    assert lines[-1] == "960 of 1000 accounts, 16.0/s, about 2 s left"
    assert len(lines) == 13
