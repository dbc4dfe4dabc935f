"""The web server that feeds are served from."""

from __future__ import annotations

from ..site import site

__all__ = ["site"]
