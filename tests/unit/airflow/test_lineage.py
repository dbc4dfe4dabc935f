"""What OpenLineage learns of an import, by the provider's own way of asking."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from airflow.providers.openlineage.extractors.base import DefaultExtractor

from likepion_provider.clock import SYSTEM_CLOCK, Moment
from likepion_provider.hooks.connections import LIKEPION_CONN_ID, journal_for
from likepion_provider.manager.lease import Lease
from likepion_provider.operators import lineage
from likepion_provider.operators.likepion import (
    ClaimAccountsOperator,
    ImportRssOperator,
    InsertLinksOperator,
    PullSecondaryTasksOperator,
)
from likepion_provider.sandbox.server import Sandbox
from likepion_provider.sandbox.world import build_world
from likepion_provider.steps.batches import Batch

Start = Callable[..., Any]


async def claimed(context: dict[str, Any]) -> dict[str, Any]:
    pull = PullSecondaryTasksOperator(task_id="pull_tasks", limit=10)
    tasks = await asyncio.to_thread(pull.execute, context)
    claim = ClaimAccountsOperator(task_id="claim_accounts", tasks=tasks)
    (batch,) = await asyncio.to_thread(claim.execute, context)
    return dict(batch)


async def imported(context: dict[str, Any], batch: dict[str, Any], **options: Any) -> tuple[ImportRssOperator, Any]:
    step = ImportRssOperator(task_id="import_rss", batch=batch, **options)
    await asyncio.to_thread(step.execute, context)
    found = DefaultExtractor(step).extract_on_complete(context["ti"])
    assert found is not None
    return step, found


async def test_a_feed_goes_in_and_episode_pages_come_out(start: Start, context: dict[str, Any]) -> None:
    sandbox: Sandbox = await start(build_world(accounts=3, posts=1))
    step, found = await imported(context, await claimed(context))
    (feed,) = found.inputs
    assert f"{feed.namespace}{feed.name}" == step.feed_urls[0]
    pages = {f"{page.namespace}{page.name}" for page in found.outputs}
    assert len(pages) == 15
    assert all(page.namespace == sandbox.site_url for page in found.outputs)
    shown = repr(found)
    secrets = {*sandbox.credentials(), *(post.link_rss for post in sandbox.manager.posts.values())}
    assert not [secret for secret in secrets if secret in shown]


async def test_nothing_comes_out_of_a_dry_run(start: Start, context: dict[str, Any]) -> None:
    await start(build_world(accounts=1, posts=1))
    batch = await claimed(context)
    await imported(context, batch)
    _, found = await imported(context, batch, look_only=True)
    assert (len(found.inputs), found.outputs) == (1, [])


async def test_a_page_whose_text_was_pruned_is_left_out(start: Start, context: dict[str, Any]) -> None:
    await start(build_world(accounts=1, posts=1))
    batch = await claimed(context)
    await imported(context, batch)
    journal = journal_for(LIKEPION_CONN_ID)
    insert = InsertLinksOperator(task_id="insert_links", batch=batch)
    await asyncio.to_thread(insert.execute, context)
    journal.links.prune(SYSTEM_CLOCK.now())
    (key,) = [task.key for task in Batch.from_public(batch).tasks]
    now = Moment.read(SYSTEM_CLOCK)
    journal.claims.grant("dag/run", {key: Lease.granted(now)})
    _, found = await imported(context, batch)
    assert found.outputs == []


def test_a_task_that_failed_before_it_read_anything_has_no_lineage(context: dict[str, Any]) -> None:
    found = DefaultExtractor(ImportRssOperator(task_id="import_rss", batch={})).extract_on_failure(context["ti"])
    assert found is not None
    assert (found.inputs, found.outputs) == ([], [])


def test_it_is_bounded_and_names_a_feed_once() -> None:
    feeds = ["https://feeds.example:8443/show?key=***"] * 2 + ["https://feeds.example"]
    pages = [f"https://site.example/{number}" for number in range(lineage.MOST_PAGES + 1)]
    found = lineage.facets(feeds, pages)
    assert found is not None
    assert [(each.namespace, each.name) for each in found.inputs] == [
        ("https://feeds.example:8443", "/show?key=***"),
        ("https://feeds.example", "/"),
    ]
    assert [each.name for each in found.outputs] == [f"/{number}" for number in range(lineage.MOST_PAGES)]


def test_without_openlineages_provider_there_is_none_and_importing_a_step_does_not_need_it() -> None:
    program = """
import json, sys
import likepion_provider.operators.likepion
loaded = [name for name in sys.modules if name.startswith(("openlineage.", "airflow.providers.openlineage.extr"))]
sys.modules["airflow.providers.openlineage"] = None
from likepion_provider.operators import lineage
print(json.dumps([loaded, lineage.facets(["https://a.example/"], [])]))
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
    assert json.loads(answer.stdout.splitlines()[-1]) == [[], None]
