"""Hostile feeds put together by chance: the asking process stays calm, whatever its reader meets.

``LIKEPION_SEEDS=1000`` reads so many of them; a few by default.
"""

from __future__ import annotations

import contextlib
import os
import random
import time

import pytest

from likepion_provider.errors import FeedInvalid, Transient
from likepion_provider.feed import read_feed, readers

from ..site import Site
from .test_kinds import Cost

SEEDS = int(os.environ.get("LIKEPION_SEEDS", "12"))
TIMEOUT_S = 3.0
MAX_LATE_S = 0.5
MAX_GROWTH_MB = 64.0
LARGE = 200_000

#: What makes a parser work, each by its size.
TROUBLE = (
    lambda n: "<author>" + "a" * (n // 4) + "</author>",
    lambda n: "<category>k</category>" * (n // 22),
    lambda n: "<category>" + ",".join(map(str, range(n // 6))) + "</category>",
    lambda n: "<x " + " ".join(f"a{each}=''" for each in range(n // 8)) + "/>",
    lambda n: "<a>" * (n // 8) + "</a>" * (n // 8),
    lambda n: "<a>" * (n // 4),
    lambda n: "<description" + " " * n + ">x</description>",
    lambda n: "<description>" + "&lt;a " * (n // 6) + "</description>",
    lambda n: "<description>" + "&e;" * (n // 3) + "</description>",
    lambda n: "<description>" + "&" * n + "</description>",
    lambda n: "<description><![CDATA[" + "]]" * (n // 2) + "</description>",
    lambda n: "<!--" + "-" * n + ">",
    lambda n: "<pubDate>" + "1" * n + "</pubDate>",
    lambda n: "<guid>" + "g" * n + "</guid>",
    lambda n: "<title>" + "\u202e\x0b" * (n // 2) + "</title>",
    lambda n: "<enclosure url='http://a/" + "\n" * n + "'/>",
    lambda n: "<georss:point xmlns:georss='http://www.georss.org/georss'>" + "1 " * (n // 2) + "</georss:point>",
    lambda n: "<" * n,
    lambda n: "</width>" * (n // 8),
)
HEADS = (
    "",
    "<!DOCTYPE r [<!ENTITY e '" + "e" * 250 + "'>]>",
    "<!DOCTYPE r [<!ENTITY a 'aaaaaaaaaa'><!ENTITY e '" + "&a;" * 200 + "'>]>",
    "<!DOCTYPE r [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>",
)
ENCODINGS = ("utf-8", "utf-16", "utf-7", "punycode", "gb2312", "unknown", "idna", "rot13")


def hostile(seed: int) -> bytes:
    chance = random.Random(seed)
    items = []
    for number in range(chance.choice((1, 5, 40))):
        trouble = "".join(chance.choice(TROUBLE)(chance.choice((10, 3_000, LARGE))) for _ in range(chance.randrange(3)))
        items.append(f"<item><guid>{number}</guid>{trouble}<enclosure url='http://a/{number}.mp3'/></item>")
    trouble = chance.choice(TROUBLE)(LARGE) if chance.random() < 0.2 else ""
    encoding = chance.choice(ENCODINGS)
    text = f"<?xml version='1.0' encoding='{encoding}'?>{chance.choice(HEADS)}<rss><channel>{trouble}{''.join(items)}"
    body = (text + "</channel></rss>").encode("utf-16" if encoding == "utf-16" else "utf-8", "replace")
    return body[: chance.randrange(len(body))] if chance.random() < 0.3 else body


@pytest.mark.parametrize("first", range(0, SEEDS, 4))
async def test_hostile_feeds(site: Site, first: int) -> None:
    async with readers():
        for seed in range(first, min(first + 4, SEEDS)):
            url = site.serve("/feed", hostile(seed))
            cost, began_s = Cost(), time.monotonic()
            with contextlib.suppress(FeedInvalid, Transient):
                await read_feed(url, target=5, allow_private=True, timeout_s=TIMEOUT_S)
            cost.end()
            assert time.monotonic() - began_s < TIMEOUT_S + 1, seed
            assert cost.late_s < MAX_LATE_S, seed
            assert cost.grown_mb < MAX_GROWTH_MB, seed
