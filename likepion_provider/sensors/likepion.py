"""Waiting for the primary site."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    Context,
    XComArg,
)

from likepion_provider.clock import SYSTEM_CLOCK
from likepion_provider.hooks.connections import (
    JOURNAL_CONN_ID,
    LIKEPION_CONN_ID,
    airflow_errors,
    find,
    journal_of,
    manager_address,
)
from likepion_provider.journal import Journal
from likepion_provider.manager.client import ManagerAddress, ManagerClient
from likepion_provider.operators.context import ERROR, error_left, instance_of, scope_of
from likepion_provider.operators.extra_links import LikepionBoardLink
from likepion_provider.steps.batches import Batch
from likepion_provider.steps.waiting import Waits
from likepion_provider.triggers.likepion import LinkRssTrigger

#: How long after its end a deferred wait is Airflow's to end, in seconds: its triggerer may be starting again.
LATE_S = 120.0


class LinkRssSensor(BaseSensorOperator):
    """Wait until a batch's posts have their ``link_rss``, and keep the batch's claims meanwhile.

    A batch that does not wait passes at once. Where a run has more than eight posts that wait, several share a batch:
    its wait ends when all are set, or 30 seconds after the first was, and the next run waits for the rest. None set in
    time: the task is skipped and the accounts are let go; a later run takes them again.

    .. code-block:: python

        pull = PullSecondaryTasksOperator(task_id="pull_tasks", limit=200)
        claim = ClaimAccountsOperator(task_id="claim_accounts", tasks=pull.output)
        LinkRssSensor.partial(task_id="wait_for_link_rss", timeout=1800).expand(batch=claim.output)

    :param batch: one element of what :class:`~likepion_provider.operators.likepion.ClaimAccountsOperator` returns.
    :param likepion_conn_id: a connection of type ``likepion``.
    :param poke_interval: seconds between polls of a post; 5 by default, longer where hundreds of posts wait.
    :param timeout: seconds until the accounts are let go; 1,800 by default, counted once, however often a triggerer is
        restarted. Where none runs, Airflow fails the task two minutes later; or after ``execution_timeout``, if that is
        less.
    :param deferrable: wait in the triggerer, without a worker slot; True by default.
    """

    template_fields: Sequence[str] = ("batch", "likepion_conn_id")
    operator_extra_links = (LikepionBoardLink(),)
    ui_color = "#e8e4f3"

    def __init__(
        self,
        *,
        batch: dict[str, Any] | XComArg,
        likepion_conn_id: str = LIKEPION_CONN_ID,
        poke_interval: float = 5,
        timeout: float = 1800,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, timeout=timeout, **kwargs)
        self.batch: Any = batch
        self.likepion_conn_id = likepion_conn_id
        self.deferrable = deferrable

    def execute(self, context: Context) -> None:
        """Pass, defer or wait."""
        batch = Batch.from_public(self.batch)
        if not batch.waits:
            self.log.info("The feed is set: %s", batch.name)
            return
        if self.deferrable:
            ends_at = SYSTEM_CLOCK.now() + timedelta(seconds=self.timeout)
            trigger = LinkRssTrigger(
                self.likepion_conn_id, self.batch, scope_of(context), self.poke_interval, ends_at.isoformat()
            )
            limits_s = [self.timeout + LATE_S]
            if self.execution_timeout:
                limits_s.append(self.execution_timeout.total_seconds())
            self.defer(trigger=trigger, method_name="execute_complete", timeout=timedelta(seconds=min(limits_s)))
        with airflow_errors(), error_left(context):
            address = manager_address(self.likepion_conn_id, find(self.likepion_conn_id))
            journal = journal_of(find(JOURNAL_CONN_ID), address.site)
            is_set = asyncio.run(self._wait(batch, scope_of(context), address, journal))
        if not is_set:
            raise AirflowSkipException("link_rss was not set in time: the accounts are let go, a later run takes them")

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Come back where the trigger did not end the task, and say why.

        :raises AirflowSensorTimeout: the time was up and no triggerer had ended the wait; or ``execution_timeout`` was.
        """
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSensorTimeout:
            words = "No triggerer ended this wait in time: see that 'airflow triggerer' runs."
            if self.execution_timeout and self.execution_timeout.total_seconds() < self.timeout + LATE_S:
                words = f"The wait took longer than its execution_timeout, {self.execution_timeout}."
            instance_of(context).xcom_push(ERROR, words)
            raise AirflowSensorTimeout(words) from None

    def execute_complete(self, context: Context, event: Any = None) -> None:
        """Never comes here: the trigger ends the task by itself.

        :raises RuntimeError: always.
        """
        raise RuntimeError(f"unexpected event {event!r}: the trigger ends the task by itself")

    async def _wait(self, batch: Batch, scope: str, address: ManagerAddress, journal: Journal) -> bool:
        async with ManagerClient(address) as manager:
            return await Waits(manager, journal, SYSTEM_CLOCK).any_feed_set(
                scope=scope, tasks=batch.tasks, poke_interval_s=self.poke_interval, timeout_s=self.timeout
            )
