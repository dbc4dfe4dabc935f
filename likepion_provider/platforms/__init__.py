"""The importers' contract, what importers need of the package, and the registry that finds them.

An importer needs this module, :mod:`likepion_provider.errors` and :mod:`likepion_provider.models`, no other.

.. code-block:: toml

    [project.entry-points."likepion_provider.platforms"]
    my_site = "my_package.my_site:MySite"
"""

from __future__ import annotations

from likepion_provider.platforms.base import (
    ByHand,
    Job,
    ListedEpisode,
    LooksFirst,
    Platform,
    PlatformSettings,
    Progress,
    Rereads,
    address_for_person,
    quoted,
    refuse_locked,
    shown_url,
)
from likepion_provider.platforms.match import bare_url, by_title, enough, is_the_feeds, match, plain, same_feed
from likepion_provider.platforms.paging import paged
from likepion_provider.platforms.registry import ENTRY_POINTS, Registry, registry
from likepion_provider.platforms.totp import totp_code
from likepion_provider.web.html import TableRow, shown_text
from likepion_provider.web.http import PlatformHttp, basic_auth
from likepion_provider.web.page import JsonRow, Page, read_date

__all__ = [
    "ENTRY_POINTS",
    "ByHand",
    "Job",
    "JsonRow",
    "ListedEpisode",
    "LooksFirst",
    "Page",
    "Platform",
    "PlatformHttp",
    "PlatformSettings",
    "Progress",
    "Registry",
    "Rereads",
    "TableRow",
    "address_for_person",
    "bare_url",
    "basic_auth",
    "by_title",
    "enough",
    "is_the_feeds",
    "match",
    "paged",
    "plain",
    "quoted",
    "read_date",
    "refuse_locked",
    "registry",
    "same_feed",
    "shown_text",
    "shown_url",
    "totp_code",
]
