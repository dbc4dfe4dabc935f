"""What a person does on the board with all that a filter names: one request, one transaction, in the audit log."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

import httpx
import pytest

from likepion_provider import DAG_ID
from likepion_provider.board.api import CSRF_HEADER
from likepion_provider.errors import BadRequest
from likepion_provider.journal import Journal, TaskName
from likepion_provider.models import ImportState, LinkState
from tests.unit.board.client import Client
from tests.unit.board.conftest import FakeAccess, Story

Get = Callable[..., Any]
Act = Callable[..., httpx.Response]
LIMIT = {"limit": 1000}


@pytest.fixture
def act(board: Client) -> Act:
    """Does something: ``act("run", {"group_id": "g"}, 2)``."""

    def post(path: str, which: dict[str, Any], number: int, **more: Any) -> httpx.Response:
        body = {"which": which, "number": number, **more}
        return board.post(f"/api/{path}", json=body, headers={CSRF_HEADER: "1"})

    return post


@pytest.mark.parametrize(
    ("which", "number", "conf"),
    [
        ({"group_id": "group-1"}, 2, {"group_id": "group-1"}),
        ({"domain": "other.example"}, 1, {"domains": ["other.example"]}),
        ({"account_id": "b", "request_id": "post-of-group-1"}, 1, {"account_ids": ["b"]}),
        ({"group_id": "group-1", "domain": "tide.example"}, 2, {"account_ids": ["a", "b"]}),
        ({"standing": "failed"}, 1, {"account_ids": ["b"]}),
        ({"reason": "the password is wrong"}, 1, {"account_ids": ["b"]}),
        ({}, 3, {"account_ids": ["a", "b", "c"]}),
    ],
)
def test_what_a_filter_names_is_run_again(
    story: Story, act: Act, access: FakeAccess, which: dict[str, Any], number: int, conf: dict[str, Any]
) -> None:
    story.account("a")
    story.fail(story.account("b"), "the password is wrong")
    story.account("c", group="group-2", domain="other.example")
    answer = act("run", which, number, note="the password was corrected")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    (started,) = access.started
    assert started == ("admin", DAG_ID, told["run_id"], conf | {"limit": 1000})
    assert (told["accounts"], told["left"], told["begins"]) == (number, 0, True)
    ((who, event, details),) = access.audited
    assert (who, event, details["note"]) == ("admin", "likepion_run", "the password was corrected")
    assert (details["which"], details["number"], details["conf"]) == (which, number, started[3])


@pytest.mark.parametrize(
    ("path", "more"), [("run", {}), ("unknown", {"verdict": "is_there"}), ("set-aside", {}), ("take-back", {})]
)
def test_an_action_takes_a_group_and_an_account_by_their_beginnings(
    story: Story, act: Act, access: FakeAccess, path: str, more: dict[str, Any]
) -> None:
    story.send(story.account("a-first", group="9f41-one"), None)
    story.send(story.account("b-first", group="9f42-two"), None)
    for which, meant in (
        ({"group_id": "9f41"}, {"group_id": "9f41-one"}),
        ({"account_id": "b-first@tide"}, {"account_id": "b-first"}),
    ):
        answer = act(path, which, 1, **more)
        assert answer.status_code == 200, answer.text
        assert access.audited.pop()[2]["which"] == meant
    assert [each[3] for each in access.started] in (
        [],
        [{"group_id": "9f41-one"} | LIMIT, {"account_ids": ["b-first"]} | LIMIT],
    )
    answer = act(path, {"group_id": "no-such"}, 1, **more)
    assert (answer.status_code, "fits no group" in answer.json()["detail"]) == (409, True)
    assert access.audited == []


def test_a_run_takes_a_thousand_and_says_how_many_are_left(story: Story, act: Act, access: FakeAccess) -> None:
    with story.journal.database.writing():
        for number in range(1003):
            story.account(f"account-{number:04}")
    told = act("run", {"standing": "waiting"}, 1003).json()
    assert (told["accounts"], told["left"]) == (1000, 3)
    assert len(access.started[0][3]["account_ids"]) == 1000


def test_what_a_person_was_not_told_is_not_done(
    story: Story, act: Act, access: FakeAccess, journal: Journal, get: Get
) -> None:
    story.send(story.account("lost"), None, None)
    for path, more in (("run", {}), ("set-aside", {}), ("take-back", {}), ("unknown", {"verdict": "is_there"})):
        answer = act(path, {}, 3, **more)
        assert answer.status_code == 409, path
        assert "match now, not 3. Look at them, and say it again." in answer.json()["detail"]
    assert access.started == []
    assert len(journal.links.listed(state=LinkState.UNKNOWN)) == 2
    assert get("accounts")["rows"][0]["set_aside"] is False


def test_a_run_that_airflow_does_not_take_is_said(story: Story, act: Act, access: FakeAccess) -> None:
    story.account("a")

    def refuse(*_: Any) -> bool:
        raise BadRequest("Airflow started no run", remedy="See its log.")

    access.start = refuse  # type: ignore[method-assign]
    answer = act("run", {}, 1)
    assert (answer.status_code, answer.json()["detail"]) == (409, "Airflow started no run. See its log.")


def test_five_hundred_links_are_settled_by_one_request(
    story: Story, act: Act, access: FakeAccess, journal: Journal, get: Get
) -> None:
    for number in range(50):
        story.send(story.account(f"lost-{number}"), *[None] * 10)
    story.send(story.account("other", domain="other.example"), None)
    assert get("unknown", domain="tide.example")["total"] == 500
    answer = act("unknown", {"domain": "tide.example"}, 500, verdict="is_there", note="looked\nat them")
    assert answer.json() == {"number": 500}
    assert [each.key.account_id for each in journal.links.listed(state=LinkState.UNKNOWN)] == ["other"]
    assert len(access.audited) == 1
    rows = get("accounts", text="lost-7")["rows"]
    assert (rows[0]["standing"], rows[0]["stored"]) == ("delivered", 10)
    (link, *_) = get("links", request_id=rows[0]["request_id"], account_id="lost-7")["rows"]
    assert link["evidence"].startswith("admin at ")
    assert link["evidence"].endswith("Z: is there (looked at them)")


def test_a_transaction_that_fails_settles_nothing(
    story: Story, access: FakeAccess, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    from likepion_provider.board.api import create_app
    from likepion_provider.journal import settling

    story.send(story.account("one"), None)
    story.send(story.account("two"), None)

    def fail(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(settling, "tally", fail)
    body = {"which": {}, "number": 2, "verdict": "is_there"}
    client = Client(create_app(access), raise_app_exceptions=False)
    assert client.post("/api/unknown", json=body, headers={CSRF_HEADER: "1"}).status_code == 500
    assert len(journal.links.listed(state=LinkState.UNKNOWN)) == 2


def test_an_account_is_set_aside_and_taken_back(
    story: Story, act: Act, access: FakeAccess, journal: Journal, get: Get
) -> None:
    key = story.account("pod")
    which = {"account_id": "pod", "request_id": key.request_id}
    assert act("set-aside", which, 1, note="its owner left").json() == {"number": 1}
    (row,) = get("accounts")["rows"]
    assert row["set_aside"] is True
    assert row["state"].startswith("Set aside by admin at ")
    assert row["state"].endswith("(its owner left); only a run by its group, domain or id tries it")
    assert act("take-back", which, 1).json() == {"number": 1}
    (row,) = get("accounts")["rows"]
    assert (row["set_aside"], row["state"]) == (False, "The primary site has not set link_rss yet")
    assert [event for _, event, _ in access.audited] == ["likepion_set_aside", "likepion_take_back"]
    words = [each["message"] for each in get("history", **which)["rows"]]
    assert words[0] == "taken back"
    assert words[1].startswith("set aside: admin at ")


def test_what_failed_too_often_is_taken_back_too(story: Story, act: Act, journal: Journal, get: Get) -> None:
    key = story.account("pod")
    for _ in range(3):
        story.fail(key, "no", back_off=timedelta(hours=1))
    assert get("accounts")["rows"][0]["set_aside"] is True
    assert act("take-back", {"standing": "failed"}, 1).status_code == 200
    assert get("accounts")["rows"][0]["set_aside"] is False
    assert journal.submissions.get([key])[key].failures == 0


def test_a_viewer_acts_on_nothing(story: Story, board: Client, access: FakeAccess, journal: Journal) -> None:
    story.account("pod")
    body = {"which": {}, "number": 1, "verdict": "is_there"}
    for path in ("run", "unknown", "set-aside", "take-back"):
        answer = board.post(f"/api/{path}", json=body, headers={CSRF_HEADER: "1", "As": "viewer"})
        assert answer.status_code == 403, path
        assert board.post(f"/api/{path}", json=body).status_code == 403, "not from the board"
    assert (access.audited, access.started) == ([], [])


def test_an_account_that_waits_for_an_answer_leads_to_it(story: Story, access: FakeAccess, get: Get) -> None:
    for name, index in (("mail", 2), ("other", 3)):
        key = story.account(name)
        story.journal.submissions.worked_by([key], TaskName(DAG_ID, "run-1", "import_batch.import_rss", index))
        story.fail(key, "a code was mailed", ImportState.NEEDS_VERIFICATION)
    asked: list[Collection[str]] = []

    def waiting(dag_ids: Collection[str]) -> Collection[tuple[str, str, str, int]]:
        asked.append(dag_ids)
        return {(DAG_ID, "run-1", "import_batch.ask_person", 2), (DAG_ID, "run-2", "import_batch.ask_person", 3)}

    access.asked = waiting  # type: ignore[method-assign]
    rows = {row["account_id"]: row["required_action"] for row in get("accounts")["rows"]}
    assert rows == {"mail": "import_batch.ask_person", "other": ""}
    assert asked == [{DAG_ID}]
