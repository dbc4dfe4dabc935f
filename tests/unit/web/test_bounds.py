"""A page costs what its size says, whatever is in it; what costs more is a page that changed."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable

import pytest

from likepion_provider.errors import PlatformChanged
from likepion_provider.platforms import Page
from likepion_provider.web.html import MAX_DEPTH, MAX_ELEMENTS, MAX_HTML_CHARS
from likepion_provider.web.page import MAX_JSON_BYTES, MAX_JSON_CONTAINERS, MAX_ROWS

pytestmark = pytest.mark.usefixtures("own_heap")

MB = 1024 * 1024
#: A page is read on the event loop: every account of the batch waits meanwhile.
MOST_S = 1.0

#: Bodies that cost a parser minutes, or a tree hundreds of megabytes.
HOSTILE = {
    "unquoted attributes": b'<a "' * (12 * 1024),
    "objects": b"{}," * (20 * 1024),
    "nested": b"<div>" * 100_000,
    "nested lists": b"<ul><li>" * 100_000,
    "nested formats": b"<b><p>" * 100_000,
    "misnested": b"<b><i><a href=1><p></b></i>" * 20_000,
    "ends of what is not open": b"<div>" * MAX_DEPTH + b"</p>" * MB,
    "attributes": b"<a " + b" ".join(b"a%d=1" % number for number in range(100_000)) + b">",
    "an attribute without end": b'<a href="' + b"x" * 3 * MB,
    "paragraphs": b"<p>" * MB,
    "NULs": b"\0<a\0 href=\0>" * 100_000,
    "no UTF-8": bytes(range(128, 256)) * 8000,
    "comments": b"<!-- " * 100_000,
    "entities": b"&#x110000;&ampx&" * 100_000,
    "32 MB of a tag": b'<a "' * (8 * MB),
    "32 MB": b"x" * (32 * MB),
    "32 MB of objects": b"[" + b"{}," * (10 * MB) + b"{}]",
    "nested arrays": b"[" * 100_000 + b"]" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "arrays": b"[" + b"[]," * MB + b"0]",
    "digits": b"[" + b"9" * MB + b"]",
    "surrogates": b'["' + b"\\ud800" * MB + b'"]',
    "keys": json.dumps({str(number): 0 for number in range(300_000)}).encode(),
}

READERS: dict[str, Callable[[Page], object]] = {
    "html": lambda page: (page.html.controls, page.html.options, page.html.anchors, page.html.rows, page.html.items),
    "json": lambda page: page.json(),
    "rows": lambda page: [row.field("id", kind=int) for row in page.rows()],
}


def page(body: bytes) -> Page:
    return Page("site", "https://site.example/a", 200, {}, body)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("body", HOSTILE)
def test_a_hostile_body_is_read_or_refused_in_no_time(body: str, reader: str) -> None:
    began_s = time.thread_time()
    with contextlib.suppress(PlatformChanged):
        READERS[reader](page(HOSTILE[body]))
    assert time.thread_time() - began_s < MOST_S


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<p>" + b"x" * MAX_HTML_CHARS, "HTML of at most"),
        (b"<p>" * (MAX_ELEMENTS + 1), "HTML of at most"),
        (b"<div>" * (MAX_DEPTH + 1), "HTML that is at most"),
    ],
)
def test_the_bounds_of_html(body: bytes, says: str) -> None:
    with pytest.raises(PlatformChanged, match=says):
        page(body).inputs()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'"' + b"x" * MAX_JSON_BYTES + b'"', "a JSON body of at most .* bytes"),
        (b"[" + b"{}," * MAX_JSON_CONTAINERS + b"0]", "a JSON body of at most .* lists and objects"),
        (b"[" + b"{}," * MAX_ROWS + b"{}]", f"a list with at most {MAX_ROWS} rows"),
        (b'{"a": [' + b"{}," * MAX_ROWS + b"{}]}", f"a with at most {MAX_ROWS} rows"),
    ],
)
def test_the_bounds_of_json(body: bytes, says: str) -> None:
    with pytest.raises(PlatformChanged, match=says):
        page(body).rows(*(["a"] if body.startswith(b"{") else []))


def cpu_s(work: Callable[[], object]) -> float:
    began_s = time.thread_time()
    work()
    return time.thread_time() - began_s


def test_a_thousand_rows_with_notes_cost_little_beside_their_json() -> None:
    notes = "<p>What was said.</p>" * 200
    rows = [{"id": number, "show": {"title": f"Letter {number}"}, "notes": notes} for number in range(1000)]
    body = json.dumps({"data": {"items": rows}}).encode()

    def read() -> None:
        assert [row.field("show", "title") for row in page(body).rows("data", "items")][-1] == "Letter 999"

    assert min(cpu_s(read) for _ in range(3)) < 20 * min(cpu_s(lambda: json.loads(body)) for _ in range(3))


def test_a_row_in_a_row_knows_its_place() -> None:
    seen = page(b'{"items": [{"id": 1, "parts": [{"id": 2}, {"id": "x"}]}, {"parts": [3]}]}')
    first, second = seen.rows("items")
    assert first.rows("parts")[0].field("id", kind=int) == 2
    with pytest.raises(PlatformChanged, match=r"items\.0\.parts\.1\.id$"):
        first.rows("parts")[1].field("id", kind=int)
    with pytest.raises(PlatformChanged, match=r"items\.1\.parts\.0$"):
        second.rows("parts")
