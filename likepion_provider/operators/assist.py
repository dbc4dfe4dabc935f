"""A person's turn: what a platform takes from a person only, asked for while the run still holds the accounts."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseOperatorLink, Context, XComArg
from airflow.providers.standard.exceptions import HITLTimeoutError
from airflow.providers.standard.operators.hitl import HITLOperator

from likepion_provider.clock import SYSTEM_CLOCK
from likepion_provider.errors import Transient
from likepion_provider.hooks.connections import (
    JOURNAL_CONN_ID,
    LIKEPION_CONN_ID,
    airflow_errors,
    find,
    journal_for,
    journal_of,
    manager_address,
)
from likepion_provider.hooks.language import configured_language
from likepion_provider.hooks.values import flag
from likepion_provider.journal import Journal
from likepion_provider.manager.client import ManagerAddress, ManagerClient
from likepion_provider.manager.lease import MARGIN_S
from likepion_provider.manager.protocol import CLAIM_TTL_S
from likepion_provider.models import SecondaryTask
from likepion_provider.operators.context import instance_of, left_by, scope_of
from likepion_provider.operators.extra_links import LikepionBoardLink
from likepion_provider.operators.likepion import needing_person
from likepion_provider.steps.batches import Batch
from likepion_provider.steps.intake import Intake
from likepion_provider.steps.reports import AccountReport
from likepion_provider.words import shown, spoken, t, tn

#: XCom keys of the accounts that a person was asked about, and of the answers that there were to choose from.
ASKED, OPTIONS = "asked", "options"


class AskPersonOperator(HITLOperator):
    """Ask a person to hand the feed to the platforms of a batch that take it from a person only.

    It waits without a worker slot, as long as the accounts' claims can hold. Without an answer in that time, or with
    "Not now", it is skipped: the accounts are let go, and a later run takes them again. So it is where nobody
    is needed.

    .. code-block:: python

        ask = AskPersonOperator(task_id="ask_person", batch=batch, import_task_id="import_batch.import_rss")
        again = ImportRssOperator(task_id="import_assisted", batch=ask.output)
        again >> InsertLinksOperator(task_id="insert_assisted", batch=ask.output)

    :param batch: one element of what :class:`~likepion_provider.operators.likepion.ClaimAccountsOperator` returns.
    :param import_task_id: whose reports say which accounts need a person.
    :param assist: whether this run asks at all.
    :param likepion_conn_id: a connection of type ``likepion``.
    :param response_timeout: how long to wait; 14 minutes by default, since no claim holds longer.
    :return: the accounts that the person says are done, as a batch to import again.
    """

    template_fields: Collection[str] = (*HITLOperator.template_fields, "batch", "assist", "likepion_conn_id")
    operator_extra_links: Collection[BaseOperatorLink] = (LikepionBoardLink(),)
    ui_color = "#e8e4f3"

    def __init__(
        self,
        *,
        batch: dict[str, Any] | XComArg,
        import_task_id: str,
        assist: bool | str = True,
        likepion_conn_id: str = LIKEPION_CONN_ID,
        response_timeout: timedelta = timedelta(seconds=CLAIM_TTL_S - MARGIN_S),
        **kwargs: Any,
    ) -> None:
        with spoken(configured_language()):
            super().__init__(
                # Who is asked for what is known only once the import has run.
                subject=t("Accounts need a person"),
                # The first one is what a person came for. A default would be painted as the main button, and be taken
                # for an answer when the time is up.
                options=[t("It is done"), t("Not now")],
                response_timeout=response_timeout,
                **kwargs,
            )
        self.batch: Any = batch
        self.import_task_id = import_task_id
        self.assist = assist
        self.likepion_conn_id = likepion_conn_id

    def execute(self, context: Context) -> Any:
        """Ask, where anybody is needed."""
        with airflow_errors():
            assists = flag("assist", self.assist)
        batch = Batch.from_public(self.batch)
        reports = needing_person(context, self.import_task_id, batch) if assists else []
        held = self._held(context, [report.task for report in reports]) if reports else []
        asked = [report for report in reports if report.task in held]
        if not asked:
            raise AirflowSkipException("no account of this batch needs a person now")
        instance_of(context).xcom_push(ASKED, [report.task.account_id for report in asked])
        instance_of(context).xcom_push(OPTIONS, self.options)
        with spoken(configured_language()):
            self.subject, self.body = question(asked)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Hand on what the person says is done; let go of everything else."""
        # The language may be another one by now: an answer is one of those that were asked for.
        self.options = [*left_by(context, self.task_id, OPTIONS)] or self.options
        try:
            done = self.options[0] in super().execute_complete(context, event)["chosen_options"]
        except HITLTimeoutError:
            done = False
        ids = set(left_by(context, self.task_id, ASKED))
        batch = Batch.from_public(self.batch)
        tasks = tuple(task for task in batch.tasks if task.account_id in ids)
        with airflow_errors():
            journal = journal_for(self.likepion_conn_id)
            if done:
                journal.settling.forgive([task.key for task in tasks], SYSTEM_CLOCK.now())
            else:
                journal.claims.let_go(scope_of(context), ids)
        if not done:
            raise AirflowSkipException("it is not done: the accounts are let go, a later run takes them")
        return dataclasses.replace(batch, waits=False, tasks=tasks).to_public()

    def _held(self, context: Context, tasks: Sequence[SecondaryTask]) -> list[SecondaryTask]:
        """The accounts that are still ours, claimed anew: whoever answers has all of a claim's time."""
        with airflow_errors():
            address = manager_address(self.likepion_conn_id, find(self.likepion_conn_id))
            journal = journal_of(find(JOURNAL_CONN_ID), address.site)
            try:
                return asyncio.run(self._reaffirm(context, address, journal, tasks))
            except Transient as error:
                self.log.warning("The claims keep their old end: %s", error)
                return list(tasks)

    async def _reaffirm(
        self, context: Context, address: ManagerAddress, journal: Journal, tasks: Sequence[SecondaryTask]
    ) -> list[SecondaryTask]:
        async with ManagerClient(address) as manager:
            run_id = context["dag_run"].run_id
            scope = scope_of(context)
            intake = Intake(manager=manager, journal=journal, clock=SYSTEM_CLOCK, scope=scope, run_id=run_id)
            return await intake.reaffirm(tasks)


def _markdown(words: str) -> str:
    """One line of plain text in Markdown (CommonMark 2.4): it makes no link but of an address that is seen."""
    return re.sub(r"[\\`*\[\]<>~|]", r"\\\g<0>", words)


def question(reports: Sequence[AccountReport]) -> tuple[str, str]:
    """A headline, and what to do for each account (Markdown); public fields only."""
    platforms = ", ".join(sorted({report.task.domain for report in reports}))
    subject = tn(
        "{count} account needs a person at {platforms}",
        "{count} accounts need a person at {platforms}",
        len(reports),
        platforms=platforms,
    )
    # As code: Markdown would take some names for mail addresses, and others for markup.
    steps = [f"- `{report.task.label.replace('`', '')}`: {_markdown(shown(report.remedy))}" for report in reports]
    after = t(
        'Then choose "{done}": what is listed is reported at once, the rest by a later run.', done=t("It is done")
    )
    return subject, "\n".join([*steps, "", after])
