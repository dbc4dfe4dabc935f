"""The board in the reader's language: by the browser, or as chosen on the page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from likepion_provider.errors import LoginRefused
from likepion_provider.journal import Journal, open_journal
from likepion_provider.models import ImportState
from tests import MANAGER
from tests.browser.conftest import opened, served
from tests.unit.board.conftest import Story
from tests.words.gather import PACKAGE

pytestmark = pytest.mark.browser

WORDS = json.loads((PACKAGE / "board/static/words.vi.json").read_text(encoding="utf-8"))


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    journal = open_journal(f"sqlite:///{tmp_path}/journal.db", MANAGER)
    fill(journal)
    with served(journal) as url:
        yield url
    journal.database.close()


def fill(journal: Journal) -> None:
    story = Story(journal)
    story.send(story.account("anh"), None, None)
    story.send(story.account("bao"), True)
    refused = "Castopod does not accept the credentials of chi@tide.example"
    story.fail(story.account("chi"), refused, back_off=timedelta(hours=1), remedy=LoginRefused.remedy)
    story.fail(story.account("dung"), "a code was mailed", ImportState.NEEDS_VERIFICATION)


def texts(page: Page) -> list[str]:
    """Every text on the page, and what only a screen reader says."""
    return list(
        page.evaluate(
            """() => {
                const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
                while (walker.nextNode()) {
                    const text = walker.currentNode;
                    if (text.parentElement.closest('script, noscript, [translate=no], bdi, code')) continue;
                    found.push(text.data.trim());
                }
                for (const name of ['aria-label', 'placeholder', 'title'])
                    for (const each of document.querySelectorAll(`[${name}]`)) found.push(each.getAttribute(name));
                return found;
            }"""
        )
    )


def test_a_vietnamese_browser_has_the_board_in_vietnamese(browser: Browser, url: str) -> None:
    with opened(browser, url, locale="vi-VN", timezone_id="Asia/Ho_Chi_Minh") as page:
        assert page.evaluate("document.documentElement.lang") == "vi"
        expect(page.get_by_role("heading", name="Vì sao tài khoản lỗi")).to_be_visible()
        expect(page.locator("#summary")).to_contain_text("4 tài khoản trên 1 nền tảng")
        row = page.locator("#rows tr", has_text="chi@")
        expect(row).to_contain_text("Castopod không chấp nhận thông tin đăng nhập của chi@tide.example")
        expect(row).to_contain_text("Hãy sửa mật khẩu, mã bí mật TOTP hoặc key của tài khoản trong manager")
        expect(page.locator("#reasons")).to_contain_text("không chấp nhận thông tin đăng nhập")
        expect(page.locator("#rows tr", has_text="bao@")).to_contain_text("Đã giao 1 liên kết")
        # The zone is said.
        expect(page.locator("#fresh")).to_have_text(re.compile(r"^tính đến \d\d:\d\d:\d\d (GMT\+7|ICT)$"))
        row.get_by_role("button", name=re.compile("Chi tiết")).click()
        expect(page.get_by_role("heading", name="Lịch sử")).to_be_visible()
        page.get_by_role("button", name="Đã có ở đó").first.click()
        expect(page.get_by_role("dialog")).to_contain_text("Vì sao bạn biết?")
        left = {text for text in texts(page) if WORDS.get(text, text) != text}
        assert left == set(), "English is left on the page"


def test_an_english_browser_has_it_in_english_and_a_choice_is_kept(browser: Browser, url: str) -> None:
    with opened(browser, url) as page:
        assert page.evaluate("document.documentElement.lang") == "en"
        expect(page.get_by_role("heading", name="Why accounts fail")).to_be_visible()
        page.get_by_label("Language").select_option("vi")
        expect(page.get_by_role("heading", name="Vì sao tài khoản lỗi")).to_be_visible()
        expect(page.locator("#rows")).to_contain_text("Castopod không chấp nhận")
        assert "lang=vi" in str(page.locator("#csv").get_attribute("href"))
        page.reload()
        expect(page.get_by_role("heading", name="Vì sao tài khoản lỗi")).to_be_visible()
        expect(page.get_by_label("Ngôn ngữ")).to_have_value("vi")


def test_a_browser_of_neither_language_has_it_in_english(browser: Browser, url: str) -> None:
    with opened(browser, url, locale="fr-FR") as page:
        expect(page.get_by_role("heading", name="Why accounts fail")).to_be_visible()
