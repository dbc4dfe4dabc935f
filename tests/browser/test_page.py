"""What the board's page does by itself, without Airflow around it: focus, refreshing, and what it says in trouble."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from likepion_provider.journal import Journal, open_journal
from likepion_provider.models import ImportState
from tests import MANAGER
from tests.browser.conftest import opened, served
from tests.unit.board.conftest import Story

pytestmark = pytest.mark.browser


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = open_journal(f"sqlite:///{tmp_path}/journal.db", MANAGER)
    yield journal
    journal.database.close()


@pytest.fixture
def url(journal: Journal) -> Iterator[str]:
    with served(journal) as url:
        yield url


@pytest.fixture
def story(journal: Journal) -> Story:
    story = Story(journal)
    for number in range(3):
        story.send(story.account(f"lost-{number}"), None, None)
    story.fail(story.account("bad", domain="other.example"), "the password is wrong", back_off=timedelta(hours=1))
    story.fail(story.account("mail"), "a code was mailed", ImportState.NEEDS_VERIFICATION)
    return story


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.tagName + ' ' + (document.activeElement.ariaLabel || '')"))


def test_all_that_match_are_settled_after_one_question(browser: Browser, story: Story, url: str) -> None:
    asked: list[str] = []
    with opened(browser, url) as page:
        page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
        page.get_by_label("Domain").select_option("tide.example")
        page.get_by_role("button", name="All are there").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("All 6 are there?")).to_be_visible()
        expect(dialog.get_by_text("6 links: every unknown outcome that matches the filter")).to_be_visible()
        dialog.get_by_role("textbox").fill("looked at them")
        dialog.get_by_role("button", name="It is there").click()
        expect(page.get_by_text("6 links are settled.")).to_be_visible()
        expect(page.get_by_role("heading", name="Unknown outcomes")).to_be_hidden()
        assert len(asked) == 1
        page.get_by_role("button", name="Refresh").click()
        page.reload()
        expect(page.locator("#fresh")).to_contain_text("as of")
        expect(page.get_by_role("heading", name="Unknown outcomes")).to_be_hidden()
    assert {link.evidence.split(": ", 1)[1] for link in story.journal.links.listed()} == {"is there (looked at them)"}


def test_an_account_is_set_aside_and_taken_back_and_run(browser: Browser, story: Story, url: str) -> None:
    with opened(browser, url) as page:
        for button, said in (
            ("Set aside", "1 account is set aside."),
            ("Take back", "1 account is taken back."),
            ("Run again", "A run was started: board__"),
        ):
            page.get_by_role("button", name=f"{button}: mail@tide.example").click()
            dialog = page.get_by_role("dialog")
            expect(dialog.get_by_text("mail@tide.example")).to_be_visible()
            dialog.get_by_role("button", name=button).click()
            expect(page.locator("#status")).to_contain_text(said)
            assert "mail@tide.example" in focused(page)
        page.get_by_role("button", name="Details of mail@tide.example").click()
        history = page.get_by_role("list", name="History of mail@tide.example")
        expect(history.get_by_text("Set aside: admin at")).to_be_visible()
        expect(history.get_by_text("A code was mailed").first).to_be_visible()
        expect(page.get_by_text("post-of-group-1", exact=True)).to_be_visible()
        page.get_by_role("button", name="Copy the group's id group-1").click()
        expect(page.locator("#status")).to_contain_text("Copied: group-1")


def test_the_focus_is_never_lost(browser: Browser, story: Story, url: str) -> None:
    with opened(browser, url) as page:
        page.get_by_role("button", name="Send again: https://tide.example/lost-0/0 of").click()
        page.keyboard.press("Escape")
        assert "lost-0/0" in focused(page)
        for number in range(6):
            page.get_by_role("button", name=re.compile("^Send again: ")).first.click()
            page.get_by_role("dialog").get_by_role("button", name="Send again").click()
            expect(page.locator("#unknown li")).to_have_count(5 - number)
            page.wait_for_timeout(200)
            assert not focused(page).startswith("BODY"), number
        page.get_by_role("button", name=re.compile("^Details of")).first.focus()
        page.get_by_role("button", name="Refresh").evaluate("each => each.click()")
        page.wait_for_timeout(800)
        assert "Details of" in focused(page)


def test_why_accounts_fail_leads_to_these_accounts(browser: Browser, story: Story, url: str) -> None:
    with opened(browser, url) as page:
        page.get_by_role("button", name="The password is wrong.").click()
        expect(page.locator("#rows tr")).to_have_count(1)
        expect(page.get_by_text("Only those whose trouble is: the password is wrong")).to_be_visible()
        expect(page.get_by_text("1 account matches.")).to_be_visible()
        page.get_by_role("button", name="Run them again").click()
        expect(page.get_by_role("dialog").get_by_text("Run 1 account again?")).to_be_visible()


def test_a_group_and_an_account_are_named_by_what_is_at_hand(browser: Browser, story: Story, url: str) -> None:
    with opened(browser, url) as page:
        account, group = (page.locator("#filters").get_by_label(name, exact=True) for name in ("Account", "Group"))
        account.fill("bad@other")
        account.press("Enter")
        expect(page.locator("#rows tr")).to_have_count(1)
        page.reload()
        expect(account).to_have_value("bad@other")
        group.fill("grou")
        group.press("Enter")
        expect(page.get_by_text("1 account matches.")).to_be_visible()
        page.get_by_role("button", name="Run them again").click()
        page.get_by_role("dialog").get_by_role("button", name="Run again").click()
        expect(page.locator("#status")).to_contain_text("A run was started: board__")
        for field, typed, said in (
            (account, "lost", "'lost' fits several accounts of the journal: lost-0 (lost-0@tide.example), lost-1"),
            (account, "nobody", "'nobody' fits no account of the journal, whose newest are "),
            (group, "group-2", "'group-2' fits no group of the journal, whose newest are group-1"),
        ):
            page.get_by_role("button", name="Clear", exact=True).click()
            expect(page.get_by_role("alert")).to_be_hidden()
            field.fill(typed)
            field.press("Enter")
            expect(page.get_by_role("alert")).to_contain_text(said)


def test_accounts_are_sorted_by_a_heads_button(browser: Browser, story: Story, url: str) -> None:
    with opened(browser, url) as page:
        head = page.locator("th[data-sort=label]")
        head.get_by_role("button").click()
        expect(head).to_have_attribute("aria-sort", "ascending")
        expect(page.locator("#rows .who").first).to_have_text("bad@other.example")
        head.get_by_role("button").click()
        expect(page.locator("#rows .who").first).to_have_text("mail@tide.example")
        page.reload()
        expect(page.locator("th[data-sort=label]")).to_have_attribute("aria-sort", "descending")
        expect(page.locator("#rows .who").first).to_have_text("mail@tide.example")


def test_refreshing_pauses_while_somebody_types_and_says_so(browser: Browser, story: Story, url: str) -> None:
    with opened(browser, url) as page:
        page.get_by_label("Search").focus()
        expect(page.locator("#fresh")).to_contain_text("paused while you type")
        page.get_by_role("button", name="Filter", exact=True).focus()
        expect(page.locator("#fresh")).not_to_contain_text("paused")
        page.get_by_role("button", name="Run again: mail@tide.example").click()
        expect(page.locator("#fresh")).to_contain_text("paused while a question is open")


def test_every_kind_of_trouble_has_its_own_words(browser: Browser, story: Story, url: str) -> None:
    with opened(browser, url) as page:

        def answer(with_: str) -> None:
            page.unroute("**/api/**")
            page.route("**/api/**", lambda route: handle(route, with_))
            page.get_by_role("button", name="Refresh").click()

        def handle(route: Route, with_: str) -> None:
            if with_ == "gone":
                route.abort("connectionrefused")
            else:
                route.fulfill(status=401, json={"detail": "Not authenticated"})

        answer("gone")
        expect(page.get_by_role("alert")).to_contain_text("Airflow's API server does not answer. The board asks again")
        answer("over")
        expect(page.get_by_role("alert")).to_contain_text("Your session is over. Sign in to Airflow")
        expect(page.get_by_role("alert").get_by_role("link", name="Sign in")).to_be_visible()
        page.unroute("**/api/**")
        page.get_by_role("button", name="Refresh").click()
        expect(page.get_by_role("alert")).to_be_hidden()
        page.get_by_label("Search").fill("nobody")
        page.get_by_label("Search").press("Enter")
        expect(page.get_by_text("No account fits these filters.")).to_be_visible()
        page.get_by_role("button", name="Clear the filters").click()
        expect(page.locator("#rows tr")).to_have_count(5)


def test_an_empty_board_says_what_fills_it(browser: Browser, url: str) -> None:
    with opened(browser, url) as page:
        expect(page.get_by_text("Nothing yet: the first run of the DAG fills the board.")).to_be_visible()
        expect(page.get_by_role("link", name="Open the DAG")).to_be_visible()
        expect(page.get_by_text("No account fits")).to_be_hidden()


def test_what_a_chart_shows_is_read_as_a_table(browser: Browser, story: Story, url: str) -> None:
    story.send(story.account("fine"), True, True)
    with opened(browser, url) as page:
        page.get_by_text("The same as a table").click()
        row = page.locator("#trend-rows tr")
        expect(row).to_have_count(1)
        expect(row.locator("td")).to_have_text(["2", "2", "tide.example 2"])
        page.get_by_label("Days (UTC)").select_option("90")
        page.locator("#trend").get_by_label("Platform").select_option("other.example")
        expect(row.locator("td")).to_have_text(["0", "1", ""])
        page.reload()
        expect(page.get_by_label("Days (UTC)")).to_have_value("90")
        expect(page.locator("#trend").get_by_label("Platform")).to_have_value("other.example")


def test_a_viewer_sees_why_and_no_buttons(browser: Browser, story: Story, url: str) -> None:
    with opened(browser, url, "viewer") as page:
        expect(page.get_by_text("The password is wrong.").first).to_be_visible()
        page.get_by_role("button", name="The password is wrong.").click()
        expect(page.locator("#rows tr")).to_have_count(1)
        for name in ("Run", "Set", "Take", "It is there", "Send", "All are"):
            expect(page.get_by_role("button", name=re.compile(f"^{name} "))).to_have_count(0)
