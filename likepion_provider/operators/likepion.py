"""The steps of a run. Each is thin: it hands Airflow's connections and names to what does the work."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseAsyncOperator, BaseOperatorLink, BaseXCom, Context
from airflow.sdk.exceptions import AirflowSkipException, DownstreamTasksSkipped

from likepion_provider.clock import SYSTEM_CLOCK
from likepion_provider.errors import BadRequest, LikepionError, OutcomeUnknown, Transient
from likepion_provider.hooks import metrics
from likepion_provider.hooks.connections import (
    JOURNAL_CONN_ID,
    LIKEPION_CONN_ID,
    address_of,
    airflow_errors,
    allows_private_feeds,
    failure_link,
    find,
    importers,
    journal_of,
    platform_settings,
)
from likepion_provider.hooks.masking import BatchMask, mask, mask_at_once, printing_masked
from likepion_provider.journal import Journal, TaskName
from likepion_provider.manager.client import ManagerAddress, ManagerClient
from likepion_provider.manager.protocol import MAX_PULL
from likepion_provider.models import Outcome, SecondaryTask
from likepion_provider.operators import lineage
from likepion_provider.operators.extra_links import LikepionBoardLink, LikepionFeedLink, LikepionShowLink
from likepion_provider.steps.batches import Batch, batches
from likepion_provider.steps.delivery import Delivery
from likepion_provider.steps.importing import BatchImport, ImportOptions
from likepion_provider.steps.intake import Choice, Intake
from likepion_provider.steps.keeper import Keeper
from likepion_provider.steps.reports import AccountReport
from likepion_provider.steps.sealing import Seal

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

#: XCom key of renewed cookies, sealed.
SEALED_COOKIES = "sealed_cookies"
#: A manager that stays unreachable turns one scheduled run red in this time.
OUTAGE_SAID_FOR = timedelta(hours=1)


def scope_of(context: Context) -> str:
    """The run that claims are given to."""
    run = context["dag_run"]
    return f"{run.dag_id}/{run.run_id}"


def state_of(context: Context, task_id: str, map_index: int) -> str:
    """How a mapped task of this run stands; empty where it was not mapped."""
    ti: Any = context["ti"]
    run = context["dag_run"]
    states = ti.get_task_states(dag_id=run.dag_id, run_ids=[run.run_id], task_ids=[task_id], map_index=map_index)
    return str(next(iter(states.get(run.run_id, {}).values()), ""))


class LikepionOperator(BaseAsyncOperator):
    """What the steps have in common.

    :param likepion_conn_id: a connection of type ``likepion``.
    """

    template_fields: Sequence[str] = ("likepion_conn_id",)
    operator_extra_links: Collection[BaseOperatorLink] = (LikepionBoardLink(),)
    ui_color = "#e8e4f3"

    def __init__(self, *, likepion_conn_id: str = LIKEPION_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.likepion_conn_id = likepion_conn_id

    def execute(self, context: Context) -> Any:
        """Look up what the step needs, run it in an event loop, and say in Airflow's terms what went wrong."""
        with airflow_errors():
            self._gather(context)
            return self._public(context, super().execute(context))  # type: ignore[no-untyped-call]

    async def aexecute(self, context: Context) -> Any:
        """The step, with a client for the manager."""
        async with ManagerClient(self._address) as manager:
            self.log.info("::group::Step by step")
            try:
                return await self.work(context, manager, self._journal)
            finally:
                self.log.info("::endgroup::")

    def _gather(self, context: Context) -> None:
        """Read connections and XComs; they block, so it is done before the event loop begins."""
        connection = find(self.likepion_conn_id)
        self._address: ManagerAddress = address_of(self.likepion_conn_id, connection)
        self._private_feeds = allows_private_feeds(connection)
        self._journal: Journal = journal_of(find(JOURNAL_CONN_ID))
        # Here, so that the run's first task says what is missing.
        self._failure_link = failure_link()
        mask([self._address.api_key])

    async def work(self, context: Context, manager: ManagerClient, journal: Journal) -> Any:
        """The step itself."""
        raise NotImplementedError

    def _public(self, context: Context, result: Any) -> Any:
        """What of the result may be stored."""
        return [each.to_public() for each in result]

    async def _sign(self, context: Context, journal: Journal, tasks: Iterable[SecondaryTask]) -> None:
        """Leave word in the journal which task works the accounts, for the board."""
        ti: Any = context["ti"]
        map_index = ti.map_index if ti.map_index is not None else -1
        name = TaskName(context["dag_run"].dag_id, context["dag_run"].run_id, self.task_id, map_index)
        await journal.commit(journal.submissions.worked_by, [task.key for task in tasks], name)

    def _keep_episodes(self, journal: Journal, reports: Iterable[AccountReport], most: int = 1) -> None:
        """For the link to the platform, and for lineage: the first pages that are in the journal."""
        keys = [report.task.key for report in reports if report.found]
        self.episode_urls = journal.links.pages(keys[:most], most)

    def _keeper(self, context: Context, manager: ManagerClient, journal: Journal) -> Keeper:
        return Keeper(manager, journal, SYSTEM_CLOCK, scope_of(context), uuid.uuid4().hex)

    def _intake(self, context: Context, manager: ManagerClient, journal: Journal) -> Intake:
        scope = scope_of(context)
        run_id = context["dag_run"].run_id
        return Intake(manager=manager, journal=journal, clock=SYSTEM_CLOCK, scope=scope, run_id=run_id)


