"""The few facts of a manager that outlive a run and belong to no account."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, select

from likepion_provider.journal.database import Database, put_fresh
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import setting
from likepion_provider.manager.protocol import MAX_PULL

#: However few accounts a run got to, the next one tries as many.
LEAST_PACE = 25
#: A run that got through all of what the pace allowed lets the next one take this much more.
PACE_GROWTH = 2

_PACE, _OUTAGE = "pace", "manager_outage"


class Settings:
    """The table of settings, as far as runs share it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pace(self) -> int | None:
        """How many accounts a run gets to before their claims lapse, as the last runs had it; None: no bound known."""
        with self._database.reading() as connection:
            value = get(connection, _PACE)
        return int(value) if value else None

    def note_pace(self, accounts: int, late: int) -> None:
        """Learn from a run; one that was smaller than the bound it speaks of tells nothing of it.

        :param accounts: how many it took up.
        :param late: how many of them it did not get to before their claims lapsed.
        """
        with self._database.writing() as connection:
            known = int(get(connection, _PACE) or 0)
            if late:
                got_to = max(LEAST_PACE, accounts - late)
                if got_to < accounts:
                    put(connection, _PACE, str(got_to))
            elif known and accounts >= known:
                grown = known * PACE_GROWTH
                put(connection, _PACE, "" if grown >= MAX_PULL else str(grown))

    def outage_reported_at(self) -> datetime | None:
        """When a run ended red because the manager could not be reached, if it has not been reached since."""
        with self._database.reading() as connection:
            value = get(connection, _OUTAGE)
        return datetime.fromisoformat(value) if value else None

    def report_outage(self, at: datetime) -> None:
        """Note that a run ends red because the manager cannot be reached.

        :param at: aware.
        """
        with self._database.writing() as connection:
            put(connection, _OUTAGE, at.isoformat())

    def end_outage(self) -> None:
        """Note that the manager answers."""
        with self._database.writing() as connection:
            connection.execute(delete(setting).where(of_manager(setting), setting.c.name == _OUTAGE))


def get(connection: Connection, name: str) -> str | None:
    """A setting's value; None where it was never put."""
    query = select(setting.c.value).where(of_manager(setting), setting.c.name == name)
    value: str | None = connection.execute(query).scalar()
    return value


def put(connection: Connection, name: str, value: str) -> None:
    """Put a setting's value."""
    connection.execute(put_fresh(connection, setting, "value"), {"name": name, "value": value})
