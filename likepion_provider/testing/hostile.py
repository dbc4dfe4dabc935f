"""What a hostile platform may try: one coroutine per trick, which every importer has to withstand.

Each ends as a named error within its visit's budget, shows no other host a secret, lets the event loop breathe, and
does not touch the account that is worked beside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from likepion_provider.aio import all_of
from likepion_provider.errors import LikepionError, PlatformError, Transient, VisitTooLarge
from likepion_provider.models import ImportState
from likepion_provider.platforms import Platform, Progress
from likepion_provider.testing.rules import Rule
from likepion_provider.testing.server import CANARY, Case, Trick, episodes, opened
from likepion_provider.web.visit import VisitLimits

#: The event loop is never late by more.
MAX_LATE_S = 1.0
#: No trick lasts longer, whatever the machine does.
DEADLINE_S = 60.0
#: A visit of a test; the defaults are for sites on the other side of the world.
QUICK = VisitLimits(seconds=2.0)
#: Requests of one story that are answered with a redirect.
MAX_POSITIONS = 8


class OtherHost:
    """Writes down everything that it is sent; says 200 to all."""

    def __init__(self, host: str) -> None:
        self.received: list[str] = []
        self.url = ""
        self._host = host

    async def __aenter__(self) -> OtherHost:
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, 0).start()
        self.url = f"http://{self._host}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        body = await request.text()
        self.received.append(f"{request.method} {request.raw_path}\n{dict(request.headers)}\n{body}")
        return web.json_response({})

    def holds_secrets(self) -> bool:
        """Whether it was sent a credential, a cookie, a body or the feed's address."""
        return any(
            CANARY in each or not each.endswith("\n") or re.search("authorization|cookie|x-key|x-auth", each.lower())
            for each in self.received
        )


@contextlib.asynccontextmanager
async def _heartbeat() -> AsyncIterator[list[float]]:
    """How late the event loop was, each time, by its own doing: the machine may be busy with something else."""
    late_s = [0.0]

    async def beat() -> None:
        while True:
            due_s, used_s = time.monotonic() + 0.05, time.thread_time()
            await asyncio.sleep(0.05)
            late_s.append(min(time.monotonic() - due_s, time.thread_time() - used_s))

    beating = asyncio.create_task(beat())
    try:
        yield late_s
    finally:
        beating.cancel()


async def _beset(
    platform: Platform,
    module: ModuleType,
    trick: Trick | None,
    *,
    limits: VisitLimits = QUICK,
    timeout_s: float = 10.0,
    allow_private: bool = False,
    prepare: Callable[[Case], None] = lambda case: None,
) -> LikepionError | Progress:
    """An account at a hostile platform, and an honest one beside it.

    :return: how the first came out.
    """
    async with (
        opened(platform, module, timeout_s=timeout_s, allow_private=allow_private) as case,
        opened(platform, module) as neighbour,
        _heartbeat() as late_s,
    ):
        case.server.trick = trick
        prepare(case)
        case.http.begin_visit(limits)
        ended, beside = await asyncio.wait_for(asyncio.gather(_ended(case), neighbour.bring_in()), DEADLINE_S)
        assert neighbour.urls(beside) == neighbour.server.expected(), "the honest neighbour was not delivered"
        assert max(late_s) < MAX_LATE_S, "the event loop stood still"
        return ended


async def _ended(case: Case) -> LikepionError | Progress:
    if case.server.by_hand:
        case.server.already_there = True
    try:
        # Two looks, and not until it is listed: the budget is one visit's.
        seen = Progress(ImportState.NEW) if case.server.by_hand else await case.platform.submit(case.job())
        for _ in range(2):
            seen = await case.platform.collect(case.job(seen.reference))
    except LikepionError as error:
        return error
    case.urls(seen)
    return seen


