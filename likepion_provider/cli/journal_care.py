"""``likepion journal backup`` and what belongs to it: the journal as a whole, kept, put back, moved, looked after."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from likepion_provider.cli.arguments import add_json, print_json
from likepion_provider.cli.configured import configured_journal_url, configured_mark, existing
from likepion_provider.journal import copying
from likepion_provider.journal.database import Database
from likepion_provider.journal.marks import Mark, Marks
from likepion_provider.words import number, shown, t, tn

#: Between two lines of progress, in seconds.
TELL_EVERY_S = 2.0


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the actions to those of ``likepion journal``."""
    backup = actions.add_parser(
        "backup",
        help=t("copy the journal into a file, while it is in use"),
        description=t(
            "Copy a SQLite journal, as it is at one moment, into a file that only you may read. Runs may go "
            "on meanwhile. For a journal on PostgreSQL, the pg_dump command is shown."
        ),
    )
    backup.add_argument("file", type=Path, help=t("a new file"))
    back = actions.add_parser(
        "restore",
        help=t("put the journal back to a backup"),
        description=t(
            "Put a SQLite journal back to a backup; what it replaces is kept beside it. Pause the DAG and let its "
            "runs end first. What happened since the backup is forgotten, so the next run is red and works only what "
            "the manager hands out, until you say 'likepion journal accept'. For PostgreSQL, the pg_restore command is "
            "shown."
        ),
    )
    back.add_argument("file", type=Path, help=t("what 'backup' made"))
    back.add_argument("--yes", action="store_true", help=t("although the journal was used since the backup"))
    moving = actions.add_parser(
        "copy",
        help=t("copy the journal into another database: from SQLite to PostgreSQL"),
        description=t(
            "Copy every table into an empty database, and compare each with its copy. Pause the DAG and let its "
            "runs end first; then point the Airflow connection likepion_journal at the new database, and go on. The "
            "journal that was copied stays as it is."
        ),
    )
    moving.add_argument("to", metavar="URL", help=t("postgresql://user:password@host:5432/database"))
    checking = actions.add_parser(
        "check",
        help=t("whether the journal is sound, and as new as its last use"),
        description=t(
            "Look at the schema, the age, the disk, the counts and the database itself. The exit status is 1 "
            "where something is wrong. Large journals take minutes."
        ),
    )
    add_json(checking)
    actions.add_parser(
        "accept",
        help=t("go on with a journal that was restored or lost"),
        description=t(
            "Say that there is no newer backup. Runs are green again, and go back to what is unfinished. Links "
            "that may have been sent since the backup stay parked: settle them as you find them at the manager, by "
            "'likepion journal settle' or on the board; accounts that the manager hands out again settle themselves."
        ),
    )
    actions.add_parser(
        "doubt",
        help=t("say that the journal was restored, where no run can notice it"),
        description=t(
            "Runs notice a restored journal by a variable in Airflow's database. Where that was restored along "
            "with the journal, say so by this, before the next run."
        ),
    )


def run(args: argparse.Namespace) -> int:
    """Do what was asked.

    :return: 0; 1 where a check found something.
    :raises BadRequest: it cannot be done as it was asked.
    :raises JournalUnusable: the journal, or its file, cannot be used.
    """
    url = args.url or configured_journal_url()
    outside = None if args.url else configured_mark()
    return ACTIONS[args.action](url, outside, args)


def _backup(url: str, _: Mark | None, args: argparse.Namespace) -> int:
    journal = copying.sqlite_file(url)
    if journal is None:
        print(t("A journal on PostgreSQL is backed up by"), copying.pg_dump_command(url, str(args.file)), sep="\n  ")
        return 0
    size = copying.back_up(journal, args.file, _Progress())
    print(t("{file}: {size} MB, checked", file=args.file, size=f"{size / 1024**2:.1f}"))
    return 0


def _restore(url: str, outside: Mark | None, args: argparse.Namespace) -> int:
    journal = copying.sqlite_file(url)
    if journal is None:
        print(t("A journal on PostgreSQL is restored by"), copying.pg_restore_command(url, str(args.file)), sep="\n  ")
        print(t("The next run notices it; then say 'likepion journal accept'."))
        return 0
    kept = copying.restore(journal, args.file, _now(), outside=outside, loses=args.yes, on_progress=_Progress())
    print(t("{journal} is as it was in {file}.", journal=journal, file=args.file))
    if kept:
        print(t("What it was before is in {kept}.", kept=kept))
    if Marks(Database(url)).unaccepted():
        print(t("It is older than its last use: runs are red until you say 'likepion journal accept'."))
    return 0


def _copy(url: str, _: Mark | None, args: argparse.Namespace) -> int:
    rows = copying.copy(url, args.to, _Progress())
    for name, count in rows.items():
        print(f"{number(count):>12}  {name}")
    print(t("Copied and compared. Point the Airflow connection likepion_journal at the new database now."))
    return 0


def _check(url: str, outside: Mark | None, args: argparse.Namespace) -> int:
    questions = copying.Health(Database(existing(url)), outside).questions()
    answers = {}
    for name, ask in questions.items():
        answers[name] = words = ask()
        if not args.json:
            print(f"{'BAD' if words else 'ok':<4}{shown(name)}{f': {shown(words)}' if words else ''}", flush=True)
    if args.json:
        print_json({"question": name, "ok": not words, "words": words} for name, words in answers.items())
    return int(any(answers.values()))


def _accept(url: str, outside: Mark | None, _: argparse.Namespace) -> int:
    marks = Marks(Database(url))
    if outside:
        # Said before the first run has noticed it.
        marks.notice(outside, _now())
    if not marks.accept(_now()):
        print(t("There is nothing to accept: the journal is as new as its last use."))
        return 0
    print(
        tn(
            "Accepted. {count} account has links that may have been sent since the backup; they stay parked:",
            "Accepted. {count} accounts have links that may have been sent since the backup; they stay parked:",
            marks.doubted(),
        )
    )
    print("  likepion journal list --state unknown")
    return 0


def _doubt(url: str, outside: Mark | None, _: argparse.Namespace) -> int:
    Marks(Database(url)).doubt(_now(), [outside] if outside else [])
    print(t("Runs are red, and work only what the manager hands out, until you say 'likepion journal accept'."))
    return 0


ACTIONS: dict[str, Callable[[str, Mark | None, argparse.Namespace], int]] = {
    "backup": _backup,
    "restore": _restore,
    "copy": _copy,
    "check": _check,
    "accept": _accept,
    "doubt": _doubt,
}


class _Progress:
    """A line now and then, on the standard error."""

    def __init__(self) -> None:
        self._told_s = time.monotonic()

    def __call__(self, what: str, done: int, of: int) -> None:
        if time.monotonic() - self._told_s >= TELL_EVERY_S:
            self._told_s = time.monotonic()
            print(t("{what}: {done} of {of}", what=what, done=number(done), of=number(of)), file=sys.stderr, flush=True)


def _now() -> datetime:
    return datetime.now(timezone.utc)
