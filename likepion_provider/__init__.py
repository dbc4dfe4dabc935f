"""Airflow provider for the Likepion podcast manager: secondary accounts, feeds in, episode URLs out."""

from __future__ import annotations

__version__ = "0.1.0"
