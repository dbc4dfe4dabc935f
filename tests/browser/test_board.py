"""What people do with the board, in a browser, against a real Airflow."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.routing import APIRoute
from playwright.sync_api import Browser, Error, Page, Route, expect

from likepion_provider import DAG_ID
from likepion_provider.board.api import router
from likepion_provider.board.questions import Overview
from likepion_provider.journal import Journal
from tests.browser.conftest import PATIENCE_MS, PEOPLE, board_of, obstacles, open_trigger_form
from tests.integration.conftest import Airflow, SandboxApi, wait_for
from tests.unit.board.conftest import Story

pytestmark = pytest.mark.browser

Enter = Callable[..., Page]
SandboxFactory = Callable[..., SandboxApi]
HEADERS = {"X-Likepion-Board": "1"}
#: The buttons that change something: of each account two, of the parked link two.
ACTIONS = re.compile("^(Run again|Set aside|Take back|It is there|Send again): ")


@pytest.fixture(autouse=True)
def _patience() -> None:
    expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
def story(airflow: Airflow, sandbox: SandboxFactory) -> Story:
    """A sandbox whose journal has a delivered, a failed and a parked account."""
    world = sandbox("--world", "built", "--accounts", "6", "--posts", "2", "--target", "3")
    airflow.use(world)
    port = world.addresses["manager_url"].rsplit(":", 1)[1]
    told = Story(airflow.journal(world))
    told.send(told.account("fine"), True, True)
    bad = told.account("<b>bold</b>", domain="other.example")
    told.fail(bad, "<script>alert(1)</script>", back_off=timedelta(hours=1))
    told.send(told.account("lost", group=f"group-{port}"), None)
    # The board may still have the journal of the test before.
    wait_for(lambda: f"group-{port}" in str(airflow.call("GET", "/likepion/api/groups")))
    return told


def acts(story: Story) -> list[tuple[str, dict[str, Any]]]:
    """Every action, with a body that an editor's would have."""
    all_of_it = {"which": {}, "number": 3, "verdict": "is_there"}
    return [(f"unknown/{story.parked()}", all_of_it)] + [
        (path, all_of_it) for path in ("unknown", "run", "set-aside", "take-back")
    ]


def open_board(page: Page) -> Any:
    page.get_by_role("link", name="Likepion", exact=True).click()
    board = board_of(page)
    expect(board.locator("#rows tr")).to_have_count(3)
    return board


def test_an_admin_finds_filters_and_settles(airflow: Airflow, story: Story, enter: Enter) -> None:
    page = enter("admin")
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if "Content Security" in message.text else None)
    board = open_board(page)
    expect(board.get_by_text("3 accounts on 2 platforms, signed in as admin")).to_be_visible()
    expect(board.get_by_text("<b>bold</b>@other.example")).to_be_visible()
    expect(board.locator("#rows").get_by_text("<script>alert(1)</script>.")).to_be_visible()
    expect(board.get_by_text("Tried again by itself after")).to_have_count(1)

    board.get_by_label("Domain").select_option("other.example")
    expect(board.locator("#rows tr")).to_have_count(1)
    board.get_by_role("button", name="Clear").click()
    board.get_by_label("Search").fill("FINE")
    board.get_by_label("Search").press("Enter")
    expect(board.locator("#rows tr")).to_have_count(1)
    board.get_by_role("button", name="2 links of").click()
    expect(board.get_by_role("list", name="History of fine@tide.example")).to_be_visible()
    expect(board.get_by_role("link", name="https://tide.example/fine/1")).to_be_visible()
    board.get_by_role("button", name="Clear").click()
    board.locator(".card.failed").click()
    expect(board.locator("#rows tr")).to_have_count(1)
    board.get_by_role("button", name="Clear").click()

    board.get_by_role("button", name="It is there: ").click()
    dialog = board.get_by_role("dialog")
    expect(dialog.get_by_text("https://tide.example/lost/0")).to_be_visible()
    dialog.get_by_role("textbox").fill("looked at the post")
    dialog.get_by_role("button", name="It is there").click()
    expect(board.get_by_text("Filed as stored.")).to_be_visible()
    expect(board.get_by_role("heading", name="Unknown outcomes")).to_be_hidden()
    assert Overview(story.journal.database).unknown()[0] == 0
    (link,) = story.journal.links.of_key(story.journal.submissions.of_account("lost")[0].key)
    assert link.evidence.startswith("admin at ")
    assert link.evidence.endswith("(looked at the post)")
    logs = airflow.call("GET", "/api/v2/eventLogs?event=likepion_settle&limit=5")["event_logs"]
    assert [(each["owner"], str(link.id) in each["extra"]) for each in logs[:1]] == [("admin", True)]
    assert complaints == []


