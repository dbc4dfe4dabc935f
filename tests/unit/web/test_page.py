"""What importers read of a page: HTML that leaves its end tags out, JSON that lacks something, dates of all kinds."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from likepion_provider.errors import PlatformChanged
from likepion_provider.platforms import Page, read_date
from likepion_provider.web.html import Anchor, Html

HTML = """
<form><input name=csrf type=hidden value="a&amp;b"><input name=csrf value=second><input value=nameless>
<select name=series><option value=1>The  first<option value=2 selected>The <b>second</b></select>
<ul class=outer><li>one<li>two<ul class="inner errorlist"><li>three</li></ul></ul>
<table><tr><td><a href=/1>Letter 1</a> new<td>March 1, 2026</tr><tr><th>none</th></tr></table>
<p><a>no address</a><a href=/2>unfinished <a href=/3>last
"""


def page(body: str, status: int = 200, **headers: str) -> Page:
    return Page("site", "https://site.example/a/b?token=1", status, headers, body.encode())


def test_html_is_read_as_a_browser_would() -> None:
    html = Html(HTML)
    assert html.controls == {"csrf": "a&b", "series": "2"}
    assert html.options == {"series": {"The first": "1", "The second": "2"}}
    assert html.anchors == [Anchor("/1", "Letter 1"), Anchor("/2", "unfinished"), Anchor("/3", "last")]
    assert [(row.cells, row.anchors) for row in html.rows] == [
        (["Letter 1 new", "March 1, 2026"], [Anchor("/1", "Letter 1")]),
        ([], []),
    ]
    assert ("inner errorlist", "three") in html.items


def test_an_input_that_is_missing_is_named() -> None:
    assert page(HTML).inputs("csrf", "series")["csrf"] == "a&b"
    with pytest.raises(PlatformChanged, match="the input password") as raised:
        page(HTML).inputs("csrf", "password")
    assert raised.value.url == "https://site.example/a/b"


@pytest.mark.parametrize(
    ("status", "location", "leads_to"),
    [
        (302, "../c", "https://site.example/c"),
        (308, "https://other.example/", "https://other.example/"),
        (302, "", ""),
        (201, "/c", ""),
    ],
)
def test_where_a_redirect_leads(status: int, location: str, leads_to: str) -> None:
    assert page("", status, location=location).redirects_to == leads_to


def test_a_row_knows_its_place() -> None:
    rows = page('{"data": {"rows": [{"id": 1, "title": null}, {"id": "2", "date": "soon"}]}}').rows("data", "rows")
    assert (rows[0]["id"], rows[0].text("title"), rows[0].date("date")) == (1, "", None)
    for wrong, place in [
        (lambda: rows[0].field("id"), "data.rows.0.id"),
        (lambda: rows[1].field("title"), "data.rows.1.title"),
        (lambda: rows[1].rows("items"), "data.rows.1.items"),
        (lambda: rows[1].date("date"), "data.rows.1.date as a date"),
    ]:
        with pytest.raises(PlatformChanged) as raised:
            wrong()
        assert raised.value.field == place


@pytest.mark.parametrize("body", ["<html>", "7", '[{"a": 1}, 2]', ""])
def test_what_is_no_list_of_objects_is_said(body: str) -> None:
    with pytest.raises(PlatformChanged) as raised:
        page(body).rows()
    assert raised.value.field


@pytest.mark.parametrize("status", [200, 404])
def test_a_status_that_nobody_expects(status: int) -> None:
    here = page("", status)
    assert here.expect(200, 404) is here
    with pytest.raises(PlatformChanged, match="no longer has the list"):
        here.expect(201, what="the list")


@pytest.mark.parametrize(
    ("text", "pattern", "hour"),
    [
        ("2026-03-01T06:30:00Z", None, 6),
        ("2026-03-01T06:30:00", None, 6),
        ("Sun, 01 Mar 2026 06:30:00 +0100", None, 5),
        ("01.03.2026 06:30", "%d.%m.%Y %H:%M", 6),
        ("01.03.2026 06:30 +0200", "%d.%m.%Y %H:%M %z", 4),
    ],
)
def test_dates(text: str, pattern: str | None, hour: int) -> None:
    date = read_date(text, pattern)
    assert date is not None
    assert date.utcoffset() is not None
    assert date - datetime(2026, 3, 1, tzinfo=timezone.utc) == timedelta(hours=hour, minutes=30)


@pytest.mark.parametrize("text", ["", "None", "soon", "2026-13-01"])
def test_what_is_no_date(text: str) -> None:
    assert read_date(text) is None
    assert read_date(text, "%Y-%m-%d") is None
