"""Imports one batch: its accounts side by side, the feed read once, everything found put into the journal.

Plain asyncio, no Airflow: the operators hand in what they know.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypedDict

from likepion_provider.aio import Gate, all_of, beside, patiently
from likepion_provider.clock import Clock, Moment
from likepion_provider.errors import (
    BadRequest,
    LastingTrouble,
    LeaseLost,
    LikepionError,
    NotJournaled,
    PlatformChanged,
    PlatformError,
    Transient,
)
from likepion_provider.journal import Journal, Prepared, Submission
from likepion_provider.journal.claims import LAPSED
from likepion_provider.manager.client import Manager
from likepion_provider.manager.protocol import wire_url
from likepion_provider.manager.urls import site_address
from likepion_provider.models import Feed, ImportState, Outcome, PostAccount, SecondaryTask
from likepion_provider.platforms import (
    Job,
    Platform,
    PlatformHttp,
    PlatformSettings,
    Progress,
    Registry,
    match,
    refuse_locked,
)
from likepion_provider.plurals import counted
from likepion_provider.steps.keeper import Keeper
from likepion_provider.steps.progress import StepCounter
from likepion_provider.steps.reports import AccountReport, conf_for, failed
from likepion_provider.steps.rereading import Rereading, asked, not_asked, refused
from likepion_provider.steps.turns import Turns
from likepion_provider.steps.unclaimed import unclaimed
from likepion_provider.web.http import Connections, connections
from likepion_provider.web.visit import VisitLimits

log = logging.getLogger(__name__)

#: Episodes that are reported where the manager names no target.
DEFAULT_TARGET = 1000
#: A platform that took a feed, or may have taken it, can hide the show this long before it is handed the feed again.
RESUBMIT_AFTER = timedelta(hours=1)
#: What passes by itself has passed by then; else a person has to look.
TROUBLE_PASSES_WITHIN = timedelta(days=1)
#: For so long after the journal was restored or lost, every account's platform is read before it is handed a feed.
READ_BACK_FOR = timedelta(days=14)
#: How long a run looks for a show whose submission may never have reached the platform, in seconds. A later run looks
#: again; meanwhile, the batch is not held up.
SHOW_UP_WITHIN_S = 20.0


class ReadFeed(Protocol):
    """:func:`likepion_provider.feed.read_feed`, or a test's own."""

    async def __call__(self, url: str, *, target: int, allow_private: bool, timeout_s: float) -> Feed:
        """Read a feed."""
        ...


class ImportBounds(TypedDict, total=False):
    """The bounds within which a batch is worked; what is left out is as it is by default.

    :param max_concurrency: accounts at a time; 1 to 500, 128 by default.
    :param collect_timeout_s: how long to wait for one account's episodes before it is let go; a later run goes on. At
        most a day, 10 minutes by default.
    :param partial_after_s: since the import began; from then on, the listed episodes are reported although
        others of the feed are missing on the platform. At most 30 days, a day by default.
    :param max_failures: permanent failures after which an account is set aside until a person runs it by its id; 1 to
        100, 3 by default.
    :param back_off_s: after a run that did not get through for a lasting reason, no run tries the account again by
        itself for this long; twice as long after each further one, up to ``max_back_off_s``. At most 30 days, an hour
        by default.
    :param max_back_off_s: at most 30 days, six hours by default.
    :param feed_timeout_s: for one reading of the feed; at most an hour, a minute by default.
    :param platform_timeout_s: for one request to a platform; at most an hour, a minute by default.
    """

    max_concurrency: int
    collect_timeout_s: float
    partial_after_s: float
    max_failures: int
    back_off_s: float
    max_back_off_s: float
    feed_timeout_s: float
    platform_timeout_s: float


_DAY_S = 24 * 3600.0
#: The least and the most of each bound.
_LIMITS: dict[str, tuple[float, float]] = {
    "max_concurrency": (1, 500),
    "collect_timeout_s": (0, _DAY_S),
    "partial_after_s": (0, 30 * _DAY_S),
    "max_failures": (1, 100),
    "back_off_s": (0, 30 * _DAY_S),
    "max_back_off_s": (0, 30 * _DAY_S),
    "feed_timeout_s": (0, 3600),
    "platform_timeout_s": (0, 3600),
}


