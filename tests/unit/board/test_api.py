"""The board's API: who may do what, what is told, what is changed."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from likepion_provider import DAG_ID
from likepion_provider.board.api import CSRF_HEADER, router
from likepion_provider.clock import Moment
from likepion_provider.errors import OutcomeUnknown
from likepion_provider.journal import Journal, TaskName
from likepion_provider.journal.database import Database
from likepion_provider.journal.links import REFUSED_REMEDY
from likepion_provider.journal.settling import BY_HAND
from likepion_provider.models import ImportState, LinkState, SecondaryTask
from tests import MANAGER
from tests.unit.board.client import Client
from tests.unit.board.conftest import FakeAccess, Story

Get = Callable[..., Any]
FROM_BOARD = {CSRF_HEADER: "1"}


def paths(method: str) -> list[str]:
    return [
        route.path.replace("{name}", "board.js").replace("{link_id}", "1")  # type: ignore[attr-defined]
        for route in router.routes
        if method in route.methods  # type: ignore[attr-defined]
    ]


def test_every_route_is_closed_to_the_anonymous_and_to_strangers(board: Client) -> None:
    assert len(paths("GET")) >= 8
    for path in paths("GET"):
        assert board.get(path, headers={"As": "nobody"}).status_code == 401, path
        assert board.get(path, headers={"As": "stranger"}).status_code == 403, path
    for path in paths("POST"):
        body = {"verdict": "is_there"}
        assert board.post(path, json=body, headers={"As": "nobody"} | FROM_BOARD).status_code == 401, path
        assert board.post(path, json=body, headers={"As": "stranger"} | FROM_BOARD).status_code == 403, path


def test_a_viewer_reads_and_changes_nothing(board: Client, story: Story, journal: Journal, access: FakeAccess) -> None:
    story.send(story.account("pod"), None)
    overview = board.get("/api/overview", headers={"As": "viewer"}).json()
    assert overview["may_act"] is False
    answer = board.post(
        f"/api/unknown/{story.parked()}", json={"verdict": "is_there"}, headers={"As": "viewer"} | FROM_BOARD
    )
    assert answer.status_code == 403
    assert journal.links.listed(state=LinkState.UNKNOWN)
    assert access.audited == []


@pytest.mark.parametrize("headers", [{}, FROM_BOARD | {"Sec-Fetch-Site": "cross-site"}])
def test_another_sites_form_settles_nothing(
    board: Client, story: Story, journal: Journal, headers: dict[str, str]
) -> None:
    story.send(story.account("pod"), None)
    answer = board.post(f"/api/unknown/{story.parked()}", json={"verdict": "is_there"}, headers=headers)
    assert answer.status_code == 403
    assert journal.links.listed(state=LinkState.UNKNOWN)


def test_settling_is_taken_down_with_who_when_and_why(
    board: Client, story: Story, access: FakeAccess, get: Get
) -> None:
    story.send(story.account("pod"), None, None)
    assert get("accounts")["rows"][0]["state"] == "The answer for 2 links was lost"
    first, second = (row["link_id"] for row in get("unknown")["rows"])
    said = {"verdict": "is_there", "note": "seen\nin the manager"}
    answer = board.post(f"/api/unknown/{first}", json=said, headers=FROM_BOARD)
    assert answer.json()["state"] == "stored"
    assert answer.json()["evidence"].startswith("admin at ")
    assert answer.json()["evidence"].endswith("Z: is there (seen in the manager)")
    again = board.post(f"/api/unknown/{second}", json={"verdict": "send_again"}, headers=FROM_BOARD)
    assert again.json()["state"] == "prepared"
    assert [(who, event, details["link_id"]) for who, event, details in access.audited] == [
        ("admin", "likepion_settle", first),
        ("admin", "likepion_settle", second),
    ]
    row = get("accounts")["rows"][0]
    assert (row["standing"], row["state"]) == ("waiting", "Listed; 1 of 2 links reported")
    assert get("unknown")["total"] == 0


def test_what_is_not_unknown_cannot_be_settled(board: Client, story: Story) -> None:
    story.send(story.account("pod"), None)
    link_id = story.parked()
    url = f"/api/unknown/{link_id}"
    assert board.post(url, json={"verdict": "is_there"}, headers=FROM_BOARD).status_code == 200
    answer = board.post(url, json={"verdict": "send_again"}, headers=FROM_BOARD)
    assert answer.status_code == 409
    assert answer.json()["detail"] == f"link {link_id} is stored, not unknown. Only unknown outcomes are settled."
    assert board.post("/api/unknown/999", json={"verdict": "is_there"}, headers=FROM_BOARD).status_code == 409
    assert board.post(url, json={"verdict": "perhaps"}, headers=FROM_BOARD).status_code == 422
    long = {"verdict": "is_there", "note": "x" * 501}
    assert board.post(url, json=long, headers=FROM_BOARD).status_code == 422


def test_nothing_is_settled_without_its_audit_line(story: Story, access: FakeAccess, journal: Journal) -> None:
    from likepion_provider.board.api import create_app

    def no_audit(*_: Any) -> None:
        raise OSError("the audit log is full")

    story.send(story.account("pod"), None)
    access.audit = no_audit  # type: ignore[method-assign]
    client = Client(create_app(access), raise_app_exceptions=False)
    answer = client.post(f"/api/unknown/{story.parked()}", json={"verdict": "is_there"}, headers=FROM_BOARD)
    assert answer.status_code == 500
    assert journal.links.listed(state=LinkState.UNKNOWN)


def test_every_standing_in_plain_words_with_what_to_do(story: Story, journal: Journal, get: Get) -> None:
    story.send(story.account("a-delivered"), True, True)
    story.account("b-new")
    story.fail(story.account("c-wrong-password"), "the password is wrong")
    story.fail(story.account("d-mail"), "a code was mailed", ImportState.NEEDS_VERIFICATION)
    story.send(story.account("e-lost"), True, None)
    refused = story.account("f-refused")
    story.send(refused, True, False)
    rows = {row["account_id"]: row for row in get("accounts")["rows"]}
    told = {name: (row["standing"], row["state"], row["what_to_do"]) for name, row in sorted(rows.items())}
    assert told == {
        "a-delivered": ("delivered", "Delivered, 2 links", ""),
        "b-new": ("waiting", "The primary site has not set link_rss yet", ""),
        "c-wrong-password": ("failed", "The import failed", "Mend it."),
        "d-mail": ("needs_person", "A person must act on the platform", "Mend it."),
        "e-lost": (
            "unknown",
            "The answer for 1 link was lost",
            OutcomeUnknown.remedy,
        ),
        "f-refused": (
            "failed",
            "The manager refused 1 link",
            REFUSED_REMEDY,
        ),
    }
    counts = get("overview")["domains"]["tide.example"]
    assert counts == {"delivered": 1, "waiting": 1, "failed": 2, "needs_person": 1, "unknown": 1}
    (group,) = get("groups")["rows"]
    assert group["counts"] == counts | {"retired": 0}
    assert (group["links"], group["stored"]) == (6, 4)


def test_what_backs_off_says_when_it_is_tried_next(board: Client, story: Story, get: Get) -> None:
    soon, late = story.now.at + timedelta(hours=1), timedelta(hours=6)
    story.fail(story.account("backs-off"), "the password is wrong", back_off=timedelta(hours=1))
    story.fail(story.account("over"), "the password is wrong", back_off=timedelta(0))
    story.fail(story.account("red"), "no setback")
    for _ in range(3):
        story.fail(story.account("set-aside"), "the password is wrong", back_off=late)
    rows = {row["account_id"]: row for row in get("accounts")["rows"]}
    told = {name: row["next_try_at"] for name, row in rows.items()}
    assert told == {"backs-off": f"{soon:%Y-%m-%dT%H:%M:%S.%fZ}", "over": None, "red": None, "set-aside": None}
    assert rows["backs-off"]["state"] == "The import failed"
    words = "Set aside after 3 failures; only a run by its group, domain or id tries it"
    assert rows["set-aside"]["state"] == words
    lines = {row["account_id"]: row for row in csv.DictReader(io.StringIO(board.get("/api/accounts.csv").text))}
    assert lines["backs-off"]["next_try_at"] == soon.isoformat(timespec="seconds")
    assert lines["red"]["next_try_at"] == ""


def test_filters_and_pages(story: Story, get: Get) -> None:
    for number in range(7):
        story.account(f"Pod{number}", group=f"group-{number % 2}", domain=f"site{number % 3}.example")
    story.fail(story.account("odd_one", group="group-9"), "no")

    def names(**params: Any) -> set[str]:
        answer = get("accounts", **params)
        assert answer["total"] == len(answer["rows"])
        return {row["account_id"] for row in answer["rows"]}

    assert names(group_id="group-1") == {"Pod1", "Pod3", "Pod5"}
    assert names(domain="site0.example", group_id="group-0") == {"Pod0", "Pod6"}
    assert names(standing="failed") == {"odd_one"}
    assert names(text="pOd4") == {"Pod4"}
    assert names(text="d_o") == {"odd_one"}
    assert names(text="%") == set()
    assert names(text="post-of-group-9") == {"odd_one"}
    assert names(run_id="run-2") == set()
    first = get("accounts", limit=5)
    second = get("accounts", limit=5, offset=5)
    assert (first["total"], second["total"]) == (8, 8)
    assert len({row["account_id"] for row in first["rows"] + second["rows"]}) == 8
    groups = get("groups", limit=2)
    assert (groups["total"], groups["rows"][0]["group_id"]) == (3, "group-9"), "what needs somebody comes first"
    assert [row["group_id"] for row in get("groups", group_id="group-1")["rows"]] == ["group-1"]


def test_the_task_that_worked_an_account_and_its_claim(story: Story, journal: Journal, get: Get) -> None:
    key = story.account("pod")
    other = story.account("other")
    journal.submissions.worked_by([key], TaskName("dag", "run-1", "import_batch.import_rss", 3))
    rows = {row["account_id"]: row for row in get("accounts")["rows"]}
    worked = {name: rows["pod"][name] for name in ("dag_id", "run_id", "task_id", "map_index")}
    assert worked == {"dag_id": "dag", "run_id": "run-1", "task_id": "import_batch.import_rss", "map_index": 3}
    assert rows["other"]["task_id"] == ""
    assert rows["pod"]["claimed_until"]
    assert [row["account_id"] for row in get("accounts", run_id="run-1", map_index=3)["rows"]] == ["pod"]
    journal.claims.let_go("dag/run-1", [other.account_id])
    assert {row["account_id"]: bool(row["claimed_until"]) for row in get("accounts")["rows"]} == {
        "pod": True,
        "other": False,
    }


def test_the_evidence_of_a_parked_link(story: Story, journal: Journal, get: Get) -> None:
    key = story.account("pod")
    story.send(key, None)
    (row,) = get("unknown")["rows"]
    assert row["evidence"] == "the answer has no word on this URL"
    assert row["seen_again"] == "The account was not handed out again since the send"
    journal.settling.set_mode(BY_HAND)
    story.now = Moment(story.now.at + timedelta(minutes=20), "boot", 2200.0)
    story.account("pod", pulled=False)
    assert get("unknown")["rows"][0]["seen_again"] == "The account was not handed out again since the send"
    story.account("pod")
    assert get("unknown")["rows"][0]["seen_again"].startswith("The manager handed the account out again")
    assert get("overview")["settling"] == "manual"
    assert get("unknown", group_id="group-1")["total"] == 1
    story.account("other", group="another")
    assert get("unknown", group_id="another")["total"] == 0


def test_links_a_day_and_domain(story: Story, get: Get) -> None:
    story.send(story.account("one"), True, True, None)
    story.send(story.account("two", domain="other.example"), True)
    story.send(story.account("three"), True)
    story.journal.settling.settle(
        story.parked(), is_there=False, who="me", note="", at=story.now.at + timedelta(days=1)
    )
    day = f"{story.now.at:%Y-%m-%d}"
    assert get("delivered")["rows"] == [
        {"day": day, "domain": "other.example", "links": 1},
        {"day": day, "domain": "tide.example", "links": 3},
    ]


def test_links_of_an_account(story: Story, get: Get) -> None:
    key = story.account("pod")
    story.send(key, True, None)
    rows = get("links", request_id=key.request_id, account_id=key.account_id)["rows"]
    assert [(row["url"], row["state"]) for row in rows] == [
        ("https://tide.example/pod/0", "stored"),
        ("https://tide.example/pod/1", "unknown"),
    ]


def test_the_csv_has_every_account_and_no_formula(board: Client, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("likepion_provider.board.questions.EXPORT_ROWS", 2)
    for number in range(5):
        story.account(f"pod{number}")
    story.fail(story.account("=HYPERLINK(1)"), '@evil, "quoted"')
    answer = board.get("/api/accounts.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == len({row["account_id"] for row in rows}) == 6
    (evil,) = [row for row in rows if "HYPERLINK" in row["account"]]
    assert evil["account"].startswith("'=")
    assert evil["last_error"] == '\'@evil, "quoted"'
    assert len(board.get("/api/accounts.csv?standing=failed").text.splitlines()) == 2


def test_the_page_runs_nothing_but_its_own_files(board: Client) -> None:
    answer = board.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "//" not in answer.text.replace("<!doctype", ""), "no asset of another host"
    script = board.get("/static/board.js")
    assert script.headers["content-type"].startswith("text/javascript")
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in script.text
    assert board.get("/static/board.css").headers["content-type"].startswith("text/css")
    assert board.get("/static/..%2fapi.py").status_code == 404


def test_a_journal_that_cannot_be_reached_is_said_in_a_line(access: FakeAccess) -> None:
    from likepion_provider.board.api import create_app
    from likepion_provider.errors import JournalUnusable

    def gone() -> Database:
        raise JournalUnusable("the journal's database failed: no route")

    access.database = gone  # type: ignore[method-assign]
    board = Client(create_app(access))
    assert board.get("/").status_code == 200, "the page says so itself"
    assert board.get("/", headers={"As": "stranger"}).status_code == 403
    answer = board.get("/api/overview")
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("the journal's database failed: no route. Set the Airflow connection")


# --- several managers ---

STAGING, THIRD = "https://staging.example", "https://third.example"


@pytest.fixture
def managers(story: Story, journal: Journal) -> dict[str, Story]:
    """Three, with accounts of equal ids, each with a DAG of its own."""
    told = {STAGING: Story(Journal(journal.database.of(STAGING))), THIRD: Story(Journal(journal.database.of(THIRD)))}
    told[MANAGER] = story
    for dag_id, manager in ((DAG_ID, MANAGER), ("staging", STAGING), ("third", THIRD)):
        told[manager].journal.managers.begin_run(dag_id, story.now.at)
    story.send(story.account("pod"), True, True)
    told[STAGING].send(told[STAGING].account("pod"), None)
    told[THIRD].account("pod")
    return told


def standing(get: Get, **which: str) -> str:
    (row,) = get("accounts", **which)["rows"]
    return str(row["standing"])


def test_each_manager_is_shown_apart(get: Get, managers: dict[str, Story]) -> None:
    told = get("overview")
    assert told["manager"] == MANAGER, "that of the DAG which comes with the package"
    assert told["managers"] == sorted([MANAGER, STAGING, THIRD])
    assert [standing(get, manager=each) for each in (MANAGER, STAGING, THIRD)] == ["delivered", "unknown", "waiting"]
    assert standing(get, dag_id="staging") == "unknown"
    assert get("overview", manager=f"{STAGING}:443/")["manager"] == STAGING
    assert (get("unknown")["total"], get("unknown", manager=STAGING)["total"]) == (0, 1)
    link = managers[STAGING].parked()
    pod = {"request_id": "post-of-group-1", "account_id": "pod"}
    assert [each["id"] for each in get("links", manager=STAGING, **pod)["rows"]] == [link]
    assert link not in [each["id"] for each in get("links", **pod)["rows"]]


def test_who_may_read_one_managers_dag_sees_that_manager_only(board: Client, managers: dict[str, Story]) -> None:
    who = {"As": "staging"}
    told = board.get("/api/overview", headers=who).json()
    assert (told["manager"], told["managers"], told["may_act"]) == (STAGING, [STAGING], True)
    for path in paths("GET"):
        for manager in (MANAGER, THIRD, "https://nowhere.example"):
            assert board.get(path, params={"manager": manager}, headers=who).status_code == 403, path


def test_a_link_is_settled_by_who_may_edit_its_own_managers_dag(
    board: Client, managers: dict[str, Story], access: FakeAccess
) -> None:
    managers[MANAGER].send(managers[MANAGER].account("lost"), None)
    theirs, ours = managers[STAGING].parked(), managers[MANAGER].parked()
    said = {"json": {"verdict": "is_there"}, "headers": {"As": "staging"} | FROM_BOARD}
    assert board.post(f"/api/unknown/{ours}", **said).status_code == 409, "another manager's link"
    assert board.post(f"/api/unknown/{ours}", params={"manager": MANAGER}, **said).status_code == 403
    assert board.post(f"/api/unknown/{theirs}", **said).status_code == 200
    assert managers[MANAGER].parked() == ours
    assert [(each["dag_id"], each["manager"]) for _, _, each in access.audited] == [("staging", STAGING)] * 2


def test_one_of_a_managers_dags_is_enough(board: Client, managers: dict[str, Story]) -> None:
    managers[THIRD].journal.managers.begin_run("second", managers[THIRD].now.at)
    who = {"As": "staging"}
    told = board.get("/api/overview", params={"manager": THIRD}, headers=who).json()
    assert (told["managers"], told["may_act"]) == ([STAGING, THIRD], False)


def test_a_group_is_named_by_how_its_id_begins(story: Story, board: Client, get: Callable[..., Any]) -> None:
    key = story.account("anh", group="eb1167b3-one")
    story.send(key, True, None)
    story.account("bao", group="eb1167b3-two")
    for path in ("accounts", "unknown"):
        assert [row["group_id"] for row in get(path, group_id="eb1167b3-o")["rows"]] == ["eb1167b3-one"], path
        assert get(path, group_id=str(uuid.uuid4()))["rows"] == []
        for word, words in (
            ("eb1167b3", "fits several groups of the journal: eb1167b3-one (anh@"),
            ("nobody", "fits no group"),
        ):
            answer = board.get(f"/api/{path}", params={"group_id": word})
            assert (answer.status_code, words in answer.json()["detail"]) == (409, True), answer.text
    assert "anh@tide.example" in board.get("/api/accounts.csv", params={"group_id": " eb1167b3-o "}).text


def test_an_account_is_named_by_its_name_or_how_its_id_begins(
    story: Story, board: Client, get: Callable[..., Any]
) -> None:
    for account_id, name in (("5ab1-first", "anh"), ("5ab1-second", "bao"), ("77c0-third", "chi")):
        task = SecondaryTask(account_id, "post", "group-1", "tide.example", username=name)
        story.journal.submissions.note([task], "run-1", story.now.at, pulled=True)
    for path in ("accounts", "waiting"):
        for word in ("5ab1-first", "5ab1-f", " anh@tide.example ", "anh@"):
            assert [row["account_id"] for row in get(path, account_id=word)["rows"]] == ["5ab1-first"], (path, word)
    for path in ("accounts", "accounts.csv", "waiting", "unknown"):
        for word, words in (
            (
                "5ab1",
                "accounts of the journal: 5ab1-first (anh@tide.example), 5ab1-second (bao@tide.example). Give more",
            ),
            ("nobody", "fits no account of the journal, whose newest are "),
        ):
            answer = board.get(f"/api/{path}", params={"account_id": word})
            assert (answer.status_code, words in answer.json()["detail"]) == (409, True), answer.text
    vietnamese = board.get("/api/accounts", params={"account_id": "5ab1", "lang": "vi"}).json()["detail"]
    assert "khớp" in vietnamese
    assert "5ab1-second (bao@tide.example)" in vietnamese
