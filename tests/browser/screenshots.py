"""``make screenshots``: the documentation's pictures, from a real Airflow with the sandbox and weeks of history."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from likepion_provider import DAG_ID
from likepion_provider.cli.local import sandbox_process
from likepion_provider.journal import open_journal
from tests.browser.conftest import (
    PATIENCE_MS,
    board_of,
    chromium,
    open_trigger_form,
    running_airflow,
    running_browser,
    sign_in,
)
from tests.browser.seeds import fill
from tests.integration.conftest import Airflow, SandboxApi

PICTURES = Path(__file__).parents[2] / "docs/pictures"


def main() -> int:
    """Take every picture."""
    executable = chromium()
    if executable is None:
        print("no Chromium is installed: apt-get install chromium", file=sys.stderr)
        return 1
    PICTURES.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=PATIENCE_MS)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        worlds = ("--world", "built", "--accounts", "24", "--posts", "3")
        with sandbox_process(home, *worlds) as addresses, running_airflow(home) as airflow:
            world = SandboxApi(addresses)
            # Airflow's dialog shows of the extra fields only what the connection has.
            airflow.use(world, timeout_s=60)
            run_id, state = airflow.run()
            print(f"the run ended: {state}")
            fill(open_journal(f"sqlite:///{journal_of(home)}", addresses["manager_url"]), DAG_ID, run_id)
            with running_browser(executable) as browser:
                take(browser, airflow, run_id)
    return 0


def take(browser: Browser, airflow: Airflow, run_id: str) -> None:
    """Every picture."""
    for theme in ("light", "dark"):
        page = sign_in(browser, airflow, "admin", color_scheme=theme)
        board(page, f"board-{theme}")
        page.context.close()
    page = sign_in(browser, airflow, "admin", color_scheme="light")
    grid(page, airflow.url, run_id)
    trigger_form(page, airflow.url)
    connection_form(page, airflow.url)
    page.context.close()
    page = sign_in(browser, airflow, "admin", color_scheme="light", viewport={"width": 390, "height": 844})
    page.goto(f"{airflow.url}/likepion/")
    expect(page.locator("#rows tr").first).to_be_visible()
    shoot(page, "board-phone")
    page.context.close()


def journal_of(home: Path) -> Path:
    """The journal that the run filled."""
    (found,) = home.glob("journal-*.db")
    return found


def shoot(page: Page, name: str) -> None:
    """One picture."""
    page.wait_for_timeout(700)
    page.screenshot(path=PICTURES / f"{name}.png")
    print(f"{name}.png {(PICTURES / f'{name}.png').stat().st_size // 1024} kB")


def board(page: Page, name: str) -> None:
    """The board in Airflow's navigation."""
    page.get_by_role("link", name="Likepion", exact=True).click()
    expect(board_of(page).locator("#rows tr").first).to_be_visible()
    shoot(page, name)


def grid(page: Page, url: str, run_id: str) -> None:
    """A run in the grid."""
    page.goto(f"{url}/dags/{DAG_ID}/runs/{run_id}")
    expect(page.get_by_text("pull_tasks").first).to_be_visible()
    shoot(page, "grid")


def trigger_form(page: Page, url: str) -> None:
    """The form of a run by hand."""
    open_trigger_form(page, url)
    shoot(page, "trigger-form")


def connection_form(page: Page, url: str) -> None:
    """The manager's connection."""
    page.goto(f"{url}/connections")
    page.get_by_role("row", name="likepion_default").get_by_role("button", name="Edit Connection").click()
    page.get_by_role("button", name="Extra Fields", exact=True).click()
    for name in ("Timeout (seconds)", "Allow private feeds"):
        expect(page.get_by_text(name).first).to_be_visible()
    shoot(page, "connection-form")


if __name__ == "__main__":
    sys.exit(main())
