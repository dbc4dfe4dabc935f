"""The manager for code that is no step of a run, with the same promise: no URL is reported twice."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Iterable, Sequence

from likepion_provider.clock import Clock, Moment
from likepion_provider.errors import BadRequest, LeaseLost, Transient
from likepion_provider.journal import Journal, Link
from likepion_provider.manager.client import ManagerClient
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Claimed, LinkReport, LinkStatus, Pulled, Record, wire_url
from likepion_provider.manager.tasks import normal_id
from likepion_provider.models import LinkState, Outcome, PostAccount
from likepion_provider.steps.delivery import Delivery
from likepion_provider.steps.intake import Intake
from likepion_provider.steps.keeper import Keeper

#: Links that an insert may carry.
_OPEN = (LinkState.PREPARED, LinkState.REFUSED)
#: What a link's state says of its record at the manager.
_STORED = {LinkState.STORED: True, LinkState.REFUSED: False}


class Once:
    """Pulls, claims and inserts through the journal, by its rules.

    An account can be reported while a claim holds that was pulled in this run, here or by a step; and where the manager
    has confirmed one of its links. What is left of its links, the runs of the DAG send, and settle what is unknown.

    :param scope: the run that the claims are for.
    :param run_id: the run's name in the journal, for people.
    """

    def __init__(self, manager: ManagerClient, journal: Journal, clock: Clock, scope: str, run_id: str) -> None:
        self._manager = manager
        self._journal = journal
        self._clock = clock
        self._scope = scope
        self._run_id = run_id
        self._intake = Intake(manager=manager, journal=journal, clock=clock, scope=scope, run_id=run_id)

    async def pull(self, limit: int, *, kind: str | None = "secondary") -> Pulled:
        """Pull as the client does; note the claims of secondary accounts, and settle what the pull proves."""
        asked = Moment.read(self._clock)
        pulled = await self._manager.pull(limit, kind=kind)
        tasks, lease = [account.task for account in pulled], Lease.granted(asked)
        await self._journal.commit(self._journal.claims.grant, self._scope, {task.key: lease for task in tasks})
        await self._journal.commit(self._journal.submissions.note, tasks, self._run_id, asked.at, pulled=True)
        await self._intake.settle(tasks, asked, exhaustive=pulled.is_exhaustive)
        return pulled

    async def claim(self, account_ids: str | Iterable[str]) -> Claimed:
        """Extend the claims that this run still holds; accounts whose claim is over are left out."""
        ids = [account_ids] if isinstance(account_ids, str) else [*account_ids]
        asked = Moment.read(self._clock)
        live = await asyncio.to_thread(self._journal.claims.live, self._scope, ids, asked)
        answer = await self._manager.claim([each for each, row in live.items() if not row.is_spent])
        lease = Lease.granted(asked, answer.ttl_s)
        await self._journal.commit(self._journal.claims.confirm, self._scope, answer.claimed, lease)
        return answer

    async def insert_items(self, reports: Sequence[LinkReport], *, split: bool = True) -> list[tuple[Record, ...]]:
        """Report accounts one after the other, each in requests of its own.

        :param split: any number of URLs is split, whatever this says.
        :return: for each report its records; a link that was sent before has the record that it got then.
        :raises BadRequest: nothing was sent: a report names its account by domain, has another status than completed,
            or a URL that is not http(s).
        :raises LeaseLost: an account may not be written; those before it have their links in the journal.
        :raises Transient: the manager was not reached in time; to call again sends what is left.
        """
        for report in reports:
            _require_sendable(report)
        return [await self._insert(report) for report in reports]

    async def _insert(self, report: LinkReport) -> tuple[Record, ...]:
        key = PostAccount(normal_id(report.request_id), normal_id(report.account_id))
        urls = [url.strip() for url in report.urls]
        known = await self._known(key)
        if any(url not in known or known[url].state in _OPEN for url in urls):
            await self._send(key, urls, report)
            known = await self._known(key)
        return tuple(_record(url, known.get(url)) for url in urls)

    async def _known(self, key: PostAccount) -> dict[str, Link]:
        return {link.url: link for link in await asyncio.to_thread(self._journal.links.of_key, key)}

    async def _send(self, key: PostAccount, urls: Sequence[str], like: LinkReport) -> None:
        account = await self._manager.account(key.account_id)
        task = dataclasses.replace(account.task, request_id=key.request_id)
        taken, busy = await self._intake.take([task])
        if not taken:
            why = "another run works it" if busy else "no claim of this run holds it"
            raise LeaseLost(
                f"{task.label} is not reported: {why}", remedy="Pull it in this run, and report it in time."
            )
        # A report names no episodes: each URL is one.
        pages = [(url, url) for url in urls]
        await self._journal.commit(self._journal.links.prepare, key, pages, self._clock.now())
        keeper = Keeper(self._manager, self._journal, self._clock, self._scope, uuid.uuid4().hex)
        delivery = Delivery(manager=self._manager, journal=self._journal, keeper=keeper, clock=self._clock, like=like)
        for said in await delivery.run([task]):
            if said.outcome is Outcome.LEASE_LOST:
                raise LeaseLost(said.message)
            if said.outcome is Outcome.WAITING:
                raise Transient(f"{task.label}: {said.message}")


def _require_sendable(report: LinkReport) -> None:
    if not report.account_id:
        raise BadRequest("links that are reported once need account_id: a domain does not say whose they are")
    if report.status != LinkStatus.COMPLETED:
        raise BadRequest("links that are reported once are completed: the journal keeps no other status for them")
    if not report.urls:
        raise BadRequest(f"the report of account {report.account_id!r} has no URL")
    for url in report.urls:
        wire_url(url)


def _record(url: str, link: Link | None) -> Record:
    # The journal forgets the text of links alone that were stored long ago.
    return Record(url, True) if link is None else Record(url, _STORED.get(link.state), link.evidence)
