"""``likepion group backfill``, without an Airflow."""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from likepion_provider import DAG_ID, cli
from likepion_provider.cli import group
from likepion_provider.clock import SYSTEM_CLOCK
from likepion_provider.models import SecondaryTask
from tests import MANAGER
from tests.fakes import fresh_journal

GROUPS = ("one-group", "two-groups", "three-groups")


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is started, by DAG and group."""
    journal = fresh_journal(tmp_path)
    tasks = [SecondaryTask(f"account-{each}", f"post-{each}", each, "d.example") for each in GROUPS]
    journal.submissions.note(tasks, "run", SYSTEM_CLOCK.now())
    runs: list[tuple[str, str]] = []

    def start(dag_id: str, _: str, conf: Mapping[str, str]) -> None:
        if dag_id == "nobody":
            raise LookupError("Dag id nobody not found")
        sys.stdout.write("Airflow's own words")
        runs.append((dag_id, conf["group_id"]))

    monkeypatch.setattr(group, "configured_url", lambda: f"sqlite:///{tmp_path / 'journal.db'}")
    monkeypatch.setattr(group, "start_run", start)
    monkeypatch.setattr(group, "is_paused", lambda dag_id: dag_id == "paused")
    return runs


def backfill(*arguments: str) -> int:
    return cli.main(["group", "backfill", *arguments, "--manager", MANAGER])


def test_any_number_of_groups_is_started(started: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert backfill(*GROUPS) == 0
    assert started == [(DAG_ID, each) for each in GROUPS]
    assert "paused" not in capsys.readouterr().out


def test_a_group_is_named_by_how_its_id_begins(
    started: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert backfill("two-", "one-g", GROUPS[1]) == 0
    assert started == [(DAG_ID, GROUPS[1]), (DAG_ID, GROUPS[0])]
    assert GROUPS[1] in capsys.readouterr().out
    for unknown in ("four", str(uuid.uuid4())):
        assert backfill(GROUPS[0], unknown) == 1
        assert re.search("fits no group .*three-groups|has never seen group", capsys.readouterr().err)
    assert len(started) == 2, "none, where one is not clear"


def test_runs_of_a_paused_dag_wait_with_a_word(
    started: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert backfill(GROUPS[0], "--dag-id", "paused") == 0
    assert started == [("paused", GROUPS[0])]
    assert "paused is paused: its runs wait until it is switched on (airflow dags unpause paused)" in (
        capsys.readouterr().err
    )


def test_the_answer_stands_alone(started: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert backfill(GROUPS[0], "--dag-id", "paused", "--json") == 0
    out, err = capsys.readouterr()
    (row,) = json.loads(out)
    assert (row["group_id"], row["dag_id"]) == (GROUPS[0], "paused")
    assert row["run_id"].startswith(f"group__{GROUPS[0]}__")
    assert all(words in err for words in ("journal: ", "Airflow's own words", "is paused"))


def test_a_dag_that_is_not_there_is_told(started: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert backfill(GROUPS[0], "--dag-id", "nobody") != 0
    assert "Airflow took no run of nobody: Dag id nobody not found" in capsys.readouterr().err
    assert not started