def test_an_operator_runs_accounts_again_and_finds_the_run(
    airflow: Airflow, sandbox: SandboxFactory, enter: Enter
) -> None:
    world = sandbox("--world", "built", "--accounts", "4", "--posts", "2", "--target", "3")
    airflow.use(world)
    _, state = airflow.run(dry_run=True)
    assert state == "success"
    world.call("POST", "/sandbox/clock", {"advance_s": 901})
    page = enter("op")
    page.get_by_role("link", name="Likepion", exact=True).click()
    board = board_of(page)
    board.get_by_role("button", name="Run again: ").first.click()
    dialog = board.get_by_role("dialog")
    expect(dialog.get_by_text("Run 1 account again?")).to_be_visible()
    dialog.get_by_role("textbox").fill("the password was corrected")
    dialog.get_by_role("button", name="Run again").click()
    link = board.locator("#status").get_by_role("link")
    run_id = link.inner_text()
    run = airflow.call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}")
    (account_id,) = run["conf"]["account_ids"]
    assert (run["triggered_by"], run["triggering_user_name"]) == ("ui", "op")
    assert airflow.finish(run_id) == "success"
    assert [*world.rows()["accounts"]] == [account_id]
    (entry,) = airflow.call("GET", "/api/v2/eventLogs?event=likepion_run&order_by=-when&limit=1")["event_logs"]
    assert (entry["owner"], entry["dag_id"]) == ("op", DAG_ID)
    assert "the password was corrected" in entry["extra"]
    assert account_id in entry["extra"]
    link.click()
    page.wait_for_url("**/runs/board__**")


def test_what_is_shown_stands_in_airflows_address(airflow: Airflow, story: Story, enter: Enter) -> None:
    page = enter("viewer")
    board = open_board(page)
    board.get_by_label("Domain").select_option("tide.example")
    expect(board.locator("#rows tr")).to_have_count(2)
    board.locator("th[data-sort=label]").get_by_role("button").click()
    expect(board.locator("#rows .who").first).to_have_text("fine@tide.example")
    page.wait_for_url("**/plugin/likepion/likepion/?domain=tide.example&sort=label&descending=false")
    page.reload()
    expect(board.locator("#rows tr")).to_have_count(2)
    expect(board.get_by_label("Domain")).to_have_value("tide.example")
    expect(board.locator("#rows .who").first).to_have_text("fine@tide.example")

    board.locator(".card.unknown").click()
    expect(board.locator("#rows tr")).to_have_count(1)
    shared = page.url
    page.go_back()
    expect(board.locator("#rows tr")).to_have_count(2)
    expect(board.locator(".card.unknown")).to_have_attribute("aria-pressed", "false")
    page.go_forward()
    expect(board.locator("#rows tr")).to_have_count(1)

    other = enter("op")
    other.goto(shared)
    expect(board_of(other).locator("#rows tr")).to_have_count(1)
    expect(board_of(other).get_by_text("1 account matches.")).to_be_visible()


def test_an_answer_that_comes_late_does_not_replace_a_newer_one(story: Story, enter: Enter) -> None:
    page = enter("viewer")
    board = open_board(page)
    late: list[Route] = []
    page.route(re.compile(r"/likepion/api/accounts\?(?!text=)"), lambda route: late.append(route))
    board.get_by_role("button", name="Clear").click()
    board.get_by_label("Search").fill("FINE")
    board.get_by_label("Search").press("Enter")
    expect(board.locator("#rows tr")).to_have_count(1)
    assert late, "the question of the button is still open"
    for route in late:
        with contextlib.suppress(Error):  # The board may have taken it back.
            route.continue_()
    page.wait_for_timeout(1500)
    assert board.locator("#rows tr").count() == 1


def test_a_dialog_that_is_cancelled_settles_nothing(story: Story, enter: Enter) -> None:
    board = open_board(enter("op"))
    board.get_by_role("button", name="Send again: ").click()
    board.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(board.get_by_role("dialog")).to_be_hidden()
    assert Overview(story.journal.database).unknown()[0] == 1


