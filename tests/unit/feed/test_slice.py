"""A slice is read as the whole would be: same entries, whatever the format, the encoding and the size of the pieces."""

from __future__ import annotations

import io
from typing import Any

import feedparser
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from likepion_provider.errors import FeedInvalid
from likepion_provider.feed.bounds import Bounds
from likepion_provider.feed.cut import Cutter, Slice

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "iso-8859-1")
#: What stands between and inside items, and could be taken for the end of one.
DECOYS = (
    "",
    "\n  ",
    "<!-- </item></entry> -->",
    "<?php </item> ?>",
    "<x:item xmlns:x='urn:other'><x:a>1</x:a></x:item>",
)
INSIDE = (
    "",
    "<description><![CDATA[ </item> </entry> ]]></description>",
    "<description>a &amp;lt;/item&amp;gt; b</description>",
    "<!-- <item> </item> -->",
    "<content:encoded xmlns:content='http://purl.org/rss/1.0/modules/content/'><![CDATA[]]]]><![CDATA[></item>]]>"
    "</content:encoded>",
    "<m:group xmlns:m='http://search.yahoo.com/mrss/'><m:content url='http://a/b'/></m:group>",
)


def build(kind: str, encoding: str, titles: list[str], inside: list[str], between: list[str]) -> bytes:
    declared = {"utf-8-sig": "utf-8", "utf-16-le": "utf-16", "utf-16-be": "utf-16"}.get(encoding, encoding)
    frames = {
        "rss": ("<rss version='2.0'><channel><title>T</title>", "item", "guid", "</channel></rss>"),
        "atom": ("<feed xmlns='http://www.w3.org/2005/Atom'><title>T</title>", "entry", "id", "</feed>"),
        "rdf": (
            "<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#' xmlns='http://purl.org/rss/1.0/'>"
            "<channel rdf:about='http://a/'><title>T</title><items><rdf:Seq><rdf:li resource='http://a/0'/></rdf:Seq>"
            "</items></channel>",
            "item",
            "link",
            "</rdf:RDF>",
        ),
    }
    head, tag, key, tail = frames[kind]
    items = "".join(
        f"<{tag}><title>{title}</title><{key}>http://a/{number}</{key}>{body}</{tag}>{gap}"
        for number, (title, body, gap) in enumerate(zip(titles, inside, between, strict=True))
    )
    text = f"<?xml version='1.0' encoding='{declared}'?>\n{head}{items}{tail}"
    bom = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    return bom + text.encode(encoding)


def cut(data: bytes, want: int, size: int) -> Slice:
    cutter = Cutter(want)
    for start in range(0, len(data), size):
        if cutter.feed(data[start : start + size]):
            return cutter.cut()
    cutter.finish()
    return cutter.cut()


def entries(data: bytes) -> list[Any]:
    parsed = feedparser.parse(
        io.BytesIO(data),
        response_headers={"content-type": "application/xml"},
        sanitize_html=False,
        resolve_relative_uris=False,
    )
    assert not parsed.bozo, parsed.bozo_exception
    return list(parsed.entries)


letters = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="<>&\x7f"), max_size=12)
printable = letters.filter(lambda text: not any(0x7F <= ord(character) < 0xA0 for character in text))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), kind=st.sampled_from(("rss", "atom", "rdf")), encoding=st.sampled_from(ENCODINGS))
def test_slice_equals_whole(data: st.DataObject, kind: str, encoding: str) -> None:
    count = data.draw(st.integers(1, 6))

    def draw(strategy: st.SearchStrategy[str]) -> list[str]:
        return data.draw(st.lists(strategy, min_size=count, max_size=count))

    body = build(kind, encoding, draw(printable), draw(st.sampled_from(INSIDE)), draw(st.sampled_from(DECOYS)))
    want = data.draw(st.integers(1, count + 1))
    size = data.draw(st.sampled_from((1, 2, 3, 7, 64, 1000, 65536)))
    piece = cut(body, want, size)
    whole = entries(body)
    assert len(whole) == count
    assert entries(piece.data) == whole[:want]


