"""What the steps of a run have in common as operators."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator, BaseOperatorLink, Context

from likepion_provider.clock import SYSTEM_CLOCK
from likepion_provider.hooks.connections import (
    JOURNAL_CONN_ID,
    LIKEPION_CONN_ID,
    airflow_errors,
    allows_private_feeds,
    failure_link,
    find,
    journal_of,
    manager_address,
)
from likepion_provider.hooks.marks import marked
from likepion_provider.hooks.output import output_masked
from likepion_provider.manager.client import ManagerClient
from likepion_provider.models import SecondaryTask
from likepion_provider.operators.context import error_left, name_of, scope_of
from likepion_provider.operators.extra_links import LikepionBoardLink
from likepion_provider.plurals import counted
from likepion_provider.steps.intake import Intake
from likepion_provider.steps.keeper import Keeper
from likepion_provider.steps.reports import AccountReport
from likepion_provider.steps.sealing import Seal


class LikepionOperator(BaseOperator):
    """A step of a run, in three parts that follow each other.

    1. :meth:`prepare` reads connections, settings and XComs. They block, so it is done before the event loop begins.
    2. :meth:`work` is the step itself, in an event loop, with a client for the manager.
    3. :meth:`conclude` counts, pushes XComs, and gives what is stored as the task's result.

    :param likepion_conn_id: a connection of type ``likepion``.
    """

    template_fields: Sequence[str] = ("likepion_conn_id",)
    operator_extra_links: Collection[BaseOperatorLink] = (LikepionBoardLink(),)
    ui_color = "#e8e4f3"

    def __init__(self, *, likepion_conn_id: str = LIKEPION_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.likepion_conn_id = likepion_conn_id

    def execute(self, context: Context) -> Any:
        """Prepare, work, conclude; what goes wrong is said in Airflow's terms."""
        with output_masked(), airflow_errors(), error_left(context):
            self.prepare(context)
            with marked(self._journal):
                # Not Airflow's own loop: that asks for one where there is none, which Python 3.12 warns of.
                result = asyncio.run(self._timed(context))
            # Outside the group, which Airflow shows folded.
            self.log.info("%s", self.sum_up(result))
            return self.conclude(context, result)

    async def _timed(self, context: Context) -> Any:
        limit_s = self.execution_timeout.total_seconds() if self.execution_timeout else None
        return await asyncio.wait_for(self.aexecute(context), limit_s)

    async def aexecute(self, context: Context) -> Any:
        """Open the client, and work."""
        async with ManagerClient(self._address) as manager:
            self.log.info("::group::Step by step")
            try:
                return await self.work(context, manager)
            finally:
                self.log.info("::endgroup::")

    def prepare(self, context: Context) -> None:
        """Read what the step needs of its surroundings."""
        connection = find(self.likepion_conn_id)
        self._address = manager_address(self.likepion_conn_id, connection)
        self._private_feeds = allows_private_feeds(connection)
        self._journal = journal_of(find(JOURNAL_CONN_ID), self._address.site)
        # Here, so that the run's first task says what is missing.
        self._failure_link = failure_link()

    async def work(self, context: Context, manager: ManagerClient) -> Any:
        """Do what the step is for."""
        raise NotImplementedError

    def sum_up(self, result: Any) -> str:
        """What came of the step, in one line for its log."""
        if not result:
            return "Nothing to do"
        counts = Counter(report.outcome.value for report in result)
        words = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
        links = sum(each.found for each in result)
        return f"{counted(len(result), 'account')}: {words}; {counted(links, 'link')}"

    def conclude(self, context: Context, result: Any) -> Any:
        """Make of the result what may be stored: public values, ready for JSON."""
        return [each.to_public() for each in result]

    async def sign(self, context: Context, tasks: Iterable[SecondaryTask]) -> None:
        """Leave word in the journal which task works the accounts, for the board."""
        keys = [task.key for task in tasks]
        await self._journal.commit(self._journal.submissions.worked_by, keys, name_of(context, self.task_id))

    def keep_episodes(self, reports: Iterable[AccountReport], most: int = 1) -> None:
        """For the link to the platform, and for lineage: the first pages that are in the journal."""
        keys = [report.task.key for report in reports if report.found]
        self.episode_urls = self._journal.links.pages(keys[:most], most)

    def opened(self, sealed: Mapping[str, str]) -> dict[str, str]:
        """What an earlier step of the run sealed, by its owner; without what cannot be opened."""
        if not sealed:
            return {}
        seal = Seal(self._address.api_key)
        return {name: text for name, each in sealed.items() if (text := seal.open(each, name))}

    def keeper(self, context: Context, manager: ManagerClient) -> Keeper:
        """What keeps the claims of this attempt."""
        return Keeper(manager, self._journal, SYSTEM_CLOCK, scope_of(context), uuid.uuid4().hex)

    def intake(self, context: Context, manager: ManagerClient) -> Intake:
        """What finds and claims the run's accounts."""
        scope, run_id = scope_of(context), context["dag_run"].run_id
        return Intake(manager=manager, journal=self._journal, clock=SYSTEM_CLOCK, scope=scope, run_id=run_id)
