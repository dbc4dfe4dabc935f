"""Feeds: fetched safely, read in a process of their own, by expat and feedparser.

Importing this package is cheap, also for that process: what it needs comes with the first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from likepion_provider.feed.process import readers
    from likepion_provider.feed.read import read_feed

__all__ = ["read_feed", "readers"]


def __getattr__(name: str) -> Any:
    import importlib

    homes = {"read_feed": "read", "readers": "process"}
    if name not in homes:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"likepion_provider.feed.{homes[name]}"), name)
