"""The fetch, against a real server: what it refuses, what it sends where, and where it was led."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib
from typing import Any
from urllib.parse import unquote

import brotli
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from likepion_provider.errors import BadRequest, FeedInvalid, LikepionError, Transient
from likepion_provider.feed import read_feed
from likepion_provider.web.fetch import Fetcher, Limits
from likepion_provider.web.inflate import STEP, inflater
from likepion_provider.web.sockets import is_public
from tests.sockets import listening

from ..site import Site, rss


class FakeResolver(AbstractResolver):
    """Every name has the addresses that a test gives; each look-up may answer differently."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


async def fetch(url: str, **options: Any) -> bytes:
    async with Fetcher(**{"allow_private": True, **options}) as fetcher, fetcher.open(url) as response:
        return b"".join([chunk async for chunk in response.chunks()])


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a.example/", "/etc/passwd", "gopher://x/", "", "http://", "http://[x"]
)
async def test_only_http_is_called(url: str) -> None:
    with pytest.raises(FeedInvalid, match="no http or https address") as caught:
        await read_feed(url, target=1)
    assert caught.value.where == "address"


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://a.example/", "//", ""])
async def test_no_redirect_leaves_http(site: Site, target: str) -> None:
    url = site.redirect("/a", target)
    with pytest.raises(FeedInvalid) as caught:
        await fetch(url)
    assert caught.value.where == "redirect 1"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "10.1.2.3", "169.254.169.254"]
)
async def test_private_addresses_are_refused(site: Site, host: str) -> None:
    site.serve("/feed", rss([1]))
    with pytest.raises(FeedInvalid, match="not public") as caught:
        await read_feed(f"http://{host}:{site.port}/feed", target=1)
    assert "allow private" in caught.value.remedy
    assert site.requests == []


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.1"])
async def test_other_spellings_of_loopback_are_refused(site: Site, host: str) -> None:
    with pytest.raises(LikepionError):
        await read_feed(f"http://{host}:{site.port}/feed", target=1)
    assert site.requests == []


async def test_a_name_that_resolves_to_loopback_is_refused(site: Site) -> None:
    with pytest.raises(FeedInvalid, match="leads to an address that is not public"):
        await fetch(f"http://feed.example:{site.port}/", allow_private=False, resolver=FakeResolver("127.0.0.1"))
    assert site.requests == []


async def test_a_name_that_changes_its_address_gains_nothing(site: Site) -> None:
    """Rebinding: whichever answer a connection uses is the one that is checked."""
    resolver = FakeResolver("192.0.2.1", "127.0.0.1")
    for _ in range(3):
        with pytest.raises(FeedInvalid, match="not public"):
            await fetch(f"http://feed.example:{site.port}/", allow_private=False, resolver=resolver)
    assert site.requests == []


