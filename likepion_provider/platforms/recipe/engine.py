"""What reaches a site for a recipe: ``http.py`` by plain requests, ``browser.py`` with a browser."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from likepion_provider.platforms.recipe.shape import Form
from likepion_provider.web.page import Page


@dataclasses.dataclass(frozen=True)
class SiteRequest:
    """What a step asks for; ``headers`` go to the site's own host only."""

    method: str
    url: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    body: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def writes(self) -> bool:
        """Whether it may change something there."""
        return self.method != "GET"


class Engine(Protocol):
    """What runs a recipe's steps; every page is the one after redirects."""

    @property
    def cookie(self) -> str:
        """The session's cookies, for a later run."""

    async def send(self, request: SiteRequest) -> Page:
        """Open an address, or call an API."""

    async def submit(self, page: Page, form: Form, fields: Mapping[str, str], headers: Mapping[str, str]) -> Page:
        """Fill in a form of the page that was opened last, and send it.

        :raises PlatformChanged: the page has no such form.
        """
