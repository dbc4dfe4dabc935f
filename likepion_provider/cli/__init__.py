"""``likepion``: the sandbox, the demo, the journal and the importers from a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from likepion_provider import __version__
from likepion_provider.cli.arguments import advice_of
from likepion_provider.errors import LikepionError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: the arguments; the process's own by default.
    :return: the exit status; 1 after a clear error, 2 for wrong arguments.
    """
    args = parser().parse_args(argv)
    try:
        status: int = args.run(args)
    except LikepionError as error:
        print(f"likepion: {advice_of(error)}", file=sys.stderr)
        return 1
    return status


def parser() -> argparse.ArgumentParser:
    """Every command, with its arguments."""
    from likepion_provider.cli import demo, group, journal, platforms
    from likepion_provider.sandbox import command as sandbox

    likepion = argparse.ArgumentParser(prog="likepion", description="Tools of airflow-provider-likepion.")
    likepion.add_argument("--version", action="version", version=__version__)
    commands = likepion.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, module, summary in (
        ("demo", demo, "the sandbox, a real Airflow and the DAG, on this machine"),
        ("sandbox", sandbox, "a manager, a podcast site and feeds on loopback"),
        ("group", group, "work whole groups again, in runs of their own"),
        ("journal", journal, "what was imported and sent; settle unknown outcomes"),
        ("platforms", platforms, "which importer serves which domain"),
    ):
        command = commands.add_parser(name, help=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return likepion
