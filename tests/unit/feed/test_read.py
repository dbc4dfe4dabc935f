"""What is read from a feed: fixture pairs, the newest episodes in any order and over pages, and what cannot serve."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from likepion_provider.errors import FeedInvalid
from likepion_provider.feed import read_feed
from likepion_provider.feed.links import safe_url
from likepion_provider.models import Feed

from ..site import Site, rss

CASES = sorted((Path(__file__).parent / "cases").glob("*.xml"))


def public(value: Any) -> Any:
    """A value as JSON; fields that hold their default are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: public(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if getattr(value, field.name) != field.default
        }
    if isinstance(value, tuple):
        return [public(entry) for entry in value]
    return value.isoformat() if isinstance(value, datetime) else value


async def read(url: str, target: int = 20) -> Feed:
    return await read_feed(url, target=target, allow_private=True, timeout_s=10)


async def guids(url: str, target: int = 20) -> list[str]:
    return [episode.guid for episode in (await read(url, target)).episodes]


@pytest.mark.parametrize(
    ("body", "expected"),
    [(case.read_bytes(), json.loads(case.with_suffix(".json").read_text(encoding="utf-8"))) for case in CASES],
    ids=[case.stem for case in CASES],
)
async def test_case(site: Site, body: bytes, expected: dict[str, Any]) -> None:
    """``case.xml`` served as ``/feed`` is read as ``case.json`` says."""
    feed = await read(site.serve("/feed", body))
    shown = json.loads(json.dumps(public(feed)).replace(site.url, "http://site"))
    assert shown == expected


@pytest.mark.parametrize(
    "order",
    [range(1, 29), [1, *range(28, 1, -1)], [28, 1, 27, 2, 26, 3, *range(4, 26)], range(28, 0, -1)],
    ids=["oldest first", "trailer on top", "mixed", "newest first"],
)
@pytest.mark.parametrize("target", [1, 3, 28])
async def test_the_newest_whatever_the_order(site: Site, order: range | list[int], target: int) -> None:
    url = site.serve("/feed", rss(order))
    assert await guids(url, target) == [f"g{n}" for n in range(28, 28 - target, -1)]


async def test_repeated_episodes_are_folded(site: Site) -> None:
    url = site.serve("/feed", rss([9, 9, 9, 8, 8, 7, 7, 6, 5, 4, 3, 2, 1]))
    assert await guids(url, 6) == ["g9", "g8", "g7", "g6", "g5", "g4"]


async def test_episodes_without_a_file_do_not_count(site: Site) -> None:
    posts = "".join(f"<item><guid>post{n}</guid></item>" for n in range(30))
    url = site.serve("/feed", rss([3, 2, 1], channel=posts))
    assert await guids(url, 2) == ["g3", "g2"]


async def test_further_pages_are_read_as_far_as_needed(site: Site) -> None:
    link = "<atom:link rel='next' href='{}'/>"
    site.serve("/1", rss([9, 8, 7, 6, 5], channel=link.format("/2")))
    site.serve("/2", rss([5, 4, 3], channel=link.format("/3")))
    site.serve("/3", rss([2, 1], channel=link.format("/1")))
    assert await guids(site.url + "/1", 4) == ["g9", "g8", "g7", "g6"]
    assert [request.path for request in site.requests] == ["/1"]
    assert await guids(site.url + "/1", 6) == ["g9", "g8", "g7", "g6", "g5", "g4"]
    assert [request.path for request in site.requests[1:]] == ["/1", "/2"]
    assert len(await guids(site.url + "/1")) == 9
    assert [request.path for request in site.requests[3:]] == ["/1", "/2", "/3"]


async def test_oldest_first_pages_are_all_read(site: Site) -> None:
    link = "<atom:link rel='next' href='{}'/>"
    site.serve("/1", rss([1, 2, 3, 4, 5], channel=link.format("/2")))
    site.serve("/2", rss([6, 7, 8]))
    assert await guids(site.url + "/1", 2) == ["g8", "g7"]


