"""Feeds: fetched safely, cut early, parsed by feedparser.

Importing this package is cheap; aiohttp and feedparser come with the first :func:`read_feed`.
"""

from __future__ import annotations

from likepion_provider.feed.read import read_feed

__all__ = ["read_feed"]
