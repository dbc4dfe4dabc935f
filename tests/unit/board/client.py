"""Asks a web app in this process, without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI


class Client:
    """Blocking requests to an ASGI app.

    :param raise_app_exceptions: False answers 500, as a server does.
    """

    def __init__(self, app: FastAPI, *, raise_app_exceptions: bool = True) -> None:
        self._app = app
        self._raise = raise_app_exceptions

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self._ask("GET", path, options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self._ask("POST", path, options)

    def _ask(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, raise_app_exceptions=self._raise)
            async with httpx.AsyncClient(transport=transport, base_url="http://board") as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())
