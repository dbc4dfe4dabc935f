"""Ids by what people have of them: beginnings and names; one manager's, and never another account's."""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timezone
from typing import Any

import pytest
from sqlalchemy import event, insert, text

from likepion_provider.errors import BadRequest
from likepion_provider.journal import Journal, open_journal
from likepion_provider.journal.schema import submission
from likepion_provider.models import SecondaryTask

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)
ANH = "e3e70682-c209-4cac-a29f-6fbed82c07cd"
BAO = "e3e70682-ffff-4cac-a29f-6fbed82c07cd"
CHI = "f728b4fa-4248-4e3a-8a5d-2f346baa9455"
GROUP = "eb1167b3-67a9-4378-bc65-c1e582e2e662"
OTHER = "f7c1bd87-4da5-4709-9471-3d60c8a70639"


def put(journal: Journal, account_id: str, name: str = "", *, group: str = GROUP, post: str = "post") -> None:
    journal.submissions.note([SecondaryTask(account_id, post, group, "tide.example", username=name)], "run", AT)


@pytest.fixture
def known(journal: Journal) -> Journal:
    put(journal, ANH, "anh")
    put(journal, BAO, "bao")
    put(journal, CHI, "chi", group=OTHER)
    return journal


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        (CHI, CHI),
        ("f728", CHI),
        ("e3e70682-c", ANH),
        ("anh@tide.example", ANH),
        ("chi@", CHI),
        ("00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000"),
    ],
)
def test_an_account_is_found_by_any_of_its_names(known: Journal, word: str, meant: str) -> None:
    assert known.names.accounts([word]) == (meant,)


def test_two_words_for_one_account_name_it_once(known: Journal) -> None:
    assert known.names.accounts(["chi@", "f728b", CHI, "anh@tide.example"]) == (CHI, ANH)


def test_a_group_is_found_by_how_it_begins(known: Journal) -> None:
    assert known.names.group("eb11") == GROUP
    assert known.names.group(OTHER) == OTHER
    assert known.names.group("") == ""


def test_an_account_of_many_posts_is_one_account(known: Journal) -> None:
    for number in range(30):
        put(known, CHI, f"chi-{number}", post=f"post-{number}", group=OTHER)
    assert known.names.accounts(["f728", "chi-7@tide.example"]) == (CHI,)
    assert known.names.accounts(["chi-"]) == (CHI,)
    put(known, "d0000000", "chi-9")
    with pytest.raises(BadRequest, match="fits several accounts"):
        known.names.accounts(["chi-"])


def test_what_fits_several_names_them_and_none_is_taken(known: Journal) -> None:
    with pytest.raises(BadRequest) as error:
        known.names.accounts(["e3e70682"])
    assert error.value.message == (
        f"'e3e70682' fits several accounts of the journal: {ANH} (anh@tide.example), {BAO} (bao@tide.example)"
    )


def test_candidates_are_bounded(known: Journal) -> None:
    for number in range(40):
        put(known, f"abcd{number:04}", f"name-{number}", group=f"abcd-group-{number}")
    for find in (lambda: known.names.accounts(["abcd"]), lambda: known.names.group("abcd")):
        with pytest.raises(BadRequest, match="fits several") as error:
            find()
        assert len(re.findall(r"abcd\S+ \(name-\d+@tide\.example\)", error.value.message)) == 10
        assert error.value.message.endswith("), ...")


@pytest.mark.parametrize(
    "word",
    [
        "nobody",
        "ANH@tide.example",
        "e3e",
        "f_28",
        "f%",
        "e3e70682-d",
        "\U0010ffff" * 4,
        "anh@tide.exampl\ud800",
        "e3e7\x00",
        "x" * 400,
    ],
)
def test_what_fits_nothing_says_so_and_names_who_is_there(known: Journal, word: str) -> None:
    with pytest.raises(BadRequest, match="fits no account of the journal, whose newest are") as error:
        known.names.accounts([word])
    assert f"{ANH} (anh@tide.example)" in error.value.message
    assert "Give the whole id, or 4 characters or more" in error.value.remedy


def test_an_empty_journal_asks_for_the_whole_id(journal: Journal) -> None:
    with pytest.raises(BadRequest, match="of the journal, which has none yet"):
        journal.names.group("eb11")


def test_a_whole_id_means_itself_though_others_begin_or_are_called_so(journal: Journal) -> None:
    put(journal, "pod", "one")
    put(journal, "podcast", "two")
    put(journal, "three", "pod")
    assert journal.names.accounts(["pod", "podc"]) == ("pod", "podcast")
    assert journal.names.accounts(["pod@tide.example"]) == ("three",)
    put(journal, "four", "pod@tide.example")
    assert journal.names.accounts(["pod@tide.example"]) == ("three",), "whole, before what only begins so"


@pytest.mark.parametrize("name", ["Đặng Thị Ánh", "a-b c", "ß", "name_%", "it's", "a\U0010fffe", "n" * 300])
def test_names_of_any_script_are_compared_character_by_character(journal: Journal, name: str) -> None:
    put(journal, ANH, name)
    put(journal, CHI, name.upper() + "?")
    assert journal.names.accounts([f"{name}@tide.example"]) == (ANH,)
    assert journal.names.accounts([f"{name}@tide"]) == (ANH,)


def test_another_managers_accounts_are_nobody(known: Journal, journal_url: str) -> None:
    other = open_journal(journal_url, "https://other.example")
    with pytest.raises(BadRequest, match="which has none yet"):
        other.names.accounts(["f728"])
    put(other, "f7280000", "far")
    assert known.names.accounts(["f728"]) == (CHI,)
    assert other.names.accounts(["f728"]) == ("f7280000",)


def test_a_lookup_among_many_accounts_reads_a_range_of_an_index(journal: Journal) -> None:
    rows = [
        {
            "request_id": "post",
            "account_id": str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)),
            "group_id": str(uuid.UUID(int=number % 1000 * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)),
            "domain": "tide.example",
            "label": f"{number:06}@tide.example",
            "state": "new",
            "updated_at": AT,
        }
        for number in range(20_000)
    ]
    engine = journal.database.engine
    with journal.database.writing() as connection:
        connection.execute(insert(submission), rows)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE likepion_submission"))
    plans: list[str] = []

    def explain(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT likepion_submission."):
            words = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
            with engine.connect() as other:
                plans.append("\n".join(map(str, other.exec_driver_sql(f"{words} {statement}", parameters))))

    event.listen(engine, "before_cursor_execute", explain)
    one = rows[777]
    assert journal.names.accounts([str(one["account_id"])[:12]]) == (one["account_id"],)
    assert journal.names.accounts(["000777@"]) == (one["account_id"],)
    assert journal.names.group(str(one["group_id"])[:12]) == one["group_id"]
    assert len(plans) == 4 + 4 + 2
    for plan in plans:
        bounds = r"SEARCH .*\((account_id|label|group_id)[>=]" if engine.dialect.name == "sqlite" else r"Index Cond: "
        assert re.search(bounds, plan), plan
        assert "Seq Scan" not in plan, plan
