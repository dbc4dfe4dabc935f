"""The outside world in process: a manager over the sandbox's rules, and a platform that does what a test says."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from likepion_provider.journal import Journal, open_journal
from likepion_provider.manager import protocol
from likepion_provider.manager.client import ManagerAddress, ManagerClient
from likepion_provider.manager.protocol import Answer, Endpoint, Loss, Request
from likepion_provider.models import Enclosure, Episode, Feed, ImportState
from likepion_provider.platforms import Job, ListedEpisode, Platform, PlatformSettings, Progress, Registry
from likepion_provider.sandbox.contract import ErrorAnswer
from likepion_provider.sandbox.manager import SandboxManager
from likepion_provider.steps.delivery import Delivery
from likepion_provider.steps.importing import BatchImport, ImportOptions
from likepion_provider.steps.intake import Intake
from likepion_provider.steps.keeper import Keeper
from tests import MANAGER
from tests.clocks import VirtualClock

DOMAIN = "scripted.example"


class Crash(BaseException):
    """A process that ends here, without any cleaning up."""


@dataclasses.dataclass
class Fault:
    """What goes wrong with the next matching request."""

    endpoint: Endpoint
    kind: str


class InProcessClient(ManagerClient):
    """The real client without a network: requests go straight to the sandbox's manager.

    Faults: ``lose_request``, ``lose_answer``, ``not_sent``, ``crash_before``, ``crash_after``, ``garbled``, or a
    status such as ``500`` (which took effect, and says nothing of it) and ``429`` (which did not).
    """

    def __init__(self, manager: SandboxManager, worker: str) -> None:
        super().__init__(ManagerAddress("http://manager.invalid", "key-of-a-test"))
        self.manager = manager
        self.worker = worker
        self.faults: list[Fault] = []
        self.sent: list[Request] = []

    def fail(self, endpoint: Endpoint, kind: str) -> None:
        """Let the next request to an endpoint go wrong."""
        self.faults.append(Fault(endpoint, kind))

    async def _exchange(self, request: Request) -> Answer:
        kind = self._take(request.endpoint)
        self.sent.append(request)
        if kind == "crash_before":
            raise Crash
        if kind == "not_sent":
            raise protocol.lost(request.endpoint, Loss.NOT_SENT, "refused")
        if kind == "lose_request":
            raise protocol.lost(request.endpoint, Loss.ANSWER_LOST, "reset")
        if kind in ("429", "401", "400"):
            return _answer({"success": False, "message": f"fault {kind}"}, int(kind))
        answer = self._serve(request)
        if kind == "crash_after":
            raise Crash
        if kind == "lose_answer":
            raise protocol.lost(request.endpoint, Loss.ANSWER_LOST, "reset")
        if kind == "garbled":
            return dataclasses.replace(answer, body=answer.body[: len(answer.body) // 2])
        return dataclasses.replace(answer, status=int(kind), body=b"<html>") if kind else answer

    def _take(self, endpoint: Endpoint) -> str:
        for fault in self.faults:
            if fault.endpoint is endpoint:
                self.faults.remove(fault)
                return fault.kind
        return ""

    def _serve(self, request: Request) -> Answer:
        try:
            if request.endpoint is Endpoint.PULL:
                data = self.manager.pull(int(request.params["limit"]), request.params["type"], worker=self.worker)
                return _answer({"success": True, "data": data})
            if request.endpoint is Endpoint.CLAIM:
                return _answer(self.manager.claim(request.body["account_ids"], worker=self.worker))
            if request.endpoint is Endpoint.INSERT:
                return _answer(self.manager.insert(request.body, worker=self.worker))
            return _answer({"success": True, "data": self.manager.account(request.path.rsplit("/", 1)[1])})
        except ErrorAnswer as error:
            return _answer(error.body, error.status)


def _answer(payload: object, status: int = 200) -> Answer:
    return Answer(status, {}, json.dumps(payload).encode())


class ScriptedPlatform(Platform):
    """A platform in memory. ``trouble`` may raise for an account, before or after its submission took effect."""

    name = "scripted"
    title = "Scripted"
    domains: ClassVar[tuple[str, ...]] = (DOMAIN,)
    poll_s = (1, 5)

    def __init__(self) -> None:
        self.submissions: Counter[str] = Counter()
        #: How many episodes each account lists; all by default.
        self.lists: dict[str, int] = {}
        self.trouble: Callable[[str, Job], None] = lambda _when, _job: None
        self.on_submit: Callable[[Job], None] = lambda _job: None

    async def submit(self, job: Job) -> Progress:
        self.trouble("before", job)
        self.on_submit(job)
        self.submissions[job.task.account_id] += 1
        self.trouble("after", job)
        return Progress(ImportState.SUBMITTED, reference=f"show-{job.task.account_id}")

    async def collect(self, job: Job) -> Progress:
        self.trouble("collect", job)
        account_id = job.task.account_id
        if not self.submissions[account_id]:
            return Progress(ImportState.NEW)
        listed = job.feed.episodes[: self.lists.get(account_id, len(job.feed.episodes))]
        episodes = tuple(
            ListedEpisode(f"https://{DOMAIN}/{account_id}/{job.feed.url[-1]}/{each.guid}", guid=each.guid)
            for each in listed
        )
        return Progress(ImportState.LISTED, f"show-{account_id}", episodes)


def feed_of(url: str, episodes: int = 3) -> Feed:
    """A feed without a network."""
    return Feed(
        url=url,
        display_url=url,
        title="A podcast",
        episodes=tuple(Episode(f"g{n}", f"Episode {n}", Enclosure(f"{url}/{n}.mp3")) for n in range(episodes)),
    )


def episodes(urls: Iterable[str]) -> list[tuple[str, str]]:
    """Episodes as the journal takes them, each URL one of its own."""
    return [(f"guid of {url}", url) for url in urls]


class Worker:
    """Runs of ours against one manager and one journal; every step as the operators do it."""

    def __init__(
        self,
        manager: SandboxManager,
        journal: Journal,
        clock: VirtualClock,
        name: str = "ours",
        client: ManagerClient | None = None,
    ) -> None:
        self.client: Any = client or InProcessClient(manager, name)
        self.journal = journal
        self.clock = clock
        self.registry = Registry()
        self.registry.add("scripted", ScriptedPlatform)
        self.use(ScriptedPlatform())
        self.feeds_read: list[str] = []
        self.episodes = 3
        self.attempts = 0

    def use(self, platform: ScriptedPlatform) -> None:
        """Let a platform of a test's own serve the domain."""
        self.platform = platform
        self.registry._by_name["scripted"] = platform

    async def read_feed(self, url: str, **_: object) -> Feed:
        """Stands in for the network."""
        self.feeds_read.append(url)
        return feed_of(url, self.episodes)

    def intake(self, run: str) -> Intake:
        return Intake(manager=self.client, journal=self.journal, clock=self.clock, scope=run, run_id=run)

    def keeper(self, run: str) -> Keeper:
        self.attempts += 1
        return Keeper(self.client, self.journal, self.clock, run, f"holder-{self.attempts}")

    def batch(self, run: str, *, feeds: Mapping[str, str] | None = None, **options: object) -> BatchImport:
        return BatchImport(
            manager=self.client,
            journal=self.journal,
            keeper=self.keeper(run),
            registry=self.registry,
            clock=self.clock,
            settings={DOMAIN: PlatformSettings(base_url="http://scripted.invalid")},
            feeds=feeds,
            options=ImportOptions(**options),  # type: ignore[arg-type]
            read_feed=self.read_feed,
        )

    def delivery(self, run: str, **options: Any) -> Delivery:
        return Delivery(manager=self.client, journal=self.journal, keeper=self.keeper(run), clock=self.clock, **options)


def small_manager(clock: VirtualClock, accounts: int = 2, posts: int = 1, *, ready: bool = True) -> SandboxManager:
    """A manager with accounts on the scripted platform, dealt out to posts."""
    manager = SandboxManager(clock.server)  # type: ignore[arg-type]
    for number in range(posts):
        group = manager.add_group(f"group-{number}")
        link_rss = f"https://feeds.example/{number}" if ready else ""
        manager.add_post(group.group_id, target=3, link_rss=link_rss, request_id=f"post-{number}")
    for number in range(accounts):
        manager.add_account(f"group-{number % posts}", DOMAIN, account_id=f"account-{number}")
    return manager


def fresh_journal(folder: Path) -> Journal:
    """An empty journal of its own."""
    return open_journal(f"sqlite:///{folder / 'journal.db'}", MANAGER)
