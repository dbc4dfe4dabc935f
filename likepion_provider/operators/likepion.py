"""The steps of a run. Each is thin: it hands Airflow's connections and names to the coroutines that do the work."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException, Context, DownstreamTasksSkipped, XComArg, conf

from likepion_provider.clock import SYSTEM_CLOCK
from likepion_provider.errors import BadRequest, LikepionError, OutcomeUnknown, Transient
from likepion_provider.hooks import metrics
from likepion_provider.hooks.compat import BaseXCom
from likepion_provider.hooks.connections import LIKEPION_CONN_ID, importers, once_per_account, platform_settings
from likepion_provider.hooks.values import flag, name, names, number
from likepion_provider.manager.client import ManagerClient
from likepion_provider.manager.protocol import LinkReport, LinkStatus, bounded
from likepion_provider.models import Outcome, SecondaryTask
from likepion_provider.operators import lineage
from likepion_provider.operators.base import LikepionOperator
from likepion_provider.operators.context import instance_of, is_cleared, left_by, map_index_of, scope_of, state_of
from likepion_provider.operators.extra_links import LikepionBoardLink, LikepionFeedLink, LikepionShowLink
from likepion_provider.plurals import counted
from likepion_provider.steps.batches import MOST_BATCHES, Batch, batches
from likepion_provider.steps.delivery import Delivery
from likepion_provider.steps.importing import BatchImport, ImportBounds, import_options
from likepion_provider.steps.intake import Choice
from likepion_provider.steps.reports import AccountReport
from likepion_provider.steps.sealing import Seal

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

#: XCom key of renewed cookies, sealed.
SEALED_COOKIES = "sealed_cookies"
#: XCom key of the accounts that were asked for and are not to be had.
NOT_TAKEN = "not_taken"
#: XCom key of the accounts that were handed out although the manager had confirmed links of them.
HANDED_OUT_AGAIN = "handed_out_again"
#: XCom key of the reports of accounts that were dropped before they were cut into batches.
DROPPED = "dropped"
#: XCom key of the accounts that an import came too late for.
LATE = "late"
#: In the first row of each post that a pull returns: the post's ``link_rss``, sealed.
SEALED_FEED = "sealed_feed"
#: A manager that stays unreachable turns one scheduled run red in this time.
OUTAGE_SAID_FOR = timedelta(hours=1)


class PullSecondaryTasksOperator(LikepionOperator):
    """Pull secondary tasks; or take those of a group, of domains or of named accounts.

    Accounts that were asked for are claimed without a pull only where nobody else can hold them; the others come from
    one pull, and the accounts that it brings beside are left to the next ordinary run. A run that finds nothing to do
    ends here, green.

    .. code-block:: python

        pull = PullSecondaryTasksOperator(task_id="pull_tasks", limit=200)

    :param limit: how many accounts to pull, 1 to 1,000.
    :param group_id: take this group's accounts that are not done; its id, or how that begins. Where templates are
        rendered to Python values, quote it: ``"{{ '%r' | format(params.group_id) }}"``, or a group such as ``123``
        becomes a number.
    :param domains: take the accounts of these platforms; with ``group_id``, only those of the group's.
    :param account_ids: take these accounts, even such as were set aside: see
        :meth:`~likepion_provider.journal.names.Names.accounts` for what names them beside their ids.
    :param resend: send again what the manager had confirmed, because a person has seen that it is missing; needs
        ``group_id`` or ``account_ids``.
    :param look_only: a dry run: of what was asked for, take only what a claim of ours holds already.
    :param leave_out: ids of tasks that this run does without; they are skipped before they are mapped, at no cost.
    :param wait_task_id: a sensor that waits for feeds; it is left out too where every feed is set.
    :param report_task_id: the report, which still runs where something was asked for and nothing is to be had, and
        where the journal was restored or lost.
    :param known_conf: the keys that a run's conf may have; another one fails the run, since a key that is misspelled
        would pull everything. None allows any.
    :param likepion_conn_id: a connection of type ``likepion``.
    :return: the accounts' public fields, for :class:`ClaimAccountsOperator`; credentials stay behind.
    """

    template_fields: Sequence[str] = (
        *LikepionOperator.template_fields,
        "limit",
        "group_id",
        "domains",
        "account_ids",
        "resend",
        "look_only",
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
        look_only: bool | str = False,
        leave_out: Iterable[str] | str | None = None,
        wait_task_id: str | None = None,
        report_task_id: str | None = None,
        known_conf: Iterable[str] | None = None,
        likepion_conn_id: str = LIKEPION_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(likepion_conn_id=likepion_conn_id, **kwargs)
        self.look_only = look_only
        self.leave_out = leave_out
        self.wait_task_id = wait_task_id
        self.report_task_id = report_task_id
        self.known_conf = None if known_conf is None else sorted(known_conf)
        self.limit = limit
        self.group_id = group_id
        self.domains = domains
        self.account_ids = account_ids
        self.resend = resend

    def prepare(self, context: Context) -> None:
        """Note that a run begins for this manager."""
        super().prepare(context)
        other = self._journal.managers.begin_run(context["dag_run"].dag_id, SYSTEM_CLOCK.now())
        if other:
            new = self._address.site
            self.log.warning(
                "The journal knows nothing of the manager %s, but has rows of %s. If that is the same manager under a "
                "new address, what was sent is forgotten until you say so: pause this DAG, and run "
                "'likepion journal rename-manager %s %s'. If it is another one, nothing is to be done",
                *(new, other, other, new),
            )

    async def work(self, context: Context, manager: ManagerClient) -> list[SecondaryTask]:
        """Pull or choose."""
        intake = self._intake = self.intake(context, manager)
        choice = await asyncio.to_thread(self._identified, self._choice(context))
        limit = bounded("limit", number(self.limit))
        if choice:
            return await intake.choose(choice, limit, pulls=not flag("look_only", self.look_only))
        settings, ti = self._journal.settings, instance_of(context)
        said_at = await asyncio.to_thread(settings.outage_reported_at)
        try:
            pace = await asyncio.to_thread(settings.pace)
            tasks = await intake.pull(self._within_pace(limit, pace), again=ti.try_number > 1)
        except (Transient, OutcomeUnknown) as error:
            self._skip_if_said(context, error, said_at)
            if isinstance(error, OutcomeUnknown) or ti.try_number > ti.max_tries:
                await self._journal.commit(settings.report_outage, SYSTEM_CLOCK.now())
            raise
        if said_at:
            await self._journal.commit(settings.end_outage)
        return tasks

    def _choice(self, context: Context) -> Choice:
        """What the run asks for.

        :raises BadRequest: a value, or a key of the run's conf, makes no sense; nothing was pulled.
        """
        if self.known_conf is not None and (strange := sorted({*(context["dag_run"].conf or {})} - {*self.known_conf})):
            raise BadRequest(
                f"the run's conf has {', '.join(map(repr, strange))}, which is no parameter",
                remedy=f"There are {', '.join(self.known_conf)}.",
            )
        return Choice(
            group_id=name("group_id", self.group_id),
            domains=tuple(each.lower() for each in names("domains", self.domains)),
            account_ids=names("account_ids", self.account_ids),
            # Not now: a cleared task must not send again what this run has sent.
            resend_before=context["dag_run"].run_after if flag("resend", self.resend) else None,
        )

    def _identified(self, choice: Choice) -> Choice:
        """The same choice, with ids for what a person wrote.

        :raises BadRequest: the journal tells no one account, or group, by it; nothing was pulled.
        """
        group_id, account_ids = (
            self._journal.names.group(choice.group_id),
            self._journal.names.accounts(choice.account_ids),
        )
        return dataclasses.replace(choice, group_id=group_id, account_ids=account_ids)

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

    def sum_up(self, result: list[SecondaryTask]) -> str:
        """How many accounts, and of how many posts."""
        if not result:
            return "Nothing to do"
        posts = len({task.request_id for task in result})
        took = f"Took {counted(len(result), 'account')} of {counted(posts, 'post')}"
        return f"{took}; {len(self._intake.refusals)} not taken"

    def conclude(self, context: Context, result: list[SecondaryTask]) -> list[dict[str, Any]]:
        """Hand on the accounts, and skip what this run does without.

        :raises DownstreamTasksSkipped: there is such a task; Airflow then leaves this one green.
        """
        metrics.pulled(len(result))
        if self._intake.refusals:
            instance_of(context).xcom_push(NOT_TAKEN, [dataclasses.asdict(each) for each in self._intake.refusals])
        if again := self._intake.handed_out_again:
            rows = [{"label": each.label, "group_id": each.group_id} for each in again]
            instance_of(context).xcom_push(HANDED_OUT_AGAIN, rows)
        public = self._rows(result)
        if skipped := self._needless(result):
            # A task that raises has no return value. It is pushed as Airflow would have done, also where it is empty:
            # a task below that is cleared then has nothing to do, rather than no pull to go by.
            instance_of(context).xcom_push(BaseXCom.XCOM_RETURN_KEY, public)
            raise DownstreamTasksSkipped(tasks=skipped)  # type: ignore[no-untyped-call]
        return public

    def _rows(self, tasks: Sequence[SecondaryTask]) -> list[dict[str, Any]]:
        """The accounts' public fields; with the first of each post the address of its feed, sealed."""
        rows = [task.to_public() for task in tasks]
        feeds = dict(self._intake.feeds)
        if feeds:
            seal = Seal(self._address.api_key)
            for row in rows:
                if link_rss := feeds.pop(row["request_id"], ""):
                    row[SEALED_FEED] = seal.close(link_rss, row["request_id"])
        return rows

    def _needless(self, tasks: Sequence[SecondaryTask]) -> list[str]:
        """The tasks that this run does without: all where no account is worked, but for a report that says why."""
        if not tasks:
            below = set(self.get_flat_relative_ids(upstream=False)) if self.has_dag() else set()  # type: ignore[no-untyped-call]
            says = self._intake.refusals or self._intake.handed_out_again or self._journal.marks.unaccepted()
            return sorted(below - {self.report_task_id} if says else below)
        # A run with assist leaves nothing out.
        needless = [*names("leave_out", self.leave_out or None)]
        if self.wait_task_id and all(task.feed_ready for task in tasks):
            needless.append(self.wait_task_id)
        return needless


