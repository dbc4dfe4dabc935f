"""What the Airflow on this machine is configured with, as its server sees it."""

from __future__ import annotations

import logging

from likepion_provider.hooks.internals import ask_as_the_server
from likepion_provider.journal import Journal


def configured_journal() -> Journal:
    """The journal behind the connection ``likepion_journal``, wherever Airflow keeps its connections.

    :raises JournalUnusable: it cannot be used as configured.
    """
    ask_as_the_server()
    # Late: Airflow takes a second to import.
    from likepion_provider.hooks.connections import JOURNAL_CONN_ID, find, journal_of

    # Airflow's logging writes to the standard output, which is for the answer.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return journal_of(find(JOURNAL_CONN_ID))
