"""The manager as an Airflow hook."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from airflow.providers.common.compat.sdk import get_current_context
from airflow.providers.http.hooks.http import HttpHook

from likepion_provider.clock import SYSTEM_CLOCK
from likepion_provider.errors import LikepionError
from likepion_provider.hooks.connections import (
    LIKEPION_CONN_ID,
    allows_private_feeds,
    amanager_address,
    find,
    journal_for,
    manager_address,
    scope_of,
)
from likepion_provider.hooks.marks import marked
from likepion_provider.hooks.output import mask
from likepion_provider.manager import protocol
from likepion_provider.manager.client import ManagerAddress, ManagerClient
from likepion_provider.manager.protocol import Call, Claimed, LinkReport, Pulled, Record
from likepion_provider.models import Account
from likepion_provider.steps.once import Once

T = TypeVar("T")

#: Claims of a hook that is used outside of a task are given to this, in place of a run.
NO_RUN = "hook"


class LikepionHook(HttpHook):
    """The podcast manager: pull, claim, read accounts, report links. Every request is sent exactly once.

    Of HttpHook it takes the connection's form and its extras ``proxies``, ``verify``, ``cert`` and ``trust_env``; calls
    go through :class:`~likepion_provider.manager.client.ManagerClient`, with its bounds of time and size. What comes or
    goes of credentials and feeds' addresses is masked in the task's log.

    .. code-block:: python

        from likepion_provider.hooks.likepion import LikepionHook
        from likepion_provider.manager.protocol import LinkReport, LinkStatus

        hook = LikepionHook()

    The examples below go on from there. A task that works many accounts side by side uses :meth:`client`.

    :param likepion_conn_id: a connection of type ``likepion``; its password is the API key.
    :param once: go through the journal, so that no URL is reported twice, however often the task runs again:
        :meth:`pull` and :meth:`claim` note there what is claimed, and :meth:`insert` sends only what was never sent and
        only while the claim holds. See :class:`~likepion_provider.steps.once.Once`.
    """

    conn_name_attr = "likepion_conn_id"
    default_conn_name = LIKEPION_CONN_ID
    conn_type = "likepion"
    hook_name = "Likepion"
    default_host = protocol.DEFAULT_HOST

    def __init__(self, likepion_conn_id: str = LIKEPION_CONN_ID, *, once: bool = False) -> None:
        super().__init__(method="GET", http_conn_id=likepion_conn_id)
        self.likepion_conn_id = likepion_conn_id
        self.once = once

    async def client(self) -> ManagerClient:
        """The asynchronous client, to be used in an ``async with`` block.

        What it brings is masked where the task has a process of its own, which ``airflow dags test`` does not give it.

        .. code-block:: python

            import asyncio

            async def work():
                async with await hook.client() as manager:
                    for account in await manager.pull(100):
                        print(account.task.label)

            asyncio.run(work())

        :raises BadRequest: there is no such connection.
        :raises NotAuthorised: it has no API key.
        """
        mask(())  # nothing yet: the accounts' secrets are known as they are read
        return ManagerClient(await amanager_address(self.likepion_conn_id))

    def pull(self, limit: int = 5, *, kind: str | None = "secondary") -> Pulled:
        """Pull and claim tasks. Rows that cannot be worked are named in the log, and are claimed like the others.

        .. code-block:: python

            for account in hook.pull(5):
                print(account.task.label, account.task.target)

        :param limit: at most so many, 1 to 1,000.
        :param kind: None leaves the API's ``type`` out: then primary sites' tasks come too, and are in ``primary``.
        :raises OutcomeUnknown: the answer was lost; do not pull again at once.
        """
        pulled = self._run_noted(lambda manager: manager.pull(limit, kind=kind))
        for account in (*pulled, *pulled.primary):
            _mask(account)
        for odd in pulled.odd:
            self.log.warning("Handed out, and left alone: %s", odd)
        return pulled

    def account(self, account_id: str) -> Account:
        """Read one account without claiming it.

        .. code-block:: python

            (pulled,) = hook.pull(1)
            account = hook.account(pulled.task.account_id)
            print(account.task.domain, account.credentials.username)

        :raises Rejected: the manager does not know it, or what it says of it cannot be worked.
        """
        account = self._run(lambda manager: manager.account(account_id))
        _mask(account)
        return account

    def claim(self, account_ids: str | Iterable[str]) -> Claimed:
        """Claim, or extend, one account or any number of them, 200 per request.

        The manager does not refuse an account that somebody else holds: claim only what is yours. With ``once``, those
        whose claim is over are left out.

        .. code-block:: python

            ids = [account.task.account_id for account in hook.pull(3)]
            assert hook.claim(ids).claimed == set(ids)
            print(hook.claim(ids[0]).ttl_s)
        """
        ids = account_ids if isinstance(account_ids, str) else list(account_ids)
        return self._run_noted(lambda manager: manager.claim(ids))

    def insert(self, report: LinkReport, *, split: bool = False) -> list[Record]:
        """Report one account's links. Without ``once``, the manager stores a URL as often as it is sent.

        .. code-block:: python

            (account,) = hook.pull(1)
            report = LinkReport(
                account.task.request_id,
                account.task.account_id,
                ("https://tide.example/1", "https://tide.example/2"),
                note="imported by hand",
            )
            for record in hook.insert(report):
                print(record.url, record.stored)

        :param split: send more than 200 URLs, in several requests: see :meth:`insert_items`.
        :return: one record per URL, in their order.
        :raises OutcomeUnknown: the links may have been stored; do not send them again.
        :raises LeaseLost: with ``once``: the claim is over, and nothing was sent.
        :raises Transient: nothing was sent; with ``once`` a later call may send it.
        """
        (records,) = self.insert_items([report], split=split)
        return [*records]

    def insert_items(self, reports: Sequence[LinkReport], *, split: bool = False) -> list[tuple[Record, ...]]:
        """Report the links of several accounts, each by its id or by its domain, with renewed credentials if there are.

        With ``once``, each is named by its id, is completed, and has requests of its own.

        .. code-block:: python

            from likepion_provider.models import Credentials

            one, other = (account.task for account in hook.pull(2))
            hook.insert_items(
                [
                    LinkReport(
                        one.request_id,
                        one.account_id,
                        ("https://tide.example/1",),
                        credentials=Credentials(password="renewed", cookie="session=renewed"),
                    ),
                    LinkReport(
                        other.request_id,
                        "",
                        ("https://harbor.example/1",),
                        domain=other.domain,
                        status=LinkStatus.FAILED,
                        note="no episode is listed",
                    ),
                ]
            )

        :param split: send more than 200 URLs in several requests, up to the first that fails. If that is not the very
            first, nothing is raised, and its records and those of the rest say what became of them.
        :return: for each report its records, one per URL, in the order given.
        :raises BadRequest: nothing was sent: more than 200 URLs without ``split``; no URL; a URL that is not http(s).
        :raises OutcomeUnknown: the links may have been stored; do not send them again.
        """
        for report in reports:
            mask([*report.credentials.secrets(), *filter(None, [report.cookie])])
        return self._run_noted(lambda manager: manager.insert_items(reports, split=split))

    def test_connection(self) -> tuple[bool, str]:
        """Prove host, key and extras, as tasks use them, by reading an account that cannot exist.

        The queue is not touched.

        .. code-block:: python

            works, message = hook.test_connection()
            assert works, message
        """
        try:
            allows_private_feeds(find(self.likepion_conn_id))
            call = Call[None](protocol.probe(self._address().api_key), protocol.read_probe)
            self._run(lambda manager: manager.send(call))
        except LikepionError as error:
            return False, error.advice
        return True, "The manager answers and accepts the key"

    def _address(self) -> ManagerAddress:
        return manager_address(self.likepion_conn_id, find(self.likepion_conn_id))

    def _run_noted(self, work: Callable[[ManagerClient | Once], Coroutine[Any, Any, T]]) -> T:
        """As :meth:`_run`; through the journal where that was asked for."""
        if not self.once:
            return self._run(work)
        # Connections and context are read here: that blocks, and the event loop's thread may be another.
        journal = journal_for(self.likepion_conn_id)
        try:
            context = get_current_context()
        except RuntimeError:
            scope = run_id = NO_RUN
            leaves_marks: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        else:
            scope, run_id = scope_of(context), context["dag_run"].run_id
            leaves_marks = marked(journal)
        with leaves_marks:
            return self._run(lambda manager: work(Once(manager, journal, SYSTEM_CLOCK, scope, run_id)))

    def _run(self, work: Callable[[ManagerClient], Coroutine[Any, Any, T]]) -> T:
        """Do something with a client."""
        address = self._address()

        async def run() -> T:
            async with ManagerClient(address) as manager:
                return await work(manager)

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(run())
        # This thread's event loop is busy with whoever calls.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, run()).result()


def _mask(account: Account) -> None:
    mask([*account.credentials.secrets(), *filter(None, [account.link_rss])])
