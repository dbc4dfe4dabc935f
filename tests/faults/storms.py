"""A manager that answers everything, or one endpoint, with 429 or 5xx, over real HTTP; and who asks it how often.

Time is virtual, so that what a worker waits is counted and not waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import shutil
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from likepion_provider.aio import READ_WAITS_S
from likepion_provider.clock import Clock
from likepion_provider.errors import LikepionError
from likepion_provider.manager.client import ManagerAddress, ManagerClient
from likepion_provider.manager.protocol import CLAIM_TTL_S, Answer, Endpoint, Request
from likepion_provider.sandbox.server import Sandbox
from likepion_provider.steps.delivery import SEND_WAITS_S
from tests.clocks import VirtualClock
from tests.fakes import Worker, fresh_journal
from tests.faults.proxy import scripted_world

#: What one run may send at most: of each endpoint, for one account; a pull and a claim are for all of them. The claim's
#: second is the keeper's, before it is told to wait.
BOUNDS = {
    Endpoint.PULL: 1,
    Endpoint.CLAIM: 2,
    Endpoint.ACCOUNT: len(READ_WAITS_S) + 1,
    Endpoint.INSERT: len(SEND_WAITS_S) + 1,
}
STATUSES = (429, 500, 502, 503, 504)


class CountingClient(ManagerClient):
    """Notes when which request left, by the account it is about."""

    def __init__(self, address: ManagerAddress, clock: Clock) -> None:
        super().__init__(address)
        self._clock = clock
        self.sent: defaultdict[tuple[Endpoint, str], list[float]] = defaultdict(list)

    async def _exchange(self, request: Request) -> Answer:
        about = ""
        if request.endpoint is Endpoint.INSERT:
            about = request.body["items"][0]["account_id"]
        elif request.endpoint is Endpoint.ACCOUNT:
            about = request.path.rsplit("/", 1)[1]
        self.sent[request.endpoint, about].append(self._clock.boot_s())
        return await super()._exchange(request)

    def waits_s(self, endpoint: Endpoint) -> list[float]:
        """Between two requests about the same account."""
        times = [each for (where, _), each in self.sent.items() if where is endpoint]
        return [later - earlier for each in times for earlier, later in itertools.pairwise(each)]


@dataclasses.dataclass(frozen=True)
class Weather:
    """What one run met, and what it did.

    :param most: requests of each endpoint about one account.
    :param stored: rows after a second run, with everything well again.
    """

    sent: CountingClient
    most: dict[Endpoint, int]
    in_all: int
    stored: int
    twice: int


async def storm(endpoint: str, status: int, retry_after: str | None, *, after_effect: bool) -> Weather:
    """A run in a storm, and others after it.

    :param endpoint: a name of the sandbox's faults; ``*`` is every one.
    :param after_effect: whether the manager does the work before it answers with the error.
    """
    clock = VirtualClock()
    folder = Path(tempfile.mkdtemp(prefix="likepion-storm-"))
    sandbox = Sandbox(scripted_world(), clock=clock.server)  # type: ignore[arg-type]
    try:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(sandbox)
            address = ManagerAddress(sandbox.manager_url, sandbox.api_key)
            client = await stack.enter_async_context(CountingClient(address, clock))
            worker = Worker(sandbox.manager, fresh_journal(folder), clock, client=client)
            stack.callback(worker.journal.database.close)
            fault = {"status": status, "retry_after": retry_after, "after_effect": after_effect, "times": None}
            sandbox.faults.add(endpoint, "status", **fault)
            await _run(worker, "in the storm")
            most = {each: _most(client, each) for each in Endpoint}
            in_all = sum(map(len, client.sent.values()))
            sandbox.faults.clear()
            for number in range(3):
                clock.advance(CLAIM_TTL_S + 1)
                await _run(worker, f"after it {number}")
            manager = sandbox.manager
            return Weather(client, most, in_all, len(manager.rows), len(manager.duplicates()))
    finally:
        shutil.rmtree(folder)


async def _run(worker: Worker, run: str) -> None:
    with contextlib.suppress(LikepionError):
        tasks = await worker.intake(run).pull(100)
        with contextlib.suppress(LikepionError):
            tasks = await worker.intake(run).reaffirm(tasks)
        await worker.batch(run).run(tasks)
        await worker.delivery(run).run(tasks)


def _most(client: CountingClient, endpoint: Endpoint) -> int:
    return max((len(times) for (where, _), times in client.sent.items() if where is endpoint), default=0)


def campaign() -> Counter[str]:
    """Every endpoint and all of them, every status, with and without an effect, with and without ``Retry-After``.

    :return: how it went.
    :raises AssertionError: a promise was broken.
    """
    figures: Counter[str] = Counter()
    for endpoint in (*(each.value for each in Endpoint), "*"):
        for status in STATUSES:
            for retry_after in (None, "7", "3600"):
                # A 429 says that nothing was done.
                for after_effect in (False,) if status == 429 else (False, True):
                    weather = asyncio.run(storm(endpoint, status, retry_after, after_effect=after_effect))
                    judge(weather, status, figures)
    return figures


def judge(weather: Weather, status: int, figures: Counter[str]) -> None:
    """Count a storm.

    :raises AssertionError: a promise was broken.
    """
    figures["storms"] += 1
    figures["requests in storms"] += weather.in_all
    figures["rows"] += weather.stored
    figures["duplicates"] += weather.twice
    assert not weather.twice
    assert all(weather.most[each] <= bound for each, bound in BOUNDS.items()), weather.most
    if status != 429:
        assert weather.most[Endpoint.INSERT] <= 1, "an insert was sent again after a 5xx"
