"""Hostile input, each in a process of its own with little memory: bounded in CPU time and in growth.

The process prints what became of the feed, the CPU seconds and the growth in MB; the limit kills what the figures miss.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MAX_CPU_S = 2.0
MAX_GROWTH_MB = 64.0

_RUN = r"""
import asyncio, gzip, json, os, re, resource, sys, threading, time
import aiohttp, feedparser, brotli
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
feedparser.parse(b"<rss><channel><item/></channel></rss>")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before, cpu = status("VmRSS"), time.process_time()
limit = int((status("VmSize") + 200) * 1024 * 1024)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    found = asyncio.run(read_feed(f"http://127.0.0.1:{port}/feed", target=20, allow_private=True,
                                  timeout_s=1.0 if case == "drip" else 20.0))
    outcome, text = f"feed of {len(found.episodes)}", repr(found)
except LikepionError as error:
    outcome, text = type(error).__name__, error.advice
cpu = time.process_time() - cpu
growth = status("VmHWM") - before
os.kill(child, 9)
os.waitpid(child, 0)
print(json.dumps({"outcome": outcome, "text": text[:3000], "cpu_s": cpu, "growth_mb": growth}))
"""

EXPECTED = {
    "billion laughs": "FeedInvalid",
    "quadratic blow-up": "FeedInvalid",
    "external entity": "feed of 20",
    "external entity by http": "feed of 20",
    "300,000 attributes": "FeedInvalid",
    "many attributes, often": "FeedInvalid",
    "100 KB style": "feed of 20",
    "deep": "FeedInvalid",
    "many elements": "FeedInvalid",
    "elements in each item": "feed of 20",
    "no end tag": "FeedInvalid",
    "open comment": "FeedInvalid",
    "malformed in each item": "FeedInvalid",
    "open brackets": "FeedInvalid",
    "not xml": "FeedInvalid",
    "page": "FeedInvalid",
    "gzip bomb": "FeedInvalid",
    "gzip of spaces": "FeedInvalid",
    "brotli bomb": "FeedInvalid",
    "endless": "FeedInvalid",
    "endless items": "feed of 1",
    "endless old items": "feed of 20",
    "endless small old items": "feed of 20",
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
    assert "root:" not in found["text"]
    assert "reached" not in found["text"]
