"""A year in an afternoon: every week each group's primary publishes, and runs of ours deliver, whatever happens.

The real intake, import, delivery and journal against the sandbox manager's rules, on a clock that is moved by hand.
Platforms are down for a day, passwords change, answers are lost, and runs end in the middle. A stranger, who knows
nothing of our journal, takes accounts between our runs and while they last.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from likepion_provider.errors import LikepionError, LoginRefused, Transient
from likepion_provider.journal import Journal
from likepion_provider.manager.protocol import Endpoint
from likepion_provider.models import Enclosure, Episode, Feed, ImportState, LinkState, SecondaryTask
from likepion_provider.platforms import Job, ListedEpisode, Progress
from likepion_provider.sandbox.manager import SandboxManager
from likepion_provider.steps.batches import batches
from likepion_provider.steps.intake import Choice, Intake
from tests.clocks import VirtualClock
from tests.fakes import DOMAIN, Crash, ScriptedPlatform, Worker, fresh_journal
from tests.faults.stranger import Stranger

TARGET = 3
#: A run this often; what a run leaves is the next one's.
RUN_EVERY = timedelta(hours=6)
RUNS_A_WEEK = 28
FAULTS = ("lose_answer", "lose_request", "not_sent", "500", "429", "garbled", "crash_before", "crash_after")
#: A person corrects a password this many runs after it was changed on the platform, and runs the account by hand.
CORRECTED_AFTER_RUNS = 8


@dataclasses.dataclass
class Quarter:
    """What a quarter took."""

    deliveries: int = 0
    cpu_s: float = 0.0
    links: int = 0
    journal_bytes: int = 0


class YearsPlatform(ScriptedPlatform):
    """Lists a feed's newest episodes; has passwords of its own, and bad days."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.passwords: dict[str, str] = {}

    async def submit(self, job: Job) -> Progress:
        self._sign_in(job)
        self.submissions[job.task.account_id] += 1
        return Progress(ImportState.SUBMITTED, reference=f"show-{job.task.account_id}")

    async def collect(self, job: Job) -> Progress:
        self._sign_in(job)
        if not self.submissions[job.task.account_id]:
            return Progress(ImportState.NEW)
        listed = tuple(
            ListedEpisode(f"https://{DOMAIN}/{job.task.account_id}/{each.guid}", guid=each.guid)
            for each in job.feed.episodes
        )
        return Progress(ImportState.LISTED, f"show-{job.task.account_id}", listed)

    def _sign_in(self, job: Job) -> None:
        if self.down:
            raise Transient("the platform is down today")
        if self.passwords.get(job.task.account_id, job.credentials.password) != job.credentials.password:
            raise LoginRefused("wrong password", platform=self.name)


class YearsWorker(Worker):
    """Reads the week off the feed's address."""

    async def read_feed(self, url: str, **_: object) -> Feed:
        week = int(url.rsplit("/", 1)[1])
        episodes = tuple(
            Episode(f"w{week - age}", f"Week {week - age}", Enclosure(f"{url}/{age}.mp3")) for age in range(TARGET)
        )
        return Feed(url=url, display_url=url, title="A podcast", episodes=episodes)


