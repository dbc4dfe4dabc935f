"""Pages that attack the machine of the browser that reads them; each by a real Chromium, seen at the sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from aiohttp import web

from likepion_provider.errors import LikepionError, PlatformError, Transient
from likepion_provider.platforms import PlatformSettings
from likepion_provider.platforms.recipe import browser as browser_module
from likepion_provider.platforms.recipe import importer, parse
from likepion_provider.platforms.recipe.browser import browser_engine
from likepion_provider.platforms.recipe.engine import Engine, SiteRequest
from likepion_provider.testing.server import Case, PlatformServer, opened
from likepion_provider.web import socks
from tests.sockets import listening

from . import letters
from .test_browser import RECIPE, SANDBOX

pytestmark = pytest.mark.skipif(not shutil.which("chromium"), reason="there is no chromium on this machine")

#: Every way that a page has to the network; INNER is a host and port that it must not reach, UDP the same by UDP.
WAYS = """<!DOCTYPE html><title>Ways</title><body>
<link rel="stylesheet" href="http://INNER/css"><link rel="preconnect" href="http://INNER">
<link rel="dns-prefetch" href="http://INNER"><link rel="prefetch" href="http://INNER/prefetch">
<img src="http://INNER/img"><iframe src="http://INNER/iframe"></iframe><script src="http://INNER/script"></script>
<video src="http://INNER/video" autoplay></video><object data="http://INNER/object"></object>
<img src="/moved?to=http://INNER/redirected"><iframe srcdoc="<meta http-equiv=refresh content='0;http://INNER/refreshed'>">
</iframe><form id=f method=post action="http://INNER/form" target=t></form><iframe name=t></iframe>
<script>
const tried = attempt => { try { const done = attempt(); if (done && done.catch) done.catch(() => 0); } catch (e) {} };
tried(() => fetch("http://INNER/fetch", {mode: "no-cors"}));
tried(() => { const x = new XMLHttpRequest(); x.open("GET", "http://INNER/xhr"); x.send(); });
tried(() => new WebSocket("ws://INNER/websocket"));
tried(() => new EventSource("http://INNER/events"));
tried(() => navigator.sendBeacon("http://INNER/beacon", "x"));
tried(() => document.getElementById("f").submit());
tried(() => open("http://INNER/popup"));
tried(() => new Worker(URL.createObjectURL(new Blob(["fetch('http://INNER/worker', {mode: 'no-cors'})"]))));
tried(() => navigator.serviceWorker.register("/worker.js"));
tried(() => new WebTransport("https://UDP/transport").ready);
for (const urls of ["stun:UDP", "turn:UDP?transport=udp", "turn:INNER?transport=tcp"]) tried(async () => {
  const peer = new RTCPeerConnection({iceServers: [{urls, username: "u", credential: "c"}]});
  peer.createDataChannel("x");
  await peer.setLocalDescription(await peer.createOffer());
});
</script>"""
#: What the ways above show on the inner server once nothing is in their way.
REACHED = {
    *("css", "img", "iframe", "script", "video", "object", "redirected", "refreshed", "form", "fetch", "xhr"),
    *("websocket", "events", "beacon", "popup", "worker"),
}


class HostileServer(PlatformServer):
    """The account's own site, which has gone bad."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = ""
        self.udp = ""
        self.seen: list[web.BaseRequest] = []

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/ways", self._ways),
            web.get("/moved", self._moved),
            web.get("/worker.js", self._worker),
            web.get("/spin", self._spin),
            web.get("/script", self._script),
            web.get("/fine", self._fine),
            web.get("/file", self._file),
            web.post("/bomb", self._bomb),
        ]

    async def _ways(self, _: web.Request) -> web.Response:
        return page(WAYS.replace("INNER", self.inner).replace("UDP", self.udp))

    async def _spin(self, _: web.Request) -> web.Response:
        return page("<p>Hello</p><script>while (1) {}</script>")

    async def _script(self, request: web.Request) -> web.Response:
        return page(f"<script>{request.query['run']}</script>")

    async def _moved(self, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": request.query["to"]})

    async def _worker(self, _: web.Request) -> web.Response:
        script = f"fetch('http://{self.inner}/service-worker', {{mode: 'no-cors'}})"
        return web.Response(text=script, content_type="text/javascript")

    async def _fine(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        kept = "<script>document.title = localStorage.who || ''; localStorage.who = location.search</script>"
        answer = page(f"<title></title><p>fine</p>{kept}")
        answer.set_cookie("who", request.query.get("who", "nobody"))
        return answer

    async def _file(self, _: web.Request) -> web.Response:
        disposition = {"Content-Disposition": 'attachment; filename="canary.bin"'}
        return web.Response(body=b"canary" * 1000, content_type="application/octet-stream", headers=disposition)

    async def _bomb(self, _: web.Request) -> web.Response:
        bomb = gzip.compress(bytes(1 << 20), 9) * 4096
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"}, content_type="text/html")


def page(html: str) -> web.Response:
    return web.Response(text=html, content_type="text/html")


def module() -> ModuleType:
    made = ModuleType("hostile")
    made.SERVER = HostileServer  # type: ignore[attr-defined]
    made.credentials = letters.credentials  # type: ignore[attr-defined]
    made.settings = lambda url: PlatformSettings(url, extra=SANDBOX)  # type: ignore[attr-defined]
    return made


@contextlib.asynccontextmanager
async def attacked(timeout_s: float = 30.0) -> AsyncIterator[Case]:
    async with opened(importer(parse(RECIPE, "my.yaml"))(), module(), timeout_s=timeout_s) as case:
        yield case


@contextlib.asynccontextmanager
async def visit(case: Case, state: dict[str, Any] | None = None) -> AsyncIterator[Engine]:
    async with browser_engine(case.job(), {} if state is None else state) as engine:
        yield engine


async def read(case: Case, url: str, headers: dict[str, str] | None = None) -> str:
    async with visit(case) as engine:
        return (await engine.send(SiteRequest("GET", url, headers or {}))).text


class Inner(asyncio.DatagramProtocol):
    """A server inside, which counts everything that touches it by TCP or UDP."""

    def __init__(self) -> None:
        self.connections = 0
        self.datagrams = 0
        self.paths: set[str] = set()
        self.headers: list[dict[str, str]] = []

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.datagrams += 1

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError), contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            self.paths.add(head[0].split()[1].lstrip("/"))
            self.headers.append({k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:])})
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n"
                b"Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\ninside"
            )


