"""Requests that no board of ours makes: answered with what is wrong, and with the headers of every answer."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import httpx
import pytest

from likepion_provider.board.api import CSRF_HEADER, SECURITY_HEADERS, create_app
from likepion_provider.board.bounds import MAX_BODY_BYTES
from likepion_provider.board.export import cell
from likepion_provider.errors import JournalUnusable
from likepion_provider.journal.database import Database
from tests.unit.board.client import Client
from tests.unit.board.conftest import FakeAccess, Story

#: Who asks, and the status of the answer; 0 for any refusal.
WHO = {"admin": 0, "viewer": 0, "nobody": 401}
BIG = 10**25
ODD_READS = [
    *(f"/api/accounts?map_index={number}" for number in (BIG, -BIG, 2**31, -2, "9" * 5000, "x", "1e3")),
    *(f"/api/{path}={BIG}" for path in ("groups?offset", "groups?limit", "accounts?limit", "unknown?offset")),
    *(f"/api/{path}={BIG}" for path in ("delivered?days", "links?request_id=a&account_id=b&offset")),
    *(f"/api/accounts?{name}=a%00b" for name in ("group_id", "domain", "standing", "run_id", "text")),
    *(f"/api/{path}?group_id=%00" for path in ("groups", "unknown", "accounts.csv")),
    *("/api/links?request_id=%00&account_id=b", "/api/links?request_id=a&account_id=%00", "/api/links"),
    *(f"/api/accounts?{name}={'x' * 5000}" for name in ("group_id", "domain", "standing", "run_id", "text")),
]
ODD_BODIES: list[bytes | str] = [
    *(json.dumps({"verdict": "is_there", "note": note}) for note in ("a\ud800", "a\x00b", "x" * 501, 7, None)),
    *(json.dumps({"verdict": verdict}) for verdict in ("a\ud800", "", None, ["is_there"])),
    *("{", "[]", "null", "", "[" * 10_000, b"\xff\xfe{", b'{"verdict": "is_there", "note": "\\ud800"}'),
]


def assert_secured(answer: httpx.Response) -> None:
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS


def assert_refused(answer: httpx.Response, status: int = 0) -> None:
    assert answer.status_code == (status or answer.status_code), answer.text
    assert 400 <= answer.status_code < 500, answer.text
    assert_secured(answer)
    detail = answer.json()["detail"]
    assert isinstance(detail, str), "the page shows it as it is"
    for word in ("Traceback", "sqlite", "psycopg", "pydantic", "x" * 100, "\x00"):
        assert word not in detail
    assert len(detail) < 1000


@pytest.fixture
def board(access: FakeAccess) -> Client:
    return Client(create_app(access), raise_app_exceptions=False)


@pytest.mark.parametrize("who", WHO)
def test_what_is_beyond_a_bound_is_said_with_the_headers(board: Client, who: str) -> None:
    for path in ODD_READS:
        assert_refused(board.get(path, headers={"As": who}), WHO[who])


@pytest.mark.parametrize("who", WHO)
def test_an_odd_word_on_a_link_is_refused_with_the_headers(
    board: Client, story: Story, access: FakeAccess, who: str
) -> None:
    story.send(story.account("pod"), None)
    headers = {CSRF_HEADER: "1", "As": who, "Content-Type": "application/json"}
    for body in ODD_BODIES:
        assert_refused(board.post(f"/api/unknown/{story.parked()}", content=body, headers=headers))
    good = json.dumps({"verdict": "is_there"})
    for link_id in (BIG, -1, 0, 2**63, "x", "%00", "9" * 5000):
        assert_refused(board.post(f"/api/unknown/{link_id}", content=good, headers=headers))
    assert access.audited == []
    assert story.parked()


def test_the_largest_numbers_that_are_taken_are_the_databases(board: Client) -> None:
    assert board.get(f"/api/accounts?map_index={2**31 - 1}").json()["rows"] == []
    answer = board.post(f"/api/unknown/{2**63 - 1}", json={"verdict": "is_there"}, headers={CSRF_HEADER: "1"})
    assert answer.json()["detail"] == f"the journal has no link {2**63 - 1}. Correct the parameter and run again."


def test_a_body_is_not_read_beyond_its_bound(board: Client) -> None:
    headers = {CSRF_HEADER: "1", "As": "nobody", "Content-Type": "application/json"}
    answer = board.post("/api/unknown/1", content=b" " * (MAX_BODY_BYTES + 1), headers=headers)
    assert answer.status_code == 413
    assert_secured(answer)

    async def endless() -> Any:
        yield b" "
        raise AssertionError("the body is read although its length is not told")

    answer = board.post("/api/unknown/1", content=endless(), headers=headers)
    assert answer.status_code == 413


def test_the_headers_are_on_every_answer(board: Client, story: Story) -> None:
    story.account("pod")
    for path in ("/", "/static/board.js", "/static/none", "/api/overview", "/api/accounts.csv", "/none", "/%00"):
        for who in ("admin", "stranger", "nobody"):
            assert_secured(board.get(path, headers={"As": who}))
    assert_secured(board.post("/api/overview"))


@pytest.mark.parametrize("error", [OSError("secret words of a database"), JournalUnusable("no route")])
def test_a_fault_has_the_headers_too(access: FakeAccess, error: Exception) -> None:
    def fails() -> Database:
        raise error

    access.database = fails  # type: ignore[method-assign]
    answer = Client(create_app(access), raise_app_exceptions=False).get("/api/overview")
    assert answer.status_code >= 500
    assert_secured(answer)
    assert isinstance(answer.json()["detail"], str)
    assert "secret words" not in answer.text


FORMULAS = [
    *("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "  @x", "\ufeff=1", "\u200b=1", "\u00a0=1"),
    *(
        "\uff1d1",
        "\uff0b1",
        "\uff0d1",
        "\uff20x",
        "\ufe621",
        "\ufe631",
        "\ufe661",
        "\ufe6bx",
        '"=1',
        "'=1",
        "''=1",
        "\x00=1",
        "\x1f=1",
        "\u2028=1",
    ),
]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text).startswith("'")
    assert cell(text).isprintable() or not text.isprintable()


@pytest.mark.parametrize("text", ["a=b", "Ada & Bob's", "podcast \u2013 one", "1-2", "", "\u00fcber"])
def test_other_cells_stay_as_they_are(text: str) -> None:
    assert cell(text) == text


def test_a_row_of_the_csv_is_a_line_whatever_is_in_it(board: Client, story: Story) -> None:
    story.fail(story.account("=odd\n=1"), 'a;=1\r\n=2"\n"=3\x85=4\u2028=5')
    text = board.get("/api/accounts.csv").text
    assert len(text.splitlines()) == 2
    head, row = csv.reader(io.StringIO(text))
    assert not [each for each in row if each.startswith(("=", "@"))]
    assert '"a;=1' in text, "a semicolon is no end of a cell where the cell is quoted"
    assert head[0] == "group_id"
