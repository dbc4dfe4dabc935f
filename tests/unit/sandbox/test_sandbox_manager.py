"""The manager's rules, in process, on a clock that the test moves."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from likepion_provider.sandbox.clock import SandboxClock
from likepion_provider.sandbox.contract import ErrorAnswer
from likepion_provider.sandbox.manager import SandboxManager

TASK_FIELDS = {
    *("id", "account_id", "request_id", "type_request", "status", "group_id", "target", "accounts_remaining", "domain"),
    *("website", "email", "username", "password", "pass_mail", "twofa", "app_password", "cookie", "link_rss"),
}
MINUTE = 60


class Scene:
    """One group with a running post and three accounts, two of them on one domain."""

    def __init__(self) -> None:
        self.clock = SandboxClock(datetime(2026, 1, 1, tzinfo=timezone.utc))
        self.manager = SandboxManager(self.clock)
        self.group = self.manager.add_group("group").group_id
        self.post = self.manager.add_post("group", target=7, link_rss="http://feed", request_id="post").request_id
        for account_id, domain in (("a1", "tide"), ("a2", "tide"), ("b1", "harbor")):
            self.manager.add_account("group", domain, {"password": f"pw-{account_id}"}, account_id=account_id)

    def pull(self, limit: int = 10) -> list[str]:
        return [task["account_id"] for task in self.manager.pull(limit)]

    def insert(self, link_post: str, **fields: Any) -> dict[str, Any]:
        return self.manager.insert({"request_id": "post", "account_id": "a1", "link_post": link_post, **fields})


@pytest.fixture
def scene() -> Scene:
    return Scene()


def status_of(error: pytest.ExceptionInfo[ErrorAnswer]) -> int:
    return error.value.status


class TestPull:
    def test_a_task_has_every_field_of_the_contract(self, scene: Scene) -> None:
        task = scene.manager.pull(1)[0]
        assert task.keys() == TASK_FIELDS
        assert task["id"] == task["account_id"] == "a1"
        assert (task["request_id"], task["status"], task["type_request"]) == ("post", "queued", "post")
        assert (task["target"], task["accounts_remaining"], task["link_rss"]) == (7, 3, "http://feed")
        assert task["password"] == "pw-a1"

    def test_a_pulled_account_is_nobody_elses_for_15_minutes(self, scene: Scene) -> None:
        assert scene.pull(2) == ["a1", "a2"]
        assert scene.pull() == ["b1"]
        scene.clock.advance(15 * MINUTE - 1)
        assert scene.pull() == []
        scene.clock.advance(1)
        assert scene.pull() == ["a1", "a2", "b1"]

    def test_an_account_with_a_row_for_the_post_is_done(self, scene: Scene) -> None:
        scene.insert("http://x")
        assert scene.pull() == ["a2", "b1"]
        assert scene.manager.account("a2")["accounts_remaining"] == 2

    def test_a_new_post_of_the_group_makes_it_eligible_again(self, scene: Scene) -> None:
        scene.insert("http://x")
        scene.manager.update_post("post", status="completed")
        assert scene.pull() == []
        scene.manager.add_post("group", request_id="next")
        tasks = scene.manager.pull(10)
        assert [(task["account_id"], task["request_id"]) for task in tasks] == [
            ("a1", "next"),
            ("a2", "next"),
            ("b1", "next"),
        ]

    def test_a_pending_post_gives_no_task(self, scene: Scene) -> None:
        scene.manager.update_post("post", status="pending")
        assert scene.pull() == []

    def test_a_pending_post_beside_the_running_one_changes_no_pull(self, scene: Scene) -> None:
        scene.manager.add_post("group", request_id="next", status="pending")
        assert {task["request_id"] for task in scene.manager.pull(10)} == {"post"}

    def test_of_two_running_posts_the_newest_without_a_row_of_the_account_is_handed_out(self, scene: Scene) -> None:
        scene.manager.add_post("group", request_id="next", target=9)
        scene.insert("http://1", request_id="next")
        scene.insert("http://2", account_id="a2")
        tasks = {task["account_id"]: task for task in scene.manager.pull(10)}
        assert {each: task["request_id"] for each, task in tasks.items()} == {"a1": "post", "a2": "next", "b1": "next"}
        assert (tasks["a1"]["target"], tasks["a2"]["target"]) == (7, 9)
        assert (tasks["a1"]["accounts_remaining"], tasks["a2"]["accounts_remaining"]) == (2, 2)
        assert scene.pull() == [], "one task per account, and the others are claimed"

    def test_an_account_with_a_row_for_each_running_post_is_done(self, scene: Scene) -> None:
        scene.manager.add_post("group", request_id="next")
        for request_id in ("post", "next"):
            scene.insert("http://1", request_id=request_id)
        assert scene.pull() == ["a2", "b1"]

    @pytest.mark.parametrize("status", ["failed", "cancel"])
    def test_a_row_of_any_status_ends_the_account(self, scene: Scene, status: str) -> None:
        scene.insert("http://1", status=status)
        assert scene.pull() == ["a2", "b1"]
        assert scene.manager.account("a2")["accounts_remaining"] == 2

    def test_a_banned_account_gives_no_task(self, scene: Scene) -> None:
        scene.manager.update_account("a2", status="banned")
        assert scene.pull() == ["a1", "b1"]

    def test_without_type_primary_tasks_come_too(self, scene: Scene) -> None:
        tasks = scene.manager.pull(2, None)
        assert [task["domain"] for task in tasks] == ["primary.example", "tide"]
        assert scene.pull() == ["a2", "b1"]

    def test_each_running_post_has_a_primary_task(self, scene: Scene) -> None:
        scene.manager.add_post("group", request_id="next")
        assert [task["request_id"] for task in scene.manager.pull(2, None)] == ["next", "post"]

    def test_a_post_without_feed_is_handed_out_all_the_same(self, scene: Scene) -> None:
        scene.manager.set_link_rss("post", "")
        assert scene.manager.pull(1)[0]["link_rss"] == ""

    @pytest.mark.parametrize("limit", [0, -1, 1001])
    def test_limit_is_1_to_1000(self, scene: Scene, limit: int) -> None:
        with pytest.raises(ErrorAnswer, match=r"1\.\.1000") as error:
            scene.manager.pull(limit)
        assert status_of(error) == 400
        assert scene.pull(1000) == ["a1", "a2", "b1"]

    def test_type_is_secondary_or_absent(self, scene: Scene) -> None:
        with pytest.raises(ErrorAnswer, match="type"):
            scene.manager.pull(1, "tertiary")


class TestClaim:
    def test_it_says_what_it_claimed_and_what_it_does_not_know(self, scene: Scene) -> None:
        assert scene.manager.claim(["a1", "nobody", "a1", "b1"]) == {
            "success": True,
            "claimed": ["a1", "b1"],
            "count": 2,
            "ttl_min": 15,
            "not_found": ["nobody"],
        }
        assert scene.pull() == ["a2"]

    def test_it_extends_a_claim_from_now(self, scene: Scene) -> None:
        scene.pull()
        scene.clock.advance(10 * MINUTE)
        scene.manager.claim(["a1"])
        scene.clock.advance(10 * MINUTE)
        assert scene.pull() == ["a2", "b1"]
        scene.clock.advance(5 * MINUTE)
        assert scene.pull() == ["a1"]

    def test_it_refuses_nobody_but_the_log_tells(self, scene: Scene) -> None:
        scene.manager.pull(1, worker="first")
        assert scene.manager.claim(["a1"], worker="second")["claimed"] == ["a1"]
        assert scene.manager.holders() == {"a1": "second"}
        assert [(e.kind, e.worker, e.foreign) for e in scene.manager.events] == [
            ("pull", "first", ()),
            ("claim", "second", ("a1",)),
        ]

    def test_ids_are_the_same_in_upper_case(self, scene: Scene) -> None:
        answer = scene.manager.claim(["A1", "a1", "NOBODY"])
        assert (answer["claimed"], answer["count"], answer["not_found"]) == (["a1"], 1, ["NOBODY"])
        assert scene.manager.account("A1")["id"] == "a1"

    def test_a_shorter_claim_is_told_and_lapses_sooner(self, scene: Scene) -> None:
        scene.manager.ttl_min = 1
        assert scene.manager.claim(["a1"])["ttl_min"] == 1
        scene.clock.advance(MINUTE - 1)
        assert scene.pull() == ["a2", "b1"]
        scene.clock.advance(1)
        assert scene.pull() == ["a1"]

    def test_200_ids_at_most(self, scene: Scene) -> None:
        assert scene.manager.claim([str(n) for n in range(200)])["count"] == 0
        with pytest.raises(ErrorAnswer, match="200") as error:
            scene.manager.claim([str(n) for n in range(201)])
        assert status_of(error) == 400

    def test_one_id_at_least(self, scene: Scene) -> None:
        with pytest.raises(ErrorAnswer, match="required"):
            scene.manager.claim([])


class TestInsert:
    def test_the_answer_has_one_result_per_url(self, scene: Scene) -> None:
        answer = scene.manager.insert(
            [
                {"request_id": "post", "account_id": "a2", "link_post": "http://1, http://2"},
                {"post_id": "post", "domain": "harbor", "link_post": "http://3,"},
            ]
        )
        results = answer.pop("results")
        assert answer == {"success": True, "input": 2, "count": 3, "inserted": 3, "failed": 0}
        assert [(r["index"], r["link_index"], r["account_id"], r["link_post"], r["success"]) for r in results] == [
            (0, 0, "a2", "http://1", True),
            (0, 1, "a2", "http://2", True),
            (1, 0, "b1", "http://3", True),
        ]
        assert results[0].keys() == {"index", "link_index", "post_id", "account_id", "domain", "link_post", "success"}

    def test_items_may_come_in_an_object(self, scene: Scene) -> None:
        body = {"items": [{"request_id": "post", "account_id": "a1", "link_post": "http://1"}]}
        assert scene.manager.insert(body)["inserted"] == 1

    def test_a_domain_means_the_first_account_that_has_it(self, scene: Scene) -> None:
        answer = scene.manager.insert({"request_id": "post", "domain": "tide", "link_post": "http://1"})
        assert answer["results"][0]["account_id"] == "a1"

    def test_the_account_id_goes_before_the_domain(self, scene: Scene) -> None:
        answer = scene.insert("http://1", account_id="a2", domain="harbor")
        assert (answer["results"][0]["account_id"], answer["results"][0]["domain"]) == ("a2", "tide")

    def test_it_never_deduplicates(self, scene: Scene) -> None:
        scene.insert("http://1,http://1")
        scene.insert("http://1")
        scene.insert("http://1", account_id="a2")
        assert len(scene.manager.rows) == 4
        assert scene.manager.duplicates() == {("post", "a1", "http://1"): 3}
        assert scene.manager.duplicates("other") == {}
        assert scene.manager.rows_report()["duplicates"][0]["count"] == 3

    def test_it_clears_the_claim_of_its_accounts_only(self, scene: Scene) -> None:
        scene.pull()
        scene.insert("http://1")
        assert set(scene.manager.holders()) == {"a2", "b1"}
        scene.manager.update_post("post", status="completed")
        scene.manager.add_post("group", request_id="next")
        assert scene.pull() == ["a1"]

    def test_it_clears_the_claim_even_where_every_record_fails(self, scene: Scene) -> None:
        scene.pull()
        scene.manager.refuse_records(2)
        assert scene.insert("http://1,http://2")["inserted"] == 0
        scene.insert("http://1", request_id="nothing", account_id="a2")
        assert set(scene.manager.holders()) == {"b1"}
        assert scene.manager.rows == []
        assert scene.pull() == ["a1", "a2"], "somebody else may have them at once"

    def test_a_refused_request_clears_no_claim(self, scene: Scene) -> None:
        scene.pull()
        with pytest.raises(ErrorAnswer):
            scene.insert("http://1", status="done")
        assert set(scene.manager.holders()) == {"a1", "a2", "b1"}

    def test_ids_are_the_same_in_upper_case(self, scene: Scene) -> None:
        for account_id, request_id in (("a1", "post"), ("A1", "POST")):
            scene.insert("http://1", account_id=account_id, request_id=request_id)
        assert scene.manager.duplicates() == {("post", "a1", "http://1"): 2}
        assert scene.pull() == ["a2", "b1"]

    def test_the_log_tells_who_inserted_without_a_claim(self, scene: Scene) -> None:
        scene.manager.pull(1, worker="first")
        scene.insert("http://1")
        scene.clock.advance(15 * MINUTE)
        scene.insert("http://2", account_id="b1")
        assert scene.manager.events[1].foreign == ("a1",)
        assert scene.manager.events[1].unclaimed == ()
        assert scene.manager.events[2].unclaimed == ("b1",)

    def test_new_credentials_are_copied(self, scene: Scene) -> None:
        scene.insert("http://1", cookie="session=new", password=None)
        assert scene.manager.account("a1")["cookie"] == "session=new"
        assert scene.manager.account("a1")["password"] == "pw-a1"

    def test_new_credentials_are_copied_once_per_account(self, scene: Scene) -> None:
        items = [{"request_id": "post", "account_id": "a1", "link_post": "http://1", "cookie": each} for each in "xy"]
        scene.manager.insert(items)
        assert scene.manager.account("a1")["cookie"] == "x"

    def test_200_records_at_most_and_none_is_stored_of_more(self, scene: Scene) -> None:
        with pytest.raises(ErrorAnswer, match="200"):
            scene.insert(",".join(f"http://{n}" for n in range(201)))
        assert scene.manager.rows == []
        assert scene.insert(",".join(f"http://{n}" for n in range(200)))["inserted"] == 200

    @pytest.mark.parametrize("status", ["completed", "failed", "cancel"])
    def test_a_status_is_kept(self, scene: Scene, status: str) -> None:
        scene.insert("http://1", status=status, note="why")
        assert (scene.manager.rows[0].status, scene.manager.rows[0].note) == (status, "why")

    def test_the_default_status_is_completed(self, scene: Scene) -> None:
        scene.insert("http://1")
        assert scene.manager.rows[0].status == "completed"

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"request_id": ""}, "request_id"),
            ({"account_id": None}, "account_id or domain"),
            ({"link_post": ""}, "link_post"),
            ({"link_post": " , ,"}, "link_post"),
            ({"link_post": ["http://1"]}, "link_post must be a string"),
            ({"status": "done"}, "status"),
            ({"note": 3}, "note must be a string"),
        ],
    )
    def test_a_bad_item_refuses_the_whole_request(self, scene: Scene, change: dict[str, Any], problem: str) -> None:
        good = {"request_id": "post", "account_id": "a1", "link_post": "http://1"}
        with pytest.raises(ErrorAnswer, match=problem) as error:
            scene.manager.insert([good, {**good, **change}])
        assert status_of(error) == 400
        assert scene.manager.rows == []

    @pytest.mark.parametrize("body", [[], "text", 3, None, {"items": {}}, [1]])
    def test_a_bad_body_is_refused(self, scene: Scene, body: object) -> None:
        with pytest.raises(ErrorAnswer):
            scene.manager.insert(body)

    @pytest.mark.parametrize(
        "change", [{"request_id": "other"}, {"account_id": "nobody"}, {"account_id": None, "domain": "lantern"}]
    )
    def test_what_is_not_there_fails_by_record(self, scene: Scene, change: dict[str, Any]) -> None:
        good = {"request_id": "post", "account_id": "a1", "link_post": "http://1"}
        answer = scene.manager.insert([{**good, **change}, good])
        assert (answer["inserted"], answer["failed"]) == (1, 1)
        assert [result["success"] for result in answer["results"]] == [False, True]
        assert answer["results"][0]["message"]

    def test_an_account_of_another_group_fails(self, scene: Scene) -> None:
        scene.manager.add_group("else")
        scene.manager.add_account("else", "tide", account_id="c1")
        assert scene.insert("http://1", account_id="c1")["failed"] == 1

    def test_records_can_be_refused_on_demand(self, scene: Scene) -> None:
        scene.manager.refuse_records(1)
        answer = scene.insert("http://1,http://2")
        assert [result["success"] for result in answer["results"]] == [False, True]
        assert [row.link_post for row in scene.manager.rows] == ["http://2"]


class TestAccount:
    def test_it_has_the_shape_of_a_task_and_no_effect(self, scene: Scene) -> None:
        assert scene.manager.account("a1").keys() == TASK_FIELDS
        assert scene.manager.holders() == {}
        scene.pull()
        scene.manager.update_account("a1", status="banned")
        assert scene.manager.account("a1")["request_id"] == "post"

    def test_it_tells_of_the_newest_active_post(self, scene: Scene) -> None:
        scene.manager.add_post("group", request_id="next", status="pending", link_rss="http://next")
        task = scene.manager.account("a1")
        assert (task["request_id"], task["link_rss"]) == ("next", "http://next")
        assert scene.manager.pull(1)[0]["request_id"] == "post"

    def test_it_may_name_another_post_than_the_pull(self, scene: Scene) -> None:
        """A row for the newest post leaves the older running one to be pulled; the account shows the newest."""
        scene.manager.add_post("group", request_id="next")
        scene.insert("http://1", request_id="next")
        assert scene.manager.pull(1)[0]["request_id"] == "post"
        assert scene.manager.account("a1")["request_id"] == "next"

    def test_without_active_post_the_fields_are_empty(self, scene: Scene) -> None:
        scene.manager.update_post("post", status="completed")
        task = scene.manager.account("a1")
        found = (task["request_id"], task["target"], task["accounts_remaining"], task["link_rss"])
        assert found == ("", 0, 0, "")

    def test_an_unknown_one_is_404(self, scene: Scene) -> None:
        with pytest.raises(ErrorAnswer) as error:
            scene.manager.account("nobody")
        assert status_of(error) == 404


class TestAdministration:
    def test_what_is_there_is_not_added_again(self, scene: Scene) -> None:
        for add in (
            lambda: scene.manager.add_group("group"),
            lambda: scene.manager.add_post("group", request_id="post"),
            lambda: scene.manager.add_account("group", "tide", account_id="a1"),
        ):
            with pytest.raises(ErrorAnswer) as error:
                add()
            assert status_of(error) == 409

    def test_what_is_not_there_cannot_be_changed(self, scene: Scene) -> None:
        for change in (
            lambda: scene.manager.add_post("nowhere"),
            lambda: scene.manager.add_account("nowhere", "tide"),
            lambda: scene.manager.set_link_rss("nothing", "http://feed"),
            lambda: scene.manager.update_account("nobody", password="x"),
        ):
            with pytest.raises(ErrorAnswer) as error:
                change()
            assert status_of(error) == 404

    def test_unknown_and_bad_fields_are_named(self, scene: Scene) -> None:
        with pytest.raises(ErrorAnswer, match="pasword"):
            scene.manager.update_account("a1", pasword="x")
        with pytest.raises(ErrorAnswer, match="target"):
            scene.manager.update_post("post", target=-1)

    def test_the_state_shows_no_secret(self, scene: Scene) -> None:
        shown = str(scene.manager.state_report()) + str(scene.manager.events_report()) + repr(scene.manager.accounts)
        assert "pw-a1" not in shown
        assert "http://feed" not in shown


class TestClock:
    def test_it_stands_still_where_a_start_is_given(self, scene: Scene) -> None:
        before = scene.clock.now()
        assert scene.clock.now() == before
        assert (scene.clock.advance(90) - before).total_seconds() == 90

    def test_without_start_it_follows_the_machines(self) -> None:
        clock = SandboxClock()
        clock.advance(3600)
        ahead = clock.now() - datetime.now(timezone.utc)
        assert 3599 < ahead.total_seconds() <= 3600

    def test_it_never_goes_back(self) -> None:
        with pytest.raises(ValueError, match="forward"):
            SandboxClock().advance(-1)

    def test_a_start_needs_a_time_zone(self) -> None:
        with pytest.raises(ValueError, match="time zone"):
            SandboxClock(datetime(2026, 1, 1))  # noqa: DTZ001
