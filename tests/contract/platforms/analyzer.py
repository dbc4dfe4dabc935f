"""The recipe for django-podcast-analyzer, against the server that its importer is tested with."""

from __future__ import annotations

from likepion_provider.platforms import PlatformSettings

from .podcast_analyzer import SERVER, credentials

__all__ = ["SERVER", "credentials", "settings"]


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url, extra={"platform": "analyzer"})
