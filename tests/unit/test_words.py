"""What people read, in their language: the catalogues are whole, and errors are read back out of their text."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from babel.messages.mofile import read_mo

from likepion_provider import errors, words
from likepion_provider.cli import main
from likepion_provider.errors import LikepionError, NoImporter, PlatformChanged, Rejected, VisitTooLong
from likepion_provider.models import Outcome, SecondaryTask
from likepion_provider.operators.assist import question
from likepion_provider.operators.report import summarise, table
from likepion_provider.steps.reports import AccountReport
from likepion_provider.words import ENGLISH, FIELD, LANGUAGES, MOST_CHARS, fitting, shown, spoken, t, tn
from tests.words.__main__ import compiled, stored, updated
from tests.words.gather import PACKAGE, gathered

pytestmark = pytest.mark.usefixtures("own_heap")

OTHERS = [each for each in LANGUAGES if each != ENGLISH]
ERRORS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, LikepionError)]


@pytest.fixture
def vietnamese() -> Iterator[None]:
    with spoken("vi"):
        yield


def named(message: Message) -> tuple[str, str, str]:
    one, many = (message.id, "") if isinstance(message.id, str) else message.id
    return one, many, message.context or ""


# --- the catalogues ---


@pytest.mark.parametrize("language", OTHERS)
def test_the_catalogue_has_what_is_said_and_nothing_else(language: str) -> None:
    assert {named(each) for each in stored(language) if each.id} == {*gathered()}, "run make words"


@pytest.mark.parametrize("language", OTHERS)
def test_every_message_has_words(language: str) -> None:
    assert [each.id for each in stored(language) if each.id and not (each.string and all(each.string))] == []


@pytest.mark.parametrize("language", OTHERS)
def test_the_same_facts_are_in_both_languages(language: str) -> None:
    differ = []
    for each in stored(language):
        english = each.id[1] if isinstance(each.id, tuple) else each.id
        said = each.string[0] if isinstance(each.string, tuple) else each.string
        if english and sorted(FIELD.findall(english)) != sorted(FIELD.findall(said)):
            differ.append((english, said))
    assert differ == []


@pytest.mark.parametrize("language", OTHERS)
def test_what_is_compiled_is_the_catalogue(language: str) -> None:
    for path, content in compiled(language, updated(language)).items():
        there = (PACKAGE / path).read_bytes()
        if path.endswith(".mo"):
            # Without the header, which names the tool's version.
            assert messages(there) == messages(content), "run make words"
        elif path.endswith(".json"):
            assert there == content, "run make words"


def messages(compiled: bytes) -> dict[tuple[str, str, str], str]:
    return {named(each): str(each.string) for each in read_mo(io.BytesIO(compiled)) if each.id}


def test_the_gathering_finds_what_nothing_marks() -> None:
    names = {each.name for each in gathered()}
    assert "{title} refused the feed (status {status})" in names
    assert "the feed {feed} redirects in a circle ({where})" in names
    assert "it reads its feeds again by itself" in names
    assert {"no importer serves the domain {domain}", "no importer serves the domain {domain} ({hint})"} <= names


def test_the_page_says_nothing_that_the_gathering_cannot_read() -> None:
    for path in (PACKAGE / "board/static").glob("*.js"):
        said = re.findall(r"(?<![.\w])(?:t|parts)\(\s*[^\s\"][^)]*", path.read_text(encoding="utf-8"))
        assert path.name == "words.js" or said == [], "a text is a literal: choose between two calls, not two texts"


# --- errors, read back out of their text ---


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_class_of_error_has_its_remedy_in_the_readers_language(error: type[LikepionError]) -> None:
    assert shown(error.remedy) == error.remedy, "English is the default"
    with spoken("vi"):
        assert shown(error.remedy) != error.remedy


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            NoImporter("x.example", hint="its connection names 'foo', which is not installed").message,
            "không có bộ nhập nào phục vụ tên miền 'x.example' (kết nối của nó nêu 'foo', chưa được cài)",
        ),
        (
            VisitTooLong("pod: the site takes more than 20 seconds for a visit").advice,
            f"pod: trang đó tốn hơn 20 giây cho một lần ghé. {'Không cần làm gì: lượt chạy sau làm tiếp.'} "
            "Nếu lúc nào cũng vậy, hãy hỏi người vận hành trang vì sao nó chậm đến thế.",
        ),
        (
            PlatformChanged(
                "pod: https://x/ (status 200) no longer has id", platform="pod", url="u", field="id"
            ).message,
            "pod: https://x/ (mã 200) không còn id",
        ),
        (
            Rejected("insert: the manager refused: no such user.", status=400).advice,
            "insert: manager từ chối: no such user. Hãy đọc thông báo của máy chủ, sửa điều nó nêu rồi chạy lại.",
        ),
        (
            "set aside after 3 permanent failures, the last: Castopod refused the feed (status 400)",
            "bị gác lại sau 3 lần lỗi hẳn, lần cuối: Castopod từ chối nguồn cấp (mã 400)",
        ),
        (
            "Castopod lists 3 of 5 episodes so far; it cannot be asked to read the feed again",
            "Castopod mới liệt kê 3/5 tập; không thể yêu cầu nó đọc lại nguồn cấp",
        ),
        (
            "castopod: https://pod.example/cp-admin/imports answered 502",
            "castopod: https://pod.example/cp-admin/imports trả lời 502",
        ),
        ("insert: answer lost (ServerDisconnectedError)", "insert: mất câu trả lời (ServerDisconnectedError)"),
        ("insert: the answer has no results", "insert: câu trả lời không có results"),
        ("Our servers are on fire. Sorry", "Our servers are on fire. Sorry"),
        ("", ""),
    ],
)
def test_an_errors_words_are_read_back_with_their_facts(said: str, expected: str, vietnamese: None) -> None:
    assert shown(said) == expected


@pytest.mark.parametrize("piece", ["a. B", "; a. B", ". A", "no answer from ", "the feed ("])
def test_what_a_stranger_makes_long_is_not_read_for_long(piece: str, vietnamese: None) -> None:
    words._shown.cache_clear()
    assert shown(piece * MOST_CHARS) == piece * MOST_CHARS
    began_s = time.process_time()
    shown((piece * MOST_CHARS)[:MOST_CHARS])
    assert time.process_time() - began_s < 3, "0.3 s on a slow machine"


def test_a_fact_is_no_message_of_the_page(vietnamese: None) -> None:
    assert t("Group") == "Nhóm"
    assert shown("the journal has never seen account Group") == "sổ ghi chưa từng thấy tài khoản Group"


def test_numbers_are_written_as_the_language_has_them(vietnamese: None) -> None:
    assert tn("{count} link", "{count} links", 12_345) == "12.345 liên kết"
    with spoken(ENGLISH):
        assert [tn("{count} link", "{count} links", each) for each in (1, 12_345)] == ["1 link", "12,345 links"]


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        (["vi-VN", "en"], "vi"),
        (["vi_VN.UTF-8"], "vi"),
        (["VI"], "vi"),
        (["fr", "vi"], "vi"),
        (["fr"], "en"),
        (["C"], "en"),
        ([""], "en"),
        ([], "en"),
    ],
)
def test_the_first_language_that_there_are_words_in_is_spoken(wanted: list[str], language: str) -> None:
    assert fitting(wanted) == language


# --- what people read ---

TASK = SecondaryTask("a-1", "post", "group", "tide.example", username="pod")
REFUSED = AccountReport(
    TASK,
    Outcome.FAILED,
    message="Castopod does not accept the credentials of pod@tide.example",
    remedy=errors.LoginRefused.remedy,
)


def test_a_report_in_vietnamese(vietnamese: None) -> None:
    delivered = AccountReport(TASK, Outcome.DELIVERED, found=1200)
    lines = summarise([delivered, REFUSED], [{"name": "pod", "account_id": "", "reason": "another run works it"}])[
        "text"
    ]
    assert lines.splitlines() == [
        "Likepion: 1 đã giao, 1 lỗi; đã giao 1.200 liên kết.",
        "- pod@tide.example: Castopod không chấp nhận thông tin đăng nhập của pod@tide.example. Hãy sửa mật khẩu, mã "
        "bí mật TOTP hoặc key của tài khoản trong manager, rồi chạy lại tài khoản.",
        'Làm xong điều đó, hãy bấm "Chạy lại" trên bảng theo dõi (hoặc chạy DAG với {"account_ids": ["a-1"]})',
        "- không lấy: pod, một lượt chạy khác đang làm nó",
    ]
    rows = table([delivered, REFUSED]).splitlines()
    assert rows[0].split() == ["NHÓM", "TÀI", "KHOẢN", "KẾT", "QUẢ", "LIÊN", "KẾT"]
    assert "lỗi" in rows[2]


def test_what_is_stored_of_a_report_stays_english(vietnamese: None) -> None:
    assert REFUSED.to_public()["message"] == "Castopod does not accept the credentials of pod@tide.example"
    assert summarise([REFUSED])["counts"] == {"failed": 1}


def test_a_required_action_in_vietnamese(vietnamese: None) -> None:
    subject, body = question([AccountReport(TASK, Outcome.NEEDS_PERSON, remedy=errors.NeedsVerification.remedy)])
    assert subject == "1 tài khoản cần người làm ở tide.example"
    assert body.splitlines()[0].startswith("- `pod@tide.example`: Hãy đăng nhập vào nền tảng")
    assert 'Sau đó chọn "Đã làm xong"' in body


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({"LANG": "vi_VN.UTF-8"}, "vi"),
        ({"LANG": "vi_VN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "en_US.UTF-8", "AIRFLOW__LIKEPION__LANGUAGE": "vi"}, "vi"),
        ({"LANG": "vi_VN.UTF-8", "AIRFLOW__LIKEPION__LANGUAGE": "en"}, "en"),
        ({}, "en"),
    ],
)
def test_the_command_speaks_the_configured_language_else_the_shells(
    environment: dict[str, str],
    language: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG", "AIRFLOW__LIKEPION__LANGUAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AIRFLOW_CONFIG", f"{tmp_path}/airflow.cfg")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    status = main(["journal", "--url", f"sqlite:///{tmp_path}/no.db", "check"])
    complaint = capsys.readouterr().err
    expected = {"vi": "likepion: không có sổ ghi ", "en": "likepion: there is no journal "}[language]
    assert (status, complaint.startswith(expected)) == (1, True), complaint


def test_the_command_reads_airflows_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv("AIRFLOW__LIKEPION__LANGUAGE", raising=False)
    monkeypatch.setenv("AIRFLOW_CONFIG", f"{tmp_path}/airflow.cfg")
    (tmp_path / "airflow.cfg").write_text("[core]\nfernet_key = 100%\n[likepion]\nlanguage = vi\n", encoding="utf-8")
    main(["journal", "--url", f"sqlite:///{tmp_path}/no.db", "check"])
    assert "không có sổ ghi" in capsys.readouterr().err
