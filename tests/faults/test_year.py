"""A few weeks of the simulated year."""

from __future__ import annotations

from pathlib import Path

from tests.faults.year import Year


def test_weeks_of_trouble_deliver_everything_once(tmp_path: Path) -> None:
    year = Year(tmp_path, accounts=12, seed=7)
    list(year.weeks(4))
    assert year.crashes
    assert year.by_hand
    assert not year.manager.duplicates()
    assert year.lost() == 0
    assert year.parked() == 0
    assert year.stranger.served
    assert year.disturbed() == 0
