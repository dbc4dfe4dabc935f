"""Debian's Chromium in front of a real Airflow with the sandbox; three people may sign in."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from fastapi import FastAPI
from playwright.sync_api import Browser, FrameLocator, Page, expect, sync_playwright

from likepion_provider import DAG_ID
from likepion_provider.board.api import create_app
from likepion_provider.cli.local import airflow_environment, free_port, sandbox_process, standalone
from likepion_provider.journal import Journal
from likepion_provider.platforms.recipe.browser import ARGUMENTS
from tests.integration.conftest import Airflow, SandboxApi
from tests.unit.board.conftest import FakeAccess

ROOT = Path(__file__).parents[2]
PEOPLE = ("admin", "op", "viewer")
#: A loaded machine renders Airflow's page slowly.
PATIENCE_MS = 60_000
#: What the board promises: WCAG 2.2 at level AA, and what axe-core calls best practice.
PROMISED = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def chromium() -> str | None:
    """Where Chromium is; None where it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.contextmanager
def running_airflow(home: Path, **settings: str) -> Iterator[Airflow]:
    """An Airflow with our DAG and our board, and an admin, an operator and a viewer.

    :param settings: further variables of its environment.
    """
    port = free_port()
    environment = airflow_environment(home, ROOT / "dags", port) | {
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{name}" for name in PEOPLE),
        **settings,
    }
    with standalone(home, environment):
        api = Airflow(f"http://127.0.0.1:{port}", home, environment)
        api.wait_until_ready()
        yield api


@contextlib.contextmanager
def running_browser(executable: str) -> Iterator[Browser]:
    """Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def sign_in(browser: Browser, airflow: Airflow, name: str, **options: Any) -> Page:
    """A window of one person's own, signed in by the form."""
    page = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB"} | options).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{airflow.url}/")
    fill_in_the_form(page, airflow, name)
    return page


def fill_in_the_form(page: Page, airflow: Airflow, name: str) -> None:
    """Sign in where Airflow asks who is there."""
    passwords = json.loads((airflow.home / "simple_auth_manager_passwords.json.generated").read_text(encoding="utf-8"))
    page.get_by_label("Username").fill(name)
    page.locator("input[type=password]").fill(passwords[name])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "login" not in url, timeout=PATIENCE_MS)


def board_of(page: Page) -> FrameLocator:
    """The board inside Airflow's page."""
    return page.frame_locator("iframe[title=Likepion]")


def open_trigger_form(page: Page, url: str) -> None:
    """The form of a run by hand, with the DAG's params."""
    page.goto(f"{url}/dags/{DAG_ID}")
    page.get_by_role("button", name="Trigger").first.click()
    page.get_by_text("Dry run").first.wait_for()


@contextlib.contextmanager
def served(journal: Journal) -> Iterator[str]:
    """The address of the board without Airflow around it; everybody is the admin, or whom the header ``As`` names."""
    port = free_port()
    app = FastAPI()
    app.mount("/likepion", create_app(FakeAccess(journal)))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}/likepion/"
    finally:
        server.should_exit = True
        thread.join(30)


@contextlib.contextmanager
def opened(browser: Browser, url: str, person: str = "admin", **options: Any) -> Iterator[Page]:
    """The board in a window of its own; a fault of its scripts fails the test."""
    context = browser.new_context(**{"locale": "en-GB", "extra_http_headers": {"As": person}} | options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(url)
    expect(page.locator("#fresh")).to_contain_text(re.compile(r"\d:\d"))
    yield page
    context.close()
    assert faults == []


def obstacles(page: Page) -> list[str]:
    """What axe-core finds on a page."""
    found = Axe().run(page, options=PROMISED).response["violations"]
    return [f"{each['id']}: {node['target']} {node['failureSummary']}" for each in found for node in each["nodes"]]


@pytest.fixture(scope="package")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    if chromium() is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    settings = {"AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False"}
    with running_airflow(tmp_path_factory.mktemp("airflow"), **settings) as api:
        yield api


# Playwright keeps an event loop running in this thread; asyncio's tests come after its end.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    executable = chromium()
    if executable is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with running_browser(executable) as browser:
        yield browser


@pytest.fixture
def enter(browser: Browser, airflow: Airflow) -> Iterator[Callable[..., Page]]:
    """Signs somebody in: ``enter("viewer")``."""
    pages: list[Page] = []

    def sign(name: str, **options: Any) -> Page:
        pages.append(sign_in(browser, airflow, name, **options))
        return pages[-1]

    yield sign
    for page in pages:
        page.context.close()


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Callable[..., SandboxApi]]:
    """Starts sandboxes: ``sandbox("--world", "troubled")``."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments: SandboxApi(stack.enter_context(sandbox_process(tmp_path, *arguments)))
