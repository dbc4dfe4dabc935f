"""The importers' contract, and the registry that finds them.

.. code-block:: toml

    [project.entry-points."likepion_provider.platforms"]
    my_site = "my_package.my_site:MySite"
"""

from __future__ import annotations

from likepion_provider.platforms.base import (
    Job,
    ListedEpisode,
    Platform,
    PlatformSettings,
    Progress,
    refuse_locked,
)
from likepion_provider.platforms.match import match
from likepion_provider.platforms.registry import ENTRY_POINTS, Registry, registry
from likepion_provider.web.http import Page, PlatformHttp

__all__ = [
    "ENTRY_POINTS",
    "Job",
    "ListedEpisode",
    "Page",
    "Platform",
    "PlatformHttp",
    "PlatformSettings",
    "Progress",
    "Registry",
    "match",
    "refuse_locked",
    "registry",
]