def import_options(bounds: ImportBounds) -> ImportOptions:
    """What somebody has set, and the rest as it is by default.

    :raises BadRequest: there is no such bound, or it is beyond its limits.
    """
    for name, value in bounds.items():
        if name not in _LIMITS:
            raise BadRequest(f"there is no option {name!r}", remedy=f"There are {', '.join(_LIMITS)}.")
        least, most = _LIMITS[name]
        kind = int if name.startswith("max_") and not name.endswith("_s") else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
            raise BadRequest(f"{name} must be a number from {least:g} to {most:g}, not {value!r}")
    return ImportOptions(**bounds)


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """The bounds within which a batch is worked, and what a run and a connection say beside.

    The first of them are described at :class:`ImportBounds`.

    :param allow_private_feeds: read feeds from private and loopback addresses.
    :param once_per_account: leave out what was reported for the account under another post, the same episode or the
        same URL.
    :param report_failures: put a report for the manager into the journal where an account is set aside.
    :param dry_run: look, but neither import nor put anything into the journal.
    """

    max_concurrency: int = 128
    collect_timeout_s: float = 600.0
    partial_after_s: float = 24 * 3600.0
    max_failures: int = 3
    back_off_s: float = 3600.0
    max_back_off_s: float = 6 * 3600.0
    feed_timeout_s: float = 60.0
    platform_timeout_s: float = 60.0
    allow_private_feeds: bool = False
    once_per_account: bool = False
    report_failures: bool = False
    dry_run: bool = False


