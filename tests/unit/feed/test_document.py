"""One document, as the reader's process reads it: the same episodes as feedparser on the whole, or not certain."""

from __future__ import annotations

import io
import random
from typing import Any

import feedparser
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from likepion_provider.feed.bounds import Bounds
from likepion_provider.feed.document import Document, Read
from likepion_provider.feed.links import choose_file
from likepion_provider.feed.walk import timestamp

URL = "http://feed.example/feed"
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "iso-8859-1", "cp1252")
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
    "<m:group xmlns:m='http://search.yahoo.com/mrss/'><m:content url='http://a/b'/><m:title>other</m:title></m:group>",
)
DATES = ("Tue, {day:02d} Mar 2021 07:30:00 GMT", "2021-03-{day:02d}T07:30:00Z", "Tue, {day:02d} Mar 2021", "soon", "")
FRAMES = {
    "rss": ("<rss version='2.0'><channel><title>T</title>", "item", "guid", "pubDate", "</channel></rss>"),
    "atom": ("<feed xmlns='http://www.w3.org/2005/Atom'><title>T</title>", "entry", "id", "published", "</feed>"),
    "rdf": (
        "<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#' xmlns='http://purl.org/rss/1.0/' "
        "xmlns:dc='http://purl.org/dc/elements/1.1/'><channel rdf:about='http://a/'><title>T</title></channel>",
        "item", "guid", "dc:date", "</rdf:RDF>",
    ),
}  # fmt: skip


def item(kind: str, number: int, *, date: str = "", inside: str = "", file: bool = True, guid: bool = True) -> str:
    _, tag, key, dated, _ = FRAMES[kind]
    enclosure = "<enclosure url='http://a/{}.mp3' type='audio/mpeg'/>"
    if kind == "atom":
        enclosure = "<link rel='enclosure' href='http://a/{}.mp3'/>"
    return (
        f"<{tag}><title>Nummer {number} ä</title>"
        + (f"<{key}>http://a/{number}</{key}>" if guid else "")
        + (f"<{dated}>{date}</{dated}>" if date else "")
        + (enclosure.format(number) if file else "")
        + f"{inside}</{tag}>"
    )


def build(kind: str, encoding: str, items: list[str]) -> bytes:
    head, *_, tail = FRAMES[kind]
    declared = {"utf-8-sig": "utf-8", "utf-16-le": "utf-16", "utf-16-be": "utf-16"}.get(encoding, encoding)
    bom = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    return bom + f"<?xml version='1.0' encoding='{declared}'?>\n{head}{''.join(items)}{tail}".encode(encoding)


def read(data: bytes, want: int, size: int = 65536, **options: Any) -> Read:
    document = Document(want, url=URL, **options)
    for start in range(0, len(data), size):
        if not document.feed(data[start : start + size]):
            break
    return document.finish()


def guids(found: Read) -> list[str]:
    """As they are chosen by the feed: newest first."""
    ranked = sorted(found["episodes"], key=lambda each: each["rank"] or 0.0, reverse=True)
    return [each["guid"] for each in ranked]


def whole(data: bytes, want: int) -> list[str]:
    """The same from feedparser's reading of the whole, without any of our own for dates and order."""
    parsed = feedparser.parse(
        io.BytesIO(data),
        response_headers={"content-type": "application/xml"},
        sanitize_html=False,
        resolve_relative_uris=False,
    )
    dates = [timestamp(dict.get(e, name) for name in ("published_parsed", "updated_parsed")) for e in parsed.entries]
    rank = next((date for date in dates if date is not None), 0.0)
    unique: dict[str, float] = {}
    for entry, date in zip(parsed.entries, dates, strict=True):
        rank = rank if date is None else date
        links = [
            (link.get("href", ""), link.get("type", "")) for link in entry.get("links", []) if link.rel == "enclosure"
        ]
        if file := choose_file(links, URL):
            unique.setdefault((entry.get("id") or f"{file} {entry.get('title', '')}").strip(), rank)
    return sorted(unique, key=lambda guid: unique[guid], reverse=True)[:want]


