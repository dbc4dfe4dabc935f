"""Selectors of recipes find what browsers and RFC 9535 say, in a time that no page can stretch."""

from __future__ import annotations

import json
import time

import pytest

from likepion_provider.errors import PlatformChanged
from likepion_provider.platforms import Page
from likepion_provider.platforms.recipe import css, paths, patterns
from likepion_provider.platforms.recipe.select import Scope
from likepion_provider.platforms.recipe.shape import Selector
from likepion_provider.web.html import Html
from likepion_provider.web.work import TooMuch, Work

pytestmark = pytest.mark.usefixtures("own_heap")

HTML = """<div id=top class="a b"><ul><li class=a><a href=/1 rel=nofollow>one</a><em>x</em>
<li><a href="/2?en-GB" lang=en-GB>two</a><li class=c><p><em></em><em>y</em></ul></div><p class=a>end"""


def page(body: str) -> Page:
    return Page("site", "https://site.example/", 200, {}, body.encode())


@pytest.mark.parametrize(
    ("selector", "texts"),
    [
        ("li a", ["one", "two"]),
        ("div > a", []),
        ("li > a", ["one", "two"]),
        ("a + em", ["x"]),
        ("li ~ li em", ["", "y"]),
        ("li + li.c em:last-child", ["y"]),
        (".a.b li.c", ["y"]),
        ("#top em:empty", [""]),
        ("a[rel=nofollow], p.a", ["one", "end"]),
        ("[lang|=en]", ["two"]),
        ("a[href^='/2']", ["two"]),
        ("a[href$=GB]", ["two"]),
        ("a[href*='?']", ["two"]),
        ("[class~=b] > ul > li:nth-child(2n+1)", ["onex", "y"]),
        ("li:nth-of-type(2)", ["two"]),
        ("li:nth-last-child(-n+2)", ["two", "y"]),
        ("li:not(.a):first-of-type", []),
        ("em:only-of-type", ["x"]),
        (":is(li.a, p.a)", ["onex", "end"]),
    ],
)
def test_what_a_selector_finds(selector: str, texts: list[str]) -> None:
    assert [each.text() for each in css.select(Html(HTML), selector)] == texts


def test_a_selector_in_a_row_sees_the_row_and_what_stands_around_it() -> None:
    html = Html(HTML)
    (row,) = css.select(html, "li.c")
    assert [each.text() for each in css.select(html, "ul em", row)] == ["", "y"]
    assert [each.text() for each in css.select(html, ":scope > p", row)] == ["y"]
    assert css.select(html, ":scope > em", row) == []
    assert css.select(html, ":scope", row) == [row]


DATA = {"a": [{"n": 1, "t": "x"}, {"n": 2, "t": None}, {"b": {"n": 3}}], "s": "importing"}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$.s", ["importing"]),
        ("s", ["importing"]),
        ("$.none", []),
        ("$.a[*].n", [1, 2]),
        ("$.a[-1].b", [{"n": 3}]),
        ("$.a[3]", []),
        ("$.a[1:].n", [2]),
        ("$['a'][0]['n','t']", [1, "x"]),
        ("$..n", [1, 2, 3]),
        ("$.a[?@.n > 1 && !@.b].n", [2]),
        ("$.a[?@.b.n == 3]", [{"b": {"n": 3}}]),
        ("$[?@ == 'importing']", ["importing"]),
        ("$.a[?@.t < 'y'].n", [1]),
    ],
)
def test_what_a_path_finds(path: str, found: list[object]) -> None:
    assert paths.find(path, DATA, Work()) == found


@pytest.mark.parametrize(
    ("pattern", "text", "value"),
    [
        (r"/shows/(\d+)$", "https://t.example/shows/42", "42"),
        (r"\d+", "show 42 of 43", "42"),
        ("(b)?a", "xa", "a"),
        ("z", "xa", ""),
        ("(.)$", "a\ud800", "?"),
    ],
)
def test_what_a_pattern_cuts_out(pattern: str, text: str, value: str) -> None:
    assert patterns.first(pattern, text, Work()) == value


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (css.compiled, "a:has(b)", ":has.. is not known"),
        (css.compiled, "a:hover", "there are :scope"),
        (css.compiled, "a:not(b c)", "combinator within|Expected"),  # cssselect before 1.6 does not read it
        (css.compiled, "svg|a", "namespaces"),
        (css.compiled, "a::before", "pseudo-element"),
        (css.compiled, "a " * 33, "more than 32 parts"),
        (paths.compiled, "$[?match(@.a, 'x')]", "comparisons"),
        (paths.compiled, "$[?@.a == @.b]", "one side of a comparison"),
        (paths.compiled, "$[?@..a]", "names and positions"),
        (paths.compiled, "$[?$.a]", "comparisons"),
        (paths.compiled, "$.a | $.b", "not joined"),
        (paths.compiled, "$" + ".a" * 33, "more than 32 steps"),
        (patterns.compiled, "(?=a)", r"\(\?="),
        (patterns.compiled, r"(a)\1", "1"),
        (patterns.compiled, "(?:a?){900}", "larger than 1000"),
    ],
)
def test_what_takes_more_than_one_pass_is_refused(read: type, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(text)


#: Pages and selectors that take their readers minutes, where these go back.
HOSTILE = [
    ("<div>" * 100 + "<b><i></i></b>" * 12_000, Selector(css="div " * 20 + "b i.none")),
    ("<b></b>" * 25_000, Selector(css="b ~ b ~ b ~ b ~ i")),
    ("<b></b>" * 25_000, Selector(css="b:nth-last-of-type(3n+1) + b:nth-child(5n) ~ i")),
    ("<p>" + "x" * 1_000_000 + "</p>", Selector(css="p", match="(x+x+)+y")),
    (("<div>" * 100 + "x" * 10_000 + "</div>" * 100) * 100, Selector(css="div", match="(x+x+)+y")),
    (json.dumps([[[[0] * 10] * 10] * 10] * 10), Selector(json="$" + "..*" * 20 + ".none")),
    ('{"a":' * 400 + "0" + "}" * 400, Selector(json="$" + "..a" * 20 + ".none")),
    (json.dumps([{"a": 1}] * 90_000), Selector(json="$[?@.a == 2]")),
    (json.dumps(["x" * 90_000] * 50), Selector(json="$[*]", match="(?:x?){100}y")),
]


@pytest.mark.parametrize(("body", "selector"), HOSTILE)
def test_no_page_makes_a_selector_take_its_time(body: str, selector: Selector) -> None:
    scope = Scope(page(body))
    began_s = time.thread_time()
    try:
        value = scope.value(selector)
    except PlatformChanged as error:
        value = error.field
    assert value in ("", "what is looked for within 1000000 steps")
    assert time.thread_time() - began_s < 1.5


def test_rows_and_their_fields_share_the_pages_bound() -> None:
    scope = Scope(page("<table>" + "<tr><td><a href=/1>x</a>" * 10_000))
    rows = scope.rows(Selector(css="tr"))
    began_s = time.thread_time()
    assert {row.value(Selector(css="a", attr="href")) for row in rows} == {"/1"}
    assert {row.value(Selector(css=":scope > td > a")) for row in rows} == {"x"}
    assert time.thread_time() - began_s < 1
    with pytest.raises(PlatformChanged, match="tr with at most 10000 rows"):
        Scope(page("<table>" + "<tr><td>x" * 10_001)).rows(Selector(css="tr"))


def test_work_is_refused_where_it_was_done() -> None:
    work = Work()
    work.spend(999_999)
    work.spend(1)
    with pytest.raises(TooMuch, match="within 1000000 steps"):
        work.spend(1)
