"""Which spellings of a URL are one: RFC 3986, 6.2.2 and 6.2.3."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likepion_provider.manager.protocol import normal_url

RESERVED = ":/?#[]@!$&'()*+,;="


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://tide.example/Shows/1", "https://tide.example/Shows/1"),
        ("  https://tide.example/1\n", "https://tide.example/1"),
        ("HTTPS://Tide.Example/1", "https://tide.example/1"),
        ("https://tide.example:443/1", "https://tide.example/1"),
        ("http://tide.example:80/1", "http://tide.example/1"),
        ("https://tide.example:/1", "https://tide.example/1"),
        ("https://tide.example:80/1", "https://tide.example:80/1"),
        ("https://[2001:DB8::1]:443/1", "https://[2001:db8::1]/1"),
        ("https://tide.example", "https://tide.example/"),
        ("https://tide.example?p=1", "https://tide.example/?p=1"),
        ("https://tide.example/%65%7e%2f%c3%a9", "https://tide.example/e~%2F%C3%A9"),
        ("https://tide.example/?q=%41#%7a", "https://tide.example/?q=A#z"),
        ("https://%54ide%2dnet.example/", "https://tide-net.example/"),
        ("https://h%c3%a9.example/", "https://h%C3%A9.example/"),
        ("https://tide.example/a/./b/../c", "https://tide.example/a/c"),
        ("https://tide.example/a/%2e%2E/c", "https://tide.example/c"),
        ("https://tide.example/a/b/..", "https://tide.example/a/"),
        ("https://tide.example/../..", "https://tide.example/"),
        ("https://tide.example//a//", "https://tide.example//a//"),
        ("https://tide.example/?a=/../b", "https://tide.example/?a=/../b"),
        ("https://tide.example/100%", "https://tide.example/100%25"),
        ("https://User:Pass@Tide.example/", "https://User:Pass@tide.example/"),
        ("ftp://Tide.example/", "ftp://Tide.example/"),
        ("", ""),
    ],
)
def test_a_url_has_one_spelling(url: str, normal: str) -> None:
    assert normal_url(url) == normal


@pytest.mark.parametrize(
    "others",
    [
        ("https://tide.example/a", "http://tide.example/a", "https://tide.example/a/", "https://tide.example/A"),
        ("https://tide.example/a,b", "https://tide.example/a%2Cb"),
        ("https://tide.example/a?", "https://tide.example/a", "https://tide.example/a#"),
        ("https://tide.example/a?b=1&c=2", "https://tide.example/a?c=2&b=1", "https://tide.example/a?b=1%26c=2"),
        ("https://tide.example./a", "https://tide.example/a", "https://www.tide.example/a"),
    ],
)
def test_what_may_be_two_pages_stays_two(others: tuple[str, ...]) -> None:
    assert len({normal_url(each) for each in others}) == len(others)


pieces = st.sampled_from(
    [*RESERVED, *"aZ09-._~ %é", "%41", "%2f", "%2F", "%7e", "%25", "%2", "..", "/./", "/../", "%2e"]
)
texts = st.lists(pieces, max_size=12).map("".join)


@given(st.sampled_from(["http://", "HTTPS://", "https://H.example", "http://h.example:80", ""]), texts)
def test_what_is_normal_stays(start: str, text: str) -> None:
    once = normal_url(start + text)
    assert normal_url(once) == once


@given(st.sampled_from("/?#"), texts)
def test_reserved_characters_and_their_escapes_are_kept_in_their_order(opening: str, text: str) -> None:
    rest = re.sub(r"(?:[.]|%2e)+", "", text)
    kept = normal_url(f"https://tide.example/x{opening}{rest}")
    assert _reserved(kept.removeprefix("https://tide.example")) == _reserved(f"/x{opening}{rest.rstrip()}")


def _reserved(text: str) -> list[str]:
    escapes = "|".join(f"%{ord(char):02X}" for char in RESERVED)
    return [each.upper() for each in re.findall(rf"[{re.escape(RESERVED)}]|{escapes}", text, re.IGNORECASE)]
