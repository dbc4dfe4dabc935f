"""``make screenshots``: the documentation's pictures, from a real Airflow with the sandbox and weeks of history."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from likepion_provider import DAG_ID
from likepion_provider.cli.demo import A_DAY_MIN
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
from tests.integration.conftest import Airflow, SandboxApi, wait_for

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
        # Slow enough to be seen at work.
        worlds = ("--world", "demo", "--latency-s", "0.5", "--listing-delay-s", "6")
        # As in the demo; without a schedule, Airflow offers no backfill.
        settings = {"AIRFLOW__LIKEPION__SCHEDULE_MINUTES": A_DAY_MIN}
        with sandbox_process(home, *worlds) as addresses, running_airflow(home, **settings) as airflow:
            world = SandboxApi(addresses)
            # Airflow's dialog shows of the extra fields only what the connection has.
            airflow.use(world, timeout_s=60)
            # The schedule's first run finds nothing to do.
            set_posts(world, "pending")
            airflow.finish(airflow.switch_on())
            set_posts(world, "running")
            with running_browser(executable) as browser:
                run_id = a_run(browser, airflow)
                fill(open_journal(f"sqlite:///{journal_of(home)}", addresses["manager_url"]), DAG_ID, run_id)
                take(browser, airflow, run_id)
    return 0


def set_posts(world: SandboxApi, status: str) -> None:
    """Whether the manager hands out accounts."""
    for post in world.state()["posts"]:
        world.call("PATCH", f"/sandbox/posts/{post['request_id']}", {"status": status})


def a_run(browser: Browser, airflow: Airflow) -> str:
    """A run from its trigger to the links that are delivered.

    :return: its id.
    """
    page = sign_in(browser, airflow, "admin", color_scheme="light")
    open_trigger_form(page, airflow.url)
    trigger = page.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True)
    trigger.scroll_into_view_if_needed()
    shoot(page, "run-1-trigger")
    trigger.click()
    runs = f"/api/v2/dags/{DAG_ID}/dagRuns?run_type=manual"
    wait_for(lambda: airflow.call("GET", runs)["dag_runs"])
    run_id = str(airflow.call("GET", runs)["dag_runs"][0]["dag_run_id"])
    page.goto(f"{airflow.url}/dags/{DAG_ID}/runs/{run_id}")
    at_work = page.get_by_role("row", name=re.compile(r"import_rss group .* Running"))
    expect(at_work.first).to_be_visible()
    shoot(page, "run-2-at-work")
    print(f"the run ended: {airflow.finish(run_id)}")
    page.goto(f"{airflow.url}/dags/{DAG_ID}/runs/{run_id}/tasks/report")
    expect(page.get_by_text("pod0024@harbor.example").first).to_be_visible()
    shoot(page, "run-3-delivered")
    page.context.close()
    return run_id


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
