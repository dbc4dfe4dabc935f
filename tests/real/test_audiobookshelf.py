"""Audiobookshelf, as it runs.

========================================================== =========================================================
``LIKEPION_REAL_AUDIOBOOKSHELF``                           its address with its path, ``.../audiobookshelf``
``LIKEPION_REAL_AUDIOBOOKSHELF_USER``, ``_PASSWORD``       of an admin; there must be a library of podcasts
``LIKEPION_REAL_AUDIOBOOKSHELF_READER``                    name and password, as ``name:password``, of a plain user
========================================================== =========================================================

The server must take feeds of loopback addresses: ``SSRF_REQUEST_FILTER_WHITELIST=127.0.0.1``.
"""

from __future__ import annotations

import os
from pathlib import Path

import aiohttp

from likepion_provider.platforms import PlatformSettings
from likepion_provider.platforms.importers.audiobookshelf import Audiobookshelf

from .flows import Flow, RealServer, all_flows, chosen, world

VARIABLE = "LIKEPION_REAL_AUDIOBOOKSHELF"


def _said(name: str) -> str:
    return os.environ.get(f"{VARIABLE}_{name}", "")


def _server(address: str) -> RealServer:
    admin = {"username": _said("USER"), "password": _said("PASSWORD"), "email": "ada@feeds.example"}
    reader, _, its_password = _said("READER").partition(":")

    async def count() -> int:
        async with aiohttp.ClientSession(f"{address}/") as session:
            login = {name: admin[name] for name in ("username", "password")}
            async with session.post("login", json=login, headers={"x-return-tokens": "true"}) as answer:
                token = (await answer.json())["user"]["accessToken"]
            headers = {"Authorization": f"Bearer {token}"}
            async with session.get("api/libraries?include=stats", headers=headers) as answer:
                libraries = (await answer.json())["libraries"]
        return sum(int(each["stats"]["numAudioFiles"]) for each in libraries if each["mediaType"] == "podcast")

    return RealServer(
        module=__name__,
        importer=Audiobookshelf,
        settings=PlatformSettings(base_url=address, extra={"platform": "audiobookshelf"}),
        domain="audiobookshelf.self.example",
        accounts=(admin,),
        wrong={**admin, "password": "not-that-one"},
        unable={**admin, "username": reader, "password": its_password} if reader else None,
        refuses_in="an admin",
        count=count,
        collect_timeout_s=300.0,
    )


SERVER = chosen(VARIABLE, _server)


@all_flows(SERVER, VARIABLE)
async def test_flow(flow: Flow, tmp_path: Path) -> None:
    assert SERVER is not None
    async with world(SERVER, tmp_path) as its_world:
        await flow(its_world)
