"""Runs for a group, domains or accounts: what they take, what they leave to others, and what they say of it."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from jinja2.nativetypes import NativeEnvironment

from likepion_provider.operators.likepion import (
    NOT_TAKEN,
    SEALED_FEED,
    ClaimAccountsOperator,
    ImportRssOperator,
    PullSecondaryTasksOperator,
)
from likepion_provider.operators.report import LikepionReportOperator, summarise
from likepion_provider.sandbox.world import build_world
from likepion_provider.steps.batches import Batch

Start = Callable[..., Any]
Context = dict[str, Any]
DAG_FILE = Path(__file__).parents[3] / "dags" / "likepion_podcast_secondary.py"


async def pulled(context: Context, **options: Any) -> list[dict[str, Any]]:
    step = PullSecondaryTasksOperator(task_id="pull_tasks", **options)
    return list(await asyncio.to_thread(step.execute, context))


async def test_a_choice_claims_nothing_that_no_pull_gave(start: Start, context: Context) -> None:
    sandbox = await start(build_world(accounts=4, posts=2))
    one, *others = sandbox.manager.accounts
    tasks = await pulled(context, account_ids=[one])
    assert [task["account_id"] for task in tasks] == [one]
    assert [event.kind for event in sandbox.manager.events] == ["pull"]
    context["dag_run"].run_id = "the-next-run"
    assert sorted(task["account_id"] for task in await pulled(context)) == sorted(others), "handed over"


async def test_an_account_that_a_stranger_holds_is_named_and_left_alone(start: Start, context: Context) -> None:
    sandbox = await start(build_world(accounts=2, posts=1))
    held, free = sandbox.manager.accounts
    sandbox.manager.pull(1, worker="stranger")
    tasks = await pulled(context, account_ids=[held, free])
    assert [task["account_id"] for task in tasks] == [free]
    (refusal,) = context["ti"].xcoms[None, NOT_TAKEN, -1]
    assert refusal["account_id"] == held
    assert "somebody else holds it" in refusal["reason"]
    assert not [event for event in sandbox.manager.events if event.foreign]


async def test_accounts_and_groups_are_named_by_what_a_person_sees(start: Start, context: Context) -> None:
    sandbox = await start(build_world(accounts=6, posts=2))
    pulled_rows = await pulled(context)
    names = [f"{row['username']}@{row['domain']}" for row in pulled_rows]
    assert len(set(names)) == 6
    first, second, third = pulled_rows[:3]
    tasks = await pulled(context, account_ids=[names[0], second["account_id"][:8], third["account_id"]])
    assert [task["account_id"] for task in tasks] == [each["account_id"] for each in (first, second, third)]
    tasks = await pulled(context, group_id=first["group_id"][:8])
    assert {task["group_id"] for task in tasks} == {first["group_id"]}
    events = len(sandbox.manager.events)
    with pytest.raises(AirflowFailException, match="fits no group of the journal, whose newest are"):
        await pulled(context, group_id="nobody")
    with pytest.raises(AirflowFailException, match="fits no account of the journal, whose newest are"):
        await pulled(context, account_ids=[names[0], "nobody"])
    assert len(sandbox.manager.events) == events, "nothing was claimed"


async def test_the_report_names_what_was_not_to_be_had(start: Start, context: Context) -> None:
    await start()
    refusal = {"name": "pod@harbor.example", "account_id": "a-1", "reason": "another run works it"}
    context["ti"].xcoms["pull_tasks", NOT_TAKEN, -1] = [refusal]
    summary = await asyncio.to_thread(LikepionReportOperator(task_id="report").execute, context)
    assert summary["not_taken"] == [refusal]
    assert "- not taken: pod@harbor.example, another run works it" in summary["text"]


def test_a_message_names_so_many_and_says_how_many_more() -> None:
    text = summarise([], [{"name": f"n{number}", "account_id": "", "reason": "why"} for number in range(25)])["text"]
    assert text.count("- not taken:") == 20
    assert "and 5 more that were not taken" in text


async def test_a_dry_run_for_accounts_pulls_nothing(start: Start, context: Context) -> None:
    sandbox = await start(build_world(accounts=2, posts=1))
    assert await pulled(context, account_ids=list(sandbox.manager.accounts), look_only="True") == []
    assert sandbox.manager.events == []
    assert {each["reason"] for each in context["ti"].xcoms[None, NOT_TAKEN, -1]} == {
        "no claim of ours holds it, and a dry run pulls nothing"
    }


async def test_a_pending_post_beside_the_running_one_does_not_hide_its_feed(start: Start, context: Context) -> None:
    sandbox = await start(build_world(accounts=2, posts=1))
    (post,) = sandbox.world.posts
    tasks = await pulled(context)
    sandbox.manager.add_post(post.group_id, status="pending", request_id="post-that-is-pending")
    assert [SEALED_FEED in task for task in tasks] == [True, False], "once per post"
    assert "http" not in str(tasks[0][SEALED_FEED])
    claim = ClaimAccountsOperator(task_id="claim_accounts", tasks=tasks)
    (batch,) = await asyncio.to_thread(claim.execute, context)
    assert list(Batch.from_public(batch).feeds) == [post.request_id]
    imported = await asyncio.to_thread(ImportRssOperator(task_id="import_rss", batch=batch).execute, context)
    assert [row["outcome"] for row in imported] == ["collected", "collected"]


# --- params are what they say ---


@pytest.mark.parametrize("group_id", ["123", "None", "[1]", "1e5", "true", "it's", "{{ x }}", None])
def test_a_group_is_rendered_as_it_was_given(group_id: str | None) -> None:
    dag = runpy.run_path(str(DAG_FILE))["secondary"]
    template = dag.get_task("pull_tasks").group_id
    scope = {"params": SimpleNamespace(group_id=group_id), "dag_run": SimpleNamespace(partition_key=None)}
    assert NativeEnvironment().from_string(template).render(**scope) == group_id


async def test_a_group_that_a_template_made_a_number_is_one_clear_line(start: Start, context: Context) -> None:
    sandbox = await start()
    with pytest.raises(AirflowFailException, match="group_id must be text, not 123"):
        await pulled(context, group_id=123)
    assert sandbox.manager.events == []


@pytest.mark.parametrize("empty", [{"account_ids": []}, {"domains": []}])
async def test_an_empty_list_pulls_nothing(start: Start, context: Context, empty: dict[str, Any]) -> None:
    sandbox = await start()
    with pytest.raises(AirflowFailException, match=f"{next(iter(empty))} is empty"):
        await pulled(context, **empty)
    assert sandbox.manager.events == []


async def test_a_conf_key_that_is_no_parameter_pulls_nothing(start: Start, context: Context) -> None:
    sandbox = await start()
    context["dag_run"].conf = {"group": "G"}
    with pytest.raises(AirflowFailException, match=r"conf has 'group', which is no parameter\. There are group_id,"):
        await pulled(context, known_conf=["limit", "group_id"])
    assert sandbox.manager.events == []
    context["dag_run"].conf = {"group_id": None}
    assert len(await pulled(context, known_conf=["limit", "group_id"])) == 3
