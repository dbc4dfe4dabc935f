"""### Podcast: secondary sites

Imports the primary site's RSS feed into every account that the manager hands out, and reports each episode's public
URL exactly once. Nothing is lost when a run ends early: what is not finished is handed out again, and the journal
knows what was done.

**By hand:** trigger it and fill in the form. A group, a domain or an account id takes just those accounts; what the
manager hands out beside is left to the next run.

**Backfill a group:**
`airflow backfill create --dag-id likepion_podcast_secondary --from-date D --to-date D
--dag-run-conf '{"group_id": "G"}'`

**Red?** The `report` task names every account that needs somebody, and what to do.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import Param, PartitionedAtRuntime, dag, task_group
from airflow.sdk.configuration import conf

from likepion_provider.hooks.internals import give_params
from likepion_provider.operators.assist import AskPersonOperator
from likepion_provider.operators.likepion import (
    ClaimAccountsOperator,
    ImportRssOperator,
    InsertLinksOperator,
    PullSecondaryTasksOperator,
)
from likepion_provider.operators.report import LikepionReportOperator
from likepion_provider.sensors.likepion import LinkRssSensor

NOTIFIER = conf.getimport("likepion", "notifier", fallback=None)
SCHEDULE_MINUTES = conf.getint("likepion", "schedule_minutes", fallback=5)
# A pool that does not exist would hold its tasks for ever, so the one that every Airflow has is the default.
POOL = conf.get("likepion", "pool", fallback="default_pool")

WAIT = "import_batch.wait_for_link_rss"
#: What only a run with assist has.
ASSISTED = ["import_batch.ask_person", "import_batch.import_assisted", "import_batch.insert_assisted"]

PARAMS = {
    "limit": Param(
        200,
        type="integer",
        minimum=1,
        maximum=1000,
        title="Limit",
        description="How many accounts to pull; also where a group, domains or accounts are looked for among them.",
    ),
    "group_id": Param(
        None,
        type=["null", "string"],
        pattern=r"^\S{1,64}$",
        title="Group",
        description="Take this group's accounts that are not done. What comes beside is left to the next run.",
    ),
    "domains": Param(
        None,
        type=["null", "array"],
        items={"type": "string", "pattern": r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$"},
        title="Domains",
        description="Take the accounts of these platforms only, e.g. anchor.fm; one per line.",
    ),
    "account_ids": Param(
        None,
        type=["null", "array"],
        items={"type": "string", "pattern": r"^\S{1,64}$"},
        title="Accounts",
        description="Take these accounts, even such as were set aside after failures; one id per line.",
    ),
    "batch_size": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        maximum=1000,
        title="Batch size",
        description="Accounts per mapped task. Empty: as many as keep the grid readable; 1: one task per account.",
    ),
    "resend": Param(
        False,
        type="boolean",
        title="Send again",
        description="You have seen that the manager lost links which it had confirmed: send those of this group or of "
        "these accounts again. Only accounts that the manager hands out again are taken.",
    ),
    "assist": Param(
        False,
        type="boolean",
        title="Assist",
        description="Where a platform takes the feed from a person only, ask for it in this run: under Required "
        "actions, with what to do. Unanswered for 14 minutes, the accounts are let go.",
    ),
    "dry_run": Param(
        False,
        type="boolean",
        title="Dry run",
        description="Look at feeds and platforms, but import nothing and send nothing.",
    ),
}


@dag(
    dag_id="likepion_podcast_secondary",
    # Counted from when the DAG is switched on, not from the full hour: not everybody's pull comes at once.
    schedule=timedelta(minutes=SCHEDULE_MINUTES) if SCHEDULE_MINUTES else PartitionedAtRuntime(),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    # A run that waits for feeds lives half an hour; the next ones must not wait for it.
    max_active_runs=8,
    # Depth first: a batch's links are reported before the next batch begins.
    default_args={"retries": 2, "retry_delay": timedelta(seconds=20), "weight_rule": "upstream"},
    render_template_as_native_obj=True,
    doc_md=__doc__,
    tags=["likepion", "podcast"],
)
def likepion_podcast_secondary() -> None:  # noqa: D103 - the module's text is the DAG's documentation
    pull = PullSecondaryTasksOperator(
        task_id="pull_tasks",
        limit="{{ params.limit }}",
        # A run's partition key, where it has one, is the group.
        # Quoted, or a group called 123 would be rendered to a number.
        group_id="{{ '%r' | format(params.group_id or dag_run.partition_key) }}",
        domains="{{ params.domains }}",
        account_ids="{{ params.account_ids }}",
        resend="{{ params.resend and not params.dry_run }}",
        look_only="{{ params.dry_run }}",
        leave_out=f"{{{{ [] if params.assist else {ASSISTED} }}}}",
        wait_task_id=WAIT,
        report_task_id="report",
        known_conf=[*PARAMS],
    )
    claim = ClaimAccountsOperator(task_id="claim_accounts", tasks=pull.output, batch_size="{{ params.batch_size }}")

    @task_group
    def import_batch(batch: dict[str, Any]) -> None:
        name = "{{ task.batch['name'] }}"
        wait = LinkRssSensor(task_id="wait_for_link_rss", batch=batch, map_index_template=name)
        import_rss = ImportRssOperator(
            task_id="import_rss",
            batch=batch,
            look_only="{{ params.dry_run }}",
            wait_task_id=WAIT,
            # The sensor is left out where nothing waits.
            trigger_rule="none_failed",
            map_index_template=name,
            pool=POOL,
        )
        insert_links = InsertLinksOperator(
            task_id="insert_links",
            batch=batch,
            import_task_id="import_batch.import_rss",
            look_only="{{ params.dry_run }}",
            # What an import found before it failed is in the journal, and is reported.
            trigger_rule="all_done",
            assist="{{ params.assist }}",
            map_index_template=name,
        )
        wait >> import_rss >> insert_links

        ask = AskPersonOperator(
            task_id="ask_person",
            batch=batch,
            import_task_id="import_batch.import_rss",
            assist="{{ params.assist }}",
            map_index_template=name,
        )
        import_assisted = ImportRssOperator(
            task_id="import_assisted", batch=ask.output, map_index_template=name, pool=POOL
        )
        insert_assisted = InsertLinksOperator(
            task_id="insert_assisted",
            batch=ask.output,
            import_task_id="import_batch.import_assisted",
            map_index_template=name,
        )
        import_rss >> ask >> import_assisted >> insert_assisted

    report = LikepionReportOperator(
        task_id="report",
        trigger_rule="all_done",
        assist="{{ params.assist }}",
        retries=0,
        on_failure_callback=NOTIFIER,
    )
    import_batch.expand(batch=claim.output) >> report


secondary = likepion_podcast_secondary()
give_params(secondary, PARAMS)