async def test_a_redirect_to_a_private_address_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first hop counts as public here, so that only the second can be refused."""
    monkeypatch.setattr("likepion_provider.web.sockets.is_public", lambda address: address == "127.0.0.1")
    url = site.redirect("/a", f"http://127.0.0.2:{site.port}/inside")
    with pytest.raises(FeedInvalid, match="leads to an address that is not public") as caught:
        await fetch(url, allow_private=False)
    assert caught.value.where == "redirect 1"
    assert [request.path for request in site.requests] == ["/a"]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "fec0::1", "::ffff:10.0.0.1",
     "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a00:1", "x"],
)  # fmt: skip
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "rest",
    [
        "/feed?sig=a%2Fb%3D%3D&e=1%2C2",
        "/feed%2Fx/%7Euser/%41?a+b=%20",
        "/feed;v=1:2@3!$'()*,?q=[1]&'=(x)",
        "/feed?a=%zz%",
    ],
)
async def test_the_address_goes_out_as_it_was_given(site: Site, rest: str) -> None:
    """RFC 3986, 2.2: what differs in reserved letters is not equivalent, and hosts sign addresses letter by letter."""

    async def anything(_: web.Request) -> web.Response:
        return web.Response(body=b"ok")

    path = rest.partition("?")[0]
    site.redirect("/to", rest)
    site.routes = {**site.routes, path: anything, unquote(path): anything}
    assert await fetch(site.url + rest) == b"ok"
    await fetch(f"{site.url}/to")
    sent = [request.raw_path for request in site.requests]  # type: ignore[attr-defined]
    assert (sent[0], sent[2]) == (rest, rest)


async def test_what_may_not_stand_in_an_address_is_escaped(site: Site) -> None:
    site.serve("/tập tin", b"ok")
    assert await fetch(f"{site.url}/tập tin?q=ä b#part") == b"ok"
    assert site.requests[0].raw_path == "/t%E1%BA%ADp%20tin?q=%C3%A4%20b"  # type: ignore[attr-defined]


async def test_cookies_of_a_chain_go_back_to_their_host_only(site: Site) -> None:
    async def door(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/inside", "Set-Cookie": "pass=1"})

    async def inside(request: web.Request) -> web.Response:
        return web.Response(body=request.headers.get("Cookie", "none").encode())

    site.routes |= {"/door": door, "/inside": inside}
    site.redirect("/away", f"http://localhost:{site.port}/inside")
    async with Fetcher(allow_private=True, resolver=FakeResolver("127.0.0.1")) as fetcher:
        for path, sent in (("/door", b"pass=1"), ("/inside", b"pass=1"), ("/away", b"none")):
            async with fetcher.open(site.url + path) as response:
                assert b"".join([chunk async for chunk in response.chunks()]) == sent
    assert await fetch(f"{site.url}/inside") == b"none", "another feed has cookies of its own"


async def test_where_a_moved_feed_is_gone_the_old_address_is_asked_too(site: Site) -> None:
    answers = iter([web.Response(status=301, headers={"Location": "/new"}), web.Response(body=b"ok")])

    async def old(_: web.Request) -> web.Response:
        return next(answers)

    site.routes["/old"] = old
    async with Fetcher(allow_private=True) as fetcher, fetcher.open(f"{site.url}/old") as response:
        assert (response.final_url, response.moved_to) == (f"{site.url}/old", "")
        assert [chunk async for chunk in response.chunks()] == [b"ok"]
    site.redirect("/lost", "/new", status=301)
    with pytest.raises(FeedInvalid, match="answered 404"):
        await fetch(f"{site.url}/lost")


@pytest.mark.parametrize("status", [200, 201, 202, 203, 206, 226, 299])
async def test_every_success_with_a_body_serves(site: Site, status: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=b"ok")

    site.routes["/feed"] = answer
    assert await fetch(f"{site.url}/feed") == b"ok"


@pytest.mark.parametrize(
    ("said", "read"), [("", True), ("+9", True), ("-9", False)], ids=["right", "too much", "too little"]
)
async def test_a_length_that_does_not_fit(said: str, read: bool) -> None:
    """More than comes: the feed's own end tells that it is whole. Less: what comes behind is lost, and it is not."""
    body = rss(range(20, 0, -1))

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        length = len(body) + int(said or 0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + body[:length])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(body[length:])
        writer.close()

    async with listening(talk) as port:
        feed = await read_feed(f"http://127.0.0.1:{port}/", target=3, allow_private=True, timeout_s=5)
    assert [each.guid for each in feed.episodes] == ["g20", "g19", "g18"]
    assert feed.newest_certain == read


async def test_a_body_that_breaks_off_is_tried_again(site: Site) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "5000"})
        await response.prepare(request)
        await response.write(rss([2, 1])[:-30])
        assert request.transport
        request.transport.close()
        return response

    site.routes["/feed"] = answer
    with pytest.raises(Transient, match="broke off"):
        await read_feed(f"{site.url}/feed", target=3, allow_private=True, timeout_s=5)


