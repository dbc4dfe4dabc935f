"""The asynchronous transport of the manager API: moves bytes, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import itertools
import json
import ssl
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from typing_extensions import Self

from likepion_provider import wire
from likepion_provider.aio import all_of
from likepion_provider.errors import BadRequest, LikepionError, NotAuthorised
from likepion_provider.manager import protocol
from likepion_provider.manager.inserts import MESSAGE_CHARS
from likepion_provider.manager.protocol import (
    API_KEY_HEADER,
    Answer,
    Call,
    Claimed,
    Endpoint,
    LinkReport,
    Loss,
    Pulled,
    Record,
    Request,
)
from likepion_provider.manager.urls import site_address
from likepion_provider.masking import hide
from likepion_provider.models import Account, LinkState
from likepion_provider.wire import LastLook

if TYPE_CHECKING:  # aiohttp takes longer to import than all of this package: only what sends something pays for it
    import aiohttp

T = TypeVar("T")

#: Accounts that one client reads at a time: more would open connections, and be answered no sooner.
READS = 32
#: Whether links are stored whose insert ended with an error, by what it makes of them.
_STORED_AFTER = {LinkState.UNKNOWN: None, LinkState.REFUSED: False, LinkState.PREPARED: False}

_last_look: contextvars.ContextVar[LastLook | None] = contextvars.ContextVar("last_look", default=None)


@dataclasses.dataclass(frozen=True)
class ManagerAddress:
    """Where the manager is, the key to it, and the way there.

    :param url: scheme, host and port.
    :param timeout_s: for one call in all; 0.1 to 600.
    :param connect_timeout_s: for the connection alone.
    :param proxy: an http(s) URL, which may hold a user's name and password; empty for none.
    :param verify: whether the server's certificate is checked; or the path of the only authorities that it is checked
        against, a file or a folder.
    :param cert: the path of a client certificate, and of its key where that is in a file of its own; empty for none.
    """

    url: str
    api_key: str = dataclasses.field(repr=False)
    timeout_s: float = 60.0
    connect_timeout_s: float = 10.0
    proxy: str = dataclasses.field(default="", repr=False)
    verify: bool | str = True
    cert: tuple[str, ...] = ()

    @property
    def site(self) -> str:
        """What the journal knows the manager by: its address, without whatever makes no difference."""
        return site_address(self.url)

    def secrets(self) -> list[str]:
        """What must never be shown: the key, and the proxy's password as it is written and as it is meant."""
        password = (urlsplit(self.proxy).password or "") if self.proxy else ""
        return [*filter(None, dict.fromkeys([self.api_key, password, unquote(password)]))]


