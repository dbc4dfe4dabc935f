"""The steps of a run, each by itself and one after the other, against a sandbox over HTTP."""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    DownstreamTasksSkipped,
    TaskDeferred,
)
from airflow.sdk.bases.operator import TriggerFailureReason
from airflow.triggers.base import TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent
from jinja2 import Template

from likepion_provider.board.questions import Filter, Overview
from likepion_provider.clock import SYSTEM_CLOCK, Moment
from likepion_provider.hooks.connections import LIKEPION_CONN_ID, journal_for
from likepion_provider.hooks.likepion import LikepionHook
from likepion_provider.journal import TaskName
from likepion_provider.manager.protocol import LinkReport
from likepion_provider.models import ImportState, Outcome, SecondaryTask
from likepion_provider.notifications.likepion import REPORT_TEXT
from likepion_provider.operators.extra_links import board_url
from likepion_provider.operators.likepion import (
    SEALED_COOKIES,
    ClaimAccountsOperator,
    ImportRssOperator,
    InsertLinksOperator,
    PullSecondaryTasksOperator,
)
from likepion_provider.operators.report import LikepionReportOperator, summarise
from likepion_provider.sandbox.server import Sandbox
from likepion_provider.sandbox.world import build_world
from likepion_provider.sensors.likepion import LinkRssSensor
from likepion_provider.steps.batches import Batch
from likepion_provider.steps.reports import AccountReport
from likepion_provider.triggers.likepion import LinkRssTrigger

Start = Callable[..., Any]
Context = dict[str, Any]


async def claimed(context: Context) -> list[dict[str, Any]]:
    tasks = await asyncio.to_thread(PullSecondaryTasksOperator(task_id="pull_tasks", limit=10).execute, context)
    return list(await asyncio.to_thread(ClaimAccountsOperator(task_id="claim_accounts", tasks=tasks).execute, context))


async def test_the_steps_deliver_every_account_and_public_values_only(start: Start, context: Context) -> None:
    sandbox: Sandbox = await start(build_world(accounts=3, posts=1))
    batches = await claimed(context)
    assert [len(batch["tasks"]) for batch in batches] == [3]
    ti = context["ti"]
    ti.xcoms["claim_accounts", "return_value", -1] = batches
    imported = await asyncio.to_thread(ImportRssOperator(task_id="import_rss", batch=batches[0]).execute, context)
    assert {row["outcome"] for row in imported} == {"collected"}
    ti.xcoms["import_rss", "return_value", 0] = imported
    sealed = ti.xcoms[None, SEALED_COOKIES, -1]
    ti.xcoms["import_rss", SEALED_COOKIES, -1] = sealed
    insert = InsertLinksOperator(task_id="insert_links", batch=batches[0], import_task_id="import_rss")
    ti.xcoms["insert_links", "return_value", 0] = await asyncio.to_thread(insert.execute, context)
    assert sorted(sandbox.manager.rows_report()["accounts"].values()) == [5, 5, 5]

    report = LikepionReportOperator(
        task_id="report", wait_task_id="wait", import_task_id="import_rss", insert_task_id="insert_links"
    )
    summary = report.execute(context)
    text = "Likepion: 3 delivered; 15 links delivered."
    assert summary == {
        "counts": {"delivered": 3},
        "links": 15,
        "accounts": [],
        "not_taken": [],
        "journal": "",
        "manager": "",
        "tasks": [],
        "board": "",
        "text": text,
    }
    secrets = list(sandbox.credentials())
    assert not [secret for secret in secrets if secret in repr(ti.xcoms)]
    cookies = {a["account_id"]: a["cookie"] for a in stored_accounts(sandbox)}
    assert all(cookie.startswith("session=canary-session-") for cookie in cookies.values()), "renewed, handed on"


