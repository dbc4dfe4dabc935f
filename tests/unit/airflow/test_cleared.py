"""What an operator does first: clear a task, mark it, run it again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from likepion_provider.hooks.connections import LIKEPION_CONN_ID, journal_for
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import claim
from likepion_provider.operators.likepion import (
    ClaimAccountsOperator,
    ImportRssOperator,
    InsertLinksOperator,
    PullSecondaryTasksOperator,
)
from likepion_provider.operators.report import LikepionReportOperator
from likepion_provider.sandbox.server import Sandbox
from likepion_provider.sandbox.world import build_world

Start = Callable[..., Any]
Context = dict[str, Any]


class Run:
    """One run of the four steps, any of which may be cleared with what follows it."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.ti = context["ti"]
        self.ti.max_tries = 0
        self.pull_limit = 10

    def clear(self) -> None:
        """As Airflow counts."""
        self.ti.max_tries = self.ti.try_number
        self.ti.try_number += 1
        self.ti.xcoms = {key: value for key, value in self.ti.xcoms.items() if key[0] is not None}

    async def _step(self, operator: Any, index: int = -1) -> Any:
        result = await asyncio.to_thread(operator.execute, self.context)
        for (owner, key, _), value in list(self.ti.xcoms.items()):
            if owner is None:
                self.ti.xcoms[operator.task_id, key, index] = value
                del self.ti.xcoms[None, key, -1]
        self.ti.xcoms[operator.task_id, "return_value", index] = result
        return result

    async def pull(self) -> list[dict[str, Any]]:
        return list(await self._step(PullSecondaryTasksOperator(task_id="pull_tasks", limit=self.pull_limit)))

    async def claim(self) -> list[dict[str, Any]]:
        tasks = self.ti.xcoms["pull_tasks", "return_value", -1]
        return list(await self._step(ClaimAccountsOperator(task_id="claim_accounts", tasks=tasks)))

    @property
    def batches(self) -> list[dict[str, Any]]:
        return list(self.ti.xcoms["claim_accounts", "return_value", -1])

    async def imports(self, number: int = 0) -> None:
        await self._step(ImportRssOperator(task_id="import_rss", batch=self.batches[number]), number)

    async def insert(self, number: int = 0) -> None:
        await self._step(InsertLinksOperator(task_id="insert_links", batch=self.batches[number]), number)

    def report(self) -> dict[str, Any]:
        operator = LikepionReportOperator(task_id="report", import_task_id="import_rss", insert_task_id="insert_links")
        return operator.execute(self.context)

    async def all_but_pull(self) -> None:
        await self.claim()
        await self.imports()
        await self.insert()


@pytest.fixture
def run(context: Context) -> Run:
    return Run(context)


@pytest.mark.parametrize("steps", [("imports", "insert"), ("insert",), ("claim",), ()])
async def test_what_is_delivered_stays_delivered_whatever_is_cleared(
    start: Start, run: Run, steps: tuple[str, ...]
) -> None:
    sandbox: Sandbox = await start(build_world(accounts=3, posts=1))
    await run.pull()
    await run.all_but_pull()
    first = run.report()
    assert (first["counts"], first["links"]) == ({"delivered": 3}, 15)
    run.clear()
    for step in steps:
        await getattr(run, step)()
    assert run.report()["counts"] == {"delivered": 3}
    assert run.report()["links"] == 15
    assert sorted(sandbox.manager.rows_report()["accounts"].values()) == [5, 5, 5]


async def test_to_clear_what_follows_an_unfinished_pull_says_what_to_clear(start: Start, run: Run) -> None:
    await start(build_world(accounts=1, posts=1))
    # The run was marked failed while it pulled.
    run.ti.xcoms["pull_tasks", "return_value", -1] = None
    with pytest.raises(AirflowFailException, match="Clear that task with those downstream"):
        await run.claim()


async def test_a_claim_that_was_let_go_is_taken_up_again(start: Start, run: Run) -> None:
    sandbox: Sandbox = await start(build_world(accounts=3, posts=1))
    await run.pull()
    await run.claim()
    # The import is marked failed by hand: the insert lets the accounts go, and the manager still holds them.
    await run.insert()
    run.ti.xcoms["import_rss", "return_value", 0] = None
    with pytest.raises(AirflowFailException, match="3 accounts need attention"):
        run.report()
    run.clear()
    await run.imports()
    await run.insert()
    assert run.report()["counts"] == {"delivered": 3}
    assert sum(event.kind == "pull" for event in sandbox.manager.events) == 1