class BatchImport:
    """One batch of accounts, from claim to links in the journal.

    :param keeper: holds the accounts' claims; this object takes them over.
    :param feeds: the ``link_rss`` of posts as the pull told them, by post: the manager's answer about an account names
        the group's newest post, which may be another.
    :param settings: what the platforms' connections say, by domain; without one, the importer's own settings hold.
    """

    def __init__(
        self,
        *,
        manager: Manager,
        journal: Journal,
        keeper: Keeper,
        registry: Registry,
        clock: Clock,
        settings: Mapping[str, PlatformSettings],
        feeds: Mapping[str, str] | None = None,
        options: ImportOptions | None = None,
        read_feed: ReadFeed | None = None,
    ) -> None:
        self._manager = manager
        self._journal = journal
        self._keeper = keeper
        self._registry = registry
        self._clock = clock
        self._settings = settings
        self._link_rss = feeds or {}
        self._options = options or ImportOptions()
        self._read_feed = read_feed or _read_feed
        self._feeds: dict[tuple[str, int], asyncio.Task[Feed]] = {}
        self._gates: dict[str, Gate] = {}
        self._turns = Turns(journal, keeper, clock)
        self._connections: Connections | None = None
        self._submissions: dict[PostAccount, Submission] = {}
        self._unclaimed: dict[PostAccount, AccountReport] = {}
        #: Ids of accounts whose claim had lapsed before their import began.
        self.late: list[str] = []
        #: When the journal was found to have gone back: it may have forgotten imports.
        self._restored_at: datetime | None = None

    @property
    def feed_urls(self) -> list[str]:
        """The addresses of the feeds that were read, redacted."""
        read = [each for each in self._feeds.values() if each.done() and not each.cancelled() and not each.exception()]
        return [each.result().display_url for each in read]

    async def run(self, tasks: Sequence[SecondaryTask]) -> list[AccountReport]:
        """Work the accounts side by side; one's failure is its own.

        :raises NotAuthorised: the manager refuses the key.
        :raises JournalUnusable: nothing can be noted, so nothing is done.
        """
        held = await self._keeper.take_over([task.key for task in tasks])
        restored = await asyncio.to_thread(self._journal.marks.restored)
        self._restored_at = restored.noticed_at if restored else None
        self._submissions = await asyncio.to_thread(self._journal.submissions.get, held)
        if others := [task for task in tasks if task.key not in held]:
            await asyncio.to_thread(self._leave, others)
        slots = asyncio.Semaphore(self._options.max_concurrency)
        progress = StepCounter(len(tasks), self._clock)

        async def work(task: SecondaryTask) -> AccountReport:
            async with slots:
                began_s = self._clock.boot_s()
                report = await self._report(task)
                report = dataclasses.replace(report, took_s=self._clock.boot_s() - began_s)
            self._keeper_done(report)
            words = report.message or f"{counted(report.found, 'episode')}, {report.new} new"
            matters = report.outcome.needs_attention
            progress.step(f"{task.label}: {report.outcome.value}, {words}", matters=matters)
            return report

        from likepion_provider.feed import readers  # late: a DAG file reads no feed

        async with connections() as self._connections, readers(), beside(self._keeper.keep()):
            try:
                return await all_of(work(task) for task in tasks)
            finally:
                for reading in self._feeds.values():
                    reading.cancel()

    def _leave(self, tasks: Sequence[SecondaryTask]) -> None:
        """Say of accounts that no claim is held on how they stand."""
        scope, now = self._keeper.scope, Moment.read(self._clock)
        self._unclaimed = unclaimed(self._journal, scope, tasks, now)
        open_keys = [key for key, report in self._unclaimed.items() if report.outcome is Outcome.LEASE_LOST]
        reasons = self._journal.claims.reasons(scope, open_keys, now)
        self.late = [key.account_id for key, reason in reasons.items() if reason == LAPSED]

    def _keeper_done(self, report: AccountReport) -> None:
        if report.outcome is not Outcome.COLLECTED:
            self._keeper.done(report.task.key)

    async def _report(self, task: SecondaryTask) -> AccountReport:
        if task.key in self._unclaimed:
            return self._unclaimed[task.key]
        if reason := self._left_alone(task):
            await self._tell_manager(task.key, reason)
            return reason
        try:
            return await self._work(task)
        except LikepionError as error:
            if error.ends_batch:
                raise
            ended = await self._judged(task.key, error)
        except (Exception, SystemExit) as error:
            log.warning("%s: the importer failed", task.label, exc_info=True)
            ended = PlatformError(
                f"{task.domain}: the importer failed with {type(error).__name__}",
                remedy="This is a defect of the importer: report it with the task's log.",
            )
        await self._note_failure(task.key, ended)
        return failed(task, ended)

    async def _judged(self, key: PostAccount, error: LikepionError) -> LikepionError:
        """What ended an account; trouble that should have passed long ago is somebody's matter."""
        if not isinstance(error, Transient) or self._options.dry_run:
            return error
        submissions, holder = self._journal.submissions, self._keeper.holder
        try:
            since = await self._journal.commit(submissions.trouble, key, holder, Moment.read(self._clock))
            if self._clock.now() - since < TROUBLE_PASSES_WITHIN:
                return error
            lasting = LastingTrouble(f"{error.message}; nothing else has come of it since {since:%Y-%m-%d %H:%M}Z")
            until = self._clock.now() + self._back_off(key)
            words = {"message": lasting.message, "remedy": lasting.remedy, "not_before": until}
            await self._journal.commit(submissions.set_back, key, holder, Moment.read(self._clock), **words)
        except (LeaseLost, NotJournaled) as lost:
            log.info("Not noted: %s", lost)
            return error
        return lasting

    async def _note_failure(self, key: PostAccount, error: LikepionError) -> None:
        if error.import_state is None:
            return
        try:
            await self._note(
                key,
                state=error.import_state,
                message=error.message,
                remedy=error.remedy,
                permanent=error.is_permanent,
                not_before=self._clock.now() + self._back_off(key),
            )
        except (LeaseLost, NotJournaled) as lost:
            log.info("Not noted: %s", lost)

    async def _tell_manager(self, key: PostAccount, reason: AccountReport) -> None:
        """Leave word for the manager that an account is set aside; the delivery sends it."""
        if reason.outcome is not Outcome.SET_ASIDE or not self._options.report_failures or self._options.dry_run:
            return
        known = self._submissions.get(key)
        if known and known.set_aside:
            # A person's word, for us alone; they may take it back.
            return
        put = self._journal.failures.put
        try:
            await self._journal.commit(put, key, self._keeper.holder, reason.message, Moment.read(self._clock))
        except LeaseLost as lost:
            log.info("Not noted: %s", lost)

    def _back_off(self, key: PostAccount) -> timedelta:
        known = self._submissions.get(key)
        # Bounded before the power is taken: a year of setbacks is a large number.
        doublings = min(known.setbacks, 30) if known else 0
        return timedelta(seconds=min(self._options.back_off_s * 2**doublings, self._options.max_back_off_s))

    async def _note(self, key: PostAccount, **values: Any) -> None:
        if not self._options.dry_run:
            record = self._journal.submissions.record
            await self._journal.commit(record, key, self._keeper.holder, Moment.read(self._clock), **values)

    # --- one account ---

    async def _work(self, task: SecondaryTask) -> AccountReport:
        account = await patiently(lambda: self._manager.account(task.account_id), self._clock)
        link_rss = self._link_rss.get(task.request_id, "")
        if account.task.request_id == task.request_id:
            link_rss = account.link_rss or link_rss
        if not link_rss:
            if account.task.request_id != task.request_id:
                message = "another post of its group is newer, so only a pull tells this one's link_rss"
                return AccountReport(task, Outcome.WAITING, message=message)
            await self._hand_over(task.key)
            return AccountReport(task, Outcome.WAITING, message="the primary site has not set link_rss yet")
        settings = self._settings.get(task.domain, PlatformSettings())
        platform = self._registry.for_domain(task.domain, str(settings.extra.get("platform", "")))
        feed = await self._feed(link_rss, task.target or DEFAULT_TARGET)
        http = self._http(platform, task, account.credentials.cookie, settings)
        job = Job(task, account.credentials, feed, settings, http, self._reference(task.key))
        refuse_locked(job)
        _refuse_missing(platform, job)
        report = await self._deliverable(platform, job)
        # What the site has not set anew is not handed on: the manager has it.
        return dataclasses.replace(report, cookie="") if report.cookie == account.credentials.cookie else report

    async def _hand_over(self, key: PostAccount) -> None:
        """Have the next run wait on."""
        if not self._options.dry_run:
            hand_over, keeper = self._journal.claims.hand_over, self._keeper
            await self._journal.commit(hand_over, keeper.scope, [key.account_id], keeper.holder)

    def _left_alone(self, task: SecondaryTask) -> AccountReport | None:
        """Why an account is not tried now: a person, or time, comes first."""
        known = self._submissions.get(task.key)
        if known is None:
            return None
        remedy = f"{known.remedy} Then trigger the DAG with {conf_for([task.account_id])}".lstrip()
        if known.set_aside:
            return AccountReport(task, Outcome.SET_ASIDE, message=f"set aside by {known.set_aside}", remedy=remedy)
        if known.failures >= self._options.max_failures:
            message = f"set aside after {counted(known.failures, 'permanent failure')}, the last: {known.message}"
            return AccountReport(task, Outcome.SET_ASIDE, message=message, remedy=remedy)
        if known.not_before and self._clock.now() < known.not_before:
            message = f"not tried before {known.not_before:%Y-%m-%d %H:%M}Z: {known.message}"
            return AccountReport(task, Outcome.BACKING_OFF, message=message, remedy=remedy)
        return None

    async def _deliverable(self, platform: Platform, job: Job) -> AccountReport:
        task = job.task
        expected = min(task.target or DEFAULT_TARGET, len(job.feed.episodes))
        site = self._site(platform, job.http.base_url)
        async with self._turns.turn(site, task.key, self._options.collect_timeout_s):
            seen = await self._listing(platform, job, expected)
        progress, pages = seen.progress, seen.pages
        if self._options.dry_run:
            message = f"dry run: would import the feed and report {counted(expected, 'URL')}"
            if progress.state is ImportState.LISTED:
                message = f"dry run: {len(pages)} of {counted(expected, 'episode')} listed"
            return AccountReport(task, Outcome.WAITING, len(pages), message=message)
        lacking = (
            [f"{platform.title} lists {len(pages)} of {counted(expected, 'episode')} so far"]
            if len(pages) < expected
            else []
        )
        if lacking:
            lacking += filter(None, [self._may_be_lost(task.key, progress), seen.rereading.words, seen.trouble])
        message = "; ".join([*lacking, *_doubts(job.feed)])
        remedy = seen.rereading.remedy if lacking else ""
        # A feed that was not read to its end may be whole the next time.
        partial = bool(lacking) or not job.feed.newest_certain
        if not pages or (partial and not self._partial_will_do(task.key)):
            state = ImportState.IN_REVIEW if progress.state is ImportState.LISTED else progress.state
            await self._note(task.key, state=state, reference=progress.reference, message=message, remedy=remedy)
            return AccountReport(
                task, Outcome.WAITING, len(pages), message=message, remedy=remedy, cookie=progress.cookie
            )
        prepared = await self._prepare(task.key, pages)
        # With a part of its episodes reported, no pull brings the account back: in review, a later run looks again.
        reached = ImportState.IN_REVIEW if partial else ImportState.LISTED
        if prepared.links:
            await self._note(task.key, state=reached, reference=progress.reference, message=message)
            return AccountReport(task, Outcome.COLLECTED, len(pages), prepared.new, message, cookie=progress.cookie)
        # The manager goes on handing the account out: the platform is not asked again each time.
        message = f"nothing new: {counted(prepared.elsewhere, 'episode')} sent under another post"
        until = self._clock.now() + timedelta(seconds=self._options.back_off_s)
        await self._note(task.key, state=reached, reference=progress.reference, message=message, not_before=until)
        return AccountReport(task, Outcome.DELIVERED, message=message, cookie=progress.cookie)

    async def _prepare(self, key: PostAccount, pages: Sequence[tuple[str, str]]) -> Prepared:
        put, once = self._journal.links.prepare, self._options.once_per_account
        return await self._journal.commit(put, key, pages, self._clock.now(), once_per_account=once)

    def _partial_will_do(self, key: PostAccount) -> bool:
        known = self._submissions.get(key)
        if known is None or known.submitted_at is None:
            return False
        return (self._clock.now() - known.submitted_at).total_seconds() >= self._options.partial_after_s

    async def _listing(self, platform: Platform, job: Job, expected: int) -> _Listing:
        """Import where needed, then look until every expected episode is listed or the time is up."""
        began_s = self._clock.boot_s()
        progress, trouble = await self._bring_in(platform, job), ""
        rereading: Rereading | None = None
        waits = itertools.chain(platform.poll_s, itertools.repeat(platform.poll_s[-1]))
        while True:
            pages = _pages(platform, job, progress)
            wait_s = next(waits)
            complete = progress.state is ImportState.LISTED and len(pages) >= expected
            stalls_again = bool(progress.stalled and rereading and rereading.words)
            if rereading is None or (progress.stalled and not stalls_again):
                # What was there before the first look, or stalls, need not be coming.
                lacks = progress.stalled or (progress.state is ImportState.LISTED and not complete)
                rereading = await self._reread(platform, job, progress) if lacks else Rereading()
            may_be_lost = progress.state is ImportState.SUBMITTING
            patience_s = SHOW_UP_WITHIN_S if may_be_lost else self._options.collect_timeout_s
            is_over = self._clock.boot_s() + wait_s > began_s + patience_s
            if complete or stalls_again or self._options.dry_run or is_over:
                return _Listing(progress, pages, rereading, trouble)
            await self._clock.sleep(wait_s)
            self._begin_visit(job, began_s + patience_s - self._clock.boot_s())
            try:
                progress, trouble = await self._look(platform, job, progress), ""
            except Transient as error:
                # What the one before has seen stays.
                trouble = f"the last look failed: {error.message}"
                log.info("%s: %s", job.task.label, error)

    async def _bring_in(self, platform: Platform, job: Job) -> Progress:
        """Read the platform back where anything was submitted before; else, and only then, submit."""
        known = self._submissions.get(job.task.key)
        was_submitted = known and (known.attempts or known.reference)
        stalled = False
        if self._options.dry_run or was_submitted or self._restored_within(READ_BACK_FOR):
            self._begin_visit(job, self._options.collect_timeout_s)
            progress = await platform.collect(job)
            if self._options.dry_run or progress.state is not ImportState.NEW:
                return progress
            # What is gone on with counts from its first beginning.
            stalled = progress.stalled
            if known and self._may_still_show_up(known) and not progress.stalled:
                return dataclasses.replace(progress, state=known.state)
            if self._restored_within(RESUBMIT_AFTER):
                return dataclasses.replace(progress, state=ImportState.SUBMITTING)
        if not (stalled and known and known.submitted_at):
            begin, now = self._journal.submissions.begin, Moment.read(self._clock)
            await self._journal.commit(begin, job.task.key, self._keeper.holder, now)
        self._begin_visit(job)
        progress = await platform.submit(job)
        state = ImportState.SUBMITTED if progress.state is ImportState.NEW else progress.state
        await self._note(job.task.key, state=state, reference=progress.reference, message=progress.message)
        return progress

    async def _reread(self, platform: Platform, job: Job, last: Progress) -> Rereading:
        """Have the platform read the feed again, unless an import of it is under way."""
        known = self._submissions.get(job.task.key)
        if self._options.dry_run or (known and self._may_still_show_up(known) and not last.stalled):
            return Rereading()
        if not platform.rereads.on_request:
            return not_asked(platform)
        now = Moment.read(self._clock)
        begin = self._journal.submissions.begin_refresh
        before = await self._journal.commit(begin, job.task.key, self._keeper.holder, now)
        if before is not None:
            return asked(before)
        self._begin_visit(job)
        try:
            await platform.refresh(dataclasses.replace(job, reference=last.reference or job.reference))
        except (Transient, PlatformError) as error:
            return refused(error)
        return asked(now.at)

    def _begin_visit(self, job: Job, wanted_s: float = math.inf) -> None:
        """Give the account's next visit its time, which is over before the claim is.

        :param wanted_s: how long it is worth waiting for; one request's time is always given.
        :raises LeaseLost: the claim has lapsed.
        """
        claimed_s = self._keeper.check_now(job.task.key)
        limits = VisitLimits()
        seconds = min(limits.seconds, max(wanted_s, self._options.platform_timeout_s), claimed_s)
        job.http.begin_visit(dataclasses.replace(limits, seconds=seconds))

    def _may_still_show_up(self, known: Submission) -> bool:
        if not known.state.is_under_way or known.submitted_at is None:
            return False
        return self._clock.now() - known.submitted_at < RESUBMIT_AFTER

    def _may_be_lost(self, key: PostAccount, progress: Progress) -> str:
        """That the platform may never have got the feed, and what comes of it; empty where it has."""
        known = self._submissions.get(key)
        if progress.state is not ImportState.SUBMITTING or known is None or known.submitted_at is None:
            return ""
        again = known.submitted_at + RESUBMIT_AFTER
        return (
            f"it did not say whether it took the feed at {known.submitted_at:%H:%M}Z, and is handed it again after "
            f"{again:%H:%M}Z"
        )

    def _restored_within(self, span: timedelta) -> bool:
        return self._restored_at is not None and self._clock.now() - self._restored_at < span

    async def _look(self, platform: Platform, job: Job, last: Progress) -> Progress:
        """One more look.

        :raises Transient: it saw nothing.
        """
        seen = await platform.collect(dataclasses.replace(job, reference=last.reference or job.reference))
        state = last.state if seen.state is ImportState.NEW else seen.state
        return dataclasses.replace(
            seen, state=state, reference=seen.reference or last.reference, cookie=seen.cookie or last.cookie
        )

    # --- what the accounts of a batch share ---

    async def _feed(self, url: str, target: int) -> Feed:
        key = (url, target)
        if key not in self._feeds:
            self._feeds[key] = asyncio.create_task(self._read(url, target))
        return await asyncio.shield(self._feeds[key])

    async def _read(self, url: str, target: int) -> Feed:
        options = self._options
        return await patiently(
            lambda: self._read_feed(
                url, target=target, allow_private=options.allow_private_feeds, timeout_s=options.feed_timeout_s
            ),
            self._clock,
        )

    def _http(self, platform: Platform, task: SecondaryTask, cookie: str, settings: PlatformSettings) -> PlatformHttp:
        if self._connections is None:
            raise RuntimeError("the batch is not running")
        base_url = platform.address(task, settings)
        site = self._site(platform, base_url)
        if not base_url:
            raise PlatformError(
                f"{platform.title}: nothing says where {task.domain} is",
                platform=platform.name,
                remedy=f"Make the Airflow connection likepion_platform_{platform.name} and put its address into host.",
            )
        return PlatformHttp(
            platform=platform.name,
            base_url=base_url,
            connections=self._connections,
            gate=self._gates.setdefault(task.domain, Gate(platform.max_concurrency)),
            before_write=lambda: self._turns.check(site, task.key),
            last_look=lambda: self._keeper.check_now(task.key),
            cookie=cookie,
            named=settings.addresses,
            allow_private=settings.allow_private,
            timeout_s=self._options.platform_timeout_s,
        )

    def _site(self, platform: Platform, base_url: str) -> str:
        """Where one account at a time has its turn; empty where all may work side by side, or only look."""
        # Whichever of the two schemes a connection says.
        site = site_address(base_url).partition("://")[2]
        return site if platform.one_at_a_time and not self._options.dry_run else ""

    def _reference(self, key: PostAccount) -> str:
        """The platform's name for the show; none where the import under that name failed there."""
        known = self._submissions.get(key)
        return known.reference if known and known.state is not ImportState.FAILED else ""


