"""The asynchronous transport of the manager API: moves bytes, nothing else."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import json
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar

from typing_extensions import Self

from likepion_provider.errors import BadRequest, NotAuthorised
from likepion_provider.manager import protocol
from likepion_provider.manager.protocol import (
    API_KEY_HEADER,
    Answer,
    Call,
    Claimed,
    Endpoint,
    LinkReport,
    Loss,
    Record,
    Request,
)
from likepion_provider.models import Account

if TYPE_CHECKING:  # aiohttp takes longer to import than all of this package: only what sends something pays for it
    import aiohttp

T = TypeVar("T")

#: Gives the seconds that a write may take, and raises where it must not begin.
LastLook = Callable[[], float]
_last_look: contextvars.ContextVar[LastLook | None] = contextvars.ContextVar("last_look", default=None)


@dataclasses.dataclass(frozen=True)
class ManagerAddress:
    """Where the manager is, and the key to it.

    :param url: scheme, host and port.
    :param timeout_s: for one call in all; 0.1 to 600.
    :param connect_timeout_s: for the connection alone.
    """

    url: str
    api_key: str = dataclasses.field(repr=False)
    timeout_s: float = 60.0
    connect_timeout_s: float = 10.0


class Manager(Protocol):
    """The manager, as the steps of a run use it."""

    async def pull(self, limit: int) -> list[Account]:
        """Pull and claim."""
        ...

    async def account(self, account_id: str) -> Account:
        """Read one account."""
        ...

    async def claim(self, account_ids: list[str]) -> Claimed:
        """Claim, or extend."""
        ...

    async def insert(self, report: LinkReport, *, last_look: LastLook | None = None) -> list[Record]:
        """Report one account's links."""
        ...


class ManagerClient:
    """The four calls, each sent exactly once.

    .. code-block:: python

        async with ManagerClient(ManagerAddress("https://manager.likepion.com", api_key)) as manager:
            for account in await manager.pull(5):
                print(account.task.label)
    """

    def __init__(self, address: ManagerAddress) -> None:
        if not address.api_key:
            raise NotAuthorised("the connection to the manager has no API key", status=401)
        _refuse_unusable(address)
        self._address = address
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Make the session, in the running event loop; nothing is sent."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=self._address.timeout_s, sock_connect=self._address.connect_timeout_s)
        self._session = aiohttp.ClientSession(
            base_url=self._address.url.rstrip("/") + "/",
            headers={API_KEY_HEADER: self._address.api_key},
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_sent_once,),
            request_class=_looking_request(),
        )

    async def close(self) -> None:
        """End the session; what is under way is lost."""
        if self._session:
            await self._session.close()

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def pull(self, limit: int) -> list[Account]:
        """Pull and claim up to ``limit`` tasks: see :func:`likepion_provider.manager.protocol.pull`."""
        return await self._call(protocol.pull(limit))

    async def account(self, account_id: str) -> Account:
        """Read one account without claiming it."""
        return await self._call(protocol.account(account_id))

    async def claim(self, account_ids: list[str]) -> Claimed:
        """Claim, or extend, any number of accounts; the parts of a long list are sent side by side.

        :return: all parts together, with the shortest TTL.
        """
        parts = await asyncio.gather(*(self._call(call) for call in protocol.claims(account_ids)))
        return Claimed(
            claimed=frozenset().union(*(part.claimed for part in parts)),
            not_found=frozenset().union(*(part.not_found for part in parts)),
            ttl_s=min((part.ttl_s for part in parts), default=protocol.CLAIM_TTL_S),
        )

    async def insert(self, report: LinkReport, *, last_look: LastLook | None = None) -> list[Record]:
        """Report one account's links.

        :param last_look: called twice: now, for how long to wait for the answer, and once more when the connection is
            there, right before the first byte leaves; in between, the process may have been stopped. What it
            raises then comes out of here, and nothing was sent.
        :raises OutcomeUnknown: the links may have been stored.
        """
        within_s = last_look() if last_look else None
        looking = _last_look.set(last_look)
        try:
            return await asyncio.wait_for(self._call(protocol.insert(report)), within_s)
        except asyncio.TimeoutError:
            raise protocol.lost(Endpoint.INSERT, Loss.ANSWER_LOST, "none while the claim held") from None
        finally:
            _last_look.reset(looking)

    async def _call(self, call: Call[T]) -> T:
        return call.read(await self._exchange(call.request))

    async def _exchange(self, request: Request) -> Answer:
        import aiohttp

        if self._session is None:
            raise RuntimeError("use the client in an async with block")
        body = None if request.body is None else json.dumps(request.body).encode()
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            async with self._session.request(
                request.method,
                request.path.lstrip("/"),
                params=request.params,
                data=body,
                headers=headers,
                allow_redirects=False,
            ) as response:
                content = await _bounded(response)
                lowered = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, lowered, content)
        except _not_sent() as error:
            raise protocol.lost(request.endpoint, Loss.NOT_SENT, type(error).__name__) from error
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, _AnswerLost) as error:
            reason = error.__cause__ or error
            raise protocol.lost(request.endpoint, Loss.ANSWER_LOST, type(reason).__name__) from error


def _refuse_unusable(address: ManagerAddress) -> None:
    from yarl import URL

    if not (address.api_key.isascii() and address.api_key.isprintable()):
        raise NotAuthorised("the API key holds a character that no header can carry", status=401)
    try:
        url = URL(address.url)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise BadRequest(
            "the manager's address is not an http(s) URL", remedy="Correct the host in the connection to the manager."
        )


def _not_sent() -> tuple[type[Exception], ...]:
    """What aiohttp raises before a byte of the request left."""
    import aiohttp

    return aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError


@functools.cache
def _looking_request() -> type[aiohttp.ClientRequest]:
    import aiohttp

    class LookingRequest(aiohttp.ClientRequest):
        async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
            if look := _last_look.get():
                look()
            return await super().send(conn)

    return LookingRequest


class _AnswerLost(Exception):
    """A connection that ended early; see :func:`_sent_once`."""


async def _sent_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Hide early disconnects from aiohttp, which would send a GET a second time: a pull must not be."""
    import aiohttp

    try:
        return await handler(request)
    except _not_sent():
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _AnswerLost from error


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body, read no further than :data:`~likepion_provider.manager.protocol.MAX_ANSWER_BYTES`."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > protocol.MAX_ANSWER_BYTES:
            raise _AnswerLost(f"more than {protocol.MAX_ANSWER_BYTES} bytes")
    return bytes(content)
