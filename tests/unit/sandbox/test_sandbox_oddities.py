"""Odd answers: what is said beside what is stored and claimed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from likepion_provider.sandbox.contract import API, ErrorAnswer
from likepion_provider.sandbox.manager import SandboxManager
from likepion_provider.sandbox.oddities import ENTRIES, NOBODY, ODD_ROWS
from likepion_provider.sandbox.server import Sandbox
from tests.unit.sandbox.conftest import Caller

URLS = [f"https://tide.example/e/{number}" for number in range(4)]


@pytest.fixture
def manager() -> SandboxManager:
    """Two groups, the first with a running post and four accounts."""
    manager = SandboxManager()
    manager.add_group("group")
    manager.add_post("group", target=7, link_rss="http://feed", request_id="post")
    for number in range(4):
        manager.add_account("group", "tide", {"password": f"pw-{number}"}, account_id=f"a{number}")
    manager.add_group("other")
    manager.add_account("other", "tide", {"password": "pw-b"}, account_id="b")
    return manager


def insert(manager: SandboxManager) -> tuple[int, Any]:
    item = {"request_id": "post", "account_id": "a0", "link_post": ",".join(URLS)}
    try:
        return 200, manager.insert(item)
    except ErrorAnswer as error:
        return error.status, error.body


def stored(manager: SandboxManager) -> list[int]:
    return [URLS.index(row.link_post) for row in manager.rows]


def successes(answer: Any) -> list[bool]:
    return [result["success"] for result in answer["results"]]


class TestInsert:
    @pytest.mark.parametrize("status", [200, 400, 409, 422, 500])
    def test_a_part_is_stored_and_the_envelope_denies_it(self, manager: SandboxManager, status: int) -> None:
        manager.answer("insert", store=(0, 2), status=status, fields={"success": False})
        found, answer = insert(manager)
        assert (found, answer["success"], answer["inserted"], answer["failed"]) == (status, False, 2, 2)
        assert successes(answer) == [True, False, True, False]
        assert stored(manager) == [0, 2]
        assert insert(manager)[1]["success"], "the next answer is an ordinary one"

    def test_counts_contradict_the_records(self, manager: SandboxManager) -> None:
        manager.answer("insert", store=(1,), fields={"inserted": 4, "failed": 0, "count": 9})
        _, answer = insert(manager)
        assert (answer["inserted"], answer["failed"], answer["count"]) == (4, 0, 9)
        assert successes(answer) == [False, True, False, False]
        assert stored(manager) == [1]

    def test_every_record_failed_beside_a_count_of_all(self, manager: SandboxManager) -> None:
        manager.answer("insert", entries=("all_false",))
        _, answer = insert(manager)
        assert (answer["success"], answer["inserted"], successes(answer)) == (True, 4, [False] * 4)
        assert stored(manager) == [0, 1, 2, 3]

    def test_nothing_is_stored_and_every_record_says_that_it_is(self, manager: SandboxManager) -> None:
        manager.answer("insert", store=(), entries=("all_true",))
        assert successes(insert(manager)[1]) == [True] * 4
        assert stored(manager) == []

    @pytest.mark.parametrize(
        ("name", "records"),
        [
            ("fewer", [0, 1, 2]),
            ("none", []),
            ("doubled", [0, 0, 1, 1, 2, 2, 3, 3]),
            ("reversed", [3, 2, 1, 0]),
        ],
    )
    def test_records_are_missing_doubled_or_elsewhere(
        self, manager: SandboxManager, name: str, records: list[int]
    ) -> None:
        manager.answer("insert", entries=(name,))
        assert [result["link_index"] for result in insert(manager)[1]["results"]] == records
        assert stored(manager) == [0, 1, 2, 3]

    def test_records_contradict_each_other(self, manager: SandboxManager) -> None:
        manager.answer("insert", entries=("contradicted",))
        assert successes(insert(manager)[1]) == [True, False] * 4

    @pytest.mark.parametrize(
        ("name", "field", "value"),
        [
            ("another_account", "account_id", NOBODY),
            ("another_post", "post_id", NOBODY),
            ("upper_case", "account_id", "A0"),
            ("host_case", "link_post", "https://TIDE.EXAMPLE/e/0"),
            ("percent_encoded", "link_post", "https://tide.example/e/%30"),
            ("no_link_index", "link_index", None),
            ("no_link_post", "link_post", None),
            ("success_text", "success", "true"),
        ],
    )
    def test_records_name_another_thing(self, manager: SandboxManager, name: str, field: str, value: Any) -> None:
        manager.answer("insert", entries=(name,))
        assert insert(manager)[1]["results"][0].get(field) == value
        assert {(row.request_id, row.account_id) for row in manager.rows} == {("post", "a0")}
        assert stored(manager) == [0, 1, 2, 3]

    def test_the_results_are_absent(self, manager: SandboxManager) -> None:
        manager.answer("insert", absent=("results",))
        _, answer = insert(manager)
        assert answer == {"success": True, "input": 1, "count": 4, "inserted": 4, "failed": 0}
        assert stored(manager) == [0, 1, 2, 3]

    def test_it_clears_the_claim_whatever_it_stores(self, manager: SandboxManager) -> None:
        manager.pull()
        manager.answer("insert", store=(), status=422)
        insert(manager)
        assert set(manager.holders()) == {"a1", "a2", "a3"}


class TestPull:
    @pytest.mark.parametrize("name", ODD_ROWS)
    def test_one_row_is_odd_among_honest_ones_and_all_are_claimed(self, manager: SandboxManager, name: str) -> None:
        manager.answer("pull", entries=(name,))
        rows = manager.pull()
        assert set(manager.holders()) == {"a0", "a1", "a2", "a3"}
        assert [row["account_id"] for row in rows[-3:]] == ["a1", "a2", "a3"]
        assert rows[0] != manager.account("a0") or name == "twice"
        assert len(rows) == (5 if name == "twice" else 4)

    @pytest.mark.parametrize(
        ("name", "field", "value"),
        [
            ("no_account_id", "account_id", None),
            ("no_account_id", "id", "a0"),
            ("no_ids", "id", None),
            ("no_request_id", "request_id", None),
            ("long_account_id", "account_id", "a" * 65),
            ("target_text", "target", "5"),
            ("target_float", "target", 1e10),
            ("target_huge", "target", 10**30),
            ("target_negative", "target", -1),
            ("target_true", "target", True),
            ("upper_case", "account_id", "A0"),
            ("upper_case", "request_id", "POST"),
        ],
    )
    def test_a_field_is_odd(self, manager: SandboxManager, name: str, field: str, value: Any) -> None:
        manager.answer("pull", entries=(name,))
        assert manager.pull()[0].get(field) == value

    @pytest.mark.parametrize(("name", "row"), [("null", None), ("text", "a task"), ("list", [])])
    def test_a_row_is_no_object(self, manager: SandboxManager, name: str, row: Any) -> None:
        manager.answer("pull", entries=(name,))
        assert manager.pull()[0] == row

    def test_a_domain_has_300_characters(self, manager: SandboxManager) -> None:
        manager.answer("pull", entries=("long_domain",))
        assert len(manager.pull()[0]["domain"]) == 300

    def test_names_without_a_row_get_a_stray_one(self, manager: SandboxManager) -> None:
        manager.answer("pull", entries=("null", "target_true", "text"))
        rows: list[Any] = manager.pull(1)
        assert (rows[0], rows[2], rows[1]["target"]) == (None, "a task", True)
        assert rows[1]["account_id"] not in manager.accounts
        assert rows[1].keys() == manager.account("a0").keys()

    def test_there_are_more_rows_than_asked_for(self, manager: SandboxManager) -> None:
        manager.answer("pull", beyond=5)
        rows = manager.pull(2)
        assert [row["account_id"] for row in rows[:4]] == ["a0", "a1", "a2", "a3"]
        assert (len(rows), len({row["account_id"] for row in rows})) == (7, 7)
        assert set(manager.holders()) == {"a0", "a1", "a2", "a3"}

    def test_a_whole_pull_may_deny_itself(self, manager: SandboxManager) -> None:
        manager.answer("pull", status=409, fields={"success": False})
        with pytest.raises(ErrorAnswer) as error:
            manager.pull(1)
        assert (error.value.status, error.value.body["success"], len(error.value.body["data"])) == (409, False, 1)
        assert set(manager.holders()) == {"a0"}


class TestClaim:
    @pytest.mark.parametrize("value", [0, 1, 15, 60, "15", None, True, -1, "NaN", 10**30])
    def test_the_ttl_is_odd(self, manager: SandboxManager, value: Any) -> None:
        manager.answer("claim", fields={"ttl_min": value})
        assert manager.claim(["a0"])["ttl_min"] == value
        assert set(manager.holders()) == {"a0"}

    def test_the_ttl_is_missing(self, manager: SandboxManager) -> None:
        manager.answer("claim", absent=("ttl_min",))
        assert "ttl_min" not in manager.claim(["a0"])

    @pytest.mark.parametrize(
        ("name", "claimed"),
        [
            ("objects", [{"account_id": "a0"}, {"account_id": "a1"}]),
            ("upper_case", ["A0", "A1"]),
            ("fewer", ["a0"]),
            ("none", []),
            ("doubled", ["a0", "a1", "a0", "a1"]),
            ("unasked", ["a0", "a1", NOBODY]),
            ("nulls", [None, None]),
        ],
    )
    def test_the_claimed_are_odd_and_claimed(self, manager: SandboxManager, name: str, claimed: list[Any]) -> None:
        manager.answer("claim", entries=(name,))
        assert manager.claim(["a0", "a1"])["claimed"] == claimed
        assert set(manager.holders()) == {"a0", "a1"}

    @pytest.mark.parametrize("value", [None, "a0", {"a0": True}, [None, 3, ["a0"]]])
    def test_the_not_found_are_odd(self, manager: SandboxManager, value: Any) -> None:
        manager.answer("claim", fields={"not_found": value})
        assert manager.claim(["a0"])["not_found"] == value


class TestAccount:
    def test_another_accounts_data_is_answered(self, manager: SandboxManager) -> None:
        manager.answer("account", other="b")
        assert (manager.account("a0")["id"], manager.account("a0")["id"]) == ("b", "a0")

    @pytest.mark.parametrize("name", ODD_ROWS)
    def test_the_data_is_as_odd_as_a_row(self, manager: SandboxManager, name: str) -> None:
        usual = manager.account("a0")
        manager.answer("account", entries=(name,))
        assert manager.account("a0") != usual or name == "twice"


class TestWhichCallIsAnsweredOddly:
    def test_calls_of_one_endpoint_in_turn(self, manager: SandboxManager) -> None:
        manager.answer("claim", times=2, fields={"ttl_min": 1})
        manager.answer("claim", fields={"ttl_min": 2})
        manager.account("a0")
        assert [manager.claim(["a0"])["ttl_min"] for _ in range(4)] == [1, 1, 2, 15]
        assert manager.oddities == []

    def test_a_call_that_is_refused_takes_none(self, manager: SandboxManager) -> None:
        manager.answer("insert", store=())
        with pytest.raises(ErrorAnswer):
            manager.insert({})
        insert(manager)
        assert stored(manager) == []

    @pytest.mark.parametrize("endpoint", ENTRIES)
    def test_every_two_go_together_and_are_json(self, manager: SandboxManager, endpoint: str) -> None:
        calls: dict[str, Callable[[], object]] = {
            "pull": lambda: manager.pull(4),
            "claim": lambda: manager.claim(["a0", "a1"]),
            "insert": lambda: insert(manager)[1],
            "account": lambda: manager.account("a0"),
        }
        for first in ENTRIES[endpoint]:
            for second in ENTRIES[endpoint]:
                manager.answer(endpoint, entries=(first, second))
                assert json.dumps(calls[endpoint]())

    @pytest.mark.parametrize(
        ("endpoint", "how"),
        [
            ("pul", {}),
            ("pull", {"times": 0}),
            ("pull", {"entries": ("all_true",)}),
            ("pull", {"store": (1,)}),
            ("pull", {"beyond": -1}),
            ("claim", {"beyond": 1}),
            ("claim", {"other": "b"}),
            ("claim", {"status": 99}),
            ("claim", {"fields": []}),
            ("claim", {"nonsense": 1}),
        ],
    )
    def test_an_unknown_oddity_is_refused(self, manager: SandboxManager, endpoint: str, how: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"."):
            manager.answer(endpoint, **how)
        assert manager.oddities == []


class TestOverHttp:
    async def test_a_partial_insert_behind_an_error_status(self, sandbox: Sandbox, call: Caller) -> None:
        odd = {"endpoint": "insert", "store": [1], "status": 422, "fields": {"success": False}, "times": 1}
        assert (await call("POST", "/sandbox/oddities", json=odd))[0] == 200
        account, post = sandbox.world.accounts[0], sandbox.world.posts[0]
        item = {"request_id": post.request_id, "account_id": account.account_id, "link_post": "http://1,http://2"}
        status, answer = await call("POST", f"{API}/links/insert", json=item)
        assert (status, answer["success"], successes(answer)) == (422, False, [False, True])
        _, rows = await call("GET", "/sandbox/rows")
        assert [row["link_post"] for row in rows["rows"]] == ["http://2"]

    @pytest.mark.parametrize("name", ODD_ROWS)
    async def test_odd_rows(self, sandbox: Sandbox, call: Caller, name: str) -> None:
        await call("POST", "/sandbox/oddities", json={"endpoint": "pull", "entries": [name]})
        status, answer = await call("GET", f"{API}/links?type=secondary&limit=2")
        assert (status, len(answer["data"])) == (200, 3 if name == "twice" else 2)
        assert len(sandbox.manager.holders()) == 2

    async def test_listed_and_dropped(self, call: Caller) -> None:
        odd = {"endpoint": "account", "times": 2}
        _, answer = await call("POST", "/sandbox/oddities", json=odd)
        assert [each["endpoint"] for each in answer["waiting"]] == ["account", "account"]
        assert (await call("DELETE", "/sandbox/oddities"))[1] == {"waiting": []}
        assert (await call("GET", "/sandbox/oddities"))[1] == {"waiting": []}

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"endpoint": "x"},
            {"endpoint": "pull", "times": 0},
            {"endpoint": "pull", "entries": "null"},
            {"endpoint": "pull", "entries": [None]},
            {"endpoint": "insert", "store": "0"},
            {"endpoint": "insert", "fields": []},
            {"endpoint": "insert", "nonsense": 1},
        ],
    )
    async def test_nonsense_is_400(self, sandbox: Sandbox, call: Caller, body: Any) -> None:
        status, answer = await call("POST", "/sandbox/oddities", json=body)
        assert (status, answer["success"], sandbox.manager.oddities) == (400, False, [])
