"""A person's walk in a real Airflow: from a red run's message to a delivered account, by what is seen on the way.

Nothing is typed but a name, a password and a note: no address, no id.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

from likepion_provider import DAG_ID
from likepion_provider.sandbox.world import WorldAccount, build_world
from tests.browser.conftest import PATIENCE_MS, board_of, fill_in_the_form, sign_in
from tests.integration.conftest import Airflow, SandboxApi

pytestmark = pytest.mark.browser

PERSON = "op"
WORLD = {"accounts": 2, "posts": 1, "target": 3}


@pytest.fixture(autouse=True)
def _patience() -> None:
    expect.set_options(timeout=PATIENCE_MS)


def spoil(world: SandboxApi) -> WorldAccount:
    """One account, whose password at the manager becomes an old one."""
    account = build_world(**WORLD).accounts[0]
    world.call("PATCH", f"/sandbox/accounts/{account.account_id}", {"password": "canary-old-password"})
    return account


def by_the_log(browser: Browser, airflow: Airflow) -> Page:
    """From Airflow's front page to the red task's log, and on by the address that it names."""
    page = sign_in(browser, airflow, PERSON)
    page.get_by_role("link", name="Dags", exact=True).click()
    page.get_by_role("link", name=DAG_ID).first.click()
    page.get_by_role("link", name="Runs", exact=True).click()
    page.get_by_role("row", name="Failed").first.get_by_role("link").first.click()
    page.get_by_role("row", name="Failed").get_by_role("link", name="report").click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name=re.compile("plugin.likepion")).click()
    return opened.value


def by_the_message(browser: Browser, airflow: Airflow) -> Page:
    """What a notifier sends, read by somebody who has not signed in."""
    (run,) = airflow.call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns?order_by=-run_after&limit=1")["dag_runs"]
    path = f"/api/v2/dags/{DAG_ID}/dagRuns/{run['dag_run_id']}/taskInstances/report/xcomEntries/summary"
    message = airflow.call("GET", f"{path}?deserialize=true")["value"]["text"]
    assert 'Once that is done, press "Run again" on the board: http' in message
    (address,) = re.findall(r"https?://\S+", message)
    page = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB").new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    fill_in_the_form(page, airflow, PERSON)
    return page


@pytest.mark.parametrize("begin", [by_the_log, by_the_message])
def test_a_red_runs_message_leads_to_a_delivered_account(
    begin: Callable[[Browser, Airflow], Page], airflow: Airflow, sandbox: Callable[..., SandboxApi], browser: Browser
) -> None:
    world = sandbox(
        "--world", "built", *(word for name, number in WORLD.items() for word in (f"--{name}", str(number)))
    )
    airflow.use(world)
    account = spoil(world)
    name = f"{account.credentials.username}@{account.domain}"
    _, state = airflow.run()
    assert state == "failed"
    assert account.account_id not in world.rows()["accounts"]

    page = begin(browser, airflow)
    board = board_of(page)
    row = board.locator("#rows tr", has_text=name)
    expect(row).to_contain_text("does not accept the credentials")
    expect(row).to_contain_text("Correct the account's password")
    # As the board says; the manager has a page of its own for that.
    world.call("PATCH", f"/sandbox/accounts/{account.account_id}", {"password": account.site_password})

    run_id = run_again(board, name)
    page.wait_for_url("**/runs/board__**")
    assert run_id in unquote(page.url)
    assert airflow.finish(run_id) == "success"
    assert world.rows()["accounts"][account.account_id] == 3
    assert world.rows()["duplicates"] == []

    page.get_by_role("link", name="Likepion", exact=True).click()
    expect(board.locator("#rows tr", has_text=name)).to_contain_text("Delivered, 3 links")
    page.context.close()


def run_again(board: FrameLocator, name: str) -> str:
    """Press the button, and follow the link to the run.

    :return: the run's id.
    """
    board.get_by_role("button", name=f"Run again: {name}").click()
    dialog = board.get_by_role("dialog")
    dialog.get_by_role("textbox").fill("the password was corrected")
    dialog.get_by_role("button", name="Run again").click()
    link = board.locator("#status").get_by_role("link")
    run_id = link.inner_text()
    link.click()
    return run_id