class Year:
    """One simulated year.

    :param accounts: in groups of 50.
    :param seed: of everything that goes wrong.
    """

    def __init__(self, folder: Path, accounts: int, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = VirtualClock()
        self.manager = SandboxManager(self.clock.server)  # type: ignore[arg-type]
        self.journal = fresh_journal(folder)
        self.journal_file = folder / "journal.db"
        self.platform = YearsPlatform()
        self.groups = [f"group-{number}" for number in range(max(1, accounts // 50))]
        self.accounts = [f"account-{number}" for number in range(accounts)]
        self.expected: dict[tuple[str, str], set[str]] = {}
        self.to_correct: dict[str, int] = {}
        self.crashes = self.runs = self.by_hand = 0
        self.quiet = False
        self.stranger = Stranger(self.manager, limit=5, pages=lambda *key: sorted(self.expected[key[1], key[0]]))
        for group_id in self.groups:
            self.manager.add_group(group_id)
        for number, account_id in enumerate(self.accounts):
            group_id = self.groups[number % len(self.groups)]
            self.manager.add_account(group_id, DOMAIN, {"password": "first"}, account_id=account_id)

    def weeks(self, weeks: int) -> Iterator[Quarter]:
        """Let the weeks pass.

        :return: a figure for each 13 weeks, and for what is left.
        """
        quarter = Quarter()
        for week in range(weeks):
            self._publish(week)
            began_s = time.process_time()
            for number in range(RUNS_A_WEEK):
                self._something_happens(quiet=number >= RUNS_A_WEEK // 2)
                # Most of a week's work is in its first runs.
                self._run(0.8 if number < 4 else 0.1)
                self.clock.advance(RUN_EVERY.total_seconds())
            quarter.cpu_s += time.process_time() - began_s
            quarter.deliveries += len(self.accounts)
            if week % 4 == 3:
                self.journal.links.prune(self.clock.now() - timedelta(days=30))
            if week % 13 == 12 or week == weeks - 1:
                quarter.links = len(self.manager.rows)
                quarter.journal_bytes = self.journal_file.stat().st_size
                yield quarter
                quarter = Quarter()

    def lost(self) -> int:
        """Links that the manager should have and has not."""
        stored = {(row.request_id, row.account_id, row.link_post) for row in self.manager.rows}
        return sum(
            (request_id, account_id, url) not in stored
            for (request_id, account_id), urls in self.expected.items()
            for url in urls
        )

    def parked(self) -> int:
        """Links that wait for a person."""
        return len(self.journal.links.listed(state=LinkState.UNKNOWN, limit=10_000))

    def _others_move(self, steps: int) -> None:
        """The stranger would take an account again and again and not deliver it: it leaves us a week's second half."""
        for _ in range(0 if self.quiet else steps):
            self.stranger.step(self.rng)

    def disturbed(self) -> int:
        """What we did to accounts that the stranger held."""
        return len(self.stranger.disturbances())

    def _publish(self, week: int) -> None:
        for group_id in self.groups:
            for post in self.manager.posts.values():
                if post.group_id == group_id and post.status == "running":
                    self.manager.update_post(post.request_id, status="completed")
            request_id = f"{group_id}-{week}"
            link_rss = f"https://feeds.example/{group_id}/{week}"
            self.manager.add_post(group_id, target=TARGET, link_rss=link_rss, request_id=request_id)
        for number, account_id in enumerate(self.accounts):
            urls = {f"https://{DOMAIN}/{account_id}/w{week - age}" for age in range(TARGET)}
            self.expected[f"{self.groups[number % len(self.groups)]}-{week}", account_id] = urls

    def _something_happens(self, *, quiet: bool) -> None:
        """Bad days are in a week's first half: what they leave is delivered before the next post replaces this one."""
        self.quiet = quiet
        self.platform.down = not quiet and self.rng.random() < 0.1
        if not quiet and self.rng.random() < 0.2:
            account_id = self.rng.choice(self.accounts)
            self.platform.passwords[account_id] = f"password-{self.runs}"
            self.to_correct[account_id] = self.runs + CORRECTED_AFTER_RUNS

    def _run(self, risk: float) -> None:
        self.runs += 1
        self._others_move(12)
        faults = [self.rng.choice(FAULTS) for _ in range(5)] if self.rng.random() < risk else []
        try:
            asyncio.run(self._whole_run(faults))
        except (Crash, LikepionError):
            self.crashes += 1

    async def _whole_run(self, faults: list[str]) -> None:
        run = f"run-{self.runs}"
        worker = YearsWorker(self.manager, Journal(self.journal.database), self.clock)
        worker.attempts = self.runs * 1000
        worker.use(self.platform)
        for kind in faults:
            worker.client.fail(self.rng.choice((Endpoint.INSERT, Endpoint.INSERT, Endpoint.ACCOUNT)), kind)
        intake = worker.intake(run)
        await self._work(worker, intake, run, await intake.pull(1000))
        for account_id in [each for each, due in self.to_correct.items() if due <= self.runs]:
            self.by_hand += 1
            self.manager.update_account(account_id, password=self.platform.passwords[account_id])
            intake = worker.intake(f"{run}-hand")
            chosen = await intake.choose(Choice(account_ids=(account_id,)))
            await self._work(worker, intake, f"{run}-hand", chosen)
            # Not before: a person whose run ended in the middle starts another.
            del self.to_correct[account_id]

    async def _work(self, worker: Worker, intake: Intake, run: str, tasks: list[SecondaryTask]) -> None:
        for batch in batches(await intake.reaffirm(tasks)):
            self._others_move(1)
            await worker.batch(run, feeds=intake.feeds).run(batch.tasks)
            self._others_move(1)
            await worker.delivery(run, feeds=intake.feeds).run(batch.tasks)
