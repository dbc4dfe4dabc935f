"""A TCP proxy that does to requests what networks do, and runs of the real client through it.

What can happen to a request, beside nothing: it is reset before the manager has it; its answer is swallowed after the
manager did the work, cut in the middle, or comes when the client has given up; or the request itself arrives only then.
A stranger, who knows nothing of our journal, moves whenever a request passes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import socket
import struct
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from likepion_provider.errors import LikepionError
from likepion_provider.manager.client import ManagerAddress, ManagerClient
from likepion_provider.manager.protocol import CLAIM_TTL_S
from likepion_provider.models import LinkState
from likepion_provider.sandbox.server import Sandbox
from likepion_provider.sandbox.world import World
from likepion_provider.steps.intake import Choice
from tests.clocks import VirtualClock
from tests.fakes import DOMAIN, Worker, fresh_journal
from tests.faults.stranger import Stranger

ACCOUNTS, EPISODES = 6, 3
FATES = ("reset", "swallow", "cut", "answer late", "request late")
#: The client's patience, on the machine's clock.
TIMEOUT_S = 0.3
TROUBLED_RUNS, HEALING_RUNS = 6, 4

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """Between one client and one server, on a port of its own.

    :param target: the server's URL.
    :param share: of the requests that something happens to, 0 to 1.
    :param stranger: moves as often as something happens.
    """

    def __init__(self, target: str, rng: random.Random, share: float, stranger: Stranger) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._rng = rng
        self.share = share
        self.stranger = stranger
        self.figures: Counter[str] = Counter()
        self._busy: set[asyncio.Task[Any]] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Serve.

        :return: the URL to send to.
        """
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            await self.idle()

    async def idle(self) -> None:
        """Wait until nothing is on its way any more: no client's timeout is as long as a claim."""
        while self._busy:
            await asyncio.wait(self._busy, timeout=10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await _message(reader):
                task = asyncio.create_task(self._pass_on(request, writer))
                self._busy.add(task)
                task.add_done_callback(self._busy.discard)
                if not await task:
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _pass_on(self, request: bytes, client: asyncio.StreamWriter) -> bool:
        """One request, whatever becomes of it.

        :return: whether the client's connection is still good.
        """
        fate = self._rng.choice(FATES) if self._rng.random() < self.share else "passed"
        self.figures[fate] += 1
        while self._rng.random() < self.share:
            self.stranger.step(self._rng)
        if fate == "reset":
            return _reset(client)
        if fate == "request late":
            await asyncio.sleep(TIMEOUT_S * 1.5)
        server: Streams = await asyncio.open_connection(*self._target)
        try:
            server[1].write(request)
            answer = await _message(server[0])
        finally:
            server[1].transport.abort()
        if fate == "swallow":
            return _reset(client)
        if fate == "answer late":
            await asyncio.sleep(TIMEOUT_S * 1.5)
        client.write(answer[: len(answer) // 2] if fate == "cut" else answer)
        with contextlib.suppress(OSError):
            await client.drain()
        return fate == "passed"


async def _message(reader: asyncio.StreamReader) -> bytes:
    """A request or an answer, whole; nothing where the connection ended before it."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
    return head + await reader.readexactly(int(length.partition(b":")[2]))


def _reset(client: asyncio.StreamWriter) -> bool:
    connection: socket.socket = client.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.transport.abort()
    return False


def scripted_world() -> World:
    """Accounts on the platform in memory, one post, its feed set."""
    world = World()
    group_id = world.add_group()
    world.add_post(group_id, target=EPISODES)
    for _ in range(ACCOUNTS):
        world.add_account(group_id, DOMAIN)
    return world


async def sequence(seed: int, figures: Counter[str]) -> None:
    """Runs through a bad network, then through a good one.

    :raises AssertionError: a promise was broken.
    """
    clock, rng = VirtualClock(), random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="likepion-proxy-"))
    sandbox = Sandbox(scripted_world(), clock=clock.server)  # type: ignore[arg-type]
    try:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(sandbox)
            stranger = Stranger(sandbox.manager, limit=1)
            proxy = Proxy(sandbox.manager_url, rng, 0.4, stranger)
            url = await stack.enter_async_context(proxy.listening())
            address = ManagerAddress(url, sandbox.api_key, timeout_s=TIMEOUT_S)
            client = await stack.enter_async_context(ManagerClient(address))
            worker = Worker(sandbox.manager, fresh_journal(folder), clock, client=client)
            stack.callback(worker.journal.database.close)
            choices = [
                None,
                *map(_choice_of_one, sandbox.manager.accounts),
                *map(_choice_of_all, sandbox.manager.groups),
            ]
            for number in range(TROUBLED_RUNS + HEALING_RUNS):
                if number == TROUBLED_RUNS:
                    proxy.share = 0
                choice = rng.choice(choices) if proxy.share else None
                await _run(worker, f"run-{number}", rng.randint(1, 3) if proxy.share else 100, choice)
                await proxy.idle()
                assert not sandbox.manager.duplicates(), f"seed {seed}"
                ours = [event for event in sandbox.manager.events if event.worker != stranger.name]
                assert not [event for event in ours if event.kind != "pull" and event.foreign], f"seed {seed}"
                assert not stranger.disturbances(), f"seed {seed}"
                clock.advance(CLAIM_TTL_S + 1)
            _judge(sandbox, worker, stranger, seed, figures)
            figures.update(proxy.figures)
    finally:
        shutil.rmtree(folder)


def _choice_of_one(account_id: str) -> Choice:
    return Choice(account_ids=(account_id,))


def _choice_of_all(group_id: str) -> Choice:
    return Choice(group_id=group_id)


async def _run(worker: Worker, run: str, limit: int, choice: Choice | None) -> None:
    intake = worker.intake(run)
    tasks = await _or_nothing(intake.choose(choice, limit) if choice else intake.pull(limit)) or []
    tasks = await _or_nothing(intake.reaffirm(tasks)) or tasks
    await _or_nothing(worker.batch(run, feeds=intake.feeds).run(tasks))
    # Twice, as a task that is cleared.
    for _ in range(2):
        await _or_nothing(worker.delivery(run, feeds=intake.feeds).run(tasks))


async def _or_nothing(step: Awaitable[Any]) -> Any:
    with contextlib.suppress(LikepionError):
        return await step


def _judge(sandbox: Sandbox, worker: Worker, stranger: Stranger, seed: int, figures: Counter[str]) -> None:
    parked = {each.key.account_id for each in worker.journal.links.listed(state=LinkState.UNKNOWN, limit=1000)}
    stored = Counter(row.account_id for row in sandbox.manager.rows)
    theirs = {account_id for _, account_id in stranger.served}
    lost = [each for each in sandbox.manager.accounts if stored[each] < EPISODES and each not in parked | theirs]
    figures["sequences"] += 1
    figures["rows"] += len(sandbox.manager.rows)
    figures["duplicates"] += len(sandbox.manager.duplicates())
    figures["lost"] += len(lost)
    figures["accounts parked"] += len(parked)
    figures["accounts delivered by the stranger"] += len(theirs)
    assert not lost, f"seed {seed}"


def campaign(sequences: int, seed: int) -> Counter[str]:
    """Many sequences, one after the other.

    :return: what happened to how many requests, and what came of it.
    """
    figures: Counter[str] = Counter()
    for number in range(sequences):
        asyncio.run(sequence(seed + number, figures))
    return figures