@st.composite
def feeds(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A feed's kind and its items, in any order, repeated, undated, without files."""
    kind = draw(st.sampled_from(sorted(FRAMES)))
    numbers = draw(st.lists(st.integers(1, 28), min_size=1, max_size=14))
    items = [
        item(
            kind,
            number,
            date=draw(st.sampled_from(DATES)).format(day=number),
            inside=draw(st.sampled_from(INSIDE)),
            file=draw(st.integers(0, 4)) > 0,
            guid=draw(st.integers(0, 5)) > 0,
        )
        + draw(st.sampled_from(DECOYS))
        for number in numbers
    ]
    return kind, items


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(feed=feeds(), encoding=st.sampled_from(ENCODINGS), want=st.integers(1, 8), data=st.data())
def test_as_the_whole(feed: tuple[str, list[str]], encoding: str, want: int, data: st.DataObject) -> None:
    body = build(feed[0], encoding, feed[1])
    found = read(body, want, data.draw(st.sampled_from((1, 2, 7, 64, 4096, 65536))))
    assert guids(found) == whole(body, want)
    assert found["certain"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(feed=feeds(), encoding=st.sampled_from(ENCODINGS[:2]), want=st.integers(1, 8), data=st.data())
def test_cut_or_malformed_it_is_right_or_not_certain(
    feed: tuple[str, list[str]], encoding: str, want: int, data: st.DataObject
) -> None:
    body = build(feed[0], encoding, feed[1])
    right = whole(body, want)
    flaw = data.draw(st.sampled_from((b"", b" & ", b"<br>", b"\xff")))
    place = data.draw(st.integers(0, len(feed[1])))
    flawed = build(feed[0], encoding, [*feed[1][:place], "<!--FLAW-->", *feed[1][place:]]).replace(b"<!--FLAW-->", flaw)
    assert guids(read(flawed, want)) == right or not read(flawed, want)["certain"]
    cut = read(flawed[: data.draw(st.integers(0, len(flawed) - 1))], want)
    assert guids(cut) == right or not cut["certain"]
    numbers = {f"http://a/{number}" for number in range(29)}
    whole_items = {
        guid for guid in guids(cut) if guid in numbers or (guid.startswith("http://a/") and ".mp3 Nummer" in guid)
    }
    assert whole_items == set(guids(cut))


@pytest.mark.parametrize("kind", sorted(FRAMES))
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_size_of_the_pieces_does_not_matter(kind: str, encoding: str) -> None:
    numbers = random.Random(kind + encoding).sample(range(1, 29), 20)
    body = build(kind, encoding, [item(kind, number, date=DATES[1].format(day=number)) for number in numbers])
    found = [read(body, 5, size) for size in (1, 7, 4096, 65536)]
    assert all(each == found[0] for each in found)
    assert guids(found[0]) == [f"http://a/{number}" for number in sorted(numbers, reverse=True)[:5]]


def test_channel_elements_after_the_items_count() -> None:
    body = build("rss", "utf-8", [item("rss", 1)])
    link = b"<link xmlns='http://www.w3.org/2005/Atom' rel='next' href='/2'/>"
    assert read(body.replace(b"</channel>", link + b"</channel>"), 1)["next_page"] == "http://feed.example/2"


def test_what_follows_the_document_is_no_part_of_it() -> None:
    body = build("rss", "utf-8", [item("rss", 1)])
    assert read(body + b"<script>&&</script>", 1)["certain"]


def test_a_long_last_tag_that_expat_puts_off_is_not_lost() -> None:
    """From 2.6 on, expat parses an unfinished tag again once twice as many bytes are there; at the end none come."""
    items = [item("rss", number, date=DATES[1].format(day=number)) for number in range(1, 5)]
    items[-1] = items[-1].replace("4.mp3", "4.mp3?" + "u" * 10_000)
    for size in range(1000, 9000, 500):
        assert guids(read(build("rss", "utf-8", items), 1, size)) == ["http://a/4"]


@pytest.mark.parametrize(
    ("bounds", "note"),
    [
        (Bounds(items=3), "more than 3 items"),
        (Bounds(frame_bytes=20), "outside of its items"),
        (Bounds(kept_bytes=700), "newest 20 items fill"),
        (Bounds(item_bytes=200), r"item 2 ('Nummer 2 ä') is larger"),
        (Bounds(address_characters=10), "too long"),
        (Bounds(cpu_s=0.0, cpu_s_per_mb=0.0), "costs more CPU"),
    ],
)
def test_past_a_bound_it_is_not_certain(bounds: Bounds, note: str) -> None:
    items = [item("rss", number, inside="x" * 150 * (number == 2)) for number in range(1, 8)]
    found = read(build("rss", "utf-8", items), 20, 50, bounds=bounds)
    assert not found["certain"]
    assert note in "; ".join(found["notes"])


def test_one_tag_without_end_stops_the_reading() -> None:
    """With each piece, expat reads an unfinished tag again: 100 MB of one would take for ever."""
    items = [item("rss", 1), item("rss", 2).replace("2.mp3", "2.mp3?" + "u" * 5000)]
    found = read(build("rss", "utf-8", items), 20, 50, bounds=Bounds(tag_bytes=2000))
    assert guids(found) == ["http://a/1"]
    assert not found["certain"]
    assert "one tag or comment" in found["notes"][0]


def test_a_large_malformed_feed_is_read_as_far_as_it_may() -> None:
    items = [item("rss", number, inside="&") for number in range(1, 20)]
    found = read(build("rss", "utf-8", items), 20, 50, bounds=Bounds(tolerant_bytes=1500))
    assert 3 < len(found["episodes"]) < 19
    assert not found["certain"]


def test_a_large_feed_that_turns_malformed_keeps_what_came_before() -> None:
    items = [item("rss", number, inside="&" * (number == 15)) for number in range(1, 20)]
    found = read(build("rss", "utf-8", items), 20, 50, bounds=Bounds(tolerant_bytes=1500))
    assert len(found["episodes"]) == 14
    assert not found["certain"]
    assert "malformed" in found["notes"][0]
