"""The client that importers are handed, at the socket: what leaves, where to, how often and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from likepion_provider.aio import Gate
from likepion_provider.errors import FeedInvalid, LeaseLost, PlatformError, Transient, VisitTooLarge, VisitTooLong
from likepion_provider.platforms import PlatformHttp
from likepion_provider.web.fetch import Fetcher
from likepion_provider.web.http import connections
from likepion_provider.web.visit import VisitLimits
from tests.sockets import listening

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def always() -> float:
    return 60.0


@contextlib.asynccontextmanager
async def client(base_url: str, trust: ssl.SSLContext | bool = True, **options: Any) -> AsyncIterator[PlatformHttp]:
    async with connections(trust=trust) as shared:
        yield PlatformHttp(
            **{
                "platform": "p",
                "base_url": base_url,
                "connections": shared,
                "gate": Gate(8),
                "before_write": always,
                "named": (base_url,),
                **options,
            }
        )


class RawSite:
    """Answers each request of a connection with the next of some byte strings, and closes it at None."""

    def __init__(self, *answers: bytes | None) -> None:
        self._answers = answers
        self.requests: list[bytes] = []
        self.url = ""

    async def __aenter__(self) -> RawSite:
        self._listening = listening(self._serve)
        self.url = f"http://127.0.0.1:{await self._listening.__aenter__()}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listening.__aexit__(None, None, None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            for answer in self._answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line[15:]) for line in head.lower().splitlines() if b"content-length" in line), 0)
                self.requests.append(head + await reader.readexactly(length))
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()


async def test_a_write_ends_before_its_claim_does_and_a_read_takes_the_time_it_is_given() -> None:
    written = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            await written.wait()
        await asyncio.sleep(0.3)
        return web.Response(text="here")

    async def before_write() -> float:
        return 0.2

    app = web.Application()
    app.router.add_route("*", "/page", answer)
    async with TestServer(app) as server, client(str(server.make_url("/")), before_write=before_write) as http:
        with pytest.raises(Transient, match="no answer"):
            await http.post("page")
        assert (await http.get("page")).text == "here"
        written.set()


@pytest.mark.parametrize(("method", "writes", "sent"), [("GET", True, 1), ("POST", True, 1), ("GET", False, 2)])
async def test_what_writes_is_sent_once_on_a_kept_alive_connection_that_closes(
    method: str, writes: bool, sent: int
) -> None:
    """The server closes right after it has read the second request: what it did of it, nobody knows."""
    async with RawSite(OK, None) as site, client(site.url) as http:
        await http.get("first")
        if writes:
            with pytest.raises(Transient, match="no answer"):
                await http.request(method, "second", writes=True)
        else:
            await http.request(method, "second")
        assert len([each for each in site.requests if b"/second" in each]) == sent


async def test_a_write_has_the_last_look_before_its_first_byte() -> None:
    """The claim lapses while the connection is made: nothing is sent."""
    looks = 0

    def last_look() -> float:
        nonlocal looks
        looks += 1
        raise LeaseLost("the claim has lapsed")

    async with RawSite(OK, OK) as site, client(site.url, last_look=last_look) as http:
        await http.get("read")
        for method in ("GET", "POST"):
            with pytest.raises(LeaseLost):
                await http.request(method, "write", writes=True)
        assert looks == 2
        assert [each.split()[1] for each in site.requests] == [b"/read"]


async def test_cookies_go_to_the_own_origin_as_they_came() -> None:
    given = 'prefs={"a":1}; flag; sid="a b"; path=/x'
    async with RawSite(OK) as other, RawSite(OK) as site:
        async with client(site.url, cookie=given, allow_private=True) as http:
            await http.get("page")
            await http.get(other.url)
            assert http.cookie == given
        assert f"cookie: {given}".encode() in site.requests[0].lower()
        assert b"cookie" not in other.requests[0].lower(), "another port is another origin"


async def test_no_address_that_is_not_public_is_called_unless_the_connection_names_it_or_allows_all() -> None:
    async with RawSite(OK) as other, RawSite(OK) as site:
        async with client(site.url) as http:
            await http.get("page")
            with pytest.raises(PlatformError, match="not public"):
                await http.get(other.url)
        assert other.requests == []
        async with client(site.url, named=()) as http:
            with pytest.raises(PlatformError, match="not public") as caught:
                await http.get("page")
            assert "allow_private" in caught.value.advice
        async with client(site.url, named=(site.url, other.url)) as http:
            assert (await http.get(other.url)).text == "ok"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_within_the_origin_keeps_headers_and_to_another_takes_nothing_along(status: int) -> None:
    async with RawSite(OK) as other:
        away = b"HTTP/1.1 %d x\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, other.url.encode())
        home = b"HTTP/1.1 %d x\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n" % status
        async with RawSite(home, OK, home, OK, away, away) as site:
            async with client(site.url, cookie="sid=canary", allow_private=True) as http:
                headers = {"X-Key": "canary"}
                assert (await http.get("a", headers=headers)).url == f"{site.url}there"
                await http.post("b", headers=headers, data={"feed": "f"})
                sent = site.requests[3]
                assert b"X-Key: canary" in sent
                kept = status in (307, 308)
                assert (sent.split()[0] == b"POST", sent.endswith(b"feed=f")) == (kept, kept)
                assert (await http.get("c", headers=headers)).url == other.url
                if kept:
                    with pytest.raises(PlatformError, match="sends what it was sent on"):
                        await http.post("d", headers=headers, data={"feed": "canary"})
        assert len(other.requests) == 1
        assert b"canary" not in other.requests[0]


async def test_a_circle_of_redirects_and_one_to_nowhere_are_named() -> None:
    circle = b"HTTP/1.1 302 x\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n"
    for answer in (circle, circle.replace(b"/a", b"http://[x"), circle.replace(b"/a", b"ftp://x/")):
        async with RawSite(*[answer] * 20) as site, client(site.url) as http:
            with pytest.raises(PlatformError):
                await http.get("a")
            assert len(site.requests) <= 11


def certificate(folder: Path, days: int = 1) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A self-signed certificate for 127.0.0.1: a server's context, and one that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    ends = now + datetime.timedelta(days=days)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - datetime.timedelta(days=5))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / f"{days}.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(secret + signed.public_bytes(serialization.Encoding.PEM))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(pem)
    return serving, ssl.create_default_context(cafile=str(pem))


@contextlib.asynccontextmanager
async def tls_site(serving: ssl.SSLContext, handler: Callable[[web.Request], web.Response]) -> AsyncIterator[str]:
    async def answer(request: web.BaseRequest) -> web.Response:
        return handler(request)  # type: ignore[arg-type]

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_a_certificate_that_does_not_hold_is_permanent_and_says_so(tmp_path: Path) -> None:
    strange, _ = certificate(tmp_path)
    over, trusting = certificate(tmp_path, days=-1)
    for serving, trust in ((strange, True), (over, trusting)):
        async with tls_site(serving, lambda _: web.Response()) as url, client(url, trust=trust) as http:
            with pytest.raises(PlatformError, match="certificate") as caught:
                await http.get("page")
            assert caught.value.is_permanent
            assert "renewed" in caught.value.remedy


async def test_no_redirect_leads_from_https_to_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serving, trusting = certificate(tmp_path)
    async with RawSite(OK) as clear:

        def answer(_: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": clear.url})

        async with tls_site(serving, answer) as url:
            async with client(url, trust=trusting, allow_private=True) as http:
                with pytest.raises(PlatformError, match="from https to http"):
                    await http.get("page", headers={"X-Key": "canary"})
                page = await http.request("GET", "page", allow_redirects=False)
                with pytest.raises(PlatformError, match="from https to http"):
                    await http.follow(page)
            monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting)
            async with Fetcher(allow_private=True) as fetcher:
                with pytest.raises(FeedInvalid, match="from https to http"):
                    async with fetcher.open(url):
                        pass
        assert clear.requests == []


async def test_a_secure_cookie_of_an_https_site_goes_out_by_https(tmp_path: Path) -> None:
    serving, trusting = certificate(tmp_path)
    seen: list[str] = []

    def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Cookie", ""))
        return web.Response(headers={"Set-Cookie": "sid=1; Secure; Path=/"})

    async with tls_site(serving, answer) as url, client(url, trust=trusting, cookie="a=1") as http:
        await http.get("page")
        await http.get("page")
        assert seen == ["a=1", "a=1; sid=1"]
        assert not http.is_own(url.replace("https", "http"))


async def _go_on(http: PlatformHttp) -> None:
    for _ in range(20):
        await http.get("page")
        await asyncio.sleep(0.01)


async def test_a_visit_ends_by_requests_bytes_and_time() -> None:
    async with RawSite(*[OK] * 50) as site, client(site.url) as http:
        for limits, kind in (
            (VisitLimits(requests=3), VisitTooLarge),
            (VisitLimits(total_bytes=7), VisitTooLarge),
            (VisitLimits(page_bytes=1), VisitTooLarge),
            (VisitLimits(seconds=0.05), VisitTooLong),
        ):
            http.begin_visit(limits)
            with pytest.raises(kind) as caught:
                await _go_on(http)
            assert caught.value.remedy != Transient.remedy
        http.begin_visit(VisitLimits())
        assert (await http.get("page")).text == "ok", "the next visit has a budget of its own"


async def test_the_time_behind_other_accounts_is_not_the_sites() -> None:
    """Where many accounts crowd at a slow site, each would else run out of time, and none would finish."""
    gate = Gate(1)
    async with RawSite(OK) as site, client(site.url, gate=gate) as http:
        http.begin_visit(VisitLimits(seconds=0.5))
        async with gate.passage():
            reading = asyncio.create_task(http.get("page"))
            await asyncio.sleep(0.8)
        assert (await reading).text == "ok"


async def test_a_byte_now_and_then_ends_with_the_visit() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.05)

    async with listening(drip) as port, client(f"http://127.0.0.1:{port}/") as http:
        http.begin_visit(VisitLimits(seconds=0.4))
        with pytest.raises(VisitTooLong):
            await asyncio.wait_for(http.get("page"), 5)


@pytest.mark.parametrize("value", ["a\r\nX: 1", "a\x00"])
async def test_a_value_that_no_request_carries_is_named(value: str) -> None:
    async with RawSite(OK) as site, client(site.url) as http:
        with pytest.raises(PlatformError, match="cannot be sent"):
            await http.get("page", headers={"X-Key": value})
        assert site.requests == []


async def test_headers_without_end_are_named() -> None:
    head = b"HTTP/1.1 200 OK\r\n" + b"X-More: 1\r\n" * 100_000
    async with RawSite(head) as site, client(site.url) as http:
        with pytest.raises(PlatformError, match="head"):
            await http.get("page")
