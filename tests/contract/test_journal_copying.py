"""The journal as a whole: backed up while it is in use, restored, moved to another database, looked after."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from sqlalchemy import and_, create_engine, select, text, update

from likepion_provider.cli import main
from likepion_provider.errors import BadRequest, JournalUnusable
from likepion_provider.journal import Journal, copying, open_journal
from likepion_provider.journal.copying import Health
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import metadata, submission
from likepion_provider.models import SecondaryTask
from tests import MANAGER
from tests.clocks import VirtualClock
from tests.contract.test_journal_restored import URLS, claimed, sent
from tests.postgres import server_binaries

AT = datetime(2026, 1, 2, tzinfo=timezone.utc)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "of a test" / "journal.db"


@pytest.fixture
def in_file(file: Path) -> Iterator[Journal]:
    journal = open_journal(f"sqlite:///{file}", MANAGER)
    yield journal
    journal.database.close()


def fill(journal: Journal, clock: VirtualClock, accounts: int = 5) -> None:
    for number in range(accounts):
        sent(journal, clock, f"account-{number}", True, False, None)
    claimed(journal, clock, "unsent ₿", [f"{url}/ü" for url in URLS])
    journal.settings.note_pace(40, 3)
    journal.marks.advance()


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        found = {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for table in metadata.sorted_tables
        }
    engine.dispose()
    return found


# --- backup and restore ---


def test_a_backup_is_whole_and_its_owners_only(
    in_file: Journal, file: Path, clock: VirtualClock, tmp_path: Path
) -> None:
    fill(in_file, clock)
    copying.back_up(file, tmp_path / "backup.db")
    assert (tmp_path / "backup.db").stat().st_mode & 0o777 == 0o600
    assert rows(f"sqlite:///{tmp_path / 'backup.db'}") == rows(f"sqlite:///{file}")
    with pytest.raises(BadRequest, match="there already"):
        copying.back_up(file, tmp_path / "backup.db")


def test_a_backup_while_others_write_is_of_one_moment(in_file: Journal, file: Path, tmp_path: Path) -> None:
    """Each writer's transaction puts two accounts; a backup has both or neither, and ends although they never do."""
    stop, written = threading.Event(), 0

    def write() -> None:
        nonlocal written
        journal = Journal(in_file.database)
        while not stop.is_set():
            with journal.database.writing():
                for half in "ab":
                    task = SecondaryTask(f"{written}{half}", "post", "group", "tide.example")
                    journal.submissions.note([task], "run", AT)
            written += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            before = written
            copying.back_up(file, tmp_path / f"backup-{number}.db")
            with contextlib.closing(sqlite3.connect(tmp_path / f"backup-{number}.db")) as backup:
                (count,) = backup.execute("SELECT count(*) FROM likepion_submission").fetchone()
            assert count % 2 == 0
            assert count >= 2 * before
    finally:
        stop.set()
        writer.join()
    assert written > 5


def test_a_restored_journal_is_doubted_and_what_it_replaced_is_kept(
    in_file: Journal, file: Path, clock: VirtualClock, tmp_path: Path
) -> None:
    fill(in_file, clock)
    copying.back_up(file, tmp_path / "backup.db")
    outside = in_file.marks.meet(in_file.marks.newest(), clock.now())
    later = sent(in_file, clock, "later", True)
    with pytest.raises(BadRequest, match="was used after"):
        copying.restore(file, tmp_path / "backup.db", AT)
    kept = copying.restore(file, tmp_path / "backup.db", AT, loses=True)
    assert in_file.submissions.get([later]) == {}, "those that have it open see it, too"
    assert in_file.marks.unaccepted() is not None
    assert not in_file.marks.notice(outside, clock.now()), "and is not told a second time"
    assert kept is not None
    replaced = open_journal(f"sqlite:///{kept}", MANAGER)
    assert later in replaced.submissions.get([later])
    replaced.database.close()


def test_nothing_is_forgotten_by_a_backup_that_is_as_new(
    in_file: Journal, file: Path, clock: VirtualClock, tmp_path: Path
) -> None:
    fill(in_file, clock)
    copying.back_up(file, tmp_path / "backup.db")
    copying.restore(file, tmp_path / "backup.db", AT)
    assert in_file.marks.restored() is None


@pytest.mark.parametrize("trouble", ["gone", "garbage"])
def test_a_journal_that_is_gone_or_damaged_is_replaced(
    in_file: Journal, file: Path, clock: VirtualClock, tmp_path: Path, trouble: str
) -> None:
    fill(in_file, clock)
    copying.back_up(file, tmp_path / "backup.db")
    in_file.database.close()
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    file.unlink()
    if trouble == "garbage":
        file.write_bytes(random.Random(1).randbytes(100_000))
    kept = copying.restore(file, tmp_path / "backup.db", AT)
    assert (kept is not None) == (trouble == "garbage")
    assert file.stat().st_mode & 0o077 == 0
    journal = Journal(in_file.database)
    assert journal.marks.unaccepted() is not None
    assert journal.submissions.known_groups(["group"]) == {"group"}


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_what_is_no_backup_changes_nothing(in_file: Journal, file: Path, clock: VirtualClock, content: bytes) -> None:
    fill(in_file, clock)
    before = rows(f"sqlite:///{file}")
    wrong = file.with_name("wrong")
    wrong.write_bytes(content)
    with pytest.raises((BadRequest, JournalUnusable)):
        copying.restore(file, wrong, AT, loses=True)
    assert rows(f"sqlite:///{file}") == before


