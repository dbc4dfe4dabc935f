"""A worker of an older version beside a journal that a newer one has brought to its schema."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from likepion_provider.clock import Moment
from likepion_provider.errors import JournalUnusable
from likepion_provider.journal import Journal, database
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Record
from likepion_provider.models import ImportState, LinkState, PostAccount, SecondaryTask
from tests import MANAGER
from tests.clocks import VirtualClock
from tests.fakes import episodes

REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "{name}"
down_revision = "{before}"
{additive}


def upgrade():
    op.add_column("likepion_link", sa.Column("{name}", sa.Text, nullable=False, server_default="by default"))
    op.create_index("likepion_link_{name}", "likepion_link", ["{name}"])
    op.create_table("likepion_{name}", sa.Column("id", sa.Integer, primary_key=True))
"""
OURS = database.HEAD
KEY = PostAccount("post", "account")
URL = "https://tide.example/1"


class Releases:
    """The package as it is, and as it may be after some more revisions."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder, self._patch = folder, patch

    def publish(self, *additive: bool) -> None:
        """Be a later version from now on.

        :param additive: of each further revision, whether it says that it only adds.
        """
        folder = self._folder / f"migrations-{len(additive)}"
        shutil.copytree(database.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        before = OURS
        for number, is_additive in enumerate(additive):
            name = f"next{number}"
            words = "additive = True" if is_additive else ""
            revision = REVISION.format(name=name, before=before, additive=words)
            (folder / f"versions/{name}.py").write_text(revision, encoding="utf-8")
            before = name
        self._patch.setattr(database, "MIGRATIONS", folder)
        self._patch.setattr(database, "HEAD", before)

    def go_back(self) -> None:
        """Be the version again that this is."""
        self._patch.undo()


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[Releases]:
    with pytest.MonkeyPatch.context() as patch:
        yield Releases(tmp_path, patch)


def work(journal: Journal) -> None:
    """Every step of an account."""
    clock = VirtualClock()
    now = Moment.read(clock)
    journal.submissions.note([SecondaryTask("account", "post", "group", "tide.example")], "run", now.at)
    journal.claims.grant("run", {KEY: Lease.granted(now)})
    journal.claims.take_over("run", "holder", [KEY], now)
    journal.submissions.begin(KEY, "holder", now)
    journal.submissions.record(KEY, "holder", now, state=ImportState.LISTED)
    journal.links.prepare(KEY, episodes([URL]), now.at)
    sending = journal.links.begin_send(KEY, "holder", [URL], now)
    journal.links.end_send(KEY, sending, [Record(URL, True)], now.at)
    assert [each.state for each in journal.links.of_key(KEY)] == [LinkState.STORED]


def test_an_older_worker_goes_on_where_the_newer_schema_only_adds(journal_url: str, releases: Releases) -> None:
    old = database.Database(journal_url)
    releases.publish(True, True)
    new = database.Database(journal_url)
    releases.go_back()
    work(Journal(old.of(MANAGER)))
    started_now = database.Database(journal_url)
    work_again = Journal(started_now.of(MANAGER))
    assert [each.url for each in work_again.links.of_key(KEY)] == [URL]
    query = "SELECT next1 FROM likepion_link WHERE likepion_link.manager_id = :manager"
    with new.reading() as connection:
        assert connection.execute(text(query), {"manager": old.of(MANAGER).manager_id}).scalars().all() == [
            "by default"
        ]
        assert connection.execute(text("SELECT version_num FROM likepion_journal_version")).scalar() == "next1"
    for each in (old, new, started_now):
        each.close()


@pytest.mark.parametrize("additive", [(False,), (True, False), (False, True)])
def test_an_older_worker_is_refused_where_the_newer_schema_does_more(
    journal_url: str, releases: Releases, additive: tuple[bool, ...]
) -> None:
    releases.publish(*additive)
    database.Database(journal_url).close()
    releases.go_back()
    with pytest.raises(JournalUnusable, match="not one that this version knows") as error:
        database.Database(journal_url)
    assert "Update airflow-provider-likepion" in error.value.advice


def test_a_worker_between_the_oldest_and_the_newest_goes_by_what_came_after_it(
    journal_url: str, releases: Releases
) -> None:
    releases.publish(False, True)
    database.Database(journal_url).close()
    releases.go_back()
    releases.publish(False)
    database.Database(journal_url).close()
    releases.go_back()


def test_a_journal_of_an_earlier_version_is_brought_to_the_newest(journal_url: str, releases: Releases) -> None:
    first = database.Database(journal_url)
    releases.publish(True)
    second = database.Database(journal_url)
    with second.reading() as connection:
        assert connection.execute(text("SELECT version_num FROM likepion_journal_version")).scalar() == "next0"
    work(Journal(second.of(MANAGER)))
    first.close()
    second.close()
