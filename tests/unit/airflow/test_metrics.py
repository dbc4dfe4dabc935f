"""What a run tells Airflow's stats."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from likepion_provider.hooks import metrics
from likepion_provider.operators.likepion import (
    ClaimAccountsOperator,
    ImportRssOperator,
    InsertLinksOperator,
    PullSecondaryTasksOperator,
)
from likepion_provider.sandbox.world import build_world


class Stats:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.timed: Counter[str] = Counter()
        self.tags: set[tuple[str, str]] = set()

    def incr(self, stat: str, count: int = 1, tags: dict[str, str] | None = None) -> None:
        self.counts[stat] += count
        self.tags |= set((tags or {}).items())

    def timing(self, stat: str, dt: Any, tags: dict[str, str]) -> None:
        assert dt.total_seconds() > 0
        self.timed[f"{stat} {tags['domain']}"] += 1


async def test_a_run_is_counted(
    start: Callable[..., Any], context: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await start(build_world(accounts=3, posts=1))
    stats = Stats()
    monkeypatch.setattr(metrics, "Stats", stats)

    async def run(operator: Any) -> Any:
        return await asyncio.to_thread(operator.execute, context)

    tasks = await run(PullSecondaryTasksOperator(task_id="pull_tasks"))
    (batch,) = await run(ClaimAccountsOperator(task_id="claim_accounts", tasks=tasks))
    for _ in range(2):
        await run(ImportRssOperator(task_id="import_rss", batch=batch))
    await run(InsertLinksOperator(task_id="insert_links", batch=batch))
    assert {name: count for name, count in stats.counts.items() if count} == {
        "likepion.accounts.pulled": 3,
        "likepion.accounts.imported": 6,
        "likepion.links.new": 15,
        "likepion.links.duplicates_avoided": 15,
        "likepion.accounts.inserted": 3,
    }
    assert {"domain", "outcome"} == {name for name, _ in stats.tags}
    assert set(stats.timed.values()) == {2}
    assert len(stats.timed) == 3
