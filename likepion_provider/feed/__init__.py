"""Feeds: fetched safely, cut early, read by feedparser.

Importing this package is cheap; aiohttp and feedparser come with the first :func:`read_feed`.
"""

from __future__ import annotations

from likepion_provider.feed.cache import FeedCache
from likepion_provider.feed.read import read_feed
from likepion_provider.web.redact import redact

__all__ = ["FeedCache", "read_feed", "redact"]
