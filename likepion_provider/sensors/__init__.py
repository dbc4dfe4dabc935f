"""Airflow sensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from likepion_provider._lazy import lazily

if TYPE_CHECKING:
    from likepion_provider.sensors.likepion import LinkRssSensor

__all__ = ["LinkRssSensor"]

__getattr__ = lazily(
    __name__,
    {"LinkRssSensor": "likepion"},
)