def stored_accounts(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [
        {"account_id": account.account_id, "cookie": account.credentials["cookie"]}
        for account in sandbox.manager.accounts.values()
    ]


async def test_a_dry_run_neither_imports_nor_sends(start: Start, context: Context) -> None:
    sandbox = await start()
    batches = await claimed(context)
    rows = await asyncio.to_thread(ImportRssOperator(task_id="i", batch=batches[0], look_only=True).execute, context)
    assert {row["outcome"] for row in rows} == {"waiting"}
    assert (
        await asyncio.to_thread(InsertLinksOperator(task_id="s", batch=batches[0], look_only="True").execute, context)
        == []
    )
    assert sandbox.manager.rows == []
    assert not sandbox.site.submissions


@pytest.mark.parametrize("limit", [0, 1001, "x", True, None, 1.5])
async def test_limit_out_of_bounds_is_one_clear_line(start: Start, context: Context, limit: Any) -> None:
    await start()
    with pytest.raises(AirflowFailException, match="limit must be a whole number from 1 to 1000"):
        await asyncio.to_thread(PullSecondaryTasksOperator(task_id="p", limit=limit).execute, context)


@pytest.mark.parametrize("batch_size", [0, "1001", "x", True, 1.5])
async def test_a_batch_size_out_of_bounds_is_one_clear_line(start: Start, context: Context, batch_size: Any) -> None:
    await start()
    step = ClaimAccountsOperator(task_id="c", tasks=[], batch_size=batch_size)
    with pytest.raises(AirflowFailException, match="batch_size must be a whole number from 1 to 1000"):
        await asyncio.to_thread(step.execute, context)


async def test_an_account_set_aside_is_reported_as_the_settings_say(
    start: Start, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = await start(build_world(accounts=1, posts=1))
    monkeypatch.setenv("AIRFLOW__LIKEPION__REPORT_FAILURES", "True")
    with pytest.raises(AirflowFailException, match=r"failure_link is not set\. Set failure_link to"):
        await claimed(context)
    assert not sandbox.manager.events, "nothing was claimed"
    monkeypatch.setenv("AIRFLOW__LIKEPION__FAILURE_LINK", "{link_rss}")
    (batch,) = await claimed(context)
    key = Batch.from_public(batch).tasks[0].key
    journal = journal_for(LIKEPION_CONN_ID)
    now = Moment.read(SYSTEM_CLOCK)
    journal.claims.take_over("dag/run", "earlier", [key], now)
    for _ in range(3):
        journal.submissions.record(key, "earlier", now, state=ImportState.FAILED, message="refused", permanent=True)
    imported = await asyncio.to_thread(ImportRssOperator(task_id="import_rss", batch=batch).execute, context)
    assert [row["outcome"] for row in imported] == ["set_aside"]
    insert = InsertLinksOperator(task_id="insert_links", batch=batch)
    assert await asyncio.to_thread(insert.execute, context) == []
    (row,) = sandbox.manager.rows
    assert (row.status, row.link_post) == ("failed", sandbox.manager.account(key.account_id)["link_rss"])


async def test_an_import_reads_what_a_url_is_reported_once_per(
    start: Start, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start(build_world(accounts=1, posts=1))
    (batch,) = await claimed(context)
    monkeypatch.setenv("AIRFLOW__LIKEPION__URL_ONCE_PER", "group")
    with pytest.raises(AirflowFailException, match="url_once_per is 'group'. Set it to post or to account"):
        await asyncio.to_thread(ImportRssOperator(task_id="import_rss", batch=batch).execute, context)


async def test_names_may_be_text_or_list(start: Start, context: Context) -> None:
    sandbox = await start()
    ids = list(sandbox.manager.accounts)
    for given in (ids[:2], ",".join(ids[:2]), f" {ids[0]}\n{ids[1]} "):
        tasks = await asyncio.to_thread(PullSecondaryTasksOperator(task_id="p", account_ids=given).execute, context)
        assert [task["account_id"] for task in tasks] == ids[:2]
    with pytest.raises(AirflowFailException, match="domains must be a list of names"):
        await asyncio.to_thread(PullSecondaryTasksOperator(task_id="p", domains=[1]).execute, context)


async def test_a_manager_that_is_gone_is_said_once_an_hour(
    start: Start, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start()
    reachable = os.environ["AIRFLOW_CONN_LIKEPION_DEFAULT"]
    gone = json.loads(reachable) | {"host": "http://127.0.0.1:9"}
    monkeypatch.setenv("AIRFLOW_CONN_LIKEPION_DEFAULT", json.dumps(gone))

    async def pull() -> Any:
        return await asyncio.to_thread(PullSecondaryTasksOperator(task_id="pull_tasks").execute, context)

    for try_number in (1, 2, 3):
        context["ti"].try_number = try_number
        with pytest.raises(AirflowException):
            await pull()
    context["ti"].try_number = 1
    with pytest.raises(AirflowSkipException, match="ended red at"):
        await pull()
    context["dag_run"].run_type = "manual"
    with pytest.raises(AirflowException):
        await pull()
    context["dag_run"].run_type = "scheduled"

    monkeypatch.setenv("AIRFLOW_CONN_LIKEPION_DEFAULT", reachable)
    assert len(await pull()) == 3
    monkeypatch.setenv("AIRFLOW_CONN_LIKEPION_DEFAULT", json.dumps(gone))
    with pytest.raises(AirflowException):
        await pull()


async def test_no_more_is_pulled_than_earlier_runs_got_to(start: Start, context: Context) -> None:
    sandbox: Sandbox = await start(build_world(accounts=40, posts=1))
    journal_for(LIKEPION_CONN_ID).settings.note_pace(200, 190)
    pulled = await asyncio.to_thread(PullSecondaryTasksOperator(task_id="pull_tasks", limit=200).execute, context)
    assert len(pulled) == 25
    assert sum(event.kind == "pull" for event in sandbox.manager.events) == 1


async def test_links_are_sent_again_for_named_accounts_only(start: Start, context: Context) -> None:
    await start()
    pull = PullSecondaryTasksOperator(task_id="pull_tasks", resend=True)
    with pytest.raises(AirflowFailException, match="resend needs group_id or account_ids"):
        await asyncio.to_thread(pull.execute, context)


def events(trigger: LinkRssTrigger) -> Any:
    async def first() -> Any:
        return [event async for event in trigger.run()]

    return first()


@pytest.mark.parametrize("deferred", [True, False])
@pytest.mark.parametrize("is_set", [True, False])
async def test_the_sensor_says_the_same_deferred_or_not(
    start: Start, context: Context, *, deferred: bool, is_set: bool
) -> None:
    sandbox = await start(build_world(accounts=2, posts=1, waiting_posts=1))
    (batch,) = await claimed(context)
    assert batch["waits"]
    if is_set:
        sandbox.set_feed(sandbox.world.posts[0].request_id)
    sensor = LinkRssSensor(task_id="w", batch=batch, poke_interval=0.1, timeout=0.5, deferrable=deferred)
    if deferred:
        with pytest.raises(TaskDeferred) as deferral:
            sensor.execute(context)
        trigger = deferral.value.trigger
        path, arguments = trigger.serialize()
        assert path == "likepion_provider.triggers.likepion.LinkRssTrigger"
        expected = TaskSuccessEvent if is_set else TaskSkippedEvent
        assert [type(event) for event in await events(LinkRssTrigger(**arguments))] == [expected]
    elif is_set:
        await asyncio.to_thread(sensor.execute, context)
    else:
        with pytest.raises(AirflowSkipException, match="a later run takes them"):
            await asyncio.to_thread(sensor.execute, context)


@pytest.mark.parametrize(("waiting_posts", "left_out"), [(0, True), (1, False)])
async def test_the_sensor_is_left_out_only_where_every_any_feed_set(
    start: Start, context: Context, waiting_posts: int, *, left_out: bool
) -> None:
    await start(build_world(accounts=4, posts=2, waiting_posts=waiting_posts))
    pull = PullSecondaryTasksOperator(task_id="pull_tasks", limit=10, wait_task_id="wait")
    if left_out:
        with pytest.raises(DownstreamTasksSkipped) as skipped:
            await asyncio.to_thread(pull.execute, context)
        assert list(skipped.value.tasks) == ["wait"]
        pulled = context["ti"].xcoms[None, "return_value", -1]
    else:
        pulled = await asyncio.to_thread(pull.execute, context)
    assert len(pulled) == 4


async def test_a_pull_that_brings_nothing_is_told_from_one_that_was_ended(start: Start, context: Context) -> None:
    await start(build_world(accounts=0, posts=1))
    with DAG("d", schedule=None):
        pull = PullSecondaryTasksOperator(task_id="pull_tasks")
        pull >> ClaimAccountsOperator(task_id="claim_accounts", tasks=pull.output)
    with pytest.raises(DownstreamTasksSkipped):
        await asyncio.to_thread(pull.execute, context)
    nothing = context["ti"].xcoms[None, "return_value", -1]
    assert await asyncio.to_thread(ClaimAccountsOperator(task_id="c", tasks=nothing).execute, context) == []


@pytest.mark.parametrize("waited", ["skipped", "success"])
async def test_an_import_is_skipped_only_where_its_post_waited_in_vain(
    start: Start, context: Context, waited: str
) -> None:
    sandbox = await start(build_world(accounts=1, posts=1, waiting_posts=1))
    (batch,) = await claimed(context)
    sandbox.set_feed(sandbox.world.posts[0].request_id)
    context["ti"].states = {"wait": waited}
    step = ImportRssOperator(task_id="import_rss", batch=batch, wait_task_id="wait")
    if waited == "skipped":
        with pytest.raises(AirflowSkipException, match="link_rss was not set in time"):
            await asyncio.to_thread(step.execute, context)
        assert not sandbox.site.submissions
    else:
        (row,) = await asyncio.to_thread(step.execute, context)
        assert row["outcome"] == "collected"


async def test_a_trigger_that_cannot_go_on_fails_its_task(
    start: Start, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start(build_world(accounts=1, posts=1, waiting_posts=1))
    (batch,) = await claimed(context)
    monkeypatch.delenv("AIRFLOW_CONN_LIKEPION_DEFAULT")
    trigger = LinkRssTrigger("likepion_default", batch, "dag/run", 0.1, SYSTEM_CLOCK.now().isoformat())
    (event,) = await events(trigger)
    assert isinstance(event, TaskFailedEvent)
    assert "there is no Airflow connection" in event.xcoms["error"], "for the report"


async def test_a_wait_has_one_deadline_however_often_its_trigger_starts(start: Start, context: Context) -> None:
    await start(build_world(accounts=1, posts=1, waiting_posts=1))
    (batch,) = await claimed(context)
    ended = (SYSTEM_CLOCK.now() - timedelta(seconds=1)).isoformat()
    trigger = LinkRssTrigger("likepion_default", batch, "dag/run", 60, ended)
    assert [type(event) for event in await asyncio.wait_for(events(trigger), 10)] == [TaskSkippedEvent]


@pytest.mark.parametrize(
    ("limit", "within_s", "words"), [(None, 620, "triggerer"), (30, 30, "execution_timeout, 0:00:30")]
)
def test_a_wait_that_no_triggerer_ends_is_airflows_to_end(
    context: Context, limit: int | None, within_s: int, words: str
) -> None:
    batch = {"name": "n", "waits": True, "tasks": []}
    sensor = LinkRssSensor(
        task_id="w", batch=batch, timeout=500, execution_timeout=timedelta(seconds=limit) if limit else None
    )
    with pytest.raises(TaskDeferred) as deferral:
        sensor.execute(context)
    assert deferral.value.timeout == timedelta(seconds=within_s)
    with pytest.raises(AirflowSensorTimeout, match=words):
        sensor.resume_execution("__fail__", {"error": TriggerFailureReason.TRIGGER_TIMEOUT}, context)
    assert words in context["ti"].xcoms[None, "error", -1]


async def test_no_more_batches_are_made_than_airflow_maps(
    start: Start, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start(build_world(accounts=12, posts=4, waiting_posts=3))
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "3")
    tasks = await asyncio.to_thread(PullSecondaryTasksOperator(task_id="pull_tasks", limit=20).execute, context)
    step = ClaimAccountsOperator(task_id="claim_accounts", tasks=tasks, batch_size=1)
    cut = await asyncio.to_thread(step.execute, context)
    assert sorted((each["waits"], len(each["tasks"])) for each in cut) == [(False, 3), (True, 3), (True, 6)]
    assert not any(key[1] == "dropped" for key in context["ti"].xcoms)


async def test_a_batch_that_does_not_wait_passes_without_a_request(context: Context) -> None:
    batch = {"name": "n", "waits": False, "tasks": []}
    LinkRssSensor(task_id="w", batch=batch).execute(context)


async def test_the_hook_does_what_the_client_does(start: Start) -> None:
    sandbox = await start()
    hook = LikepionHook()
    (pulled,) = await asyncio.to_thread(hook.pull, 1)
    task = pulled.task
    assert (await asyncio.to_thread(hook.account, task.account_id)).task == task
    claim = await asyncio.to_thread(hook.claim, [task.account_id, "nobody"])
    assert (claim.claimed, claim.not_found) == ({task.account_id}, {"nobody"})
    report = LinkReport(task.request_id, task.account_id, ("https://tide.example/a,b",))
    (record,) = await asyncio.to_thread(hook.insert, report)
    assert record.stored is True
    assert [row.link_post for row in sandbox.manager.rows] == ["https://tide.example/a%2Cb"]
    assert (await asyncio.to_thread(hook.test_connection))[0] is True


async def test_the_insert_says_what_status_and_note_say(start: Start, context: Context) -> None:
    sandbox = await start(build_world(accounts=1, posts=1))
    (batch,) = await claimed(context)
    await asyncio.to_thread(ImportRssOperator(task_id="import_rss", batch=batch).execute, context)
    with pytest.raises(AirflowFailException, match=r"one of completed, failed, cancel, not 'done'"):
        InsertLinksOperator(task_id="insert_links", batch=batch, status="done").execute(context)
    insert = InsertLinksOperator(task_id="insert_links", batch=batch, status="cancel", note="taken back")
    (row,) = await asyncio.to_thread(insert.execute, context)
    assert row["outcome"] == "delivered"
    assert {(row.status, row.note) for row in sandbox.manager.rows} == {("cancel", "taken back")}
    assert {"status", "note"} <= set(InsertLinksOperator.template_fields)


async def test_the_report_names_accounts_whose_task_did_not_finish(
    start: Start, context: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    await start()
    ti = context["ti"]
    ti.xcoms["claim_accounts", "return_value", -1] = batches = await claimed(context)
    with pytest.raises(
        AirflowFailException, match=r"3 accounts need attention: .* did not finish\. Read its log"
    ) as red:
        LikepionReportOperator(task_id="report").execute(context)
    conf = json.dumps({"account_ids": [task["account_id"] for batch in batches for task in batch["tasks"]]})
    assert str(red.value).endswith(f"trigger the DAG with {conf})")
    assert f"airflow dags trigger dag --conf '{conf}'" in capsys.readouterr().out


async def test_the_report_names_the_culprit_with_its_error_before_those_that_followed(
    start: Start, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start()
    gone = json.loads(os.environ["AIRFLOW_CONN_LIKEPION_DEFAULT"]) | {"password": "wrong"}
    monkeypatch.setenv("AIRFLOW_CONN_LIKEPION_DEFAULT", json.dumps(gone))
    ti = context["ti"]
    with pytest.raises(AirflowFailException) as failed:
        await asyncio.to_thread(PullSecondaryTasksOperator(task_id="pull_tasks").execute, context)
    ti.xcoms = {("pull_tasks", "error", -1): ti.xcoms[None, "error", -1]}
    ti.states = {"claim_accounts": "upstream_failed", "import_batch.import_rss": "upstream_failed"}
    ti.states["pull_tasks"] = "failed"
    with pytest.raises(AirflowFailException) as red:
        LikepionReportOperator(task_id="report").execute(context)
    assert str(red.value) == f"pull_tasks failed: {failed.value} 2 tasks could not run because of that."
    text = ti.xcoms[None, "summary", -1]["text"]
    assert text.splitlines()[1] == f"- pull_tasks failed: {failed.value}"


async def test_the_report_says_why_a_batch_did_not_finish(start: Start, context: Context) -> None:
    await start(build_world(accounts=1, posts=1))
    ti = context["ti"]
    ti.xcoms["claim_accounts", "return_value", -1] = await claimed(context)
    ti.xcoms["import_batch.import_rss", "error", 0] = "The journal is full. Make room."
    ti.states = {"import_batch.import_rss_0": "failed", "import_batch.insert_links_0": "success"}
    with pytest.raises(AirflowFailException) as red:
        LikepionReportOperator(task_id="report").execute(context)
    assert str(red.value).startswith("import_batch.import_rss failed: The journal is full. Make room. 1 account needs")
    assert (
        "did not finish: The journal is full. Make room."
        in ti.xcoms[None, "summary", -1]["accounts"][0]["message"] + "."
    )


async def test_an_error_that_is_not_ours_is_told_by_its_name_only(
    start: Start, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start()
    monkeypatch.setattr(PullSecondaryTasksOperator, "prepare", lambda *_: {}["canary"])
    with pytest.raises(KeyError):
        await asyncio.to_thread(PullSecondaryTasksOperator(task_id="pull_tasks").execute, context)
    assert context["ti"].xcoms[None, "error", -1] == "KeyError. Read the task's log."


async def test_a_manager_that_lost_its_rows_turns_the_report_red_and_names_resend(
    start: Start, context: Context
) -> None:
    sandbox: Sandbox = await start(build_world(accounts=1, posts=1))
    for lost in (False, True):
        (batch,) = await claimed(context)
        await asyncio.to_thread(ImportRssOperator(task_id="import_rss", batch=batch).execute, context)
        await asyncio.to_thread(InsertLinksOperator(task_id="insert_links", batch=batch).execute, context)
        if not lost:
            assert len(sandbox.manager.rows) == 5
            sandbox.manager.rows.clear()
            for served in sandbox.manager._served.values():
                served.clear()
    ti = context["ti"]
    ti.xcoms["pull_tasks", "handed_out_again", -1] = ti.xcoms[None, "handed_out_again", -1]
    (task,) = Batch.from_public(batch).tasks
    with pytest.raises(AirflowFailException) as red:
        LikepionReportOperator(task_id="report").execute(context)
    assert f"handed out 1 account whose links it had confirmed ({task.label})" in str(red.value)
    assert f'with {{"resend": true, "group_id": "{task.group_id}"}}.' in str(red.value)
    assert "likepion journal settle" in str(red.value)
    assert str(red.value) in ti.xcoms[None, "summary", -1]["text"]


async def test_the_board_finds_the_task_that_worked_an_account(start: Start, context: Context) -> None:
    await start()
    (batch,) = await claimed(context)
    context["ti"].map_index = 0
    step = ImportRssOperator(task_id="import_rss", batch=batch)
    await asyncio.to_thread(step.execute, context)
    (feed_url,) = step.feed_urls
    assert feed_url.startswith("http")
    assert step.episode_urls[0].startswith("http")
    overview = Overview(journal_for(LIKEPION_CONN_ID).database)
    total, rows = overview.accounts(Filter(run_id="run", map_index=0), Moment.read(SYSTEM_CLOCK))
    assert total == 3
    assert {row.task for row in rows} == {TaskName("dag", "run", "import_rss", 0)}


def test_the_reports_text_says_what_a_message_must_and_no_more() -> None:
    task = SecondaryTask("a", "post", "group", "tide.example", username="pod")
    bad = [AccountReport(task, Outcome.FAILED, message=f"wrong password {n}", remedy="Correct it.") for n in range(22)]
    summary = summarise([AccountReport(task, Outcome.DELIVERED, found=1), *bad])
    lines = summary["text"].splitlines()
    assert lines[0] == "Likepion: 1 delivered, 22 failed; 1 link delivered."
    assert lines[1] == "- pod@tide.example: wrong password 0. Correct it."
    assert len(lines) == 23
    assert lines[-2] == "and 2 more: see the report task's log."
    before, _, conf = lines[-1].removesuffix(")").partition("{")
    assert before == 'Once that is done, press "Run again" on the board (or trigger the DAG with '
    assert json.loads("{" + conf) == {"account_ids": ["a"] * 20}


def test_a_message_leads_to_the_board_where_airflows_address_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/below/")
    task = SecondaryTask("a", "post", "group", "tide.example", username="pod")
    bad = AccountReport(task, Outcome.FAILED, message="wrong password", remedy="Correct it.")
    board = board_url("staging", "manual__2026-01-01T00:00:00+00:00")
    last = summarise([bad], board=board)["text"].splitlines()[-1]
    found = re.search(r"on the board: (\S+) \(or", last)
    assert found, last
    assert found[1] == (
        "https://airflow.example/below/plugin/likepion/likepion/"
        "?dag_id=staging&run_id=manual__2026-01-01T00%3A00%3A00%2B00%3A00"
    )


def test_what_ails_many_accounts_is_said_once() -> None:
    tasks = [SecondaryTask(str(n), "post", "group", "tide.example", username=f"pod-{n}") for n in range(12)]
    locked = [AccountReport(task, Outcome.FAILED, message="the feed is locked", remedy="Ask.") for task in tasks[:10]]
    alone = [AccountReport(task, Outcome.FAILED, message="wrong password", remedy="Correct it.") for task in tasks[10:]]
    lines = summarise([*locked, *alone])["text"].splitlines()
    assert lines[1:] == [
        "- pod-0@tide.example, pod-1@tide.example, pod-2@tide.example and 7 more: the feed is locked. Ask.",
        "- pod-10@tide.example, pod-11@tide.example: wrong password. Correct it.",
        'Once that is done, press "Run again" on the board (or trigger the DAG with '
        f"{json.dumps({'account_ids': [task.account_id for task in tasks]})})",
    ]


def test_the_template_of_a_message_is_the_reports_text(context: Context) -> None:
    context["ti"].task_id = "report"
    context["ti"].xcoms["report", "summary", -1] = {"text": "Likepion: {{ 7 * 7 }}"}
    assert Template(REPORT_TEXT).render(context) == "Likepion: {{ 7 * 7 }}"


def test_no_word_of_a_stranger_is_markup_in_a_message(context: Context) -> None:
    context["ti"].task_id = "report"
    words = "<a href='https://evil.example'>R&D</a> <!channel> <https://evil.example|here> it's &lt;b&gt;"
    context["ti"].xcoms["report", "summary", -1] = {"text": words}
    shown = Template(REPORT_TEXT).render(context)
    assert not set("<>") & set(shown)
    assert "it's" in shown, "Slack would show &#39; as it is"
    assert html.unescape(shown) == words
