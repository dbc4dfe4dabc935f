"""A SOCKS5 proxy on loopback that is a browser's only way out, so that its sockets are guarded as our own are.

Names are resolved here, and what was checked is what is connected to: redirects, frames, scripts, WebSockets and names
that resolve differently the second time gain nothing. Source of the protocol: RFC 1928.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
import weakref
from collections.abc import Collection, Coroutine, Iterator
from typing import Any

from likepion_provider.web.origin import BadAddress, parse
from likepion_provider.web.sockets import is_public

#: Connections at a time of one browser.
MAX_CONNECTIONS = 128
#: Bytes that one proxy carries in all, both ways.
MAX_CARRIED_BYTES = 256 * 1024 * 1024
HANDSHAKE_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 15.0
_CHUNK_BYTES = 64 * 1024

_VERSION, _WITHOUT_LOGIN, _CONNECT = 5, 0, 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_DONE, _FAILED, _NOT_ALLOWED, _UNKNOWN_COMMAND = 0, 1, 2, 7
_BOUND = b"\0" + struct.pack("!B4sH", _IPV4, bytes(4), 0)


class GuardedProxy:
    """Tunnels to public addresses, and to sites that a person has named; an async context manager.

    :param named: addresses that may be reached wherever they are, each by its host and port only.
    :param allow_private: whether any other may be, too.
    :param max_carried_bytes: of all connections together; what is beyond breaks them off.
    """

    def __init__(
        self,
        named: Collection[str] = (),
        *,
        allow_private: bool = False,
        max_carried_bytes: int = MAX_CARRIED_BYTES,
    ) -> None:
        self.url = ""
        #: The last host that was refused since its address is not public.
        self.refused_host = ""
        self.carried_bytes = 0
        self._named = set(_hosts_and_ports(named))
        self._allow_private = allow_private
        self._max_carried_bytes = max_carried_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: weakref.WeakSet[asyncio.StreamWriter] = weakref.WeakSet()
        self._server: asyncio.Server | None = None

    @property
    def is_exhausted(self) -> bool:
        """Whether it has carried all that it may."""
        return self.carried_bytes > self._max_carried_bytes

    async def __aenter__(self) -> GuardedProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"socks5://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            # Closed, it would wait for a side that does not read what was sent.
            writer.transport.abort()
        # The sockets go with the loop's next turn, of which there may be none.
        await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._writers.add(writer)
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; whatever breaks it is the browser's to notice."""
        with contextlib.suppress(OSError, EOFError, asyncio.TimeoutError, UnicodeError), contextlib.closing(writer):
            host, port = await asyncio.wait_for(_asked(reader, writer), HANDSHAKE_TIMEOUT_S)
            try:
                far_reader, far_writer = await self._connect(host, port)
            except (OSError, asyncio.TimeoutError) as error:
                if isinstance(error, _NotPublicError):
                    self.refused_host = host
                _reply(writer, _NOT_ALLOWED if isinstance(error, _NotPublicError) else _FAILED)
                return
            self._writers.add(far_writer)
            with contextlib.closing(far_writer):
                _reply(writer, _DONE)
                await _until_one_ends(self._carry(reader, far_writer), self._carry(far_reader, writer))

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        found = await asyncio.wait_for(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM), CONNECT_TIMEOUT_S)
        failed: OSError | None = None
        anywhere = self._allow_private or (host, port) in self._named
        for family, kind, protocol, _, address in found:
            if not anywhere and not is_public(str(address[0])):
                failed = failed or _NotPublicError(host)
                continue
            try:
                return await _dial(family, kind, protocol, address)
            except (OSError, asyncio.TimeoutError) as error:
                failed = error if isinstance(error, OSError) else OSError("timed out")
        raise failed or OSError("the name has no address")

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            self.carried_bytes += len(data)
            if self.is_exhausted:
                raise OSError("all is carried that may be")
            writer.write(data)
            await writer.drain()


class _NotPublicError(OSError):
    """The address may not be reached."""


async def _until_one_ends(*ways: Coroutine[Any, Any, None]) -> None:
    """A browser never closes half a connection: the end of one way is the end of both."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _hosts_and_ports(addresses: Collection[str]) -> Iterator[tuple[str, int]]:
    for each in addresses:
        with contextlib.suppress(BadAddress):
            url = parse(each)
            yield url.host or "", url.port or 0
            if (url.scheme, url.port) == ("http", 80):
                # The same host turned to https is the same site: see :func:`~likepion_provider.web.origin.may_know`.
                yield url.host or "", 443


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int]:
    """Which host and port a client asks for.

    :raises OSError: it does not speak SOCKS5, or wants something else.
    """
    version, methods = await reader.readexactly(2)
    await reader.readexactly(methods)
    if version != _VERSION:
        raise OSError("not SOCKS5")
    writer.write(bytes((_VERSION, _WITHOUT_LOGIN)))
    _, command, _, kind = await reader.readexactly(4)
    if kind == _NAME:
        (length,) = await reader.readexactly(1)
        host = (await reader.readexactly(length)).decode("ascii").lower()
    elif kind in (_IPV4, _IPV6):
        host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == _IPV4 else 16)))
    else:
        raise OSError("an unknown kind of address")
    (port,) = struct.unpack("!H", await reader.readexactly(2))
    if command != _CONNECT:
        _reply(writer, _UNKNOWN_COMMAND)
        raise OSError("not a connection")
    return host, port


async def _dial(
    family: int, kind: int, protocol: int, address: Any
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the very address that was checked."""
    dialled = socket.socket(family, kind, protocol)
    try:
        dialled.setblocking(False)
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(dialled, address), CONNECT_TIMEOUT_S)
        return await asyncio.open_connection(sock=dialled)
    except BaseException:
        dialled.close()
        raise


def _reply(writer: asyncio.StreamWriter, code: int) -> None:
    writer.write(bytes((_VERSION, code)) + _BOUND)