# --- another database ---


def test_a_copy_has_everything_and_goes_on_counting(
    in_file: Journal, file: Path, clock: VirtualClock, journal_url: str
) -> None:
    fill(in_file, clock)
    numbers = copying.copy(f"sqlite:///{file}", journal_url)
    assert numbers["likepion_link"] == 18
    assert rows(journal_url) == rows(f"sqlite:///{file}")
    moved = open_journal(journal_url, MANAGER)
    assert moved.marks.newest() == in_file.marks.newest()
    sent(moved, clock, "next", True)
    assert len(moved.links.listed()) == 19
    moved.database.close()


def test_a_copy_adds_to_nothing(in_file: Journal, file: Path, clock: VirtualClock, journal: Journal) -> None:
    fill(in_file, clock)
    sent(journal, clock, "there", True)
    url = journal.database.engine.url.render_as_string(hide_password=False)
    before = rows(url)
    with pytest.raises(BadRequest, match="has rows"):
        copying.copy(f"sqlite:///{file}", url)
    assert rows(url) == before


def test_a_copy_that_differs_is_not_kept(
    in_file: Journal, file: Path, clock: VirtualClock, journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(in_file, clock)
    written = copying._copy_table

    def careless(reading: object, writing: object, table: object, on_progress: object) -> int:
        done = written(reading, writing, table, on_progress)  # type: ignore[arg-type]
        writing.execute(text("UPDATE likepion_link SET url = 'x' WHERE id = 3"))  # type: ignore[attr-defined]
        return done

    monkeypatch.setattr(copying, "_copy_table", careless)
    with pytest.raises(JournalUnusable, match="not what was copied"):
        copying.copy(f"sqlite:///{file}", journal_url)
    monkeypatch.undo()
    assert copying.copy(f"sqlite:///{file}", journal_url)["likepion_link"] == 18


# --- health ---


def test_a_sound_journal_has_no_trouble(journal: Journal, clock: VirtualClock) -> None:
    fill(journal, clock)
    health = Health(journal.database, journal.marks.newest())
    assert {name: ask() for name, ask in health.questions().items()} == dict.fromkeys(health.questions(), "")


def test_each_trouble_is_named(journal: Journal, clock: VirtualClock) -> None:
    fill(journal, clock)
    newest = journal.marks.newest()
    assert newest is not None
    health = Health(journal.database, newest._replace(token="given since"))
    assert "older than the last run" in health.age()
    with journal.database.writing() as connection:
        one = and_(of_manager(submission), submission.c.account_id == "account-1")
        connection.execute(update(submission).where(one).values(stored=7))
    assert health.counts() == "1 account has other links than is filed"


# --- the command ---


def test_the_command_backs_up_restores_checks_and_accepts(
    in_file: Journal, file: Path, clock: VirtualClock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def likepion(*arguments: str) -> tuple[int, str]:
        status = main(["journal", "--url", f"sqlite:///{file}", *arguments])
        said = capsys.readouterr()
        return status, said.out + said.err

    fill(in_file, clock)
    backup = str(tmp_path / "backup.db")
    assert likepion("backup", backup)[0] == 0
    in_file.marks.advance()
    status, said = likepion("restore", backup)
    assert (status, "say --yes" in said) == (1, True)
    status, said = likepion("restore", backup, "--yes")
    assert (status, "likepion journal accept" in said) == (0, True)
    status, said = likepion("check")
    assert (status, "BAD as new as its last use" in said) == (1, True)
    status, said = likepion("accept")
    assert (status, "6 accounts have links that may have been sent" in said) == (0, True)
    assert likepion("check")[0] == 0
    assert "nothing to accept" in likepion("accept")[1]
    assert likepion("doubt")[0] == 0
    assert in_file.marks.unaccepted() is not None


def test_postgresql_is_backed_up_and_restored_by_the_commands_that_are_shown(
    postgres_url: str, clock: VirtualClock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    binaries = server_binaries()
    assert binaries is not None
    engine = create_engine(postgres_url.format(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE dumped"))
    engine.dispose()
    url = postgres_url.format(database="dumped")
    journal = open_journal(url, MANAGER)
    fill(journal, clock)
    before = rows(url)
    outside = journal.marks.newest()

    def shown(action: str) -> None:
        assert main(["journal", "--url", url, action, str(tmp_path / "the dump")]) == 0
        (command,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  pg_")]
        subprocess.run(["sh", "-c", command], check=True, env={"PATH": f"{binaries}:{os.environ['PATH']}"})

    shown("backup")
    outside = journal.marks.meet(outside, clock.now())
    sent(journal, clock, "later", True)
    journal.database.close()
    shown("restore")
    assert rows(url) == before
    assert journal.marks.notice(outside, clock.now())
    sent(journal, clock, "next", True)
    journal.database.close()
