"""Feeds as they are found, one for each way in which a reader went wrong: ``kinds/case.xml`` and what is right of it.

``[[30000*a]]`` in a case stands for so many ``a``, ``[[9#k]]`` for nine words, ``[[page]]`` and ``[[next]]`` for the
number of a page and of the one that follows.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from likepion_provider.errors import FeedInvalid
from likepion_provider.feed import read_feed

from ..site import Site

CASES = sorted((Path(__file__).parent / "cases" / "kinds").glob("*.json"))
LATE_S = 0.5
#: What a hostile feed may cost the process that asks for it; what it costs its reader is bounded there.
MAX_CPU_S = 1.0
MAX_GROWTH_MB = 32.0


def expanded(text: str) -> str:
    text = re.sub(r"\[\[(\d+)\*(.*?)\]\]", lambda found: found[2] * int(found[1]), text)
    return re.sub(r"\[\[(\d+)#(.)\]\]", lambda found: ",".join(f"{found[2]}{n}" for n in range(int(found[1]))), text)


def bodies(path: Path, case: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Where each page stands, and what it is."""
    body = path.with_suffix(".xml").read_bytes()
    if b"[[" in body:
        body = expanded(body.decode()).encode()
    if "pages" not in case:
        yield case.get("path", "/feed"), body
    for page in range(case.get("pages", 0), 0, -1):
        link = b"" if page == 1 else str(page - 1).encode()
        text = body.replace(b"[[page]]", str(page).encode()).replace(b"[[next]]", link)
        yield ("/feed" if page == case["pages"] else f"/{page}"), text if link else re.sub(b"<atom:link.*?>", b"", text)


def serve(site: Site, path: Path, case: dict[str, Any]) -> str:
    def answering(body: bytes) -> Any:
        async def answer(request: web.Request) -> web.Response:
            if case.get("cookie") and "Cookie" not in request.headers:
                return web.Response(status=302, headers={"Location": str(request.rel_url), "Set-Cookie": "seen=1"})
            headers = {name: expanded(value) for name, value in case.get("headers", {}).items()}
            return web.Response(body=body, status=case.get("status", 200), headers=headers)

        return answer

    first = ""
    for place, body in bodies(path, case):
        site.routes[place] = answering(body)
        first = first or site.url + place
    return first + case.get("query", "")


async def heartbeat(late: list[float]) -> None:
    while True:
        due = time.monotonic() + 0.02
        await asyncio.sleep(0.02)
        late.append(time.monotonic() - due)


def memory_mb(name: str) -> float:
    """Memory of the process that asks, 0 where there is no Linux to tell."""
    status = Path("/proc/self/status")
    found = re.search(rf"{name}:\s+(\d+)", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else 0.0


class Cost:
    """What reading costs from here on: delay of the event loop, CPU and memory."""

    def __init__(self) -> None:
        self._late: list[float] = []
        self._beat = asyncio.create_task(heartbeat(self._late))
        peak = Path("/proc/self/clear_refs")
        if peak.exists():
            peak.write_text("5")
        self._before_mb = memory_mb("VmRSS")
        self._began_s, self._cpu_s = time.monotonic(), time.process_time()

    def end(self) -> None:
        self._beat.cancel()
        self.took_s = time.monotonic() - self._began_s
        self.cpu_s = time.process_time() - self._cpu_s
        self.grown_mb = memory_mb("VmHWM") - self._before_mb
        self.late_s = max(self._late, default=0.0)


@pytest.mark.parametrize(
    ("path", "case"),
    [(path, json.loads(path.read_text(encoding="utf-8"))) for path in CASES],
    ids=[path.stem for path in CASES],
)
async def test_kind(site: Site, path: Path, case: dict[str, Any]) -> None:
    expect = {key: expanded(value) if isinstance(value, str) else value for key, value in case["expect"].items()}
    url, feed, refused = serve(site, path, case), None, ""
    cost = Cost()
    try:
        feed = await read_feed(url, target=case["target"], allow_private=True, timeout_s=20)
    except FeedInvalid as error:
        refused = error.message
    cost.end()
    assert not refused or expect.get("hostile"), refused
    assert re.search(expect.get("error", ""), refused)
    assert cost.took_s < 21
    if expect.get("hostile"):
        assert cost.late_s < LATE_S
        assert cost.cpu_s < MAX_CPU_S
        assert cost.grown_mb < MAX_GROWTH_MB
    if feed is None:
        return
    if "guids" in expect:
        assert [each.guid for each in feed.episodes] == [expanded(guid) for guid in expect["guids"]]
        assert feed.newest_certain == expect["certain"]
    assert not set(expect.get("absent", ())) & {each.guid for each in feed.episodes}
    file = feed.episodes[0].enclosure
    assert file
    assert file.url == expect.get("file", file.url)
    assert expect.get("title", "") in feed.episodes[0].title
    assert "hidden" not in expect or expect["hidden"] not in feed.display_url
    assert re.search(expect.get("left_out", ""), "; ".join(feed.left_out))
    assert not feed.left_out or "left_out" in expect or "hostile" in expect
    assert expect.get("wire", "") in str(site.requests[0].raw_path)  # type: ignore[attr-defined]