async def test_a_cleared_pull_takes_up_what_its_run_had(start: Start, run: Run) -> None:
    sandbox: Sandbox = await start(build_world(accounts=3, posts=1))
    await run.pull()
    await run.claim()
    await run.insert()
    run.clear()
    assert len(await run.pull()) == 3
    await run.all_but_pull()
    assert run.report()["counts"] == {"delivered": 3}
    assert len(sandbox.manager.rows) == 15


@pytest.mark.parametrize("steps", [("imports", "insert"), ("claim",)])
async def test_what_has_no_claim_any_more_is_red_and_says_how_to_run_it(
    start: Start, run: Run, lapse_all: Callable[[], None], steps: tuple[str, ...]
) -> None:
    sandbox: Sandbox = await start(build_world(accounts=1, posts=1))
    await run.pull()
    await run.claim()
    await run.insert()
    lapse_all()
    run.clear()
    for step in steps:
        await getattr(run, step)()
    (account_id,) = sandbox.manager.accounts
    words = rf"cannot be worked: its claim has lapsed\. Run it anew.* the DAG with .*account_ids.*{account_id}"
    with pytest.raises(AirflowFailException, match=words):
        run.report()
    assert run.ti.xcoms[None, "summary", -1]["counts"] == {"not_run": 1}
    assert not sandbox.manager.rows


async def test_what_another_run_works_is_left_to_it_and_said(start: Start, run: Run) -> None:
    await start(build_world(accounts=1, posts=1))
    await run.pull()
    await run.claim()
    with journal_for(LIKEPION_CONN_ID).database.writing() as connection:
        connection.execute(claim.update().where(of_manager(claim)).values(scope="dag/another"))
    run.clear()
    await run.imports()
    with pytest.raises(AirflowFailException, match="cannot be worked: another run works it"):
        run.report()


async def test_a_cleared_import_tries_at_once_what_had_failed(start: Start, run: Run) -> None:
    world = build_world(accounts=1, posts=1)
    sandbox: Sandbox = await start(world)
    (account,) = sandbox.manager.accounts.values()
    right = account.credentials["password"]
    account.credentials["password"] = "wrong"
    await run.pull()
    await run.all_but_pull()
    with pytest.raises(AirflowFailException, match="1 account needs attention"):
        run.report()
    account.credentials["password"] = right
    run.clear()
    await run.imports()
    await run.insert()
    assert run.report()["counts"] == {"delivered": 1}


@pytest.mark.parametrize(("cleared", "pace"), [(False, 25), (True, None)])
async def test_the_pace_learns_from_first_attempts_only(
    start: Start, run: Run, lapse_all: Callable[[], None], *, cleared: bool, pace: int | None
) -> None:
    await start(build_world(accounts=30, posts=1))
    run.pull_limit = 30
    await run.pull()
    await run.claim()
    lapse_all()
    if cleared:
        run.clear()
    for number in range(len(run.batches)):
        await run.imports(number)
    with contextlib.suppress(AirflowFailException):
        run.report()
    assert journal_for(LIKEPION_CONN_ID).settings.pace() == pace


async def test_each_tasks_log_has_one_line_of_what_came_of_it_and_none_for_each_account(
    start: Start, run: Run, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    sandbox: Sandbox = await start(build_world(accounts=3, posts=1))
    await run.pull()
    await run.all_but_pull()
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    names = [account.credentials["username"] for account in sandbox.manager.accounts.values()]
    assert not [line for line in lines if any(name in line for name in names if name)]
    shown = capfd.readouterr()
    for words in (
        "Took 3 accounts of 1 post; 0 not taken",
        "3 accounts in 1 batch; 0 dropped",
        "3 accounts: 3 collected; 15 links",
        "3 accounts: 3 delivered; 15 links",
    ):
        # Outside every group: after the end of one, before the next begins.
        outside = rf"::endgroup::(?:(?!::group::)[\s\S])*{words}"
        assert re.search(outside, shown.out + shown.err), f"{words}\n{shown.out}\n{shown.err}"