def _redirect(status: int, url: str, first: int) -> Trick:
    async def trick(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        if number < first:
            return await handler(request)
        return web.Response(status=status, headers={"Location": f"{url}/elsewhere"})

    return trick


async def _positions(platform: Platform, module: ModuleType) -> range:
    async with opened(platform, module) as case:
        await _ended(case)
        return range(min(len(case.server.requests), MAX_POSITIONS))


async def redirects_take_nothing_to_another_host(platform: Platform, module: ModuleType) -> None:
    """Neither to another host nor to another port, whichever request is redirected, and with whichever status."""

    async def one(first: int, status: int) -> None:
        async with OtherHost(("127.0.0.2", "127.0.0.1")[first % 2]) as other:
            trick = _redirect(status, other.url, first)
            ended = await _beset(platform, module, trick, allow_private=True)
            assert isinstance(ended, LikepionError) or _is_honest(ended)
            assert not other.holds_secrets(), other.received

    for first in await _positions(platform, module):
        # Side by side: an importer may wait some seconds in each.
        await all_of(one(first, status) for status in (301, 302, 303, 307, 308))


async def redirects_do_not_reach_private_addresses(platform: Platform, module: ModuleType) -> None:
    """Nothing that is not public is called where the connection does not name it."""
    for first in await _positions(platform, module):
        async with OtherHost("127.0.0.3") as other:
            ended = await _beset(platform, module, _redirect((302, 307)[first % 2], other.url, first))
            assert isinstance(ended, LikepionError) or _is_honest(ended)
            assert other.received == []


async def redirects_to_https_without_a_certificate_are_named(platform: Platform, module: ModuleType) -> None:
    """Another scheme is another origin, and what does not speak it is no site."""
    async with OtherHost("127.0.0.2") as other:
        trick = _redirect(307, other.url.replace("http:", "https:"), 0)
        ended = await _beset(platform, module, trick, allow_private=True)
        assert isinstance(ended, LikepionError) or _is_honest(ended)
        assert other.received == []


def _is_honest(ended: Progress) -> bool:
    """Of a redirect that the importer does not follow, and of an answer that says nothing: nothing was invented."""
    return not ended.episodes or ended.state is ImportState.LISTED


async def links_do_not_reach_private_addresses(platform: Platform, module: ModuleType) -> None:
    """Rows, next pages and forms that lead elsewhere: not called; where they may be, without anything secret."""
    for allow_private in (False, True):
        async with OtherHost("127.0.0.2") as other:

            async def trick(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
                return _leading(await handler(request), other.url)

            ended = await _beset(platform, module, trick, allow_private=allow_private)
            assert isinstance(ended, LikepionError | Progress)
            assert allow_private or other.received == []
            assert not other.holds_secrets(), other.received


def _leading(answer: web.StreamResponse, url: str) -> web.StreamResponse:
    """An answer whose links lead to another host."""
    if isinstance(answer, web.Response) and answer.text:
        if answer.content_type == "application/json":
            answer.text = json.dumps(_each_text(json.loads(answer.text), lambda text: _elsewhere(text, url)))
        elif answer.content_type == "text/html":
            answer.text = re.sub(
                "(href|action)=([\"'])(.*?)\\2", lambda found: f'{found[1]}="{_elsewhere(found[3], url)}"', answer.text
            )
    return answer


def _elsewhere(text: str, url: str) -> str:
    # The feed's own address is what the importer looks for.
    if CANARY in text or "media.feeds" in text:
        return text
    return re.sub("^(https?://[^/]+)?/", f"{url}/", text)


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {name: _each_text(each, change) for name, each in value.items()}
    if isinstance(value, list):
        return [_each_text(each, change) for each in value]
    return change(value) if isinstance(value, str) else value


async def lists_end_with_the_visit(platform: Platform, module: ModuleType) -> None:
    """A list that has more pages than a visit reads, all of which the importer would want."""
    size = module.SERVER.page_size
    if not size:
        pytest.skip("the platform gives its whole list at once")
    limits = VisitLimits(pages=6)

    def prepare(case: Case) -> None:
        case.server.listed = episodes((limits.pages + 2) * size)
        # An importer that makes each episode itself would not get to the list.
        case.server.already_there = True

    ended = await _beset(platform, module, None, limits=limits, prepare=prepare)
    assert isinstance(ended, VisitTooLarge), type(ended)
    assert ended.remedy


async def huge_pages_end(platform: Platform, module: ModuleType) -> None:
    """A page of 32 MB of small values, wherever it comes."""
    body = b"[" + b"[0]," * (8 * 1024 * 1024) + b"0]"
    for first in await _positions(platform, module):

        async def trick(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
            if number < first:  # noqa: B023 - used within the loop
                return await handler(request)
            return web.Response(body=body, content_type="application/json")

        ended = await _beset(platform, module, trick)
        assert isinstance(ended, VisitTooLarge), ended
        if first:
            break


async def slow_bytes_end(platform: Platform, module: ModuleType) -> None:
    """A byte now and then."""

    async def trick(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while True:
                await answer.write(b" ")
                await asyncio.sleep(0.1)
        return answer

    began_s = time.monotonic()
    ended = await _beset(platform, module, trick, timeout_s=60.0)
    assert isinstance(ended, Transient), ended
    assert time.monotonic() - began_s < QUICK.seconds + 8


async def heads_without_end_are_named(platform: Platform, module: ModuleType) -> None:
    """A hundred thousand headers, or one of a megabyte."""
    for headers in ([("X-More", "1")] * 100_000, [("X-More", "1" * 1024 * 1024)]):

        async def trick(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
            answer = web.Response(text="{}")
            for name, value in headers:  # noqa: B023 - used within the loop
                answer.headers.add(name, value)
            return answer

        ended = await _beset(platform, module, trick)
        assert isinstance(ended, PlatformError), ended


async def surrogates_are_named_or_harmless(platform: Platform, module: ModuleType) -> None:
    """Every text of every answer ends with half a character; redirects lead to bytes that are no text."""

    async def trick(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        answer = await handler(request)
        if isinstance(answer, web.Response) and answer.text and answer.content_type == "application/json":
            answer.text = json.dumps(_each_text(json.loads(answer.text), lambda text: text + "\ud800"))
        if "Location" in answer.headers:
            answer.headers["Location"] += "\udcff\udcfe"
        return answer

    ended = await _beset(platform, module, trick)
    assert isinstance(ended, LikepionError | Progress)


RULES: tuple[Rule, ...] = (
    redirects_take_nothing_to_another_host,
    redirects_do_not_reach_private_addresses,
    redirects_to_https_without_a_certificate_are_named,
    links_do_not_reach_private_addresses,
    lists_end_with_the_visit,
    huge_pages_end,
    slow_bytes_end,
    heads_without_end_are_named,
    surrogates_are_named_or_harmless,
)
