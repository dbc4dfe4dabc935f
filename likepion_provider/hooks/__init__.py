"""Airflow hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from likepion_provider._lazy import lazily

if TYPE_CHECKING:
    from likepion_provider.hooks.likepion import LikepionHook

__all__ = ["LikepionHook"]

__getattr__ = lazily(
    __name__,
    {"LikepionHook": "likepion"},
)