class PullSecondaryTasksOperator(LikepionOperator):
    """Pull secondary tasks; or, for a group, domains or named accounts, take them without pulling.

    A run that finds nothing to do ends here, green.

    .. code-block:: python

        pull = PullSecondaryTasksOperator(task_id="pull_tasks", limit=200)

    :param limit: how many accounts to pull, 1 to 1,000; has no meaning for a choice.
    :param group_id: take this group's accounts, as far as the journal knows them and they are not done.
    :param domains: take the accounts of these platforms; with ``group_id``, only those of the group's.
    :param account_ids: take these accounts, even such as were set aside.
    :param resend: send again what the manager had confirmed, because a person has seen that it is missing; needs
        ``group_id`` or ``account_ids``.
    :param leave_out: ids of tasks that this run does without; they are skipped before they are mapped, at no cost.
    :param wait_task_id: a sensor that waits for feeds; it is left out too where every feed is set.
    :return: the accounts' public fields; credentials stay behind.
    """

    template_fields: Sequence[str] = (
        *LikepionOperator.template_fields,
        "limit",
        "group_id",
        "domains",
        "account_ids",
        "resend",
        "leave_out",
    )

    def __init__(
        self,
        *,
        limit: int | str = 200,
        group_id: str | None = None,
        domains: Iterable[str] | str | None = None,
        account_ids: Iterable[str] | str | None = None,
        resend: bool | str = False,
        leave_out: Iterable[str] | str | None = None,
        wait_task_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.leave_out = leave_out
        self.wait_task_id = wait_task_id
        self.limit = limit
        self.group_id = group_id
        self.domains = domains
        self.account_ids = account_ids
        self.resend = resend

    async def work(self, context: Context, manager: ManagerClient, journal: Journal) -> list[SecondaryTask]:
        """Pull or choose."""
        intake = self._intake(context, manager, journal)
        choice = Choice(
            group_id=(self.group_id or "").strip(),
            domains=tuple(each.lower() for each in _names("domains", self.domains)),
            account_ids=_names("account_ids", self.account_ids),
            # Not now: a cleared task must not send again what this run has sent.
            resend_before=context["dag_run"].run_after if flag("resend", self.resend) else None,
        )
        limit = _whole("limit", self.limit, 1, MAX_PULL)
        if choice:
            return await intake.choose(choice)
        said_at = await asyncio.to_thread(journal.settings.outage_reported_at)
        try:
            tasks = await intake.pull(self._within_pace(limit, await asyncio.to_thread(journal.settings.pace)))
        except (Transient, OutcomeUnknown) as error:
            self._skip_if_said(context, error, said_at)
            ti: Any = context["ti"]
            if isinstance(error, OutcomeUnknown) or ti.try_number > ti.max_tries:
                await journal.commit(journal.settings.report_outage, SYSTEM_CLOCK.now())
            raise
        if said_at:
            await journal.commit(journal.settings.end_outage)
        return tasks

    def _within_pace(self, limit: int, pace: int | None) -> int:
        if pace is None or pace >= limit:
            return limit
        self.log.info(
            "Limit %d instead of %d: earlier runs did not get to more accounts before their claims lapsed. "
            "It grows again by itself; more worker slots make it grow for good",
            pace,
            limit,
        )
        return pace

    def _skip_if_said(self, context: Context, error: LikepionError, said_at: datetime | None) -> None:
        """One red run an hour says that the manager is gone; a grid full of them says no more.

        :raises AirflowSkipException: it has been said.
        """
        recently = said_at and SYSTEM_CLOCK.now() - said_at < OUTAGE_SAID_FOR
        if recently and context["dag_run"].run_type == "scheduled":
            raise AirflowSkipException(f"{error.message}; the run that ended red at {said_at:%H:%M}Z said so")

    def _public(self, context: Context, result: list[SecondaryTask]) -> list[dict[str, Any]]:
        metrics.pulled(len(result))
        if not result:
            self._end_run()
        public = [task.to_public() for task in result]
        left_out = [*_names("leave_out", self.leave_out)]
        if self.wait_task_id and all(task.feed_ready for task in result):
            left_out.append(self.wait_task_id)
        if left_out:
            # What raises returns nothing.
            context["ti"].xcom_push(BaseXCom.XCOM_RETURN_KEY, public)
            raise DownstreamTasksSkipped(tasks=left_out)  # type: ignore[no-untyped-call]
        return public

    def _end_run(self) -> None:
        self.log.info("Nothing to do")
        below = sorted(self.get_flat_relative_ids(upstream=False)) if self.has_dag() else []  # type: ignore[no-untyped-call]
        if below:
            raise DownstreamTasksSkipped(tasks=below)  # type: ignore[no-untyped-call]


class ClaimAccountsOperator(LikepionOperator):
    """Claim again, in bulk, what was pulled, and cut it into batches for mapping.

    .. code-block:: python

        pull = PullSecondaryTasksOperator(task_id="pull_tasks", limit=200)
        claim = ClaimAccountsOperator(task_id="claim_accounts", tasks=pull.output)

    :param tasks: what :class:`PullSecondaryTasksOperator` returns.
    :param batch_size: accounts a batch, 1 to 1,000; by default as many as keep the grid readable.
    :return: batches with a ``name``, whether they wait for their feed (``waits``), and their ``tasks``.
    """

    template_fields: Sequence[str] = (*LikepionOperator.template_fields, "tasks", "batch_size")

    def __init__(self, *, tasks: list[dict[str, Any]], batch_size: int | str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tasks = tasks
        self.batch_size = batch_size

    async def work(self, context: Context, manager: ManagerClient, journal: Journal) -> list[Batch]:
        """Claim and cut."""
        size = None if self.batch_size in (None, "") else _whole("batch_size", self.batch_size, 1, MAX_PULL)
        intake = self._intake(context, manager, journal)
        held = await intake.reaffirm([SecondaryTask.from_public(each) for each in self.tasks])
        return batches(held, size)


class ImportRssOperator(LikepionOperator):
    """Import the feed into a batch's accounts, side by side, and put every episode's URL into the journal.

    One account's failure is its own: the task is green, and the report names it.

    .. code-block:: python

        pull = PullSecondaryTasksOperator(task_id="pull_tasks", limit=200)
        claim = ClaimAccountsOperator(task_id="claim_accounts", tasks=pull.output)
        ImportRssOperator.partial(task_id="import_rss").expand(batch=claim.output)

    :param batch: one element of what :class:`ClaimAccountsOperator` returns.
    :param look_only: a dry run: neither import nor put anything into the journal.
    :param wait_task_id: the sensor, mapped over the same batches. Where its wait was in vain, the import is skipped;
        that leaves the trigger rule to let a sensor pass that was left out.
    :param options: the bounds of a batch: see :class:`~likepion_provider.steps.importing.ImportOptions`.
    :return: a report an account.
    """

    template_fields: Sequence[str] = (*LikepionOperator.template_fields, "batch", "look_only")
    operator_extra_links = (LikepionBoardLink(), LikepionFeedLink(), LikepionShowLink())

    def __init__(
        self,
        *,
        batch: dict[str, Any],
        look_only: bool | str = False,
        wait_task_id: str | None = None,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch = batch
        self.look_only = look_only
        self.wait_task_id = wait_task_id
        self.options = options or {}

    def _gather(self, context: Context) -> None:
        batch = Batch.from_public(self.batch)
        if batch.waits and self.wait_task_id:
            ti: Any = context["ti"]
            if state_of(context, self.wait_task_id, ti.map_index) == "skipped":
                raise AirflowSkipException(f"{batch.name}: link_rss was not set in time, the accounts are let go")
        super()._gather(context)
        self._tasks = batch.tasks
        self._settings = platform_settings({task.domain for task in self._tasks})
        for settings in self._settings.values():
            mask(filter(None, [settings.password]))

    async def work(self, context: Context, manager: ManagerClient, journal: Journal) -> list[AccountReport]:
        """Import the batch."""
        options = ImportOptions(
            allow_private_feeds=self._private_feeds,
            report_failures=bool(self._failure_link),
            dry_run=flag("look_only", self.look_only),
            **self.options,
        )
        keeper = self._keeper(context, manager, journal)
        batch = BatchImport(
            manager=manager,
            journal=journal,
            keeper=keeper,
            registry=importers(),
            clock=SYSTEM_CLOCK,
            settings=self._settings,
            options=options,
            on_secrets=BatchMask(),
        )
        await self._sign(context, journal, self._tasks)
        try:
            with printing_masked():
                return await batch.run(self._tasks)
        finally:
            self.feed_urls = batch.feed_urls
            metrics.renewed(keeper.renewed)

    def _public(self, context: Context, result: list[AccountReport]) -> list[dict[str, Any]]:
        cookies = {report.task.account_id: report.cookie for report in result if report.cookie}
        if cookies:
            seal = Seal(self._address.api_key)
            sealed = {account_id: seal.close(cookie) for account_id, cookie in cookies.items()}
            context["ti"].xcom_push(SEALED_COOKIES, sealed)
        collected = [report for report in result if report.outcome is Outcome.COLLECTED]
        self._keep_episodes(self._journal, collected, lineage.MOST_PAGES)
        metrics.imported(result)
        return [report.to_public() for report in result]

    def get_openlineage_facets_on_complete(self, _: Any) -> OperatorLineage[Any, Any] | None:
        """What OpenLineage's listener asks for: feeds in, episode pages out."""
        return lineage.facets(getattr(self, "feed_urls", ()), getattr(self, "episode_urls", ()))


class InsertLinksOperator(LikepionOperator):
    """Report what the journal has for a batch's accounts, each URL once.

    Clearing and running it again sends nothing that was sent.

    .. code-block:: python

        pull = PullSecondaryTasksOperator(task_id="pull_tasks", limit=200)
        claim = ClaimAccountsOperator(task_id="claim_accounts", tasks=pull.output)
        imported = ImportRssOperator.partial(task_id="import_rss").expand(batch=claim.output)
        imported >> InsertLinksOperator.partial(task_id="insert_links").expand(batch=claim.output)

    :param batch: one element of what :class:`ClaimAccountsOperator` returns.
    :param look_only: a dry run: send nothing.
    :param import_task_id: hand on the cookies that this task renewed; None leaves the accounts' as they are.
    :param assist: leave the accounts that need a person by that task's word, and their claims, to
        :class:`~likepion_provider.operators.assist.AskPersonOperator`.
    :return: a report an account that has links.
    """

    template_fields: Sequence[str] = (
        *LikepionOperator.template_fields,
        "batch",
        "import_task_id",
        "look_only",
        "assist",
    )
    operator_extra_links = (LikepionBoardLink(), LikepionShowLink())

    def __init__(
        self,
        *,
        batch: dict[str, Any],
        import_task_id: str | None = None,
        look_only: bool | str = False,
        assist: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch = batch
        self.look_only = look_only
        self.import_task_id = import_task_id
        self.assist = assist

    def _gather(self, context: Context) -> None:
        super()._gather(context)
        self._cookies: dict[str, str] = {}
        self._tasks: Sequence[SecondaryTask] = Batch.from_public(self.batch).tasks
        if self.import_task_id:
            ti: Any = context["ti"]
            if flag("assist", self.assist):
                left = {report.task for report in needing_person(ti, self.import_task_id)}
                self._tasks = [task for task in self._tasks if task not in left]
            sealed = ti.xcom_pull(self.import_task_id, key=SEALED_COOKIES, map_indexes=ti.map_index) or {}
            seal = Seal(self._address.api_key)
            self._cookies = {account_id: seal.open(text) for account_id, text in sealed.items()}
            mask_at_once([*filter(None, self._cookies.values())])

    async def work(self, context: Context, manager: ManagerClient, journal: Journal) -> list[AccountReport]:
        """Send."""
        tasks = self._tasks
        if flag("look_only", self.look_only):
            self.log.info("Dry run: nothing is sent")
            ids = [task.account_id for task in tasks]
            await journal.commit(journal.claims.let_go, scope_of(context), ids)
            return []
        delivery = Delivery(
            manager=manager,
            journal=journal,
            keeper=self._keeper(context, manager, journal),
            clock=SYSTEM_CLOCK,
            cookies=self._cookies,
            failure_link=self._failure_link,
            on_secrets=BatchMask(),
        )
        await self._sign(context, journal, tasks)
        with printing_masked():
            return await delivery.run(tasks)

    def _public(self, context: Context, result: list[AccountReport]) -> list[dict[str, Any]]:
        self._keep_episodes(self._journal, result)
        metrics.inserted(result)
        return [report.to_public() for report in result]


def needing_person(ti: Any, import_task_id: str) -> list[AccountReport]:
    """The accounts of this task's batch that the import found to need a person."""
    rows = ti.xcom_pull(import_task_id, map_indexes=ti.map_index) or []
    reports = map(AccountReport.from_public, rows)
    return [report for report in reports if report.outcome is Outcome.NEEDS_PERSON]


def _whole(name: str, value: Any, least: int, most: int) -> int:
    with contextlib.suppress(TypeError, ValueError):
        if not isinstance(value, bool) and least <= int(str(value)) <= most:
            return int(str(value))
    raise BadRequest(f"{name} must be a whole number from {least} to {most}, not {value!r}")


def _names(name: str, value: Any) -> tuple[str, ...]:
    """A list of names; a text is split at commas and white space."""
    if value in (None, ""):
        return ()
    parts = value.replace(",", " ").split() if isinstance(value, str) else list(value)
    if not all(isinstance(part, str) for part in parts):
        raise BadRequest(f"{name} must be a list of names, not {value!r}")
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def flag(name: str, value: Any) -> bool:
    """A switch, as a value or as rendered text.

    :raises BadRequest: it is neither on nor off.
    """
    text = str(value).strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off", "none", ""):
        return False
    raise BadRequest(f"{name} must be true or false, not {value!r}")
