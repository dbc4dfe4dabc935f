"""Words of a platform that no database takes hurt nobody but the account that they are about."""

from __future__ import annotations

from pathlib import Path

from likepion_provider.errors import PlatformError
from likepion_provider.journal import Journal
from likepion_provider.models import ImportState, LinkState, Outcome
from likepion_provider.platforms import Job, Progress
from tests.clocks import VirtualClock
from tests.fakes import ScriptedPlatform, Worker, fresh_journal, small_manager

ODD = "\ud83d the platform says \x00 no \udfff"
ACCOUNTS = 128


class Odd(ScriptedPlatform):
    """It answers one account with odd words, in every field that it fills."""

    async def collect(self, job: Job) -> Progress:
        """Refuse one, list the others' episodes."""
        if job.task.account_id == "account-3":
            raise PlatformError(ODD, remedy=ODD)
        progress = await super().collect(job)
        return Progress(progress.state, ODD, progress.episodes, message=ODD) if progress.episodes else progress


async def test_odd_words_fail_their_account_and_its_neighbours_are_delivered(tmp_path: Path) -> None:
    clock = VirtualClock()
    manager = small_manager(clock, ACCOUNTS)
    journal = fresh_journal(tmp_path)
    worker = Worker(manager, journal, clock)
    worker.use(Odd())
    tasks = await worker.intake("run").pull(1000)
    reports = {each.task.account_id: each for each in await worker.batch("run").run(tasks)}
    odd = reports.pop("account-3")
    assert odd.outcome is Outcome.FAILED
    assert odd.message == "? the platform says no ?"
    assert odd.remedy == "? the platform says no ?"
    assert {each.outcome for each in reports.values()} == {Outcome.COLLECTED}
    delivered = await worker.delivery("run").run(tasks)
    assert [each.outcome for each in delivered] == [Outcome.DELIVERED] * (ACCOUNTS - 1)
    assert not manager.duplicates()
    assert_as_told(journal)
    journal.database.close()


def assert_as_told(journal: Journal) -> None:
    (odd,) = journal.submissions.of_account("account-3")
    assert (odd.state, odd.message, odd.failures) == (ImportState.FAILED, "? the platform says no ?", 1)
    (neighbour,) = journal.submissions.of_account("account-4")
    assert neighbour.reference == "? the platform says  no ?"
    assert {each.state for each in journal.links.listed(limit=1000)} == {LinkState.STORED}
