"""``likepion group``: a run for each of some groups, whatever the schedule does meanwhile."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from likepion_provider import DAG_ID
from likepion_provider.cli.arguments import add_json, print_json
from likepion_provider.cli.configured import (
    add_manager,
    airflow,
    chosen_journal,
    configured_url,
    dag_ids_of,
    existing,
    known_groups,
)
from likepion_provider.errors import BadRequest, Transient
from likepion_provider.hooks.internals import is_paused, start_run
from likepion_provider.words import t


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    actions = parser.add_subparsers(title="actions", required=True, dest="action", metavar="ACTION")
    backfill = actions.add_parser(
        "backfill",
        help=t("work groups again: what failed, what was parked and settled, and what is new"),
        description=t(
            "Start a run of the DAG for each group, as 'airflow dags trigger' does. Unlike 'airflow backfill "
            "create' it knows no dates, so groups do not clash. Runs beyond the DAG's max_active_runs wait."
        ),
    )
    backfill.add_argument("group_id", nargs="+", help=t("its id, or the id's first characters"))
    add_manager(backfill)
    backfill.add_argument(
        "--dag-id", help=t("the DAG to start ({dag_id}, or the only one that works for the manager)", dag_id=DAG_ID)
    )
    backfill.add_argument(
        "--dry-run", action="store_true", help=t("look at feeds and platforms; import and send nothing")
    )
    add_json(backfill)


def run(args: argparse.Namespace) -> int:
    """Start the runs.

    :return: 0.
    :raises BadRequest: the journal has never seen one of the groups, or it is not clear which group or which DAG is
        meant; then no run was started.
    :raises Transient: Airflow did not take a run; those named before it are started.
    """
    journal = chosen_journal(existing(configured_url()), args)
    groups = known_groups(journal, args.group_id)
    dag_id = args.dag_id or _only_dag(dag_ids_of(journal))
    at = datetime.now(timezone.utc)
    started = []
    for group_id in groups:
        run_id = f"group__{group_id}__{at:%Y-%m-%dT%H:%M:%S.%f}"
        _start(dag_id, run_id, {"group_id": group_id} | ({"dry_run": True} if args.dry_run else {}))
        started.append({"group_id": group_id, "dag_id": dag_id, "run_id": run_id})
        if not args.json:
            print(f"{group_id}  {run_id}", flush=True)
    if args.json:
        print_json(started)
    with airflow():
        waits = is_paused(dag_id)
    if waits:
        words = t(
            "{dag_id} is paused: its runs wait until it is switched on (airflow dags unpause {dag_id})", dag_id=dag_id
        )
        print(words, file=sys.stderr)
    return 0


def _only_dag(dag_ids: Sequence[str]) -> str:
    """The DAG that is meant where none was named."""
    if not dag_ids or DAG_ID in dag_ids:
        return DAG_ID
    if len(dag_ids) > 1:
        raise BadRequest(
            f"{', '.join(dag_ids)} work for this manager; no run was started", remedy="Choose with --dag-id."
        )
    return dag_ids[0]


def _start(dag_id: str, run_id: str, conf: Mapping[str, object]) -> None:
    try:
        with airflow():
            start_run(dag_id, run_id, conf)
    except Exception as error:  # noqa: BLE001 - whatever Airflow has
        raise Transient(
            f"Airflow took no run of {dag_id}: {error or type(error).__name__}", remedy="Correct that and run it again."
        ) from None
