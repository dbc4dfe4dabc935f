"""Shared by the sandbox's tests: a running sandbox and clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from likepion_provider.sandbox.server import Sandbox
from likepion_provider.sandbox.site import SiteSettings

KEY = {"X-API-Key": "key"}


class Caller:
    """Calls the sandbox's manager and returns status and JSON."""

    def __init__(self, sandbox: Sandbox, client: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self._client = client

    async def __call__(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self._client.request(method, self.sandbox.manager_url + path, headers=KEY, **options) as answer:
            return answer.status, await answer.json()


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


@pytest.fixture
def call(sandbox: Sandbox, client: aiohttp.ClientSession) -> Caller:
    return Caller(sandbox, client)
