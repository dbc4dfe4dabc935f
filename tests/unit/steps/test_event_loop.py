"""No step asks the database on the event loop: every other account would wait."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from sqlalchemy import event

from likepion_provider.errors import BadRequest, PlatformError
from likepion_provider.models import Outcome
from likepion_provider.platforms import Job
from likepion_provider.steps.intake import MAX_CHOICE, Choice
from tests.clocks import VirtualClock
from tests.fakes import Worker, fresh_journal, small_manager


async def test_no_step_asks_the_database_on_the_event_loop(tmp_path: Path) -> None:
    clock = VirtualClock()
    manager = small_manager(clock, accounts=6, posts=2)
    worker = Worker(manager, fresh_journal(tmp_path), clock)
    on_the_loop: list[str] = []

    def watch(_c: object, _cursor: object, statement: str, *_: object) -> None:
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            on_the_loop.append(statement)

    def trouble(_when: str, job: Job) -> None:
        if job.task.account_id == "account-2":
            raise PlatformError("no")

    event.listen(worker.journal.database.engine, "before_cursor_execute", watch)
    worker.platform.trouble = trouble
    outcomes: set[Outcome] = set()
    for number in range(3):
        tasks = await worker.intake(f"run-{number}").pull(100)
        outcomes |= {each.outcome for each in await worker.batch(f"run-{number}", report_failures=True).run(tasks)}
        manager.refuse_records(1)
        link = "https://site.example/failed"
        outcomes |= {each.outcome for each in await worker.delivery(f"run-{number}", failure_link=link).run(tasks)}
        clock.advance(4 * 3600)
    await worker.intake("chosen").choose(Choice(domains=("scripted.example",)))
    assert outcomes >= {Outcome.DELIVERED, Outcome.FAILED, Outcome.COLLECTED}
    assert on_the_loop == []
    worker.journal.database.close()


@pytest.mark.parametrize("field", ["account_ids", "domains"])
def test_a_choice_has_a_bound(field: str) -> None:
    named = tuple(str(number) for number in range(MAX_CHOICE + 1))
    with pytest.raises(BadRequest, match=f"{field} names 1001, and a run takes at most 1000"):
        Choice(account_ids=named) if field == "account_ids" else Choice(domains=named)
