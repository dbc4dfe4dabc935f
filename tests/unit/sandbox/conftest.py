"""What the sandbox's tests share: a running sandbox and clients."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from likepion_provider.sandbox.server import Sandbox
from likepion_provider.sandbox.site import SiteSettings


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    settings = SiteSettings(import_latency_s=0, listing_delay_s=0)
    async with Sandbox(settings=settings, api_key="key") as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A browser of one account: keeps cookies, follows no redirect by itself in these tests."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session
