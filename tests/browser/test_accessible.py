"""The board without Airflow around it, looked at by axe-core: nothing that a person with other senses could not use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from likepion_provider import DAG_ID
from likepion_provider.journal import Journal, open_journal
from likepion_provider.models import ImportState
from tests import MANAGER
from tests.browser.conftest import obstacles, opened, served
from tests.browser.seeds import fill
from tests.unit.board.conftest import Story

pytestmark = pytest.mark.browser

DATA = ("empty", "few", "many")
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


def tell(journal: Journal, data: str) -> None:
    """Fill a journal."""
    if data == "many":
        fill(journal, DAG_ID, "scheduled__1")
    if data == "few":
        story = Story(journal)
        story.send(story.account("fine"), True, True)
        story.fail(story.account("<b>bold</b>"), "<script>alert(1)</script>", back_off=timedelta(hours=1))
        story.fail(story.account("مرحبا"), "أرسل رمز", ImportState.NEEDS_VERIFICATION)
        story.send(story.account("lost"), None, None)


@pytest.fixture(scope="module", params=DATA)
def board(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Which data, and the address."""
    folder: Path = tmp_path_factory.mktemp("board")
    journal = open_journal(f"sqlite:///{folder}/journal.db", MANAGER)
    tell(journal, request.param)
    with served(journal) as url:
        yield request.param, url
    journal.database.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, board: tuple[str, str], theme: Any, size: str) -> None:
    data, url = board
    width, height = SIZES[size]
    with opened(browser, url, color_scheme=theme, viewport={"width": width, "height": height}) as page:
        if data != "empty":
            page.get_by_role("button", name="Details of").first.click()
            expect(page.get_by_role("list", name="History of")).to_be_visible()
            page.get_by_text("The same as a table").click()
        assert obstacles(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_target_is_large_enough_and_every_name_its_own(browser: Browser, board: tuple[str, str]) -> None:
    data, url = board
    if data == "empty":
        pytest.skip("nothing to press")
    with opened(browser, url, viewport={"width": 1280, "height": 900}) as page:
        page.get_by_role("button", name="Details of").first.click()
        expect(page.get_by_role("list", name="History of")).to_be_visible()
        small = page.evaluate(
            "[...document.querySelectorAll('button, a, input, select, summary')]"
            ".filter(each => each.checkVisibility() && !each.classList.contains('skip'))"
            ".map(each => [each.outerHTML.slice(0, 120), each.getBoundingClientRect()])"
            ".filter(([, box]) => Math.min(box.height, box.width) < 24).map(([html]) => html)"
        )
        assert small == []
        names = page.evaluate(
            "[...document.querySelectorAll('button')].filter(each => each.checkVisibility())"
            ".map(each => each.ariaLabel || each.textContent.trim())"
        )
        assert sorted(names) == sorted(set(names))
