"""Airflow triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from likepion_provider._lazy import lazily

if TYPE_CHECKING:
    from likepion_provider.triggers.likepion import LinkRssTrigger

__all__ = ["LinkRssTrigger"]

__getattr__ = lazily(
    __name__,
    {"LinkRssTrigger": "likepion"},
)
