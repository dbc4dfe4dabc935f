"""What the Airflow on this machine is configured with, as its server sees it; and which manager a command is about."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence

from likepion_provider.errors import BadRequest
from likepion_provider.hooks.internals import ask_as_the_server, load_as_the_server
from likepion_provider.journal import Journal, KnownManager, copying, open_journal, open_managers
from likepion_provider.journal.marks import Mark
from likepion_provider.manager.urls import site_address
from likepion_provider.words import t


def add_manager(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which manager a command is about."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--conn-id",
        help=t(
            "the connection of the manager whose rows are meant (likepion_default; needless where the journal knows "
            "one manager only)"
        ),
    )
    which.add_argument(
        "--manager", metavar="ADDRESS", help=t("the same, by its address: see 'likepion journal managers'")
    )


def configured_url() -> str:
    """The URL of the journal behind the connection ``likepion_journal``, wherever Airflow keeps its connections.

    :raises JournalUnusable: it cannot be used as configured.
    """
    with airflow():
        # Late: Airflow takes a second to import.
        from likepion_provider.hooks.connections import JOURNAL_CONN_ID, find, usable_journal_url

        return usable_journal_url(find(JOURNAL_CONN_ID))


def configured_journal_url() -> str:
    """Where that journal is, whether it can be used or not.

    :raises JournalUnusable: the connection names none.
    """
    with airflow():
        from likepion_provider.hooks.connections import JOURNAL_CONN_ID, find, journal_url

        return journal_url(find(JOURNAL_CONN_ID))


def configured_mark() -> Mark | None:
    """The mark of the journal that the last task has left in Airflow; None where there is none."""
    with airflow():
        from likepion_provider.hooks.marks import read_mark

        return read_mark()


@contextlib.contextmanager
def airflow() -> Iterator[None]:
    """Ask Airflow as its server does, which finds connections wherever they are kept.

    What it writes to the standard output meanwhile goes to the standard error: the other is for answers.
    """
    ask_as_the_server()
    with contextlib.redirect_stdout(sys.stderr):
        load_as_the_server()
        # It writes to the standard output that it found when it was loaded, which need not be by us.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        yield


def existing(url: str) -> str:
    """The URL of a journal that a command reads: it is named on the standard error, and never made.

    :raises BadRequest: there is none.
    """
    shown = copying.shown(url)
    if not copying.exists(url):
        raise BadRequest(
            f"there is no journal {shown}",
            remedy="Name it by --url, or set AIRFLOW_HOME or the connection likepion_journal; a first run makes it.",
        )
    print(f"journal: {shown}", file=sys.stderr)
    return url


def chosen_journal(url: str, args: argparse.Namespace, *, by_default: bool = True) -> Journal:
    """The part of a journal that belongs to the manager that a command is about.

    :param url: of the journal.
    :param args: with what :func:`add_manager` added.
    :param by_default: whether the connection ``likepion_default`` names the manager where nothing else does.
    :raises BadRequest: nothing says which manager is meant, or the journal does not know it.
    """
    known = open_managers(url).listed()
    address = args.manager or _address_of(args.conn_id, by_default=by_default)
    if not address:
        if len(known) != 1:
            raise BadRequest(f"nothing says which manager is meant: the journal knows {_named(known)}", remedy=_CHOOSE)
        address = known[0].address
    elif known and site_address(address) not in {each.address for each in known}:
        raise BadRequest(
            f"the journal knows no manager {site_address(address)}; it knows {_named(known)}", remedy=_CHOOSE
        )
    return open_journal(url, address)


def known_groups(journal: Journal, words: Sequence[str]) -> list[str]:
    """The ids of groups that the journal has rows of, each once.

    :param words: as :meth:`~likepion_provider.journal.names.Names.group` takes them.
    :raises BadRequest: it has seen no such group, or several.
    """
    groups = list(dict.fromkeys(map(journal.names.group, words)))
    known = journal.submissions.known_groups(groups)
    if unknown := [group_id for group_id in groups if group_id not in known]:
        raise BadRequest(
            f"the journal has never seen group {', '.join(unknown)}",
            remedy="Check the id; or let a scheduled run pull the group first.",
        )
    return groups


def dag_ids_of(journal: Journal) -> tuple[str, ...]:
    """The DAGs that a run began of for the journal's manager, the newest first."""
    number = journal.database.manager_id
    return next((each.dag_ids for each in journal.managers.listed() if each.id == number), ())


_CHOOSE = "Name one with --manager, or its connection with --conn-id."


def _named(known: list[KnownManager]) -> str:
    return ", ".join(each.address for each in known) or "none"


def _address_of(conn_id: str | None, *, by_default: bool) -> str:
    """A connection's address; empty where none was named and there is none by default."""
    if conn_id is None and not by_default:
        return ""
    with airflow():
        from likepion_provider.hooks.address import url_of
        from likepion_provider.hooks.connections import LIKEPION_CONN_ID, find

        connection = find(conn_id or LIKEPION_CONN_ID)
    return "" if connection is None and conn_id is None else url_of(conn_id or LIKEPION_CONN_ID, connection)
