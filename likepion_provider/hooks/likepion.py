"""The manager as an Airflow hook."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from airflow.providers.http.hooks.http import HttpHook

from likepion_provider.errors import LikepionError
from likepion_provider.hooks.connections import LIKEPION_CONN_ID, amanager_address, find, manager_address
from likepion_provider.hooks.masking import mask
from likepion_provider.manager import protocol
from likepion_provider.manager.client import ManagerAddress, ManagerClient
from likepion_provider.manager.protocol import Call, Claimed, LinkReport, Record
from likepion_provider.models import Account

T = TypeVar("T")


class LikepionHook(HttpHook):
    """The podcast manager: pull, claim, read accounts, report links. Every call is sent exactly once.

    Of HttpHook it takes the connection's form and its extras ``proxies``, ``verify``, ``cert`` and ``trust_env``; calls
    go through :class:`~likepion_provider.manager.client.ManagerClient`, with its bounds of time and size.

    .. code-block:: python

        from likepion_provider.hooks.likepion import LikepionHook

        account = LikepionHook().account("0b6f...")
        print(account.task.domain, account.task.target)

    A task that works many accounts uses :meth:`client` instead.

    :param likepion_conn_id: a connection of type ``likepion``; its password is the API key.
    """

    conn_name_attr = "likepion_conn_id"
    default_conn_name = LIKEPION_CONN_ID
    conn_type = "likepion"
    hook_name = "Likepion"
    default_host = protocol.DEFAULT_HOST

    def __init__(self, likepion_conn_id: str = LIKEPION_CONN_ID) -> None:
        super().__init__(method="GET", http_conn_id=likepion_conn_id)
        self.likepion_conn_id = likepion_conn_id

    async def client(self) -> ManagerClient:
        """The asynchronous client, to be used in an ``async with`` block.

        :raises BadRequest: there is no such connection.
        :raises NotAuthorised: it has no API key.
        """
        return ManagerClient(await amanager_address(self.likepion_conn_id))

    def pull(self, limit: int = 5) -> list[Account]:
        """Pull and claim up to ``limit`` (1 to 1,000) tasks. Registers their secrets to be masked.

        :raises OutcomeUnknown: the answer was lost; do not pull again at once.
        """
        (accounts,) = self._send([protocol.pull(limit)])
        for account in accounts:
            mask(account.credentials.secrets())
        return accounts

    def account(self, account_id: str) -> Account:
        """Read one account without claiming it. Registers its secrets to be masked."""
        (account,) = self._send([protocol.account(account_id)])
        mask(account.credentials.secrets())
        return account

    def claim(self, account_ids: Iterable[str]) -> list[Claimed]:
        """Claim, or extend, any number of accounts; one answer per 200.

        The manager does not refuse an account that somebody else holds: claim only what is yours.
        """
        return self._send(protocol.claims(account_ids))

    def insert(self, report: LinkReport) -> list[Record]:
        """Report one account's links. The manager stores a URL as often as it is sent.

        :raises OutcomeUnknown: the links may have been stored; do not send them again.
        """
        (records,) = self._send([protocol.insert(report)])
        return records

    def test_connection(self) -> tuple[bool, str]:
        """Prove host and key by reading an account that cannot exist: the queue is not touched."""
        try:
            self._send([Call(protocol.probe(self._address().api_key), protocol.read_probe)])
        except LikepionError as error:
            return False, error.advice
        return True, "The manager answers and accepts the key"

    def _address(self) -> ManagerAddress:
        return manager_address(self.likepion_conn_id, find(self.likepion_conn_id))

    def _send(self, calls: Sequence[Call[T]]) -> list[T]:
        """Send one after the other, and return what the answers mean."""
        address = self._address()

        async def send() -> list[T]:
            async with ManagerClient(address) as manager:
                return [await manager.send(call) for call in calls]

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(send())
        # This thread's event loop is busy with whoever calls.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, send()).result()