@pytest.mark.parametrize("kind", ["rss", "atom", "rdf"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_slice_does_not_depend_on_the_pieces(kind: str, encoding: str) -> None:
    body = build(kind, encoding, ["ä", "b", "c"], [INSIDE[1]] * 3, [DECOYS[2]] * 3)
    slices = {cut(body, 2, size).data for size in (1, 5, 4096, 65536)}
    assert len(slices) == 1
    assert len(slices.pop()) < len(body)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
@pytest.mark.parametrize("size", [1, 3, 65536])
def test_malformed_xml_is_cut_all_the_same(encoding: str, size: int) -> None:
    """The bare ampersand ends expat's run in the first item; CDATA and comments must still hide what is in them."""
    body = build("rss", encoding, ["a & b", "c", "d", "e"], [INSIDE[1], INSIDE[3], INSIDE[4], ""], [DECOYS[2]] * 4)
    piece = cut(body, 3, size)
    kind = f"application/xml; charset={piece.charset}" if piece.charset else "application/xml"
    parsed = feedparser.parse(io.BytesIO(piece.data), response_headers={"content-type": kind})
    assert [entry.title for entry in parsed.entries] == ["a & b", "c", "d"]


def test_an_open_cdata_at_the_end_of_the_buffer_means_read_on() -> None:
    cutter = Cutter(1)
    cutter.feed(b"<rss><channel><item>&bad;&<description><![CDATA[ </item>")
    assert not cutter.enough
    cutter.feed(b"]]></description></item>")
    assert cutter.enough


def test_white_space_before_the_declaration_is_dropped() -> None:
    body = b"\n \t" + build("rss", "utf-8", ["a", "b"], ["", ""], ["", ""])
    for size in (1, 65536):
        assert [entry.title for entry in entries(cut(body, 1, size).data)] == ["a"]


def test_asking_for_more_goes_on_where_it_stopped() -> None:
    body = build("rss", "utf-8", list("abcde"), [""] * 5, [""] * 5)
    cutter = Cutter(1)
    cutter.feed(body[:200])
    assert len(entries(cutter.cut().data)) == 1
    cutter.ask(4)
    assert not cutter.enough
    assert cutter.feed(body[200:])
    assert len(entries(cutter.cut().data)) == 4


def test_garbage_after_the_wanted_items_does_not_matter() -> None:
    body = build("rss", "utf-8", list("ab"), [""] * 2, [""] * 2)
    middle = body.index(b"<item>", body.index(b"</item>"))
    piece = cut(body[:middle] + b"\n<x " + b"y='1' " * 500 + b"/></wrong>", 1, 65536)
    assert len(entries(piece.data)) == 1


@pytest.mark.parametrize("kind", ["rss", "atom", "rdf"])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("size", [1, 7, 400, 65536])
def test_the_last_items_are_found_where_the_oldest_come_first(kind: str, encoding: str, size: int) -> None:
    body = build(kind, encoding, list("abcd"), [INSIDE[1]] * 4, [DECOYS[4]] * 4)
    assert newest_titles(body, 2, size) == ["c", "d"]


@pytest.mark.parametrize("size", [1, 7, 400, 65536])
def test_an_item_is_complete_with_its_end_tag(size: int) -> None:
    body = build("rss", "utf-8", list("abcd"), [INSIDE[1]] * 4, [""] * 4)
    assert newest_titles(body[: body.rindex(b"</channel>")], 2, size) == ["c", "d"]
    assert newest_titles(body[: body.rindex(b"</item>")], 2, size) == ["b", "c"]


def test_a_long_last_tag_that_expat_puts_off_is_not_lost() -> None:
    """From 2.6 on, expat parses an unfinished tag again once twice as many bytes are there; at the end none come."""
    long = f"<enclosure url='http://a/{'u' * 30_000}'/>"
    body = build("rss", "utf-8", list("abcd"), ["", "", "", long], [""] * 4)
    for size in range(1000, 9000, 500):
        assert newest_titles(body, 1, size) == ["d"]


def newest_titles(body: bytes, keep: int, size: int) -> list[str]:
    """The titles of the newest items where the stream comes in pieces of that many bytes."""
    cutter = Cutter(1)
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    assert any(cutter.feed(piece) for piece in pieces)
    newest = cutter.newest(keep)
    assert newest
    assert all(newest.feed(piece) for piece in pieces)
    newest.finish()
    return [entry.title for entry in entries(newest.cut().data)]


def test_items_may_be_empty_and_stand_in_different_places() -> None:
    cutter = Cutter(2)
    assert cutter.feed(b"<rss><channel><item/><item x='>'/></channel><item/></rss>")
    assert cutter.cut().data == b"<rss><channel><item/><item x='>'/></channel></rss>"


@pytest.mark.parametrize(
    ("bounds", "body", "where"),
    [
        (Bounds(attributes=3), b"<rss><channel><item a='' b='' c='' d=''/>", "channel"),
        (Bounds(depth=4), b"<rss><channel><item><a><b>", "item 1"),
        (Bounds(item_weight=9), b"<rss><channel><item>" + b"<a/>" * 10, "item 1"),
        (Bounds(head_weight=9), b"<rss><channel>" + b"<a/>" * 10, "channel"),
        (Bounds(kept_weight=9, kept_weight_per_item=0), b"<rss><channel><item/>" + b"<item><a/></item>" * 9, "channel"),
        (Bounds(markup_bytes=9), b"<rss " + b"a" * 99, "start"),
        (Bounds(kept_bytes=9, kept_bytes_per_item=0), b"<rss><channel>some text", "after item 0"),
        (Bounds(entity_characters=3), b"<!DOCTYPE rss [<!ENTITY a 'abcd'>]><rss>", "document type"),
        (Bounds(), b"<!DOCTYPE rss [<!ENTITY a 'a'><!ENTITY b '&a;'>]><rss>", "document type"),
    ],
)
def test_each_bound_refuses(bounds: Bounds, body: bytes, where: str) -> None:
    def feed(size: int) -> None:
        cutter = Cutter(20, url="http://feed.example/", bounds=bounds)
        for start in range(0, len(body), size):
            cutter.feed(body[start : start + size])

    for size in (8, 65536):
        if bounds.markup_bytes == 9 and size > 8:
            continue
        with pytest.raises(FeedInvalid, match=r"http://feed\.example/") as caught:
            feed(size)
        assert where in caught.value.where
        assert caught.value.remedy
