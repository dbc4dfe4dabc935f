"""WordPress with Seriously Simple Podcasting, as it runs.

=============================================== ====================================================================
``LIKEPION_REAL_WORDPRESS``                     its address, e.g. ``http://127.0.0.1:8080``
``LIKEPION_REAL_WORDPRESS_USER``, ``_PASSWORD`` of somebody who may publish episodes and make podcasts there
``LIKEPION_REAL_WORDPRESS_APP_PASSWORD``        of the same person, where there is one: then both ways in are tried
``LIKEPION_REAL_WORDPRESS_READER``              name and password, as ``name:password``, of one who may only read
=============================================== ====================================================================
"""

from __future__ import annotations

import os
from pathlib import Path

import aiohttp

from likepion_provider.platforms import PlatformSettings
from likepion_provider.platforms.importers.wordpress_ssp import WordpressSsp

from .flows import Flow, RealServer, all_flows, chosen, world

VARIABLE = "LIKEPION_REAL_WORDPRESS"


def _said(name: str) -> str:
    return os.environ.get(f"{VARIABLE}_{name}", "")


def _server(address: str) -> RealServer:
    async def count() -> int:
        async with aiohttp.ClientSession() as session, session.get(f"{address}/?rest_route=/wp/v2/podcast") as answer:
            return int(answer.headers["X-WP-Total"])

    user, password = _said("USER"), _said("PASSWORD")
    by_login = {"username": user, "password": password, "email": "ada@feeds.example"}
    by_app_password = {**by_login, "app_password": _said("APP_PASSWORD")}
    reader, _, its_password = _said("READER").partition(":")
    return RealServer(
        module=__name__,
        importer=WordpressSsp,
        settings=PlatformSettings(base_url=address, extra={"platform": "wordpress_ssp"}),
        domain="wordpress.self.example",
        accounts=(by_login, by_app_password) if _said("APP_PASSWORD") else (by_login,),
        wrong={**by_login, "password": "not-that-one"},
        unable={**by_login, "username": reader, "password": its_password} if reader else None,
        refuses_in="Podcast Manager",
        count=count,
    )


SERVER = chosen(VARIABLE, _server)


@all_flows(SERVER, VARIABLE)
async def test_flow(flow: Flow, tmp_path: Path) -> None:
    assert SERVER is not None
    async with world(SERVER, tmp_path) as its_world:
        await flow(its_world)
