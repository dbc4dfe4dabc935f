"""No answer of one platform holds the other accounts of a batch up: the loop goes on, and the error has a name."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from likepion_provider.errors import LikepionError, NeedsVerification
from likepion_provider.models import ImportState
from likepion_provider.platforms import Platform, registry
from likepion_provider.testing.server import Case, episodes, opened
from tests.recipes import FOLDER

from . import module_of

pytestmark = pytest.mark.usefixtures("own_heap")

MB = 1024 * 1024
#: The loop's thread works for so long at most between two beats; waiting for a busy machine does not count.
MOST_S = 1.0
#: Requests of a run that are let pass before all is hostile.
MOST_PASSED = 3

BODIES = {
    "objects": b"[" + b"{}," * 20_000 + b"{}]",
    "attributes": b'<a "' * 12_000,
    "deep": b'{"a":' * 20_000 + b"<div><b>" * 20_000,
    "surrogates": b'{"status": "ok", "items": [{"id": 1, "title": "' + b"\\ud800" * 10_000 + b'"}]}',
    "long texts": json.dumps({"status": "http://" + "a" * MB, "message": "<" * MB}).encode(),
    "rows": b"<table>" + b"<tr><td><a href='//['>x</a>" * 10_000,
}
HUGE = {"32 MB": b"<a b='" + b"x" * (32 * MB - 6), "more than is read": b'{"a": "' + b"x" * (33 * MB)}


@contextlib.asynccontextmanager
async def heartbeat() -> AsyncIterator[list[float]]:
    """How long the loop's thread worked between two beats, in seconds; kept sorted, the longest last."""
    beats = [0.0]

    async def beat() -> None:
        while True:
            began_s = time.thread_time()
            await asyncio.sleep(0.005)
            beats.append(max(beats[-1], time.thread_time() - began_s))

    task = asyncio.create_task(beat())
    try:
        yield beats
        await asyncio.sleep(0.01)
    finally:
        task.cancel()


async def _visit(platform: Platform, name: str, body: bytes, passed: int) -> int:
    """A run that is answered honestly only so often; how many requests it had."""
    async with opened(platform, module_of(name)) as case, heartbeat() as beats:
        case.server.already_there = case.server.by_hand

        def spoil(answer: web.StreamResponse) -> web.StreamResponse:
            hostile = web.Response(body=body, content_type=answer.content_type)
            return answer if len(case.server.requests) <= passed else hostile

        case.server.spoil = spoil
        with contextlib.suppress(LikepionError):
            reference = (await platform.submit(case.job())).reference
            await platform.collect(case.job(reference))
            await platform.collect(case.job())
        requests = len(case.server.requests)
        await asyncio.sleep(0.01)
    assert beats[-1] < MOST_S, f"{passed} requests passed"
    return requests


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("name", sorted(registry(FOLDER).platforms))
async def test_a_hostile_body_at_any_request(name: str, kind: str) -> None:
    platform = registry(FOLDER).platforms[name]
    for passed in range(MOST_PASSED + 1):
        if await asyncio.wait_for(_visit(platform, name, BODIES[kind], passed), 60) < passed:
            break


@pytest.mark.parametrize("kind", HUGE)
@pytest.mark.parametrize("name", sorted(registry(FOLDER).platforms))
async def test_a_huge_body(name: str, kind: str) -> None:
    platform = registry(FOLDER).platforms[name]
    async with opened(platform, module_of(name)) as case:
        case.server.spoil = lambda answer: web.Response(body=HUGE[kind], content_type=answer.content_type)
        async with heartbeat() as beats:
            with pytest.raises(LikepionError) as raised:
                await case.bring_in()
        assert not isinstance(raised.value, NeedsVerification)
    assert beats[-1] < MOST_S


async def _cpu_of_a_look(case: Case) -> float:
    case.server.already_there = True
    reference = (await case.bring_in()).reference
    began_s = time.thread_time()
    seen = await case.platform.collect(case.job(reference))
    assert seen.state is ImportState.LISTED
    assert len(seen.episodes) >= len(case.server.listed) // 2
    return time.thread_time() - began_s


def _with_notes(key: str) -> Callable[[web.StreamResponse], web.StreamResponse]:
    """Every episode with 3 KB of notes; the server takes requests of 1 MB."""

    def add(value: Any) -> Any:
        if isinstance(value, dict):
            notes = {"description": "<p>What was said.</p>" * 150} if key in value else {}
            return {name: add(each) for name, each in value.items()} | notes
        return [add(each) for each in value] if isinstance(value, list) else value

    def spoil(answer: web.StreamResponse) -> web.StreamResponse:
        if isinstance(answer, web.Response) and answer.content_type == "application/json":
            answer.text = json.dumps(add(json.loads(answer.text or "null")))
        return answer

    return spoil


@pytest.mark.parametrize(
    ("name", "count", "key"), [("podcastindex", 1000, "datePublished"), ("audiobookshelf", 200, "enclosure")]
)
async def test_an_honest_answer_costs_milliseconds(name: str, count: int, key: str) -> None:
    platform = registry().platforms[name]
    async with opened(platform, module_of(name)) as case:
        case.server.listed = episodes(count)
        plain_s = await _cpu_of_a_look(case)
    async with opened(platform, module_of(name)) as case:
        case.server.listed = episodes(count)
        case.server.spoil = _with_notes(key) if name == "audiobookshelf" else lambda answer: answer
        noted_s = await _cpu_of_a_look(case)
    # The server that answers runs in the same thread.
    assert max(plain_s, noted_s) < 1