@pytest.mark.parametrize("person", PEOPLE)
def test_everybody_reads_everything_and_who_may_edit_acts(
    airflow: Airflow, story: Story, enter: Enter, person: str
) -> None:
    may_act = person != "viewer"
    page = enter(person)
    page.goto(f"{airflow.url}/likepion/")
    rows, status = page.locator("#rows tr"), page.locator("#status")
    expect(rows).to_have_count(3)
    expect(page.locator("#summary")).to_have_text(
        re.compile(f"signed in as {person}{'' if may_act else ' .read only.'}$")
    )
    expect(page.get_by_role("link", name="https://tide.example/lost/0")).to_be_visible()
    # Why.
    page.locator("#reasons").get_by_role("button").click()
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Details of").click()
    expect(page.get_by_role("list", name="History of")).to_contain_text("Failed")
    # Ids.
    page.get_by_role("button", name="Copy the group's id").click()
    expect(status).to_contain_text("Copied: group-1")
    page.get_by_role("button", name="Clear", exact=True).click()
    page.locator("#filters").get_by_label("Account", exact=True).fill("fine@")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(1)
    # The address.
    page.reload()
    expect(page.get_by_role("button", name="Details of fine@tide.example")).to_be_visible()
    page.go_back()
    expect(rows).to_have_count(3)
    # Other senses, another language.
    assert obstacles(page) == []
    page.get_by_label("Language").select_option("vi")
    expect(page.get_by_role("heading", name="Vì sao tài khoản lỗi")).to_be_visible()
    page.get_by_label("Ngôn ngữ").select_option("en")
    # What they do.
    expect(page.get_by_role("heading", name="Why accounts fail")).to_be_visible()
    expect(rows).to_have_count(3)
    expect(page.get_by_role("button", name=ACTIONS)).to_have_count(8 if may_act else 0)
    if not may_act:
        for path, said in acts(story):
            answer = page.request.post(f"{airflow.url}/likepion/api/{path}", data=said, headers=HEADERS)
            assert answer.status == 403, path
        assert Overview(story.journal.database).unknown()[0] == 1
        return
    for button, done in (("Set aside", "is set aside."), ("Take back", "is taken back.")):
        page.get_by_role("button", name=f"{button}: fine@tide.example").click()
        page.get_by_role("dialog").get_by_role("button", name=button).click()
        expect(status).to_have_text(f"1 account {done}")
    logs = airflow.call("GET", "/api/v2/eventLogs?order_by=-when&limit=2")["event_logs"]
    assert [(each["owner"], each["event"]) for each in logs] == [
        (person, "likepion_take_back"),
        (person, "likepion_set_aside"),
    ]


def test_nobody_gets_in_without_signing_in(airflow: Airflow, story: Story, browser: Browser) -> None:
    context = browser.new_context()
    questions = [each.path for each in router.routes if isinstance(each, APIRoute) and "GET" in each.methods]
    assert len(questions) >= 10
    for path in questions:
        answer = context.request.get(f"{airflow.url}/likepion{path.replace('{name}', 'board.js')}")
        assert answer.status == 401, path
    for path, said in acts(story):
        answer = context.request.post(f"{airflow.url}/likepion/api/{path}", data=said, headers=HEADERS)
        assert answer.status == 401, path
    page = context.new_page()
    page.goto(f"{airflow.url}/plugin/likepion/likepion/?domain=tide.example")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert "tide.example" in page.url, "who signs in goes on to what was asked for"
    context.close()


