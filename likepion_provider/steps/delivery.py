"""Reports the journal's links to the manager: each URL in one insert, one account per insert."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

from likepion_provider.aio import Gate, all_of, beside, patiently
from likepion_provider.clock import Clock, Moment
from likepion_provider.errors import JournalUnusable, LikepionError, OutcomeUnknown
from likepion_provider.journal import Journal, Sending
from likepion_provider.journal.links import REFUSED_REMEDY
from likepion_provider.manager.client import Manager
from likepion_provider.manager.protocol import LinkReport, Record, failure_report, split_urls
from likepion_provider.models import LinkState, Outcome, PostAccount, SecondaryTask
from likepion_provider.plurals import counted
from likepion_provider.steps.keeper import Keeper
from likepion_provider.steps.progress import StepCounter
from likepion_provider.steps.reports import AccountReport
from likepion_provider.steps.unclaimed import unclaimed

log = logging.getLogger(__name__)

#: Waits before another try of an insert that provably did not reach the manager, in seconds.
SEND_WAITS_S = (2.0, 5.0, 15.0)
#: Waits for a journal that is gone while an outcome has to be noted, in seconds.
NOTE_WAITS_S = (1.0, 2.0, 5.0, 10.0, 20.0)


class Delivery:
    """Sends the links that the journal has for a batch of accounts.

    :param cookies: renewed cookies to hand on, by account id.
    :param like: whose status, note and credentials each report has.
    :param feeds: the ``link_rss`` of posts as the pull told them, by post.
    :param max_concurrency: inserts at a time; 1 to 100.
    :param failure_link: report accounts that are set aside as failed, with this as their ``link_post``: see
        :func:`~likepion_provider.manager.protocol.failure_report`; empty reports none.
    """

    def __init__(
        self,
        *,
        manager: Manager,
        journal: Journal,
        keeper: Keeper,
        clock: Clock,
        cookies: Mapping[str, str] | None = None,
        like: LinkReport | None = None,
        feeds: Mapping[str, str] | None = None,
        max_concurrency: int = 16,
        failure_link: str = "",
    ) -> None:
        self._manager = manager
        self._journal = journal
        self._keeper = keeper
        self._clock = clock
        self._cookies = cookies or {}
        self._like = like or LinkReport("", "", ())
        self._feeds = feeds or {}
        self._failure_link = failure_link
        self._gate = Gate(max_concurrency, clock=clock)

    async def run(self, tasks: Sequence[SecondaryTask]) -> list[AccountReport]:
        """Send, account by account side by side; a lost answer parks that account's links and no other's.

        :return: how the links of every account stand now; accounts that the journal has no link of are left out.
        :raises NotAuthorised: the manager refuses the key; nothing was stored with it.
        :raises JournalUnusable: the journal failed for longer than this waits.
        """
        held = await self._keeper.take_over([task.key for task in tasks])
        urls = await asyncio.to_thread(self._journal.links.to_send, held)
        progress = StepCounter(len(held), self._clock)
        async with beside(self._keeper.keep()):
            troubles = await all_of(self._deliver(task, urls[task.key], progress) for task in tasks if task.key in held)
        ids = [task.account_id for task in tasks]
        await self._journal.commit(self._journal.claims.let_go, self._keeper.scope, ids, self._keeper.holder)
        for trouble in troubles:
            if trouble and trouble.ends_batch:
                raise trouble
        states = await asyncio.to_thread(self._journal.links.states, [task.key for task in tasks])
        others, now = [task for task in tasks if task.key not in held], Moment.read(self._clock)
        lost = await asyncio.to_thread(unclaimed, self._journal, self._keeper.scope, others, now)
        found = [(task, states[task.key], lost.get(task.key)) for task in tasks if states[task.key]]
        return await asyncio.to_thread(lambda: [self._report(*each) for each in found])

    async def _deliver(self, task: SecondaryTask, urls: Sequence[str], progress: StepCounter) -> LikepionError | None:
        async with self._gate.passage():
            try:
                for position, part in enumerate(split_urls(urls)):
                    if position:
                        await self._keeper.claim_served(task.key)
                    await self._send(task, part)
                if self._failure_link:
                    await self._report_failure(task)
            except LikepionError as error:
                log.warning("%s: %s", task.label, error.advice)
                return error
            except Exception as error:
                # The others' inserts go on: cut off, their outcomes would be unknown.
                log.warning("%s: the delivery failed", task.label, exc_info=True)
                return LikepionError(f"the delivery failed with {type(error).__name__}")
            finally:
                self._keeper.done(task.key)
                progress.step(task.label)
        return None

    async def _send(self, task: SecondaryTask, urls: Sequence[str]) -> None:
        async def attempt() -> None:
            await self._keeper.before_insert(task.key)
            await self._keeper.check(task.key)
            begin = self._journal.links.begin_send
            sending = await self._journal.commit(begin, task.key, self._keeper.holder, urls, Moment.read(self._clock))
            if sending.urls:
                await self._post(task, sending)

        await patiently(attempt, self._clock, waits_s=SEND_WAITS_S)

    async def _post(self, task: SecondaryTask, sending: Sending) -> None:
        """One insert, and its outcome in the journal, whatever it is. A crash in between leaves ``sending``."""
        key = task.key
        report = dataclasses.replace(
            self._like,
            request_id=key.request_id,
            account_id=key.account_id,
            urls=sending.urls,
            cookie=self._cookies.get(key.account_id, self._like.cookie),
        )
        records = await self._insert(key, report, functools.partial(self._end, key, sending))
        await self._persist(self._journal.links.end_send, key, sending, records, self._clock.now())
        stored = sum(each.stored is True for each in records)
        level = logging.DEBUG if stored == len(records) else logging.WARNING
        log.log(level, "%s: %d of %s stored", task.label, stored, counted(len(records), "link"))

    async def _insert(
        self, key: PostAccount, report: LinkReport, fail: Callable[[LinkState, LikepionError], Awaitable[None]]
    ) -> list[Record]:
        """Send, once.

        :param fail: awaited with what a failure makes of the report.
        """
        try:
            look = functools.partial(self._keeper.check_now, key)
            return await self._manager.insert(report, last_look=look)
        except LikepionError as error:
            await fail(error.link_state, error)
            raise

    async def _report_failure(self, task: SecondaryTask) -> None:
        """Tell the manager that the account is set aside, once; what did not get there is left to a later run."""
        key, failures = task.key, self._journal.failures
        note = await asyncio.to_thread(failures.to_send, key)
        if note is None:
            return
        account = await patiently(lambda: self._manager.account(task.account_id), self._clock)
        if account.task.request_id != task.request_id:
            # The group's newest post is another; the address of this one's feed is not known here.
            account = dataclasses.replace(account, task=task, link_rss=self._feeds.get(task.request_id, ""))
        report = failure_report(self._failure_link, account, note)
        await self._keeper.before_insert(key)
        await self._keeper.check(key)
        send_id = await self._journal.commit(failures.begin_send, key, self._keeper.holder, Moment.read(self._clock))
        if send_id:
            (record,) = await self._insert(key, report, functools.partial(self._end_failure, key, send_id))
            await self._end_failure(key, send_id, record.link_state)
            log.info("%s: reported as failed, %s", task.label, record.link_state.value)

    async def _end_failure(
        self, key: PostAccount, send_id: str, state: LinkState, _: LikepionError | None = None
    ) -> None:
        await self._persist(self._journal.failures.end_send, key, send_id, state)

    async def _end(self, key: PostAccount, sending: Sending, state: LinkState, error: LikepionError) -> None:
        await self._persist(self._journal.links.fail_send, key, sending, state, error.message, self._clock.now())

    async def _persist(self, operation: Callable[..., None], *args: object) -> None:
        """Note an outcome, even if the database has to come back first: without the note it would become unknown."""
        await patiently(
            lambda: self._journal.commit(operation, *args), self._clock, waits_s=NOTE_WAITS_S, on=JournalUnusable
        )

    def _report(self, task: SecondaryTask, states: Counter[LinkState], lost: AccountReport | None) -> AccountReport:
        """How an account's links stand.

        :param lost: the report of an account that this attempt has no claim on.
        """
        found = states.total()
        if states[LinkState.UNKNOWN] or states[LinkState.SENDING]:
            unclear = states[LinkState.UNKNOWN] + states[LinkState.SENDING]
            error: LikepionError = OutcomeUnknown(
                f"{unclear} of {counted(found, 'link')}: the answer to their insert was lost"
            )
            return AccountReport(task, Outcome.UNKNOWN, found, message=error.message, remedy=error.remedy)
        if states[LinkState.REFUSED]:
            words = self._journal.links.evidence(task.key, LinkState.REFUSED)
            refused = f"{states[LinkState.REFUSED]} of {counted(found, 'link')}"
            message = f"the manager refused {refused}: {words or 'no reason given'}"
            return AccountReport(task, Outcome.FAILED, found, message=message, remedy=REFUSED_REMEDY)
        if states[LinkState.PREPARED]:
            if lost and not states[LinkState.STORED]:
                return lost
            return AccountReport(task, Outcome.WAITING, found, message="not sent yet; a later run sends it")
        return AccountReport(task, Outcome.DELIVERED, found)
