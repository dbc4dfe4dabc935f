"""A browser's proxy: what was checked is what is connected to."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from likepion_provider.web import socks
from likepion_provider.web.socks import GuardedProxy
from tests.sockets import listening

CONNECT, BIND, UDP_ASSOCIATE = 1, 2, 3


class Server:
    """Counts connections and echoes."""

    def __init__(self) -> None:
        self.accepted = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()


@contextlib.asynccontextmanager
async def server(host: str = "127.0.0.1") -> AsyncIterator[Server]:
    served = Server()
    async with listening(served.serve, host) as served.port:
        yield served


async def ask(proxy: GuardedProxy, host: str, port: int, command: int = CONNECT) -> tuple[int, Any, Any]:
    """What the proxy answers to a request for a host, and the tunnel."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(proxy.url).port)
    try:
        packed = ipaddress.ip_address(host.strip("[]")).packed
        address = bytes((1 if len(packed) == 4 else 4,)) + packed
    except ValueError:
        address = bytes((3, len(host))) + host.encode()
    writer.write(b"\x05\x01\x00" + bytes((5, command, 0)) + address + struct.pack("!H", port))
    assert await asyncio.wait_for(reader.readexactly(2), 5) == b"\x05\x00"
    answer = await asyncio.wait_for(reader.readexactly(10), 5)
    return answer[1], reader, writer


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets a name resolve to some addresses, one list a time."""

    def resolve(name: str, *answers: list[str]) -> None:
        left, real = list(answers), socket.getaddrinfo

        def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
            if host != name:
                return real(host, port, *args, **kwargs)
            found = left.pop(0) if len(left) > 1 else left[0]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return resolve


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "0x7f000001",
        "0.0.0.0",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "10.0.0.1",
    ],
)
async def test_no_inner_address_is_called(host: str) -> None:
    async with server() as inner, GuardedProxy() as proxy:
        code, _, writer = await ask(proxy, host, inner.port)
        writer.close()
        assert code == 2
        assert proxy.refused_host
        assert inner.accepted == 0


async def test_the_own_site_is_reached_by_its_host_and_port_only() -> None:
    async with server() as own, server() as other, GuardedProxy([f"http://127.0.0.1:{own.port}/shows"]) as proxy:
        code, reader, writer = await ask(proxy, "127.0.0.1", own.port)
        assert code == 0
        writer.write(b"hello")
        assert await asyncio.wait_for(reader.readexactly(5), 5) == b"hello"
        writer.close()
        for host, port in (("127.0.0.1", other.port), ("localhost", own.port), ("127.0.0.2", own.port)):
            code, _, writer = await ask(proxy, host, port)
            writer.close()
            assert code == 2
        assert (own.accepted, other.accepted) == (1, 0)


async def test_a_name_that_turns_inner_after_it_was_looked_at_gains_nothing(
    names: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socks, "is_public", lambda address: address == "127.0.0.3")
    async with server("127.0.0.1") as inner, GuardedProxy() as proxy:
        names("rebinds.example", ["127.0.0.3"], ["127.0.0.1"])
        code, _, writer = await ask(proxy, "rebinds.example", inner.port)
        writer.close()
        assert code == 1, "the public address, where nobody listens, is what was called"
        code, _, writer = await ask(proxy, "rebinds.example", inner.port)
        writer.close()
        assert (code, inner.accepted) == (2, 0)


async def test_of_mixed_addresses_only_the_public_are_called(
    names: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socks, "is_public", lambda address: address == "127.0.0.3")
    names("mixed.example", ["127.0.0.1", "127.0.0.3"])
    async with server("127.0.0.1") as inner, GuardedProxy() as proxy:
        code, _, writer = await ask(proxy, "mixed.example", inner.port)
        writer.close()
        assert (code, inner.accepted) == (1, 0), "the public address was called, where nobody listens"


@pytest.mark.parametrize("command", [BIND, UDP_ASSOCIATE, 99])
async def test_it_only_connects(command: int) -> None:
    async with server() as own, GuardedProxy([f"http://127.0.0.1:{own.port}"]) as proxy:
        code, reader, writer = await ask(proxy, "127.0.0.1", own.port, command)
        assert code == 7
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        assert own.accepted == 0


@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\n\r\n", b"\x04\x01\x00P\x7f\x00\x00\x01x\x00", b"\x05"])
async def test_other_protocols_are_hung_up_on(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socks, "HANDSHAKE_TIMEOUT_S", 0.2)
    async with GuardedProxy() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(proxy.url).port)
        writer.write(words)
        with contextlib.suppress(ConnectionError):
            assert b"HTTP" not in await asyncio.wait_for(reader.read(), 5)
        writer.close()


async def test_it_carries_so_much_and_no_more() -> None:
    async with server() as own, GuardedProxy([f"http://127.0.0.1:{own.port}"], max_carried_bytes=100_000) as proxy:
        _, reader, writer = await ask(proxy, "127.0.0.1", own.port)
        for _ in range(10):
            with contextlib.suppress(ConnectionError):
                writer.write(bytes(30_000))
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            assert len(await asyncio.wait_for(reader.read(), 5)) < 100_000
        writer.close()
        assert proxy.is_exhausted


async def test_nothing_is_left_when_it_ends() -> None:
    async with server() as own:
        async with GuardedProxy([f"http://127.0.0.1:{own.port}"]) as proxy:
            _, reader, writer = await ask(proxy, "127.0.0.1", own.port)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", urlsplit(proxy.url).port)


async def test_a_side_that_does_not_read_keeps_no_connection_open() -> None:
    async def waits(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with listening(waits) as port:
        async with GuardedProxy([f"http://127.0.0.1:{port}"]) as proxy:
            _, _, writer = await ask(proxy, "127.0.0.1", port)
            writer.write(bytes(50_000_000))
            await asyncio.sleep(0.5)
            assert ends_of(port)
        assert not ends_of(port)
        writer.transport.abort()


def ends_of(port: int) -> list[Any]:
    """The connections that this process has made to a port."""
    return [each for each in psutil.Process().net_connections("tcp") if each.raddr and each.raddr.port == port]