@pytest.mark.parametrize(
    "said", ["UTF-8", "none", "binary", "aws-chunked", "identity", "gzip", "br", "deflate", "zstd"]
)
async def test_what_is_said_of_a_plain_body_does_not_matter(site: Site, said: str) -> None:
    body = rss([1])
    assert await fetch(site.serve("/feed", body, **{"Content-Encoding": said})) == body


@pytest.mark.parametrize("said", ["", "gzip", "UTF-8", "aws-chunked,gzip", "br"])
async def test_what_begins_as_gzip_is_inflated(site: Site, said: str) -> None:
    url = site.serve("/feed", gzip.compress(rss([1])), **({"Content-Encoding": said} if said else {}))
    assert await fetch(url) == rss([1])


async def test_redirects_end(site: Site) -> None:
    site.redirect("/a", "/b")
    site.redirect("/b", "/a")
    with pytest.raises(FeedInvalid, match="circle"):
        await fetch(site.url + "/a")
    for number in range(20):
        site.redirect(f"/{number}", f"/{number + 1}")
    with pytest.raises(FeedInvalid, match="more than 8 times"):
        await fetch(site.url + "/0")


async def test_credentials_stay_with_their_origin(site: Site) -> None:
    site.serve("/feed", b"ok")
    site.redirect("/same", "/feed")
    site.redirect("/other", f"http://localhost:{site.port}/feed")
    site.redirect("/given", f"http://evil:pw@localhost:{site.port}/feed")
    for path in ("/same", "/other", "/given"):
        await fetch(f"http://user:secret@127.0.0.1:{site.port}{path}", resolver=FakeResolver("127.0.0.1"))
    sent = [(request.path, "Authorization" in request.headers) for request in site.requests]
    assert sent == [
        ("/same", True), ("/feed", True),
        ("/other", True), ("/feed", False),
        ("/given", True), ("/feed", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, FeedInvalid), (401, FeedInvalid), (403, FeedInvalid), (404, FeedInvalid), (410, FeedInvalid),
     (204, FeedInvalid),
     (304, FeedInvalid), (408, Transient), (425, Transient), (429, Transient), (500, Transient), (503, Transient)],
)  # fmt: skip
async def test_each_status_says_what_to_do(site: Site, status: int, error: type[LikepionError]) -> None:
    url = site.status("/feed", status, **{"Retry-After": "7"})
    with pytest.raises(error, match=f"answered {status}") as caught:
        await fetch(url + "?key=hunter2")
    assert "hunter2" not in caught.value.advice
    assert caught.value.retry_after_s == (7.0 if error is Transient else None)


@pytest.mark.parametrize(
    ("header", "seconds"), [("999999", 86_400), ("Mon, 01 Jan 2024 00:00:00 GMT", 0), ("soon", None)]
)
async def test_a_busy_host_says_how_long_to_wait(site: Site, header: str, seconds: float | None) -> None:
    with pytest.raises(Transient) as caught:
        await fetch(site.status("/feed", 503, **{"Retry-After": header}))
    assert caught.value.retry_after_s == seconds


async def test_nobody_there_is_transient(site: Site, unused_tcp_port: int) -> None:
    with pytest.raises(Transient, match="cannot be reached"):
        await fetch(f"http://127.0.0.1:{unused_tcp_port}/")


