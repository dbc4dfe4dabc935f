"""What holds for every unit test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from likepion_provider.journal import database
from tests.owned import guard


@pytest.fixture(autouse=True)
def _journals_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process keeps its journals open; a test must not: Python 3.13 warns of each one that is left."""
    guard(monkeypatch)
    opened: list[database.Database] = []
    prepare = database.Database.__init__

    def remembered(self: database.Database, url: str) -> None:
        opened.append(self)
        prepare(self, url)

    monkeypatch.setattr(database.Database, "__init__", remembered)
    yield
    database.open_database.cache_clear()
    for each in opened:
        if hasattr(each, "engine"):
            each.close()
