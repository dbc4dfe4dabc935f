"""A journal that is put back to a backup, in a real Airflow."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from likepion_provider.journal import copying
from tests.integration.conftest import Airflow, SandboxApi, wait_for

pytestmark = pytest.mark.airflow

SandboxFactory = Callable[..., SandboxApi]


def test_a_restored_journal_turns_runs_red_until_it_is_accepted_and_nothing_is_sent_twice(
    airflow: Airflow, sandbox: SandboxFactory, tmp_path: Path
) -> None:
    world = sandbox("--world", "built", "--accounts", "6", "--posts", "2", "--target", "3")
    airflow.use(world)
    slow = {"endpoint": "insert", "kind": "delay", "delay_s": 2.0, "after_effect": True, "times": None}
    world.call("POST", "/sandbox/faults", {"seed": 1, "faults": [slow]})
    run_id = airflow.start()
    wait_for(lambda: world.rows()["count"])
    copying.back_up(airflow.journal_path(world), tmp_path / "backup.db")
    assert airflow.finish(run_id) == "success"
    delivered = world.rows()
    assert delivered["count"] == 18

    with (
        contextlib.closing(sqlite3.connect(tmp_path / "backup.db")) as backup,
        contextlib.closing(sqlite3.connect(airflow.journal_path(world))) as journal,
    ):
        backup.backup(journal)
    found = airflow.shell("journal", "check", program="likepion")
    assert (found.returncode, "BAD as new as its last use" in found.stdout) == (1, True), found
    for _ in range(2):
        run_id, state = airflow.run()
        assert state == "failed"
        log = airflow.log(run_id, "report")
        assert "restored from a backup, or lost" in log
        assert "likepion journal accept" in log
    assert world.rows()["count"] == 18
    world.call("POST", "/sandbox/clock", {"advance_s": 1000})
    assert airflow.run()[1] == "failed"

    accepted = airflow.shell("journal", "accept", program="likepion")
    assert (accepted.returncode, "stay parked" in accepted.stdout) == (0, True), accepted
    assert airflow.run()[1] == "success"
    assert world.rows() == delivered
    assert world.rows()["duplicates"] == []
