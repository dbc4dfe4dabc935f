"""Values that a database does not take, asked for by the board: refused before the database sees them."""

from __future__ import annotations

import pytest

from likepion_provider.board.api import CSRF_HEADER, create_app
from likepion_provider.journal import Journal
from tests.unit.board.client import Client
from tests.unit.board.conftest import FakeAccess


@pytest.mark.parametrize("name", ["group_id", "domain", "run_id", "text"])
@pytest.mark.parametrize("value", ["%00", "a%00b", "%ED%A0%80", "%F0%9F%8E%99", "x" * 301])
def test_a_text_is_found_or_refused(journal: Journal, name: str, value: str) -> None:
    answer = Client(create_app(FakeAccess(journal))).get(f"/api/accounts?{name}={value}")
    # Nobody's group is begun by that.
    assert answer.status_code in (409 if name == "group_id" else 200, 422), answer.text
    assert ("%00" in value or len(value) > 300) == (answer.status_code == 422)


@pytest.mark.parametrize("number", [2**31 - 1, 2**31, 2**63 - 1, 2**63, 10**25])
def test_a_number_is_looked_for_or_refused(journal: Journal, number: int) -> None:
    board = Client(create_app(FakeAccess(journal)))
    index = board.get(f"/api/accounts?map_index={number}")
    assert index.status_code == (200 if number < 2**31 else 422)
    settled = board.post(f"/api/unknown/{number}", json={"verdict": "is_there"}, headers={CSRF_HEADER: "1"})
    assert settled.status_code == (409 if number < 2**63 else 422)
