"""What a person is asked, and what becomes of the accounts, without Airflow's database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, DownstreamTasksSkipped

from likepion_provider.clock import SYSTEM_CLOCK, Moment
from likepion_provider.hooks.connections import LIKEPION_CONN_ID, journal_for
from likepion_provider.models import ImportState, Outcome, SecondaryTask
from likepion_provider.operators.assist import ASKED, OPTIONS, AskPersonOperator, question
from likepion_provider.operators.likepion import (
    ClaimAccountsOperator,
    ImportRssOperator,
    InsertLinksOperator,
    PullSecondaryTasksOperator,
)
from likepion_provider.operators.report import LikepionReportOperator
from likepion_provider.sandbox.server import Sandbox
from likepion_provider.sandbox.world import build_world
from likepion_provider.steps.reports import AccountReport
from tests.versions import TaskAwaitingInput

Start = Callable[..., Any]
Context = dict[str, Any]
IMPORT, ASK = "import_batch.import_rss", "import_batch.ask_person"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Airflow would show."""
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **it: shown.append(it))
    return shown


async def run(operator: Any, context: Context) -> Any:
    return await asyncio.to_thread(operator.execute, context)


async def to_ask(start: Start, context: Context) -> tuple[Sandbox, dict[str, Any], AskPersonOperator]:
    """A batch of which one account needs a person."""
    sandbox: Sandbox = await start(build_world(accounts=3, posts=1))
    tasks = await run(PullSecondaryTasksOperator(task_id="pull_tasks", limit=10), context)
    (batch,) = await run(ClaimAccountsOperator(task_id="claim_accounts", tasks=tasks), context)
    ti = context["ti"]
    ti.id, ti.map_index = "ti", 0
    context["task_instance"] = ti
    ti.xcoms["claim_accounts", "return_value", -1] = [batch]
    ti.xcoms[IMPORT, "return_value", 0] = [needing(batch["tasks"][0])]
    return sandbox, batch, AskPersonOperator(task_id=ASK, batch=batch, import_task_id=IMPORT)


def needing(task: dict[str, Any]) -> dict[str, Any]:
    found = SecondaryTask.from_public(task)
    return AccountReport(found, Outcome.NEEDS_PERSON, message="not listed", remedy="Open https://a.example").to_public()


def back_off(task: SecondaryTask) -> None:
    """As the import leaves an account that needs a person: not to be tried for an hour."""
    journal, now = journal_for(LIKEPION_CONN_ID), Moment.read(SYSTEM_CLOCK)
    journal.claims.take_over("dag/run", "import", [task.key], now)
    state, later = ImportState.NEEDS_VERIFICATION, now.at + timedelta(hours=1)
    journal.submissions.record(task.key, "import", now, state=state, not_before=later)


def event(option: str) -> dict[str, Any]:
    return {
        "chosen_options": [option],
        "params_input": {},
        "responded_at": datetime.now(timezone.utc),
        "responded_by_user": None,
    }


async def answer(operator: AskPersonOperator, context: Context, option: str) -> Any:
    return await hear(operator, context, event(option))


async def hear(operator: AskPersonOperator, context: Context, said: dict[str, Any]) -> Any:
    ti = context["ti"]
    for _, key, index in [each for each in ti.xcoms if each[0] is None]:
        ti.xcoms[ASK, key, index] = ti.xcoms.pop((None, key, index))
    return await asyncio.to_thread(operator.execute_complete, context, said)


async def test_it_asks_for_exactly_those_that_need_it_as_long_as_a_claim_holds(
    start: Start, context: Context, asked: list[dict[str, Any]]
) -> None:
    sandbox, batch, ask = await to_ask(start, context)
    with pytest.raises(TaskAwaitingInput) as parked:
        await run(ask, context)
    assert parked.value.kwargs is None
    assert ask.response_timeout == timedelta(minutes=14)
    (told,) = asked
    assert (told["options"], told["defaults"]) == (["It is done", "Not now"], None), (
        "no default: it would be the main button"
    )
    assert told["subject"].startswith("1 account needs a person at ")
    assert "Open https://a.example" in told["body"]
    assert not [secret for secret in sandbox.credentials() if secret in repr(told)]
    assert context["ti"].xcoms[None, ASKED, 0] == [batch["tasks"][0]["account_id"]]