def test_a_run_for_one_group_by_the_form_shows_on_the_board(
    airflow: Airflow, sandbox: SandboxFactory, enter: Enter
) -> None:
    world = sandbox("--world", "built", "--accounts", "4", "--posts", "2", "--target", "3")
    airflow.use(world)
    group = world.state()["accounts"][0]["group_id"]
    mine = [each["account_id"] for each in world.state()["accounts"] if each["group_id"] == group]
    # The journal has to have seen the group; a dry run takes nothing.
    _, state = airflow.run(dry_run=True)
    assert state == "success"
    world.call("POST", "/sandbox/clock", {"advance_s": 901})

    page = enter("op")
    open_trigger_form(page, airflow.url)
    form = page.get_by_role("dialog")
    form.locator("[name=element_group_id]").fill(group)
    form.get_by_role("button", name="Trigger").click()
    page.wait_for_url("**/runs/**")
    run_id = page.url.split("/runs/")[1].split("/")[0].split("?")[0]
    assert airflow.finish(run_id.replace("%3A", ":").replace("%2B", "+")) == "success"
    assert sorted(world.rows()["accounts"]) == sorted(mine)

    page.get_by_role("link", name="Likepion", exact=True).click()
    board = board_of(page)
    board.locator("select[name=standing]").select_option("delivered")
    expect(board.locator("#rows tr")).to_have_count(len(mine))
    expect(board.get_by_text("Delivered, 3 links").first).to_be_visible()
    board.get_by_role("link", name="insert_links [0]").first.click()
    page.wait_for_url("**/tasks/import_batch.insert_links/mapped/0**")


def test_a_wrong_value_is_put_right_or_refused_by_the_form(airflow: Airflow, enter: Enter) -> None:
    page = enter("op")
    open_trigger_form(page, airflow.url)
    form = page.get_by_role("dialog")
    for name, typed, kept in (("limit", "5000", "1000"), ("batch_size", "0", "1")):
        field = form.locator(f"[name=element_{name}]")
        field.fill(typed)
        field.press("Tab")
        expect(field).to_have_value(kept)
    form.locator("[name=element_group_id]").fill("two words")
    form.get_by_role("button", name="Trigger").click()
    expect(form.get_by_text("Invalid input for param group_id: 'two words' does not match").first).to_be_visible()
    assert "/runs/" not in page.url


def test_a_tasks_links_lead_to_its_accounts_on_the_board(
    airflow: Airflow, sandbox: SandboxFactory, enter: Enter
) -> None:
    world = sandbox("--world", "built", "--accounts", "3", "--posts", "1", "--target", "2")
    airflow.use(world)
    run_id, state = airflow.run(batch_size=2)
    assert state == "success"
    page = enter("viewer")
    page.goto(f"{airflow.url}/dags/{DAG_ID}/runs/{run_id}/tasks/import_batch.import_rss/mapped/0/details")
    feed, episode = (page.get_by_role("link", name=name, exact=True) for name in ("Feed", "Episode"))
    expect(feed).to_have_attribute("href", re.compile(f"^{re.escape(world.addresses['feeds_url'])}/"))
    expect(episode).to_have_attribute("href", re.compile(f"^{re.escape(world.addresses['site_url'])}/"))
    page.get_by_role("link", name="Board", exact=True).click()
    board = board_of(page)
    expect(board.get_by_text(f"Only what run {run_id}, batch 0 worked last.")).to_be_visible()
    expect(board.locator("#rows tr")).to_have_count(2)


def test_the_board_fits_a_phone(airflow: Airflow, story: Story, enter: Enter) -> None:
    page = enter("viewer", viewport={"width": 390, "height": 844})
    page.goto(f"{airflow.url}/likepion/")
    expect(page.locator("#rows tr")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_the_board_is_used_by_keyboard(airflow: Airflow, story: Story, enter: Enter) -> None:
    page = enter("admin")
    page.goto(f"{airflow.url}/likepion/")
    expect(page.locator("#rows tr")).to_have_count(3)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the accounts")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Download CSV")).to_be_focused()
    page.get_by_role("button", name="Send again: ").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("textbox", name="How do you know?")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, a, input, select, textarea')]"
        ".filter(each => each.offsetParent && !each.textContent.trim())"
        ".filter(each => !each.ariaLabel && !each.labels?.length).length"
    )
    assert nameless == 0


def test_several_managers_are_shown_one_at_a_time(airflow: Airflow, story: Story, enter: Enter) -> None:
    page = enter("admin")
    page.goto(f"{airflow.url}/likepion/")
    expect(page.locator("#rows tr")).to_have_count(3)
    expect(page.get_by_label("Manager")).to_be_hidden()
    staging = Story(Journal(story.journal.database.of("https://staging.example")))
    staging.account("fine")
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_label("Manager")).to_be_visible()
    page.get_by_label("Manager").select_option("https://staging.example")
    expect(page.locator("#rows tr")).to_have_count(1)
    page.reload()
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.get_by_label("Manager")).to_have_value("https://staging.example")
