"""Feeds: fetched safely, read in a process of their own, by expat and feedparser.

Importing this package is cheap, also for that process: what it needs comes with the first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from likepion_provider._lazy import lazily

if TYPE_CHECKING:
    from likepion_provider.feed.process import readers
    from likepion_provider.feed.read import read_feed

__all__ = ["read_feed", "readers"]

__getattr__ = lazily(__name__, {"read_feed": "read", "readers": "process"})
