"""The client that importers are handed."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from likepion_provider.aio import Gate
from likepion_provider.errors import Transient
from likepion_provider.platforms import PlatformHttp


async def test_a_write_ends_before_its_claim_does_and_a_read_takes_the_time_it_is_given() -> None:
    written = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            await written.wait()
        await asyncio.sleep(0.3)
        return web.Response(text="here")

    async def before_write() -> float:
        return 0.2

    app = web.Application()
    app.router.add_route("*", "/page", answer)
    async with TestServer(app) as server, aiohttp.TCPConnector() as connector:
        gate, base_url = Gate(2), str(server.make_url("/"))
        http = PlatformHttp(
            platform="p", base_url=base_url, connector=connector, gate=gate, before_write=before_write, timeout_s=60
        )
        try:
            with pytest.raises(Transient, match="no answer"):
                await http.post("page")
            assert (await http.get("page")).text == "here"
        finally:
            written.set()
            await http.close()