class ClaimAccountsOperator(LikepionOperator):
    """Claim again, in bulk, what was pulled, and cut it into batches for mapping.

    .. code-block:: python

        pull = PullSecondaryTasksOperator(task_id="pull_tasks", limit=200)
        claim = ClaimAccountsOperator(task_id="claim_accounts", tasks=pull.output)

    :param tasks: what :class:`PullSecondaryTasksOperator` returns.
    :param batch_size: accounts per batch, 1 to 1,000; by default as many as keep the grid readable. More, where there
        would be more batches than ``[core] max_map_length``.
    :param likepion_conn_id: a connection of type ``likepion``.
    :return: batches with a ``name``, whether they wait for their feed (``waits``), and their ``tasks``.
    """

    template_fields: Sequence[str] = (*LikepionOperator.template_fields, "tasks", "batch_size")

    def __init__(
        self,
        *,
        tasks: list[dict[str, Any]] | XComArg | None,
        batch_size: int | str | None = None,
        likepion_conn_id: str = LIKEPION_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(likepion_conn_id=likepion_conn_id, **kwargs)
        self.tasks: Any = tasks
        self.batch_size = batch_size

    async def work(self, context: Context, manager: ManagerClient) -> list[Batch]:
        """Claim and cut.

        :raises BadRequest: the pull left nothing: it was ended before it could, as by a person who marks a run.
        """
        if self.tasks is None:
            raise BadRequest(
                "the task that pulls was ended before it handed on its accounts",
                remedy="Clear that task with those downstream, rather than this one.",
            )
        size = None if self.batch_size in (None, "") else bounded("batch_size", number(self.batch_size))
        tasks = [SecondaryTask.from_public(each) for each in self.tasks]
        feeds = {each["request_id"]: each[SEALED_FEED] for each in self.tasks if SEALED_FEED in each}
        intake = self.intake(context, manager)
        kept = await intake.reaffirm(tasks)
        self._dropped = intake.dropped
        return batches(kept, size, feeds, most=conf.getint("core", "max_map_length", fallback=MOST_BATCHES))

    def sum_up(self, result: list[Batch]) -> str:
        """How many accounts, in how many batches."""
        accounts = sum(len(batch.tasks) for batch in result)
        cut = f"{counted(accounts, 'account')} in {counted(len(result), 'batch', 'batches')}"
        return f"{cut}; {len(self._dropped)} dropped"

    def conclude(self, context: Context, result: list[Batch]) -> list[dict[str, Any]]:
        """Hand on the batches, and what is to be said of the accounts that are in none."""
        if self._dropped:
            instance_of(context).xcom_push(DROPPED, [report.to_public() for report in self._dropped])
        return [batch.to_public() for batch in result]


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
    :param options: the bounds of a batch, checked when the DAG is read: see
        :class:`~likepion_provider.steps.importing.ImportBounds`.
    :param likepion_conn_id: a connection of type ``likepion``.
    :return: one report per account.
    """

    template_fields: Sequence[str] = (*LikepionOperator.template_fields, "batch", "look_only")
    operator_extra_links = (LikepionBoardLink(), LikepionFeedLink(), LikepionShowLink())

    def __init__(
        self,
        *,
        batch: dict[str, Any] | XComArg,
        look_only: bool | str = False,
        wait_task_id: str | None = None,
        options: ImportBounds | None = None,
        likepion_conn_id: str = LIKEPION_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(likepion_conn_id=likepion_conn_id, **kwargs)
        self.batch: Any = batch
        self.look_only = look_only
        self.wait_task_id = wait_task_id
        self.options = options or {}
        import_options(self.options)

    def prepare(self, context: Context) -> None:
        """Read the platforms' connections too.

        :raises AirflowSkipException: the sensor has waited in vain.
        """
        batch = Batch.from_public(self.batch)
        waited = self.wait_task_id if batch.waits else None
        if waited and state_of(context, waited, map_index_of(context)) == "skipped":
            raise AirflowSkipException(f"{batch.name}: link_rss was not set in time, the accounts are let go")
        super().prepare(context)
        self._accounts = batch.tasks
        self._feeds = self.opened(batch.feeds)
        self._platforms = platform_settings({task.domain for task in batch.tasks})

    async def work(self, context: Context, manager: ManagerClient) -> list[AccountReport]:
        """Import the batch."""
        options = dataclasses.replace(
            import_options(self.options),
            allow_private_feeds=self._private_feeds,
            report_failures=bool(self._failure_link),
            once_per_account=once_per_account(),
            dry_run=flag("look_only", self.look_only),
        )
        keeper = self.keeper(context, manager)
        batch = BatchImport(
            manager=manager,
            journal=self._journal,
            keeper=keeper,
            registry=importers(),
            clock=SYSTEM_CLOCK,
            feeds=self._feeds,
            settings=self._platforms,
            options=options,
        )
        await self.sign(context, self._accounts)
        if is_cleared(context, self.retries):
            # A person wants another try: see Intake.choose().
            keys = [task.key for task in self._accounts]
            await self._journal.commit(self._journal.settling.forgive, keys, SYSTEM_CLOCK.now())
        try:
            reports = await batch.run(self._accounts)
            # Later tries begin late for other reasons.
            self._late = batch.late if instance_of(context).try_number == 1 else []
            return reports
        finally:
            self.feed_urls = batch.feed_urls
            metrics.renewed(keeper.renewed)

    def conclude(self, context: Context, result: list[AccountReport]) -> list[dict[str, Any]]:
        """Hand on renewed cookies, sealed, and the reports."""
        cookies = {report.task.account_id: report.cookie for report in result if report.cookie}
        if cookies:
            seal = Seal(self._address.api_key)
            sealed = {account_id: seal.close(cookie, account_id) for account_id, cookie in cookies.items()}
            instance_of(context).xcom_push(SEALED_COOKIES, sealed)
        if self._late:
            instance_of(context).xcom_push(LATE, self._late)
        collected = [report for report in result if report.outcome is Outcome.COLLECTED]
        self.keep_episodes(collected, lineage.MOST_PAGES)
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
    :param import_task_id: hand on the cookies that this task renewed; None leaves the accounts' as they are. Importers
        renew no other credentials.
    :param assist: leave the accounts that need a person by that task's word, and their claims, to
        :class:`~likepion_provider.operators.assist.AskPersonOperator`.
    :param status: what the manager is told of every link: ``completed``, ``failed`` or ``cancel``.
    :param note: a free text for the manager, with every link.
    :param likepion_conn_id: a connection of type ``likepion``.
    :return: one report per account that has links.
    """

    template_fields: Sequence[str] = (
        *LikepionOperator.template_fields,
        "batch",
        "import_task_id",
        "look_only",
        "assist",
        "status",
        "note",
    )
    operator_extra_links = (LikepionBoardLink(), LikepionShowLink())

    def __init__(
        self,
        *,
        batch: dict[str, Any] | XComArg,
        import_task_id: str | None = None,
        look_only: bool | str = False,
        assist: bool | str = False,
        status: str = LinkStatus.COMPLETED.value,
        note: str = "",
        likepion_conn_id: str = LIKEPION_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(likepion_conn_id=likepion_conn_id, **kwargs)
        self.batch: Any = batch
        self.look_only = look_only
        self.import_task_id = import_task_id
        self.assist = assist
        self.status = status
        self.note = note

    def prepare(self, context: Context) -> None:
        """Read what the import left: renewed cookies, and which accounts are a person's now."""
        super().prepare(context)
        status = LinkStatus.named(name("status", self.status))
        self._like = LinkReport("", "", (), status=status, note=name("note", self.note))
        batch = Batch.from_public(self.batch)
        self._accounts: Sequence[SecondaryTask] = batch.tasks
        # A failure report may name the post's feed.
        self._feeds = self.opened(batch.feeds) if self._failure_link else {}
        self._cookies: dict[str, str] = {}
        if not self.import_task_id:
            return
        if flag("assist", self.assist):
            left = {report.task for report in needing_person(context, self.import_task_id, batch)}
            self._accounts = [task for task in self._accounts if task not in left]
        self._cookies = self.opened(dict(left_by(context, self.import_task_id, SEALED_COOKIES)))

    async def work(self, context: Context, manager: ManagerClient) -> list[AccountReport]:
        """Send."""
        if flag("look_only", self.look_only):
            self.log.info("Dry run: nothing is sent")
            ids = [task.account_id for task in self._accounts]
            await self._journal.commit(self._journal.claims.let_go, scope_of(context), ids)
            return []
        delivery = Delivery(
            manager=manager,
            journal=self._journal,
            keeper=self.keeper(context, manager),
            clock=SYSTEM_CLOCK,
            cookies=self._cookies,
            like=self._like,
            feeds=self._feeds,
            failure_link=self._failure_link,
        )
        await self.sign(context, self._accounts)
        return await delivery.run(self._accounts)

    def conclude(self, context: Context, result: list[AccountReport]) -> list[dict[str, Any]]:
        """Hand on the reports."""
        self.keep_episodes(result)
        metrics.inserted(result)
        return [report.to_public() for report in result]


def needing_person(context: Context, import_task_id: str, batch: Batch) -> list[AccountReport]:
    """The accounts of this task's batch that the import found to need a person."""
    reports = reports_of(left_by(context, import_task_id), batch.tasks)
    return [report for report in reports if report.outcome is Outcome.NEEDS_PERSON]


def reports_of(rows: Iterable[Mapping[str, Any]], tasks: Iterable[SecondaryTask]) -> list[AccountReport]:
    """The reports that a step returned.

    :param tasks: of the run or of the batch; what is said of other accounts is left out.
    """
    by_id = {task.account_id: task for task in tasks}
    return [AccountReport.from_public(row, by_id[row["account_id"]]) for row in rows if row["account_id"] in by_id]