async def test_done_hands_on_what_is_still_claimed_and_is_tried_at_once(
    start: Start, context: Context, asked: list[dict[str, Any]]
) -> None:
    sandbox, batch, ask = await to_ask(start, context)
    await asyncio.to_thread(back_off, SecondaryTask.from_public(batch["tasks"][0]))
    insert = InsertLinksOperator(task_id="insert_links", batch=batch, import_task_id=IMPORT, assist=True)
    with pytest.raises(TaskAwaitingInput):
        await run(ask, context)
    await run(insert, context)
    again = await answer(ask, context, "It is done")
    assert [task["account_id"] for task in again["tasks"]] == [batch["tasks"][0]["account_id"]]
    rows = await run(ImportRssOperator(task_id="again", batch=again), context)
    assert [row["outcome"] for row in rows] == ["collected"]
    assert sandbox.manager.rows == []


@pytest.mark.parametrize(
    "said", [event("Not now"), {"error": "the time is up", "error_type": "timeout"}], ids=["not now", "no answer"]
)
async def test_not_now_lets_go(
    start: Start, context: Context, asked: list[dict[str, Any]], said: dict[str, Any]
) -> None:
    _, batch, ask = await to_ask(start, context)
    with pytest.raises(TaskAwaitingInput):
        await run(ask, context)
    with pytest.raises(AirflowSkipException, match="a later run takes them"):
        await hear(ask, context, said)
    journal = journal_for(LIKEPION_CONN_ID)
    ids = [task["account_id"] for task in batch["tasks"]]
    live = await asyncio.to_thread(journal.claims.live, "dag/run", ids, Moment.read(SYSTEM_CLOCK))
    assert set(live) == set(ids[1:])