async def test_a_page_that_is_gone_ends_the_feed(site: Site) -> None:
    for target in ("/gone", "file:///etc/passwd", "http://[x"):
        url = site.serve("/1", rss([2, 1], channel=f"<atom:link rel='next' href='{target}'/>"))
        feed = await read(url)
        assert [each.guid for each in feed.episodes] == ["g2", "g1"]
        assert feed.newest_certain == (target != "/gone")  # what is no address is no page


async def test_endless_pages_are_bounded(site: Site) -> None:
    for page in range(40):
        site.serve(f"/{page}", rss([1], channel=f"<atom:link rel='next' href='/{page + 1}'/>"))
    feed = await read(site.url + "/0")
    assert [each.guid for each in feed.episodes] == ["g1"]
    assert not feed.newest_certain
    assert len(site.requests) == 4


async def test_pages_that_lead_back_are_all_of_the_feed(site: Site) -> None:
    site.serve("/1", rss([2], channel="<atom:link rel='next' href='/2'/>"))
    site.serve("/2", rss([1], channel="<atom:link rel='next' href='/1'/>"))
    feed = await read(site.url + "/1")
    assert (len(feed.episodes), feed.newest_certain) == (2, True)


async def test_credentials_go_to_pages_of_the_same_host_only(site: Site) -> None:
    other = f"http://localhost:{site.port}/2"
    site.serve("/1", rss([3], channel=f"<atom:link rel='next' href='{site.url}/same'/>"))
    site.serve("/same", rss([2], channel=f"<atom:link rel='next' href='{other}'/>"))
    site.serve("/2", rss([1]))
    assert len(await guids(f"http://user:secret@127.0.0.1:{site.port}/1")) == 3
    assert ["Authorization" in request.headers for request in site.requests] == [True, True, False]


async def test_the_guid_does_not_depend_on_the_address(site: Site) -> None:
    body = rss([1]).replace(b"g1", b"relative-guid")
    assert await guids(site.serve("/a", body)) == await guids(site.serve("/b/c", body)) == ["relative-guid"]


@pytest.mark.parametrize("locked", ["yes", "no"])
@pytest.mark.parametrize("flaw", ["", "&"])
async def test_the_lock_is_told_and_is_no_error(site: Site, locked: str, flaw: str) -> None:
    channel = f"<podcast:locked owner='o@example.com'>{locked}</podcast:locked>{flaw}"
    feed = await read(site.serve("/feed", rss([1], channel=channel)))
    assert (feed.locked, feed.locked_owner) == (locked == "yes", "o@example.com")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", "document"),
        (b"<!doctype html><html><body><p>Not a feed</body></html>", "document"),
        (b"{}", "document"),
        (rss([]), "channel"),
        (b"<rss version='2.0'><channel><item><title>x</title></item></channel></rss>", "item 1, enclosure"),
        (rss([1], channel="</width>"), "document"),
        (rss([2, 1]).replace(b"https://media", b"file://media"), "items 1 to 2, enclosure"),
    ],
)
async def test_what_cannot_serve_says_where_and_what_to_do(site: Site, body: bytes, where: str) -> None:
    url = site.serve("/feed", body)
    with pytest.raises(FeedInvalid) as caught:
        await read(url + "?token=hunter2")
    assert caught.value.where == where
    assert url in caught.value.advice
    assert "hunter2" not in caught.value.advice + repr(caught.value.__dict__)
    assert caught.value.remedy in caught.value.advice


@pytest.mark.parametrize("text", ["javascript:alert(1)", "file:///x", "data:,x", "http://", "http://[x", "a\0b", ""])
def test_unsafe_links_are_dropped(text: str) -> None:
    assert safe_url(text, "http://a.example/") == ""


def test_importing_the_package_is_light() -> None:
    heavy = "('aiohttp', 'feedparser', 'airflow')"
    code = f"import sys, likepion_provider.feed; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
