"""What people call an account or a group, and the id that is meant: by the id, its beginning, or an account's name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import BindParameter, Column, ColumnElement, Select, Text, and_, func, literal, select

from likepion_provider.errors import BadRequest
from likepion_provider.journal.database import Database
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import submission
from likepion_provider.masking import clean
from likepion_provider.models import writable

#: The beginning of an id, or of a name, has so many characters at least.
LEAST_CHARS = 4
#: Candidates that an error names, each with so many characters of its name.
MOST_CANDIDATES = 10
NAME_CHARS = 40
#: An id of the manager's (RFC 9562). One that the journal does not know, the manager may.
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: By what each kind is found; the first is its id. A group has no name: one of its accounts tells people which it is.
_COLUMNS = {"account": (submission.c.account_id, submission.c.label), "group": (submission.c.group_id,)}


class Names:
    """Finds ids among one manager's accounts and groups, however many posts they have rows of."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accounts(self, words: Iterable[str]) -> tuple[str, ...]:
        """The account ids that are meant, each once.

        :param words: each a whole id, an account's name as :attr:`~likepion_provider.models.SecondaryTask.label` has
            it, or the beginning of either, of :data:`LEAST_CHARS` at least. A whole UUID is taken as it is.
        :raises BadRequest: a word fits no account that the journal knows, or several.
        """
        return tuple(dict.fromkeys(self._id("account", word) for word in words))

    def account(self, word: str) -> str:
        """The account id that is meant; empty where nothing is asked for.

        :param word: as :meth:`accounts` takes it.
        :raises BadRequest: it fits no account that the journal knows, or several.
        """
        return self._id("account", word) if word else ""

    def group(self, word: str) -> str:
        """The group id that is meant; empty where nothing is asked for.

        :param word: a whole id, or its beginning, of :data:`LEAST_CHARS` at least. A whole UUID is taken as it is.
        :raises BadRequest: it fits no group that the journal knows, or several.
        """
        return self._id("group", word) if word else ""

    def _id(self, kind: str, word: str) -> str:
        if _UUID.fullmatch(word):
            return word
        found: dict[str, str] = {}
        # What no database takes is nobody's.
        if word == writable(word):
            found = next(filter(None, (self._find(kind, column == _plain(word)) for column in _COLUMNS[kind])), {})
            if not found and len(word) >= LEAST_CHARS:
                for column in _COLUMNS[kind]:
                    found |= self._find(kind, self._begins(column, word))
        if len(found) == 1:
            return next(iter(found))
        raise _several(kind, word, found) if found else _none(kind, word, self._newest(kind))

    def _find(self, kind: str, which: ColumnElement[bool]) -> dict[str, str]:
        """Ids, each with a name; one more than can be named tells that there are more."""
        id_ = _COLUMNS[kind][0]
        query = select(id_, func.min(submission.c.label)).where(of_manager(submission), which).group_by(id_)
        return self._read(query.limit(MOST_CANDIDATES + 1))

    def _newest(self, kind: str) -> dict[str, str]:
        query = select(_COLUMNS[kind][0], submission.c.label).where(of_manager(submission))
        return self._read(query.order_by(submission.c.updated_at.desc()).limit(MOST_CANDIDATES))

    def _read(self, query: Select[Any]) -> dict[str, str]:
        with self._database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def _begins(self, column: Column[str], word: str) -> ColumnElement[bool]:
        """A range of the column's index: what begins so, character by character, whatever the database's language."""
        first, last = _plain(word), _plain(f"{word}\U0010ffff")
        if self._database.engine.dialect.name == "sqlite":
            return and_(column >= first, column < last)
        return and_(column.op("~>=~", is_comparison=True)(first), column.op("~<~", is_comparison=True)(last))


def _plain(word: str) -> BindParameter[str]:
    """Text of any length: a column refuses, or cuts, what is longer than itself."""
    return literal(word, Text())


# Written out for each kind: other languages have no word for "{kind}s".
def _several(kind: str, word: str, found: Mapping[str, str]) -> BadRequest:
    word, listed = clean(word, NAME_CHARS), _listed(found)
    message = f"{word!r} fits several groups of the journal: {listed}"
    if kind == "account":
        message = f"{word!r} fits several accounts of the journal: {listed}"
    return BadRequest(message, remedy="Give more of the id, or all of it.")


def _none(kind: str, word: str, newest: Mapping[str, str]) -> BadRequest:
    word, listed = clean(word, NAME_CHARS), _listed(newest)
    if kind == "account":
        message = f"{word!r} fits no account of the journal, which has none yet"
        if newest:
            message = f"{word!r} fits no account of the journal, whose newest are {listed}"
        remedy = f"Give the whole id, or {LEAST_CHARS} characters or more of its beginning or of its name."
        return BadRequest(message, remedy=remedy)
    message = f"{word!r} fits no group of the journal, which has none yet"
    if newest:
        message = f"{word!r} fits no group of the journal, whose newest are {listed}"
    return BadRequest(message, remedy=f"Give the whole id, or {LEAST_CHARS} characters or more of its beginning.")


def _listed(found: Mapping[str, str]) -> str:
    named = [f"{id_} ({clean(name, NAME_CHARS)})" for id_, name in found.items()]
    return ", ".join(named[:MOST_CANDIDATES] + ["..."] * (len(named) > MOST_CANDIDATES))
