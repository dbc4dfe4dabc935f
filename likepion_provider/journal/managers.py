"""The managers that the journal has rows of, each by the address of its connection; and the DAGs that work for them."""

from __future__ import annotations

import dataclasses
from datetime import datetime

from sqlalchemy import Connection, delete, exists, func, select, update

from likepion_provider.errors import BadRequest
from likepion_provider.journal.database import Database, put_fresh
from likepion_provider.journal.owner import of_manager, rows_of
from likepion_provider.journal.schema import claim, dag, failure, link, manager, setting, submission
from likepion_provider.manager.urls import site_address


@dataclasses.dataclass(frozen=True)
class KnownManager:
    """A manager, for people.

    :param dag_ids: the DAGs of which a run began for it, the newest first.
    :param used_at: when the newest run began; None where none did.
    """

    id: int
    address: str
    dag_ids: tuple[str, ...]
    used_at: datetime | None


class Managers:
    """The table of managers. It is the only one that sees more than one of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def listed(self) -> list[KnownManager]:
        """All that are known, by address."""
        with self._database.reading() as connection:
            return _listed(connection)

    def counts(self, known: KnownManager) -> tuple[int, int]:
        """How many accounts, each counted once for all its posts, and links a manager has."""
        accounts = select(func.count(submission.c.account_id.distinct())).where(of_manager(submission))
        links = select(func.count()).select_from(link).where(of_manager(link))
        with self._database.reading() as connection, rows_of(known.id):
            return connection.execute(accounts).scalar_one(), connection.execute(links).scalar_one()

    def begin_run(self, dag_id: str, at: datetime) -> str:
        """Note that a run of a DAG begins for the manager that the database was opened for.

        :param at: aware.
        :return: the address of the only other manager that has rows, if this is the first run for this one; else empty.
        """
        with self._database.writing() as connection:
            is_first = connection.execute(select(dag.c.dag_id).where(of_manager(dag)).limit(1)).scalar() is None
            connection.execute(put_fresh(connection, dag, "used_at"), {"dag_id": dag_id, "used_at": at})
            if not is_first:
                return ""
            others = [each for each in _listed(connection) if each.id != self._database.manager_id]
            used = [each.address for each in others if _has_rows(connection, each.id)]
        return used[0] if len(used) == 1 else ""

    def rename(self, old: str, new: str) -> None:
        """Let what is kept for a manager's old address count for its new one. No run may be under way meanwhile.

        :raises BadRequest: the journal does not know the old address; or it has accounts of the new one already.
        """
        old, new = site_address(old), site_address(new)
        with self._database.writing() as connection:
            ids = {each.address: each.id for each in _listed(connection)}
            if old not in ids:
                known = ", ".join(ids) or "none"
                raise BadRequest(f"the journal knows no manager {old}", remedy=f"It knows {known}: name one of these.")
            if new in ids and new != old:
                if _has_rows(connection, ids[new]):
                    raise BadRequest(
                        f"the journal has accounts of {new} already",
                        remedy="Two managers' accounts cannot become one's: whether their ids mean the same, "
                        "nobody can tell. Keep both addresses.",
                    )
                # A run that found nothing leaves no more than this.
                with rows_of(ids[new]):
                    for table in (dag, setting):
                        connection.execute(delete(table).where(of_manager(table)))
                connection.execute(delete(manager).where(manager.c.id == ids[new]))
            connection.execute(update(manager).where(manager.c.id == ids[old]).values(address=new))


def _listed(connection: Connection) -> list[KnownManager]:
    newest_first = select(dag.c.dag_id, dag.c.used_at).where(of_manager(dag)).order_by(dag.c.used_at.desc())
    found = []
    for id_, address in connection.execute(select(manager.c.id, manager.c.address).order_by(manager.c.address)).all():
        with rows_of(id_):
            dags = connection.execute(newest_first).all()
        found.append(KnownManager(id_, address, tuple(each.dag_id for each in dags), dags[0].used_at if dags else None))
    return found


def _has_rows(connection: Connection, manager_id: int) -> bool:
    """Whether anything of accounts is kept for a manager."""
    with rows_of(manager_id):
        return any(
            connection.execute(select(exists().where(of_manager(table)))).scalar()
            for table in (submission, claim, link, failure)
        )
