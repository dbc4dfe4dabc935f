"""A few kills; ``make faults`` kills hundreds."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import kills, workers
from tests.postgres import postgres, server_binaries


@pytest.fixture
def seed() -> int:
    seed = random.randrange(10**6)
    print("seed", seed)
    return seed


def test_killed_workers_store_nothing_twice_and_lose_nothing(seed: int) -> None:
    figures = workers.campaign(workers.sqlite, 5, seed)
    assert figures["kills"] >= 5, figures
    assert figures["rows"] == figures["rounds"] * workers.ACCOUNTS * workers.EPISODES, figures


def test_killed_workers_on_postgresql_store_nothing_twice_and_lose_nothing(seed: int) -> None:
    binaries = server_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's server is not installed")
    with postgres(binaries) as url:
        journals: Callable[[Path], str] = workers.on_postgres(url)
        figures = workers.campaign(journals, 5, seed)
    assert figures["kills"] >= 5, figures
    assert figures["rows"] == figures["rounds"] * workers.ACCOUNTS * workers.EPISODES, figures


@pytest.mark.airflow
def test_kills_in_a_real_airflow_store_nothing_twice_and_lose_nothing(seed: int, tmp_path: Path) -> None:
    figures = kills.campaign(tmp_path, 2, seed)
    assert kills.killed(figures) >= 2, figures
    assert figures["duplicates"] == figures["lost"] == 0