async def test_what_is_not_http_is_refused() -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await writer.drain()
        writer.close()

    async with listening(talk) as port:
        with pytest.raises(FeedInvalid, match="does not answer in HTTP"):
            await fetch(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw deflate", "br", "two members", "padded"])
@pytest.mark.parametrize("size", [1, 1000, 10**6])
def test_each_encoding_is_inflated_in_steps(encoding: str, size: int) -> None:
    content = bytes(range(256)) * 2000 + bytes(10**6)
    raw = zlib.compressobj(wbits=-15)
    wire, name = {
        "gzip": (gzip.compress(content), "gzip"),
        "deflate": (zlib.compress(content), "deflate"),
        "raw deflate": (raw.compress(content) + raw.flush(), "deflate"),
        "br": (brotli.compress(content), "br"),
        "two members": (gzip.compress(content[:999]) + gzip.compress(content[999:]), "gzip"),
        "padded": (gzip.compress(content) + b"\0" * 99, "gzip"),
    }[encoding]
    engine = inflater(name)
    pieces = [piece for start in range(0, len(wire), size) for piece in engine.feed(wire[start : start + size])]
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= 2 * STEP


async def test_an_encoding_that_was_not_offered_is_refused(site: Site) -> None:
    with pytest.raises(FeedInvalid, match="was not offered"):
        await fetch(site.serve("/feed", b"x", **{"Content-Encoding": "zstd"}))
    with pytest.raises(FeedInvalid, match="cannot be read"):
        await fetch(site.serve("/feed", b"not gzip at all", **{"Content-Encoding": "gzip"}))


async def test_bytes_are_capped_before_and_after_inflating(site: Site) -> None:
    limits = Limits(wire_bytes=5000, body_bytes=100_000)
    plain = site.serve("/plain", b"x" * 5001)
    bomb = site.serve("/bomb", gzip.compress(b"x" * 100_001), **{"Content-Encoding": "gzip"})
    fits = site.serve("/fits", gzip.compress(b"x" * 100_000), **{"Content-Encoding": "gzip"})
    with pytest.raises(FeedInvalid, match="larger than 5000 bytes"):
        await fetch(plain, limits=limits)
    with pytest.raises(FeedInvalid, match="larger than 100000 bytes"):
        await fetch(bomb, limits=limits)
    assert len(await fetch(fits, limits=limits)) == 100_000
    received = 0
    async with Fetcher(allow_private=True, limits=limits) as fetcher, fetcher.open(bomb) as response:
        try:
            async for piece in response.chunks():
                received += len(piece)
        except FeedInvalid:
            pass
    assert received <= limits.body_bytes


async def test_a_drip_meets_the_deadline(site: Site) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    site.routes["/drip"] = drip
    started = asyncio.get_running_loop().time()
    with pytest.raises(Transient, match=r"not there after 0\.3 s"):
        await read_feed(site.url + "/drip", target=1, allow_private=True, timeout_s=0.3)
    assert asyncio.get_running_loop().time() - started < 1


async def test_reading_stops_when_there_is_enough(site: Site) -> None:
    """A feed without end: the connection is closed after the items that were asked for."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(rss(range(28, 0, -1))[: -len("</channel></rss>")])
        await asyncio.sleep(60)
        return response

    site.routes["/endless"] = endless
    feed = await read_feed(site.url + "/endless", target=20, allow_private=True, timeout_s=5)
    assert [episode.guid for episode in feed.episodes] == [f"g{n}" for n in range(28, 8, -1)]


async def test_only_leading_permanent_redirects_are_remembered(site: Site) -> None:
    site.serve("/d", b"")
    site.redirect("/c", "/d", status=308)
    site.redirect("/b", "/c", status=302)
    site.redirect("/a", "/b", status=301)
    async with Fetcher(allow_private=True) as fetcher:
        async with fetcher.open(site.url + "/a") as response:
            assert response.moved_to == site.url + "/b"
        async with fetcher.open(site.url + "/b") as response:
            assert response.moved_to == ""


async def test_a_feed_that_has_moved_says_where_to(site: Site) -> None:
    site.serve("/feed", rss([1]))
    for status, moved_to in ((301, site.url + "/feed"), (302, "")):
        url = site.redirect("/old", "/feed", status=status)
        feed = await read_feed(url, target=1, allow_private=True)
        assert (feed.url, feed.moved_to) == (url, moved_to)


async def test_parameters_are_checked() -> None:
    for options in ({"target": 0}, {"target": 10_001}, {"target": 1, "timeout_s": 0}):
        with pytest.raises(BadRequest):
            await read_feed("http://feed.example/", **options)  # type: ignore[arg-type]
