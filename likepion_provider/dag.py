"""A manager's DAG, made by one call: the DAG that comes with the package is such a call, and another is a line.

.. code-block:: python

    # In a file of Airflow's DAG folder. Airflow reads only files that have the words "airflow" and "dag" in them.
    from likepion_provider.dag import likepion_dag

    staging = likepion_dag("likepion_staging", likepion_conn_id="likepion_staging", tags=["staging"])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, conf, task_group

from likepion_provider import DAG_ID
from likepion_provider.hooks.compat import by_hand
from likepion_provider.hooks.connections import LIKEPION_CONN_ID
from likepion_provider.hooks.internals import give_params
from likepion_provider.hooks.language import configured_language
from likepion_provider.operators.assist import AskPersonOperator
from likepion_provider.operators.likepion import (
    ClaimAccountsOperator,
    ImportRssOperator,
    InsertLinksOperator,
    PullSecondaryTasksOperator,
)
from likepion_provider.operators.report import LikepionReportOperator
from likepion_provider.sensors.likepion import LinkRssSensor
from likepion_provider.words import spoken, t, tn

#: In place of a value: what ``[likepion]`` in Airflow's configuration says.
AS_CONFIGURED: Any = object()
#: A batch's links are reported before the next batch begins: depth first.
DEFAULT_ARGS = {"retries": 2, "retry_delay": timedelta(seconds=20), "weight_rule": "upstream"}
WAIT = "import_batch.wait_for_link_rss"
#: What only a run with assist has.
ASSISTED = ["import_batch.ask_person", "import_batch.import_assisted", "import_batch.insert_assisted"]


def likepion_dag(
    dag_id: str = DAG_ID,
    *,
    likepion_conn_id: str = LIKEPION_CONN_ID,
    schedule: Any = AS_CONFIGURED,
    start_date: datetime = datetime(2026, 1, 1, tzinfo=timezone.utc),
    max_active_runs: int = 8,
    pool: str = AS_CONFIGURED,
    notifier: Any = AS_CONFIGURED,
    default_args: Mapping[str, Any] | None = None,
    tags: Iterable[str] = ("likepion", "podcast"),
    doc_md: str | None = None,
    **options: Any,
) -> DAG:
    """The DAG that imports feeds into the accounts of one manager and reports what came of it.

    Two DAGs may work for one manager. Two managers need two connections; whatever their ids, neither is touched by the
    other's runs.

    :param dag_id: of its own for each DAG.
    :param likepion_conn_id: the manager's connection, of type ``likepion``.
    :param schedule: as Airflow has it; by default every ``[likepion] schedule_minutes``, or where these are 0, by hand.
    :param start_date: aware; nothing is caught up.
    :param max_active_runs: a run that waits for feeds lives half an hour, and the next ones must not wait for it.
    :param pool: of the tasks that import; ``[likepion] pool`` by default. One that does not exist holds them for ever.
    :param notifier: the ``on_failure_callback`` of the report; ``[likepion] notifier`` by default.
    :param default_args: beside, or in place of, :data:`DEFAULT_ARGS`.
    :param tags: what Airflow's list of DAGs can be filtered by.
    :param doc_md: what Airflow shows with the DAG; by default how to use it.
    :param options: further ones of :class:`airflow.sdk.DAG`.
    """
    if schedule is AS_CONFIGURED:
        schedule = _configured_schedule()
    if pool is AS_CONFIGURED:
        # A pool that does not exist would hold its tasks for ever, so the one that every Airflow has is the default.
        pool = conf.get("likepion", "pool", fallback="default_pool")
    with spoken(configured_language()):
        params, about = _params(), _about(dag_id, likepion_conn_id, schedule, pool)
    dag = DAG(
        dag_id,
        schedule=schedule,
        start_date=start_date,
        catchup=False,
        max_active_runs=max_active_runs,
        default_args={**DEFAULT_ARGS, **(default_args or {})},
        render_template_as_native_obj=True,
        doc_md=about if doc_md is None else doc_md,
        tags=[*tags],
        **options,
    )
    if notifier is AS_CONFIGURED:
        notifier = conf.getimport("likepion", "notifier", fallback=None)
    with dag:
        _make_tasks(likepion_conn_id, pool, notifier, [*params])
    give_params(dag, params)
    return dag


def _about(dag_id: str, likepion_conn_id: str, schedule: Any, pool: str) -> str:
    """What Airflow shows with the DAG (Markdown)."""
    when = t("when it is triggered")
    if isinstance(schedule, timedelta):
        when = tn("every {count} minute", "every {count} minutes", int(schedule.total_seconds() // 60))
    elif isinstance(schedule, str):
        when = t("at `{schedule}`", schedule=schedule)
    paragraphs = (
        t("### Podcast: secondary sites"),
        t(
            "Imports the primary site's RSS feed into every account that the manager hands out, and reports each "
            "episode's public URL exactly once. Nothing is lost when a run ends early: what is not finished is "
            "handed out again, and the journal knows what was done."
        ),
        t(
            "**It works** for the manager of the connection `{connection}`, {when}; its imports take slots of the "
            "pool `{pool}`.",
            connection=likepion_conn_id,
            when=when,
            pool=pool,
        ),
        t(
            "**By hand:** trigger it and fill in the form. A group, a domain or an account takes just those "
            "accounts; what the manager hands out beside is left to the next run."
        ),
        t("**Backfill a group:**"),
        f"`airflow backfill create --dag-id {dag_id} --from-date D --to-date D "
        """--dag-run-conf '{"group_id": "G"}'`""",
        t("**Red?** The `report` task names every account that needs somebody, and what to do."),
    )
    return "\n\n".join(paragraphs)


def _configured_schedule() -> Any:
    minutes = conf.getint("likepion", "schedule_minutes", fallback=5)
    # Counted from when the DAG is switched on, not from the full hour: not everybody's pull comes at once.
    return timedelta(minutes=minutes) if minutes else by_hand()


def _make_tasks(likepion_conn_id: str, pool: str, notifier: Any, known_conf: list[str]) -> None:
    pull = PullSecondaryTasksOperator(
        task_id="pull_tasks",
        likepion_conn_id=likepion_conn_id,
        limit="{{ params.limit }}",
        # A run's partition key, where it has one, is the group; before 3.3, none has.
        # Quoted, or a group called 123 would be rendered to a number.
        group_id="{{ '%r' | format(params.group_id or dag_run.partition_key | default(none)) }}",
        domains="{{ params.domains }}",
        account_ids="{{ params.account_ids }}",
        resend="{{ params.resend and not params.dry_run }}",
        look_only="{{ params.dry_run }}",
        leave_out=f"{{{{ [] if params.assist else {ASSISTED} }}}}",
        wait_task_id=WAIT,
        report_task_id="report",
        known_conf=known_conf,
    )
    claim = ClaimAccountsOperator(
        task_id="claim_accounts",
        likepion_conn_id=likepion_conn_id,
        tasks=pull.output,
        batch_size="{{ params.batch_size }}",
    )

    @task_group
    def import_batch(batch: dict[str, Any]) -> None:
        # In Airflow 3.1.0, `task` is still the one whose fields are not rendered.
        name = "{{ ti.task.batch['name'] }}"
        wait = LinkRssSensor(
            task_id="wait_for_link_rss", likepion_conn_id=likepion_conn_id, batch=batch, map_index_template=name
        )
        import_rss = ImportRssOperator(
            task_id="import_rss",
            likepion_conn_id=likepion_conn_id,
            batch=batch,
            look_only="{{ params.dry_run }}",
            wait_task_id=WAIT,
            # The sensor is left out where nothing waits.
            trigger_rule="none_failed",
            map_index_template=name,
            pool=pool,
        )
        insert_links = InsertLinksOperator(
            task_id="insert_links",
            likepion_conn_id=likepion_conn_id,
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
            likepion_conn_id=likepion_conn_id,
            batch=batch,
            import_task_id="import_batch.import_rss",
            assist="{{ params.assist }}",
            map_index_template=name,
        )
        import_assisted = ImportRssOperator(
            task_id="import_assisted",
            likepion_conn_id=likepion_conn_id,
            batch=ask.output,
            map_index_template=name,
            pool=pool,
        )
        insert_assisted = InsertLinksOperator(
            task_id="insert_assisted",
            likepion_conn_id=likepion_conn_id,
            batch=ask.output,
            import_task_id="import_batch.import_assisted",
            map_index_template=name,
        )
        import_rss >> ask >> import_assisted >> insert_assisted

    report = LikepionReportOperator(
        task_id="report",
        likepion_conn_id=likepion_conn_id,
        trigger_rule="all_done",
        assist="{{ params.assist }}",
        retries=0,
        on_failure_callback=notifier,
    )
    import_batch.expand(batch=claim.output) >> report


def _params() -> dict[str, Param]:
    return {
        "limit": Param(
            200,
            type="integer",
            minimum=1,
            maximum=1000,
            title=t("Limit"),
            description=t(
                "How many accounts to pull; also where a group, domains or accounts are looked for among them."
            ),
        ),
        "group_id": Param(
            None,
            type=["null", "string"],
            pattern=r"^\S{1,64}$",
            title=t("Group"),
            description=t(
                "Take this group's accounts that are not done: its id, or the id's first characters. What comes "
                "beside is left to the next run."
            ),
        ),
        "domains": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "pattern": r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$"},
            title=t("Domains"),
            description=t("Take the accounts of these platforms only, e.g. anchor.fm; one per line."),
        ),
        "account_ids": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "pattern": r"^\S(.*\S)?$", "maxLength": 320},
            title=t("Accounts"),
            description=t(
                "Take these accounts, even such as were set aside after failures. One per line: its id, the id's "
                "first characters, or its name, e.g. user@anchor.fm."
            ),
        ),
        "batch_size": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=1000,
            title=t("Batch size"),
            description=t(
                "Accounts per mapped task. Empty: as many as keep the grid readable; 1: one task per account."
            ),
        ),
        "resend": Param(
            False,
            type="boolean",
            title=t("Send again"),
            description=t(
                "You have seen that the manager lost links which it had confirmed: send those of this group or "
                "of these accounts again. Only accounts that the manager hands out again are taken."
            ),
        ),
        "assist": Param(
            False,
            type="boolean",
            title=t("Assist"),
            description=t(
                "Where a platform takes the feed from a person only, ask for it in this run: under Required "
                "actions, with what to do. Unanswered for 14 minutes, the accounts are let go."
            ),
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title=t("Dry run"),
            description=t("Look at feeds and platforms, but import nothing and send nothing."),
        ),
    }