@pytest.mark.parametrize("option", ["It is done", "Not now"])
async def test_an_answer_counts_in_the_language_of_the_question(
    start: Start, context: Context, asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    _, batch, ask = await to_ask(start, context)
    with pytest.raises(TaskAwaitingInput):
        await run(ask, context)
    # The task that hears the answer is made anew: the DAG says by now something else.
    monkeypatch.setenv("AIRFLOW__LIKEPION__LANGUAGE", "vi")
    later = AskPersonOperator(task_id=ASK, batch=batch, import_task_id=IMPORT)
    assert option not in later.options
    if option == "Not now":
        with pytest.raises(AirflowSkipException, match="a later run takes them"):
            await answer(later, context, option)
        return
    again = await answer(later, context, option)
    assert [task["account_id"] for task in again["tasks"]] == [batch["tasks"][0]["account_id"]]


async def test_an_answer_to_a_question_that_kept_no_options_counts(
    start: Start, context: Context, asked: list[dict[str, Any]]
) -> None:
    _, batch, ask = await to_ask(start, context)
    with pytest.raises(TaskAwaitingInput):
        await run(ask, context)
    # As an earlier version asked it.
    del context["ti"].xcoms[None, OPTIONS, 0]
    again = await answer(ask, context, "It is done")
    assert [task["account_id"] for task in again["tasks"]] == [batch["tasks"][0]["account_id"]]


async def test_a_claim_that_lapsed_is_not_taken_again(
    start: Start, context: Context, asked: list[dict[str, Any]], lapse_all: Callable[[], None]
) -> None:
    sandbox, _, ask = await to_ask(start, context)
    lapse_all()
    before = len(sandbox.manager.events)
    with pytest.raises(AirflowSkipException, match="no account of this batch needs a person"):
        await run(ask, context)
    assert asked == []
    assert len(sandbox.manager.events) == before


async def test_nobody_is_asked_where_nobody_is_needed(
    start: Start, context: Context, asked: list[dict[str, Any]]
) -> None:
    _, _, ask = await to_ask(start, context)
    ask.assist = "False"
    with pytest.raises(AirflowSkipException):
        await run(ask, context)
    ask.assist = "True"
    context["ti"].xcoms[IMPORT, "return_value", 0] = []
    with pytest.raises(AirflowSkipException):
        await run(ask, context)
    assert asked == []


async def test_a_manager_that_is_gone_for_a_moment_does_not_keep_from_asking(
    start: Start, context: Context, asked: list[dict[str, Any]]
) -> None:
    sandbox, _, ask = await to_ask(start, context)
    await sandbox.__aexit__(None, None, None)
    with pytest.raises(TaskAwaitingInput):
        await run(ask, context)
    assert len(asked) == 1


async def test_the_insert_leaves_them_alone_only_in_a_run_that_asks(start: Start, context: Context) -> None:
    _, batch, _ = await to_ask(start, context)
    journal = journal_for(LIKEPION_CONN_ID)
    ids = [task["account_id"] for task in batch["tasks"]]
    for assists, left in (("True", {ids[0]}), ("False", set())):
        await run(InsertLinksOperator(task_id="i", batch=batch, import_task_id=IMPORT, assist=assists), context)
        live = await asyncio.to_thread(journal.claims.live, "dag/run", ids, Moment.read(SYSTEM_CLOCK))
        assert set(live) == left


async def test_what_a_run_does_without_is_skipped_and_the_accounts_are_returned(start: Start, context: Context) -> None:
    await start()
    pull = PullSecondaryTasksOperator(task_id="pull_tasks", limit=10, leave_out=["ask", "again"])
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        await run(pull, context)
    assert list(skipped.value.tasks) == ["ask", "again"]
    assert len(context["ti"].xcoms[None, "return_value", -1]) == 3


async def test_a_run_that_does_without_nothing_skips_nothing(start: Start, context: Context) -> None:
    await start()
    assert len(await run(PullSecondaryTasksOperator(task_id="pull_tasks", limit=10, leave_out=[]), context)) == 3


@pytest.mark.parametrize(
    ("again", "outcome", "words"),
    [
        (None, Outcome.WAITING, "a person was asked in this run"),
        (Outcome.NEEDS_PERSON, Outcome.WAITING, "a person was asked in this run"),
        (Outcome.DELIVERED, Outcome.DELIVERED, ""),
        (Outcome.FAILED, Outcome.FAILED, "refused"),
    ],
)
async def test_the_report_is_red_for_no_account_that_a_person_was_asked_about(
    start: Start, context: Context, again: Outcome | None, outcome: Outcome, words: str
) -> None:
    _, batch, _ = await to_ask(start, context)
    batch["tasks"] = batch["tasks"][:1]
    task = SecondaryTask.from_public(batch["tasks"][0])
    xcoms = context["ti"].xcoms
    xcoms[ASK, ASKED, 0] = [task.account_id]
    if again:
        xcoms["import_batch.insert_assisted", "return_value", 0] = [
            AccountReport(task, again, message="refused").to_public()
        ]
    report = LikepionReportOperator(task_id="report", assist="True")
    if outcome.needs_attention:
        with pytest.raises(Exception, match=words):
            report.execute(context)
        return
    assert report.execute(context)["counts"] == {outcome.value: 1}
    with pytest.raises(Exception, match="1 account needs attention"):
        LikepionReportOperator(task_id="report").execute(context)


def test_names_are_not_taken_for_markup() -> None:
    task = SecondaryTask("a", "p", "g", "a.example", username="`[x](https://evil.example)*b*")
    _, body = question([AccountReport(task, Outcome.NEEDS_PERSON, remedy="Do it.")])
    assert "- `[x](https://evil.example)*b*@a.example`: Do it." in body
    assert "It is done" in body


def test_no_word_of_a_stranger_is_markup_in_the_question() -> None:
    task = SecondaryTask("a", "p", "g", "pod.example", username="x`](http://evil.example)`")
    remedy = (
        "Ask a](x) [confirm here](https://evil.example) <img src=x> `code` **now** \\[x](y) of https://pod.example/a_b"
    )
    _, body = question([AccountReport(task, Outcome.NEEDS_PERSON, remedy=remedy)])
    line = body.splitlines()[0]
    assert line.startswith("- `x](http://evil.example)@pod.example`: ")
    assert re.findall(r"(?<!\\)(?:\\\\)*[\[\]<>`*]", line.partition("`: ")[2]) == []
    assert line.endswith(" of https://pod.example/a_b")
