"""Hostile input: what it costs the process that asks, its event loop, and the process that reads.

Each case runs in a process of its own, which prints what became of the feed, the CPU seconds and the growth in MB of
itself and of the reader, and by how much its heartbeat was late.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from likepion_provider.errors import LikepionError
from likepion_provider.feed import read_feed, readers

from ..site import Site, rss

MAX_CPU_S = 2.0
MAX_GROWTH_MB = 24.0
MAX_LATE_S = 0.5
TIMEOUT_S = 20.0
READER_CPU_S = 20.0
READER_MB = 340.0

_RUN = r"""
import asyncio, gzip, json, os, re, resource, sys, threading, time
import aiohttp, brotli
from aiohttp import web
from likepion_provider.feed import read_feed
from likepion_provider.web.fetch import Fetcher
from likepion_provider.errors import LikepionError

def status(name):
    with open("/proc/self/status") as file:
        return int(re.search(name + r":\s+(\d+)", file.read())[1]) / 1024

ITEM = b"<item><title>t</title><guid>%d</guid><enclosure url='http://a/%d.mp3'/>%s</item>"
HEAD, TAIL = b"<rss version='2.0'><channel><title>T</title>", b"</channel></rss>"
def feed(extra=b"", head=b"", count=20):
    return head + HEAD + b"".join(ITEM % (n, n, extra) for n in range(count)) + TAIL

def laughs():
    lines = [b"<!ENTITY a0 'ha'>"] + [b"<!ENTITY a%d '%s'>" % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 12)]
    return feed(b"<description>&a11;</description>", b"<!DOCTYPE rss [" + b"".join(lines) + b"]>")

bodies = {
    "billion laughs": laughs,
    "quadratic blow-up": lambda: feed(b"<description>" + b"&a;" * 5000 + b"</description>",
                                      b"<!DOCTYPE rss [<!ENTITY a '" + b"x" * 50000 + b"'>]>"),
    "external entity": lambda: feed(b"<description>&x;</description>",
                                    b"<!DOCTYPE rss [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"),
    "external entity by http": lambda: feed(b"<description>&x;</description>",
                                            b"<!DOCTYPE rss [<!ENTITY x SYSTEM 'http://127.0.0.1:PORT/canary'>]>"),
    "300,000 attributes": lambda: HEAD + b"<item " + b" ".join(b"a%d=''" % n for n in range(300000)) + b"/>" + TAIL,
    "many attributes, often": lambda: feed((b"<a " + b" ".join(b"a%d=''" % n for n in range(120)) + b"/>") * 35),
    "100 KB style": lambda: feed(b"<description>&lt;p style=\"" + b"a" * 100000 + b"\"&gt;</description>"),
    "deep": lambda: HEAD + b"<a>" * 200000,
    "many elements": lambda: HEAD + b"<a/>" * 1000000,
    "elements in each item": lambda: feed(b"<category>a</category>" * 1400),
    "no end tag": lambda: HEAD + b"<title " * 500000,
    "open comment": lambda: HEAD + b"&<!--" + b"x" * 8000000,
    "malformed in each item": lambda: feed(b"&<a <b <c" * 3000),
    "open brackets": lambda: HEAD + b"&" + b"<" * 4000000,
    "not xml": lambda: os.urandom(8000000),
    "page": lambda: b"<!doctype html><html><body>" + b"<p>text<br>" * 500000,
}

