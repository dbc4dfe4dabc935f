"""The manager as an Airflow hook."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import requests
from airflow.providers.http.hooks.http import HttpHook

from likepion_provider.errors import LikepionError
from likepion_provider.hooks.connections import LIKEPION_CONN_ID, address_of, afind, find
from likepion_provider.hooks.masking import mask
from likepion_provider.manager import protocol
from likepion_provider.manager.client import ManagerAddress, ManagerClient
from likepion_provider.manager.protocol import Answer, Call, Claimed, LinkReport, Loss, Record, Request
from likepion_provider.models import Account

T = TypeVar("T")

_NOT_SENT = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.SSLError,
    requests.exceptions.ProxyError,
    # What cannot be sent at all: a URL or a header that makes no sense.
    ValueError,
)
#: Extras of the connection that are ours; HttpHook would send them as headers.
_OWN_EXTRAS = ("timeout_s", "allow_private_feeds")
_CONNECT_TIMEOUT_S = 10.0


class LikepionHook(HttpHook):
    """The podcast manager: pull, claim, read accounts, report links. Every call is sent exactly once.

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
        address = address_of(self.likepion_conn_id, await afind(self.likepion_conn_id))
        mask([address.api_key])
        return ManagerClient(address)

    def pull(self, limit: int = 5) -> list[Account]:
        """Pull and claim up to ``limit`` (1 to 1,000) tasks. Registers their secrets to be masked.

        :raises OutcomeUnknown: the answer was lost; do not pull again at once.
        """
        accounts = self._call(protocol.pull(limit))
        for account in accounts:
            mask(account.credentials.secrets())
        return accounts

    def account(self, account_id: str) -> Account:
        """Read one account without claiming it. Registers its secrets to be masked."""
        account = self._call(protocol.account(account_id))
        mask(account.credentials.secrets())
        return account

    def claim(self, account_ids: Iterable[str]) -> list[Claimed]:
        """Claim, or extend, any number of accounts; one answer per 200.

        The manager does not refuse an account that somebody else holds: claim only what is yours.
        """
        return [self._call(call) for call in protocol.claims(account_ids)]

    def insert(self, report: LinkReport) -> list[Record]:
        """Report one account's links. The manager stores a URL as often as it is sent.

        :raises OutcomeUnknown: the links may have been stored; do not send them again.
        """
        return self._call(protocol.insert(report))

    def test_connection(self) -> tuple[bool, str]:
        """Prove host and key by reading an account that cannot exist: the queue is not touched."""
        try:
            address = self._address()
            answer = self._exchange(protocol.probe(address.api_key), address)
            protocol.read_probe(answer)
        except LikepionError as error:
            return False, error.advice
        return True, "The manager answers and accepts the key"

    def _address(self) -> ManagerAddress:
        address = address_of(self.likepion_conn_id, find(self.likepion_conn_id))
        mask([address.api_key])
        return address

    def _call(self, call: Call[T]) -> T:
        return call.read(self._exchange(call.request, self._address()))

    def _exchange(self, request: Request, address: ManagerAddress) -> Answer:
        # HttpHook's session brings proxies, certificates and verification; its run() would log bodies.
        with self.get_conn({protocol.API_KEY_HEADER: address.api_key}) as session:
            session.auth = None
            for name in _OWN_EXTRAS:
                session.headers.pop(name, None)
            try:
                response = session.request(
                    request.method,
                    address.url + request.path,
                    params=dict(request.params),
                    json=request.body,
                    timeout=(_CONNECT_TIMEOUT_S, address.timeout_s),
                    allow_redirects=False,
                )
            except requests.exceptions.RequestException as error:
                raise protocol.lost(request.endpoint, _loss(error), type(error).__name__) from None
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, response.content)


def _loss(error: requests.exceptions.RequestException) -> Loss:
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    refused = type(reason).__name__ in ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError")
    return Loss.NOT_SENT if refused or isinstance(error, _NOT_SENT) else Loss.ANSWER_LOST
