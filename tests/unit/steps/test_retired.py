"""Dead posts cost a run little, and starve nobody."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from likepion_provider.journal import Journal
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import link, submission
from likepion_provider.manager.protocol import Endpoint
from likepion_provider.models import LinkState, Outcome, SecondaryTask
from likepion_provider.steps.intake import Choice
from tests.clocks import VirtualClock
from tests.fakes import Worker, fresh_journal, small_manager

DEAD = 10_000
DEAD_POSTS = 500


class Run:
    """One pull, and what it cost."""

    def __init__(self, worker: Worker, name: str) -> None:
        self._worker, self._name = worker, name

    async def pull(self) -> list[SecondaryTask]:
        """Count the manager's calls and, in tens of its machine's instructions, what SQLite does."""
        self.steps, sent = 0, len(self._worker.client.sent)
        engine = self._worker.journal.database.engine
        event.listen(engine, "checkout", self._watch)
        intake = self._worker.intake(self._name)
        tasks = await intake.pull(100)
        event.remove(engine, "checkout", self._watch)
        self.reads = sum(each.endpoint is Endpoint.ACCOUNT for each in self._worker.client.sent[sent:])
        self.refusals = [f"{each.name}, {each.reason}" for each in intake.refusals]
        return tasks

    def _watch(self, raw: object, *_: object) -> None:
        def step() -> None:
            self.steps += 1

        raw.set_progress_handler(step, 10)  # type: ignore[attr-defined]


def bury(journal: Journal, clock: VirtualClock, accounts: int = DEAD, posts: int = DEAD_POSTS) -> None:
    """Leftovers, half of them with an unknown outcome, of posts that no longer run."""
    at = clock.now() - timedelta(days=1)
    tasks = [
        SecondaryTask(f"dead-{n}", f"old-{n % posts}", "group-0", "scripted.example", username=f"d{n}")
        for n in range(accounts)
    ]
    journal.submissions.note(tasks, "old", at)
    states = [LinkState.STORED, LinkState.REFUSED], [LinkState.UNKNOWN, LinkState.UNKNOWN]
    rows = [
        {
            "request_id": task.request_id,
            "account_id": task.account_id,
            "url_sha256": str(place),
            "episode": str(place),
            "url": f"u{place}",
        }
        | {"state": state, "send_id": "s", "sends": 1, "sent_at": at, "updated_at": at}
        for number, task in enumerate(tasks)
        for place, state in enumerate(states[number // posts % 2])
    ]
    with journal.database.writing() as connection:
        connection.execute(link.insert(), rows)
        half = of_manager(submission), submission.c.request_id.startswith("old-")
        connection.execute(submission.update().where(*half).values(links=2, stored=0, parked=2))
        for number, task in enumerate(tasks):
            if number // posts % 2 == 0:
                of_task = of_manager(submission), submission.c.account_id == task.account_id
                connection.execute(submission.update().where(*of_task).values(stored=1, parked=0, refused=1))


async def a_living_leftover(worker: Worker, clock: VirtualClock) -> None:
    """Of the running post: a record was refused, the other stored."""
    tasks = await worker.intake("first").pull(100)
    await worker.batch("first").run(tasks)
    worker.client.manager.refuse_records(1)
    await worker.delivery("first").run(tasks)
    clock.advance(901)


async def test_ten_thousand_dead_leftovers_cost_a_run_little_and_starve_nobody(tmp_path: Path) -> None:
    clock = VirtualClock()
    manager = small_manager(clock, accounts=2)
    for number in range(DEAD):
        manager.add_account("group-0", "scripted.example", account_id=f"dead-{number}", status="banned")
    worker = Worker(manager, fresh_journal(tmp_path), clock)
    await a_living_leftover(worker, clock)
    without = Run(worker, "without")
    (left,) = await without.pull()
    worker.journal.claims.let_go("without", [left.account_id])
    bury(worker.journal, clock)
    reads = []
    for number in range(40):
        clock.advance(300)
        run = Run(worker, f"run-{number}")
        assert [task.account_id for task in await run.pull()] == [left.account_id]
        worker.journal.claims.let_go(f"run-{number}", [left.account_id])
        reads.append(run.reads)
    assert max(reads) <= 2 * DEAD_POSTS, "a post's first account speaks for it"
    assert sum(reads) / len(reads) < 60
    clock.advance(300)
    assert run.steps < 20 * without.steps
    assert not manager.duplicates()
    worker.journal.database.close()


@pytest.mark.parametrize("has_next", [True, False])
async def test_dead_posts_are_retired_after_two_weeks_and_the_report_says_so(tmp_path: Path, *, has_next: bool) -> None:
    clock = VirtualClock()
    manager = small_manager(clock, accounts=2)
    worker = Worker(manager, fresh_journal(tmp_path), clock)
    await a_living_leftover(worker, clock)
    (post,) = {task.request_id for task in await worker.intake("again").pull(100)}
    manager.update_post(post, status="completed")
    if has_next:
        manager.add_post("group-0", target=3, link_rss="https://feeds.example/1", request_id="next")
    reads: list[int] = []
    said: list[str] = []
    for number in range(16 * 24):
        clock.advance(3600)
        run = Run(worker, f"run-{number}")
        await run.pull()
        reads.append(run.reads)
        said += run.refusals
    assert said == [f"1 account of post {post}, its post has not run for two weeks, so what was left of it is retired"]
    assert sum(reads[: 15 * 24]) == 0 if has_next else 14 < sum(reads[: 15 * 24]) < 25, "the pull tells of the next"
    assert sum(reads[15 * 24 :]) == 0
    (known, *_) = worker.journal.links.listed(retired=True)
    if has_next:
        manager.update_post("next", status="completed")
    manager.update_post(post, status="running")
    clock.advance(901)
    assert await worker.intake("later").pull(100) == []
    (left,) = await worker.intake("asked").choose(Choice(account_ids=(known.key.account_id,)))
    assert left.key == known.key, "should its post run again, it goes on"
    await worker.batch("asked").run([left])
    assert [each.outcome for each in await worker.delivery("asked").run([left])] == [Outcome.DELIVERED]
    assert worker.journal.links.listed(retired=True) == []
    assert not manager.duplicates()
    worker.journal.database.close()
