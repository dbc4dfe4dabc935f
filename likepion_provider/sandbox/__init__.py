"""A manager, a podcast site and feeds on loopback: try everything without the real ones."""

from __future__ import annotations
