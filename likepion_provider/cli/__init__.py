"""``likepion``: the sandbox, the demo, the journal and the importers from a shell."""

from __future__ import annotations

import argparse
import configparser
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from likepion_provider import __version__
from likepion_provider.cli.arguments import advice_of
from likepion_provider.errors import LikepionError
from likepion_provider.words import spoken, t


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: the arguments; the process's own by default.
    :return: the exit status; 1 after a clear error, 2 for wrong arguments.
    """
    with spoken(_language()):
        commands = parser()
        if "_ARGCOMPLETE" in os.environ:
            # A shell asks what could stand here; this answers and ends.
            import argcomplete

            argcomplete.autocomplete(commands)
        args = commands.parse_args(argv)
        try:
            status: int = args.run(args)
        except LikepionError as error:
            print(f"likepion: {advice_of(error)}", file=sys.stderr)
            return 1
        return status


def _language() -> str:
    """The language that Airflow is configured with, else the shell's.

    Without Airflow, which takes a second to import: from where it reads an option that is no secret.
    """
    if configured := os.environ.get("AIRFLOW__LIKEPION__LANGUAGE"):
        return configured
    home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
    file = configparser.RawConfigParser(strict=False)
    with contextlib.suppress(configparser.Error, OSError, UnicodeError):
        file.read(os.environ.get("AIRFLOW_CONFIG", home / "airflow.cfg"), encoding="utf-8")
    shell = (os.environ.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return file.get("likepion", "language", fallback="") or next(filter(None, shell), "")


def parser() -> argparse.ArgumentParser:
    """Every command, with its arguments."""
    from likepion_provider.cli import demo, group, journal, platforms
    from likepion_provider.sandbox import command as sandbox

    likepion = argparse.ArgumentParser(prog="likepion", description=t("Tools of airflow-provider-likepion."))
    likepion.add_argument("--version", action="version", version=__version__)
    commands = likepion.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, module, summary in (
        ("demo", demo, t("the sandbox, a real Airflow and the DAG, on this machine")),
        ("sandbox", sandbox, t("a manager, a podcast site and feeds on loopback")),
        ("group", group, t("work whole groups again, in runs of their own")),
        ("journal", journal, t("what was imported and sent; settle unknown outcomes")),
        ("platforms", platforms, t("which importer serves which domain")),
    ):
        command = commands.add_parser(name, help=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return likepion
