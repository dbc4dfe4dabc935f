"""The transport, against a server that breaks off where a test says: each call is sent exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import socketserver
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from likepion_provider.errors import (
    BadRequest,
    LeaseLost,
    LikepionError,
    NotAuthorised,
    OutcomeUnknown,
    Rejected,
    Transient,
)
from likepion_provider.manager.client import ManagerAddress, ManagerClient
from likepion_provider.manager.protocol import MAX_ANSWER_BYTES, LinkReport

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n{"success":true,"data":[]}\n'
REPORT = LinkReport("post", "account", ("https://tide.example/1",))


class RawServer(socketserver.ThreadingTCPServer):
    """Answers each request with the next of some byte strings; closes after one that is not whole, or none.

    :param delay_s: before each answer.
    """

    daemon_threads = True

    def __init__(self, *answers: bytes | None, delay_s: float = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.delay_s = delay_s
        self.requests: list[bytes] = []


class _Handler(socketserver.StreamRequestHandler):
    server: RawServer

    def handle(self) -> None:
        while (head := self._head()) is not None:
            self.server.requests.append(head)
            time.sleep(self.server.delay_s)
            answer = self.server.answers.pop(0) if self.server.answers else None
            with contextlib.suppress(ConnectionError):
                self.wfile.write(answer or b"")
            if answer != OK:
                return

    def _head(self) -> bytes | None:
        head, length = b"", 0
        while line := self.rfile.readline():
            head += line
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
            if line == b"\r\n":
                self.rfile.read(length)
                return head
        return None


@asynccontextmanager
async def serving(server: RawServer, timeout_s: float = 5) -> AsyncIterator[ManagerClient]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    address = ManagerAddress(f"http://127.0.0.1:{server.server_address[1]}", "key-of-a-test", timeout_s)
    try:
        async with ManagerClient(address) as client:
            yield client
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


CALLS: dict[str, tuple[Callable[[ManagerClient], object], type[LikepionError]]] = {
    "pull": (lambda client: client.pull(5), OutcomeUnknown),
    "insert": (lambda client: client.insert(REPORT), OutcomeUnknown),
    "account": (lambda client: client.account("a"), Transient),
    "claim": (lambda client: client.claim(["a"]), Transient),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("cut", [None, OK[:20], OK[:50]])
async def test_a_connection_that_dies_is_not_used_to_send_again(name: str, cut: bytes | None) -> None:
    call, error = CALLS[name]
    server = RawServer(OK, cut, OK)
    async with serving(server) as client:
        assert await client.pull(5) == []
        with pytest.raises(error, match="answer lost"):
            await call(client)  # type: ignore[misc]
    assert len(server.requests) == 2, "the kept connection died, and the request was not repeated"


@pytest.mark.parametrize("name", CALLS)
async def test_no_answer_in_time(name: str) -> None:
    call, error = CALLS[name]
    server = RawServer(delay_s=0.5)
    async with serving(server, timeout_s=0.2) as client:
        with pytest.raises(error, match="answer lost"):
            await call(client)  # type: ignore[misc]


@pytest.mark.parametrize("name", CALLS)
async def test_a_refused_connection_was_not_sent(name: str) -> None:
    call, _ = CALLS[name]
    async with ManagerClient(ManagerAddress("http://127.0.0.1:1", "key-of-a-test")) as client:
        with pytest.raises(Transient, match="not sent"):
            await call(client)  # type: ignore[misc]


async def test_what_ends_while_the_connection_is_made_was_not_sent() -> None:
    server = RawServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    silent = f"https://127.0.0.1:{server.server_address[1]}"
    try:
        async with ManagerClient(ManagerAddress(silent, "key-of-a-test", timeout_s=0.3)) as client:
            with pytest.raises(Transient, match="not sent"):
                await client.insert(REPORT)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_an_aiohttp_that_sends_without_a_last_look_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("likepion_provider.wire._watched_request", lambda: aiohttp.ClientRequest)
    async with serving(RawServer(OK)) as client:
        with pytest.raises(RuntimeError, match="last look"):
            await client.pull(5)


async def test_a_redirect_is_not_followed_and_the_key_not_sent_on() -> None:
    server = RawServer(b"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
    async with serving(server) as client:
        with pytest.raises(Rejected, match="307, a redirect to http://127.0.0.1:1/"):
            await client.pull(5)
    assert b"x-api-key: key-of-a-test" in server.requests[0].lower()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_takes_the_key_or_a_report_to_another_host(status: int) -> None:
    other = RawServer(OK)
    there = f"http://127.0.0.1:{other.server_address[1]}/".encode()
    answer = b"HTTP/1.1 %d x\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, there)
    async with serving(other), serving(RawServer(*[answer] * 3)) as client:
        for send in (lambda: client.pull(5), lambda: client.claim(["account"]), lambda: client.insert(REPORT)):
            with pytest.raises(LikepionError):
                await send()
    assert other.requests == []


@pytest.mark.parametrize("head", [b"X-More: 1\r\n" * 100_000, b"X-More: " + b"1" * 1024 * 1024 + b"\r\n\r\n"])
async def test_a_head_without_end_is_given_up(head: bytes) -> None:
    async with serving(RawServer(b"HTTP/1.1 200 OK\r\n" + head)) as client:
        with pytest.raises(OutcomeUnknown):
            await client.insert(REPORT)


async def test_an_endless_answer_is_given_up() -> None:
    body = b"x" * (MAX_ANSWER_BYTES + 1)
    server = RawServer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    async with serving(server) as client:
        with pytest.raises(OutcomeUnknown):
            await client.pull(5)


async def test_what_the_server_says_comes_through() -> None:
    words = b'{"success":false,"message":"no"}'
    server = RawServer(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n" % len(words) + words)
    async with serving(server) as client:
        with pytest.raises(Rejected, match="the manager answered 400: no"):
            await client.insert(REPORT)


def test_without_a_key_there_is_no_client() -> None:
    with pytest.raises(NotAuthorised):
        ManagerClient(ManagerAddress("http://127.0.0.1:1", ""))


@pytest.mark.parametrize("key", ["key\n", "key\r\nX-Other: 1", "a\x00b", "ключ"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(NotAuthorised, match="no header can carry") as error:
        ManagerClient(ManagerAddress("http://127.0.0.1:1", key))
    assert key not in error.value.advice


@pytest.mark.parametrize("url", ["", "manager", "http://", "http://127.0.0.1:99999", "http://[::1", "ftp://manager"])
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(BadRequest, match="address"):
        ManagerClient(ManagerAddress(url, "key"))


async def test_a_long_claim_goes_in_parts_of_200_each_sent_once() -> None:
    body = b'{"success":true,"claimed":["a1","a300"],"ttl_min":15}'
    server = RawServer(*[b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body] * 3)
    async with serving(server) as client:
        claimed = await client.claim([f"a{number}" for number in range(401)])
    assert len(server.requests) == 3
    assert claimed.claimed == {"a1", "a300"}


async def test_an_id_stays_within_its_part_of_the_path() -> None:
    server = RawServer(OK)
    async with serving(server) as client:
        with pytest.raises(Transient):
            await client.account("a/../../links?x#y")
    assert server.requests[0].startswith(b"GET /api/v1/podcast/accounts/a%2F..%2F..%2Flinks%3Fx%23y HTTP")


async def test_an_insert_ends_with_its_own_time_although_the_address_allows_more() -> None:
    async with serving(RawServer(OK, delay_s=2), timeout_s=60) as client:
        with pytest.raises(OutcomeUnknown, match="none while the claim held"):
            await client.insert(REPORT, last_look=lambda: 0.1)


async def test_a_claim_that_lapses_in_the_round_of_the_loop_before_the_first_byte_sends_nothing() -> None:
    looks, has_lapsed = 0, False

    def lapse() -> None:
        nonlocal has_lapsed
        has_lapsed = True

    def last_look() -> float:
        nonlocal looks
        looks += 1
        if has_lapsed:
            raise LeaseLost("the claim has lapsed")
        if looks > 1:
            # The connection is there; the process is stopped before the loop's next round.
            asyncio.get_running_loop().call_soon(lapse)
        return 10.0

    async with serving(server := RawServer(OK)) as client:
        with pytest.raises(LikepionError) as error:
            await client.insert(REPORT, last_look=last_look)
    # From Python 3.12 on, there is no round between: aiohttp writes the body at once.
    is_sent = sys.version_info >= (3, 12)
    assert isinstance(error.value, LeaseLost) is not is_sent
    assert bool(server.requests) is is_sent


@pytest.mark.parametrize("reused", [False, True])
async def test_a_claim_that_lapses_while_the_connection_is_made_sends_nothing(*, reused: bool) -> None:
    looks = iter([10.0])

    def last_look() -> float:
        try:
            return next(looks)
        except StopIteration:
            raise LeaseLost("the claim has lapsed") from None

    server = RawServer(OK, OK)
    async with serving(server) as client:
        if reused:
            with pytest.raises(Transient):
                await client.account("a1")
        before = len(server.requests)
        with pytest.raises(LeaseLost):
            await client.insert(REPORT, last_look=last_look)
        with pytest.raises(Transient):
            await client.account("a2")
    assert [request.split()[1] for request in server.requests[before:]] == [b"/api/v1/podcast/accounts/a2"]