@contextlib.asynccontextmanager
async def inside(server: PlatformServer, host: str = "127.0.0.2") -> AsyncIterator[Inner]:
    assert isinstance(server, HostileServer)
    inner = Inner()
    udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: inner, local_addr=(host, 0))
    server.udp = f"{host}:{udp.get_extra_info('sockname')[1]}"
    try:
        async with listening(inner.answer, host) as port:
            server.inner = f"{host}:{port}"
            yield inner
    finally:
        udp.close()


@pytest.fixture(autouse=True)
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for all that a visit writes, of which nothing may stay; its path is short, since a socket is there."""
    with tempfile.TemporaryDirectory(prefix="s-") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)
        assert list(Path(folder).iterdir()) == []


def browsers() -> list[psutil.Process]:
    """The browsers that this test has running."""
    ours = psutil.Process().children(recursive=True)
    return [each for each in ours if "chrom" in each.name() and each.status() != psutil.STATUS_ZOMBIE]


# --- the guard ---


async def test_no_way_out_of_a_page_reaches_an_inner_address() -> None:
    async with attacked() as case, inside(case.server) as inner:
        assert "Ways" in await read(case, f"{case.server.url}/ways")
        assert (inner.connections, inner.datagrams, inner.paths) == (0, 0, set())


async def test_the_ways_are_ways_where_nobody_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socks, "is_public", lambda _: True)
    async with attacked() as case, inside(case.server) as inner:
        await read(case, f"{case.server.url}/ways")
        assert REACHED - inner.paths == set()
        assert inner.datagrams == 0, "nothing goes by UDP, guarded or not"


@pytest.mark.parametrize("way", ["INNER/x", "OWN/moved?to=INNER/x", "OWN/script?run=location='INNER/x'"])
async def test_an_inner_page_is_not_shown(way: str) -> None:
    async with attacked() as case, inside(case.server) as inner:
        url = way.replace("INNER", f"http://{case.server.inner}").replace("OWN", case.server.url)  # type: ignore[attr-defined]
        if "script" in way:
            with contextlib.suppress(LikepionError):
                assert "inside" not in await read(case, url)
        else:
            with pytest.raises(PlatformError, match=r"leads to 127\.0\.0\.2, an address that is not public") as raised:
                await read(case, url)
            assert "connection" in raised.value.remedy
        assert inner.connections == 0


async def test_another_port_of_the_own_host_is_not_the_own_site() -> None:
    async with attacked() as case, inside(case.server, "127.0.0.1") as inner:
        with pytest.raises(PlatformError, match="not public"):
            await read(case, f"http://{case.server.inner}/x")  # type: ignore[attr-defined]
        async with visit(case) as engine:
            with pytest.raises(LikepionError):
                await engine.send(SiteRequest("POST", f"http://{case.server.inner}/x"))  # type: ignore[attr-defined]
        assert inner.connections == 0


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "chrome://version", "view-source:http://x.example", "data:text/html,<p>x", "javascript:1"],
)
async def test_only_http_and_https_are_opened(url: str) -> None:
    async with attacked() as case:
        with pytest.raises(PlatformError, match="no http or https address"):
            await read(case, url)


@pytest.mark.parametrize("way", ["/moved?to=URL", "/script?run=location='URL'", "/script?run=open('URL')"])
@pytest.mark.parametrize("url", ["file:///etc/passwd", "chrome://version", "view-source:file:///etc/passwd"])
async def test_no_page_leads_to_the_machines_files(way: str, url: str) -> None:
    async with attacked() as case:
        with contextlib.suppress(LikepionError):
            shown = await read(case, case.server.url + way.replace("URL", url))
            assert "root:" not in shown
            assert "Chromium" not in shown


async def test_the_recipes_headers_follow_no_redirect_to_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socks, "is_public", lambda _: True)
    async with attacked() as case, inside(case.server) as inner:
        secret = {"X-Token": "canary-token"}
        url = f"{case.server.url}/moved?to=http://{case.server.inner}/x"  # type: ignore[attr-defined]
        assert "inside" in await read(case, url, secret)
        assert len(inner.headers) >= 1
        assert not any("canary" in str(each) for each in inner.headers)
        await read(case, f"{case.server.url}/moved?to={case.server.url}/fine", secret)
        assert case.server.seen[-1].headers["X-Token"] == "canary-token"  # type: ignore[attr-defined]


# --- what a page may cost ---


async def test_a_page_that_never_rests_ends_with_its_browser_and_the_next_account_gets_another() -> None:
    async with attacked(timeout_s=5) as case:
        for _ in range(browser_module.MAX_BROWSERS + 1):
            began_s = time.monotonic()
            with pytest.raises(Transient, match="took longer than 5 s") as raised:
                await read(case, f"{case.server.url}/spin")
            assert "it is tried again" in raised.value.remedy
            assert time.monotonic() - began_s < 20
            assert browsers() == []
    async with attacked() as case:
        assert "fine" in await read(case, f"{case.server.url}/fine")


async def test_cancelling_ends_a_browser_whose_page_never_rests() -> None:
    async with attacked() as case:
        reading = asyncio.ensure_future(read(case, f"{case.server.url}/spin"))
        for _ in range(200):
            if "GET /spin" in case.server.requests:
                break
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        reading.cancel()
        done, _ = await asyncio.wait([reading], timeout=browser_module.CLOSING_S * 2 + 5)
        assert reading in done
        assert browsers() == []


GROW = "const held = []; while (1) held.push(new Uint8Array(64 << 20).fill(1))"
FILL = "document.body.append('x'.repeat(%d << 20))"


async def test_a_page_that_takes_all_memory_ends_with_its_browser() -> None:
    async with attacked() as case:
        with pytest.raises(Transient, match="MB of memory"):
            await read(case, f"{case.server.url}/script?run={GROW}")
        assert browsers() == []


@pytest.mark.parametrize("megabytes", [40, 400])
async def test_a_page_of_a_size_that_no_page_has_is_not_read(megabytes: int) -> None:
    async with attacked() as case:
        with pytest.raises(LikepionError, match=r"a page of more than|MB of memory|took longer"):
            await read(case, f"{case.server.url}/script?run=onload=()=>{FILL % megabytes}")
        assert browsers() == []


async def test_an_answer_that_inflates_for_ever_is_not_held() -> None:
    async with attacked() as case:
        async with visit(case) as engine:
            with pytest.raises(LikepionError, match=r"a page of more than|MB of memory|took longer"):
                await engine.send(SiteRequest("POST", f"{case.server.url}/bomb"))
        assert browsers() == []


def written(folder: Path, content: bytes) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file() and content in each.read_bytes()]


async def test_downloads_are_refused_and_nothing_is_written(scratch: Path) -> None:
    async with attacked() as case:
        async with visit(case) as engine:
            with pytest.raises(PlatformError, match="answered with a download"):
                await engine.send(SiteRequest("GET", f"{case.server.url}/file"))
            await asyncio.sleep(1)
            assert not written(scratch, b"canarycanary")


# --- whose browser it is ---


async def test_nothing_is_shared_between_accounts() -> None:
    async with attacked() as first, attacked() as second:
        state: dict[str, Any] = {}
        url = f"{first.server.url}/fine?who=ada"
        async with visit(first, state) as engine:
            await engine.send(SiteRequest("GET", url))
        async with visit(first, state) as engine:
            again = await engine.send(SiteRequest("GET", url))
        assert "<title>?who=ada</title>" in again.text, "an account's next visit goes on where the last one ended"
        job = second.job()
        other = PlatformSettings(first.server.url, extra=SANDBOX)
        async with browser_engine(type(job)(job.task, job.credentials, job.feed, other, job.http), {}) as engine:
            shown = await engine.send(SiteRequest("GET", url))
        assert "<title></title>" in shown.text
        cookies = [each.headers.get("Cookie") for each in first.server.seen]  # type: ignore[attr-defined]
        assert cookies == [None, "who=ada", None]


async def test_the_browser_has_nothing_of_the_workers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SECRET", "canary-environment")
    async with attacked() as case, visit(case):
        held = []
        for each in browsers():
            with contextlib.suppress(psutil.AccessDenied):
                held.append(each.environ())
        assert held
        assert not [each for each in held if "AIRFLOW_CONN_SECRET" in each]


@pytest.mark.skipif(os.geteuid() != 0, reason="Chromium refuses its sandbox to root only")
async def test_the_sandbox_is_given_up_by_the_connection_only() -> None:
    made = module()
    made.settings = lambda url: PlatformSettings(url)  # type: ignore[attr-defined]
    async with opened(importer(parse(RECIPE, "my.yaml"))(), made) as case:
        with pytest.raises(PlatformError, match="cannot have its sandbox here: it refuses to as root") as raised:
            await case.platform.collect(case.job())
        assert '{"browser_sandbox": false}' in raised.value.remedy
        assert browsers() == []