def gzip_bomb(filler):
    return gzip.compress(HEAD + filler * (300 * 1024 * 1024 // len(filler)))

async def serve(case):
    asked = []
    async def answer(request):
        asked.append(request.path)
        if request.path == "/canary":
            return web.Response(text="reached")
        if case in ("gzip bomb", "gzip of spaces"):
            return web.Response(body=BODY, headers={"Content-Encoding": "gzip"})
        if case == "brotli bomb":
            return web.Response(body=BODY, headers={"Content-Encoding": "br"})
        if case in ("endless", "endless items", "endless old items", "endless small old items", "drip"):
            return await endless(request)
        return web.Response(body=BODY.replace(b"PORT", str(request.url.port).encode()))
    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(HEAD)
        number = 0
        while case != "drip":
            number += 1
            date = b"<pubDate>Mon, 01 Jan %d 00:00:00 GMT</pubDate>" % (1900 + number % 7000)
            chunk = {"endless": b"text " * 20000, "endless items": ITEM % (1, 1, b"<x/>" * 500),
                     "endless old items": ITEM % (number, number, date + b"x" * 4000),
                     "endless small old items": b"<item>" + date + b"</item>" if number > 30
                     else ITEM % (number, number, date)}[case]
            await response.write(chunk)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner.addresses[0][1], asked

def background(case, ready):
    async def main():
        ready.extend(await serve(case))
        await asyncio.Event().wait()
    asyncio.run(main())

case = sys.argv[1]
if case in bodies:
    BODY = bodies[case]()
elif case == "gzip bomb":
    BODY = gzip_bomb(b"x" * 1024)
elif case == "gzip of spaces":
    BODY = gzip.compress(b" " * (300 * 1024 * 1024))
elif case == "brotli bomb":
    BODY = brotli.compress(b"x" * (100 * 1024 * 1024), quality=5)

# The server runs in a child, so that its memory and its time are its own.
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    async def main():
        port, _ = await serve(case)
        os.write(writing, str(port).encode())
        await asyncio.Event().wait()
    asyncio.run(main())
port = int(os.read(reading, 10))
BODY = b""
# Warm, so that growth shows the feed and not the imports.
import brotli
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before, cpu, began = status("VmRSS"), time.process_time(), time.monotonic()
server = resource.getrusage(resource.RUSAGE_CHILDREN)
late = [0.0]

async def beat():
    while True:
        due = time.monotonic() + 0.02
        await asyncio.sleep(0.02)
        late.append(time.monotonic() - due)

async def main():
    beating = asyncio.create_task(beat())
    try:
        return await read_feed(f"http://127.0.0.1:{port}/feed", target=20, allow_private=True,
                               timeout_s=1.0 if case == "drip" else 20.0)
    finally:
        beating.cancel()

try:
    found = asyncio.run(main())
    certain = "" if found.newest_certain else ", not certain"
    outcome, text = f"feed of {len(found.episodes)}{certain}", repr(found)
except LikepionError as error:
    outcome, text = type(error).__name__, error.advice
took, cpu, growth = time.monotonic() - began, time.process_time() - cpu, status("VmHWM") - before
reader = resource.getrusage(resource.RUSAGE_CHILDREN)
os.kill(child, 9)
os.waitpid(child, 0)
print(json.dumps({"outcome": outcome, "text": text[:3000], "cpu_s": cpu, "growth_mb": growth, "late_s": max(late),
                  "took_s": took, "reader_cpu_s": reader.ru_utime + reader.ru_stime,
                  "reader_mb": reader.ru_maxrss / 1024}))
"""

EXPECTED = {
    "billion laughs": "feed of 20",
    "quadratic blow-up": "feed of 20",
    "external entity": "feed of 20",
    "external entity by http": "feed of 20",
    "300,000 attributes": "FeedInvalid",
    "many attributes, often": "feed of 20",
    "100 KB style": "feed of 20",
    "deep": "FeedInvalid",
    "many elements": "FeedInvalid",
    "elements in each item": "feed of 20",
    "no end tag": "FeedInvalid",
    "open comment": "FeedInvalid",
    "malformed in each item": "feed of 20",
    "open brackets": "FeedInvalid",
    "not xml": "FeedInvalid",
    "page": "FeedInvalid",
    "gzip bomb": "FeedInvalid",
    "gzip of spaces": "FeedInvalid",
    "brotli bomb": "FeedInvalid",
    "endless": "FeedInvalid",
    "endless items": "feed of 1, not certain",
    "endless old items": "feed of 20, not certain",
    "endless small old items": "feed of 20, not certain",
    "drip": "Transient",
}


def run(case: str) -> dict[str, Any]:
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", _RUN, case], capture_output=True, text=True, timeout=60, cwd=root, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured with Linux's /proc")
@pytest.mark.parametrize("case", EXPECTED)
def test_bounded(case: str) -> None:
    found = run(case)
    assert found["outcome"] == EXPECTED[case], found
    assert found["cpu_s"] < MAX_CPU_S, found
    assert found["growth_mb"] < MAX_GROWTH_MB, found
    assert found["late_s"] < MAX_LATE_S, found
    assert found["took_s"] < TIMEOUT_S + 1, found
    assert found["reader_cpu_s"] < READER_CPU_S, found
    assert found["reader_mb"] < READER_MB, found
    assert "root:" not in found["text"]
    assert "reached" not in found["text"]


async def test_a_reader_that_was_killed_meanwhile_is_replaced(site: Site) -> None:
    url = site.serve("/feed", rss([1]))
    async with readers() as pool:
        await read_feed(url, target=1, allow_private=True)
        pool._free[0]._process.kill()
        await pool._free[0]._process.wait()
        assert len((await read_feed(url, target=1, allow_private=True)).episodes) == 1


async def test_no_process_to_be_had_is_a_clear_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    url = site.serve("/feed", rss([1]))
    for program in ("/nowhere/python", "/bin/false"):
        monkeypatch.setattr("sys.executable", program)
        with pytest.raises(LikepionError, match="no process to read feeds in can be had") as caught:
            await read_feed(url, target=1, allow_private=True)
        assert "Let the worker start processes" in caught.value.advice


async def test_a_batch_uses_one_process_and_it_inherits_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LIKEPION_MANAGER", "http://:hunter2@manager.example")
    url = site.serve("/feed", rss([1]))
    async with readers() as pool:
        for _ in range(3):
            await read_feed(url, target=1, allow_private=True)
        assert len(pool._free) == 1
        assert b"hunter2" not in environment_of(pool._free[0]._process.pid)


def environment_of(process: int) -> bytes:
    path = Path(f"/proc/{process}/environ")
    return path.read_bytes() if path.exists() else b""


def test_a_daemons_child_can_read_feeds() -> None:
    """Celery's workers and Airflow's task runners may be daemons, which may not start processes by multiprocessing."""
    program = (
        "import asyncio, multiprocessing, sys\n"
        "from likepion_provider.feed.process import Reader\n"
        "async def read():\n"
        "    async def body():\n"
        "        yield b'<rss><channel><item><enclosure url=\"http://a/1.mp3\"/></item></channel></rss>'\n"
        "    reader = await Reader.start()\n"
        "    found, _ = await reader.read(body(), url='http://a/', shown='', want=1, charset='', within_s=20)\n"
        "    await reader.close()\n"
        "    sys.exit(40 + len(found['episodes']))\n"
        "child = multiprocessing.get_context('fork').Process(target=lambda: asyncio.run(read()), daemon=True)\n"
        "child.start(); child.join(); sys.exit(child.exitcode)\n"
    )
    root = Path(__file__).resolve().parents[3]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, timeout=60, check=False).returncode == 41