@dataclasses.dataclass(frozen=True)
class _Listing:
    """What is listed in the end.

    :param pages: the feed's episodes among it, by guid, each with its page.
    :param trouble: of the last look, which saw nothing; empty where it did.
    """

    progress: Progress
    pages: list[tuple[str, str]]
    rereading: Rereading
    trouble: str = ""


async def _read_feed(url: str, *, target: int, allow_private: bool, timeout_s: float) -> Feed:
    from likepion_provider.feed import read_feed  # late: a DAG file reads no feed

    return await read_feed(url, target=target, allow_private=allow_private, timeout_s=timeout_s)


def _doubts(feed: Feed) -> list[str]:
    """What may be missing of a feed, in words."""
    doubts = [] if feed.newest_certain else ["the feed was not read to its end, so newer episodes may be missing"]
    return [*doubts, *feed.left_out[:3]]


def _refuse_missing(platform: Platform, job: Job) -> None:
    missing = [name for name in platform.needs if not getattr(job.credentials, name)]
    if missing:
        raise PlatformError(
            f"{platform.title} needs the account's {' and '.join(missing)}",
            platform=platform.name,
            remedy="Add what is missing to the account in the manager, then run the account again.",
        )


def _pages(platform: Platform, job: Job, progress: Progress) -> list[tuple[str, str]]:
    """The feed's episodes that are listed, by guid, each with its public page as the manager stores it.

    :raises PlatformChanged: one is no URL that the manager could store.
    """
    listed = match(job.feed, progress.episodes, job.task.target or DEFAULT_TARGET)
    try:
        return [(episode.guid, wire_url(each.url.strip())) for episode, each in listed]
    except BadRequest as error:
        raise PlatformChanged(
            f"{platform.title}: {error}", platform=platform.name, url=platform.base_url, field="episode url"
        ) from None
