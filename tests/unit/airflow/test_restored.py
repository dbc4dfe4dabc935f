"""What the tasks do with the mark that they leave in Airflow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import Variable

from likepion_provider.hooks.connections import JOURNAL_CONN_ID, find, journal_of
from likepion_provider.hooks.marks import MARK_VARIABLE, leave_mark, read_mark
from likepion_provider.journal import Journal
from likepion_provider.operators.likepion import PullSecondaryTasksOperator
from likepion_provider.operators.report import LikepionReportOperator
from likepion_provider.sandbox.world import build_world
from tests import MANAGER

Start = Callable[..., Any]
Context = dict[str, Any]


@pytest.fixture
def journal() -> Journal:
    return journal_of(find(JOURNAL_CONN_ID), MANAGER)


async def test_each_task_leaves_a_mark_at_its_beginning_and_at_its_end(
    start: Start, context: Context, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await start(build_world(accounts=2, posts=1))
    left: list[str] = []
    monkeypatch.setattr(Variable, "set", lambda _key, value, description=None: left.append(value))
    await asyncio.to_thread(PullSecondaryTasksOperator(task_id="pull_tasks").execute, context)
    assert [mark.split(".")[0] for mark in left] == ["1", "2"]


async def test_a_run_over_a_restored_journal_is_red_although_there_is_nothing_to_do(
    start: Start, context: Context, variables: dict[str, str], journal: Journal
) -> None:
    await start(build_world(accounts=0, posts=1))
    variables[MARK_VARIABLE] = "9.another.token"
    pull = PullSecondaryTasksOperator(task_id="pull_tasks", report_task_id="report")
    await asyncio.to_thread(pull.execute, context)
    assert journal.marks.unaccepted()
    report = LikepionReportOperator(task_id="report")
    with pytest.raises(AirflowFailException, match=r"restored from a backup, or lost .*journal accept"):
        report.execute(context)
    text = context["ti"].xcoms[None, "summary", -1]["text"]
    assert "restored from a backup, or lost" in text
    journal.marks.accept(journal.marks.unaccepted().noticed_at)  # type: ignore[union-attr]
    assert report.execute(context)["journal"] == ""


def test_what_airflow_cannot_keep_stops_nothing(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("canary-secret")

    monkeypatch.setattr(Variable, "get", fails)
    monkeypatch.setattr(Variable, "set", fails)
    leave_mark(journal)
    assert "could not be read: RuntimeError" in caplog.text
    assert "could not be set: RuntimeError" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize("text", ["", "{}", "changed by hand"])
def test_what_is_no_mark_raises_no_alarm(variables: dict[str, str], journal: Journal, text: str) -> None:
    variables[MARK_VARIABLE] = text
    assert read_mark() is None
    leave_mark(journal)
    assert journal.marks.restored() is None
    assert read_mark() == journal.marks.newest()