class Manager(Protocol):
    """The manager, as the steps of a run use it."""

    async def pull(self, limit: int) -> Pulled:
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
        hide(address.secrets())
        _refuse_unusable(address)
        self._address = address
        self._trust = _trust(address)
        self._session: aiohttp.ClientSession | None = None
        self._reads = asyncio.Semaphore(READS)

    def open(self) -> None:
        """Make the session, in the running event loop; nothing is sent."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=self._address.timeout_s, sock_connect=self._address.connect_timeout_s)
        self._session = wire.session(
            base_url=self._address.url.rstrip("/") + "/",
            timeout=timeout,
            connector=aiohttp.TCPConnector(ssl=self._trust),
            proxy=self._address.proxy or None,
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

    async def pull(self, limit: int, *, kind: str | None = "secondary") -> Pulled:
        """Pull and claim up to ``limit`` tasks: see :func:`likepion_provider.manager.protocol.pull`."""
        return await self.send(protocol.pull(limit, kind=kind))

    async def account(self, account_id: str) -> Account:
        """Read one account without claiming it; of very many, :data:`READS` at a time."""
        async with self._reads:
            return await self.send(protocol.account(account_id))

    async def claim(self, account_ids: str | Iterable[str]) -> Claimed:
        """Claim, or extend, one account or any number of them; the parts of a long list are sent side by side.

        :return: all parts together, with the shortest TTL.
        """
        if isinstance(account_ids, str):
            return await self.send(protocol.claim_one(account_ids))
        parts = await all_of(self.send(call) for call in protocol.claims(account_ids))
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
            return await asyncio.wait_for(self.send(protocol.insert(report)), within_s)
        except asyncio.TimeoutError:
            raise protocol.lost(Endpoint.INSERT, Loss.ANSWER_LOST, "none while the claim held") from None
        finally:
            _last_look.reset(looking)

    async def insert_items(self, reports: Sequence[LinkReport], *, split: bool = False) -> list[tuple[Record, ...]]:
        """Report the links of several accounts in one request; with ``split``, in as many as their URLs need.

        Nothing is sent after a request that failed. Once another has succeeded, the failure is not raised: the records
        of its URLs have None for ``stored`` where they may have been stored, else False, as have those not sent.

        :raises BadRequest: see :func:`likepion_provider.manager.protocol.insert_items`; nothing was sent.
        :raises OutcomeUnknown: the links may have been stored.
        """
        parts = protocol.split_items(reports) if split else [reports]
        calls = [protocol.insert_items(part) for part in parts]
        urls = [url for report in reports for url in report.urls]
        records: list[Record] = []
        for part, call in zip(parts, calls, strict=True):
            try:
                answer = await self.send(call)
                records += itertools.chain.from_iterable(answer)
            except LikepionError as error:
                if not records:
                    raise
                end = len(records) + sum(len(report.urls) for report in part)
                stored, words = _STORED_AFTER[error.link_state], error.message[:MESSAGE_CHARS]
                records += [Record(url, stored, words) for url in urls[len(records) : end]]
                break
        records += [Record(url, False, "not sent: a request before it failed") for url in urls[len(records) :]]
        told = iter(records)
        return [tuple(itertools.islice(told, len(report.urls))) for report in reports]

    async def send(self, call: Call[T]) -> T:
        """One call as :mod:`~likepion_provider.manager.protocol` builds it, sent once.

        :raises LikepionError: the class says what to do.
        """
        return call.read(await self._exchange(call.request))

    async def _exchange(self, request: Request) -> Answer:
        import aiohttp

        if self._session is None:
            raise RuntimeError("use the client in an async with block")
        body = None if request.body is None else json.dumps(request.body).encode()
        # Not the session's: those go to a proxy too, in clear.
        headers = {API_KEY_HEADER: self._address.api_key} | ({"Content-Type": "application/json"} if body else {})
        with wire.departing(_last_look.get()) as departure:
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
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError, wire.BrokenOff) as error:
                loss = Loss.ANSWER_LOST if departure.began else Loss.NOT_SENT
                raise protocol.lost(request.endpoint, loss, _words(error)) from error


def _refuse_unusable(address: ManagerAddress) -> None:
    if not (address.api_key.isascii() and address.api_key.isprintable()):
        raise NotAuthorised("the API key holds a character that no header can carry", status=401)
    if not is_http_url(address.url):
        raise BadRequest(
            "the manager's address is not an http(s) URL", remedy="Correct the host in the connection to the manager."
        )
    if address.proxy and not is_http_url(address.proxy):
        raise BadRequest("the proxy's address is not an http(s) URL", remedy="Correct the proxy to the manager.")


def is_http_url(text: str) -> bool:
    """Whether a manager or a proxy can be reached at it."""
    from yarl import URL

    try:
        url = URL(text)
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.host)


def _trust(address: ManagerAddress) -> ssl.SSLContext | bool:
    """Whom a TLS connection trusts, and the certificate that it shows, in aiohttp's terms."""
    if isinstance(address.verify, bool) and not address.cert:
        return address.verify
    with _reading("verify"):
        authorities = address.verify if isinstance(address.verify, str) else None
        is_folder = authorities is not None and Path(authorities).is_dir()
        context = ssl.create_default_context(
            cafile=None if is_folder else authorities, capath=authorities if is_folder else None
        )
    if address.verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if address.cert:
        with _reading("cert"):
            certificate, *key = address.cert
            # With a password, even an empty one, nobody is asked for it at a terminal.
            context.load_cert_chain(certificate, key[0] if key else None, password="")
    return context


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise BadRequest(
            f"{name}: its file cannot be used ({error})",
            remedy=f"Correct {name} in the connection to the manager: a path of PEM files that every worker can read.",
        ) from error


def _words(error: Exception) -> str:
    """What went wrong, without addresses: a proxy's can hold a password."""
    import aiohttp

    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status}"
    return str(error) if isinstance(error, wire.BrokenOff) else type(error.__cause__ or error).__name__


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """The body, read no further than :data:`~likepion_provider.manager.protocol.MAX_ANSWER_BYTES`."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > protocol.MAX_ANSWER_BYTES:
            raise wire.BrokenOff(f"more than {protocol.MAX_ANSWER_BYTES} bytes")
    return bytes(content)
