"""mygpo with its feed service and a worker, as they run.

================================================= ==================================================================
``LIKEPION_REAL_GPODDER``                         its address
``LIKEPION_REAL_GPODDER_USER``, ``_PASSWORD``     of an account there
================================================= ==================================================================
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from likepion_provider.models import Outcome
from likepion_provider.platforms import PlatformSettings
from likepion_provider.platforms.importers.gpodder import Gpodder

from .flows import Flow, RealServer, all_flows, chosen, show, world

VARIABLE = "LIKEPION_REAL_GPODDER"


def _said(name: str) -> str:
    return os.environ.get(f"{VARIABLE}_{name}", "")


def _server(address: str) -> RealServer:
    account = {"username": _said("USER"), "password": _said("PASSWORD"), "email": "ada@feeds.example"}
    return RealServer(
        module=__name__,
        importer=Gpodder,
        settings=PlatformSettings(base_url=address, extra={"platform": "gpodder"}),
        domain="gpodder.self.example",
        accounts=(account,),
        wrong={**account, "password": "not-that-one"},
    )


SERVER = chosen(VARIABLE, _server)


@all_flows(
    SERVER,
    VARIABLE,
    brings_a_new_episode_later="the site reads a feed again at intervals like those of its episodes, not when asked",
    imports_201_episodes="the site keeps the newest 200",
)
async def test_flow(flow: Flow, tmp_path: Path) -> None:
    assert SERVER is not None
    async with world(SERVER, tmp_path) as its_world:
        await flow(its_world)


@pytest.mark.skipif(SERVER is None, reason=f"{VARIABLE} names no server")
async def test_media_urls_that_the_site_rewrites(tmp_path: Path) -> None:
    assert SERVER is not None
    files = ["a%2Bb.wav", "a+b.wav", "e/https://media.example/1.wav", "4.wav?sig=a%2Bb%2F", "5.wav?n=a b", "6.wav"]
    async with world(SERVER, tmp_path) as its_world:
        its_world.post(its_world.primary.add(dataclasses.replace(show(6), files=files)))
        assert [each for each, _ in await its_world.run()] == [Outcome.DELIVERED]
        assert len(set(its_world.stored())) == 6
