"""django-podcast-analyzer, as it runs, with its worker.

========================================================= ==========================================================
``LIKEPION_REAL_PODCAST_ANALYZER``                        its address with the app's path, ``.../podcasts``
``LIKEPION_REAL_PODCAST_ANALYZER_USER``, ``_PASSWORD``    of somebody who may sign in
``LIKEPION_REAL_PODCAST_ANALYZER_ALLAUTH``                the same site with allauth's login; its limit of failed logins
                                                          is used up by a test, and holds for five minutes
========================================================= ==========================================================
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from likepion_provider.models import Outcome
from likepion_provider.platforms import PlatformSettings
from likepion_provider.platforms.importers.podcast_analyzer import PodcastAnalyzer

from .flows import Flow, RealServer, all_flows, chosen, show, world

VARIABLE = "LIKEPION_REAL_PODCAST_ANALYZER"


def _said(name: str) -> str:
    return os.environ.get(f"{VARIABLE}_{name}", "")


def _server(address: str) -> RealServer:
    account = {"username": _said("USER"), "password": _said("PASSWORD"), "email": "ada@feeds.example"}
    return RealServer(
        module=__name__,
        importer=PodcastAnalyzer,
        settings=PlatformSettings(base_url=address, extra={"platform": "podcast_analyzer"}),
        domain="analyzer.self.example",
        accounts=(account,),
        wrong={**account, "password": "not-that-one"},
    )


SERVER = chosen(VARIABLE, _server)


@all_flows(
    SERVER,
    VARIABLE,
    brings_a_new_episode_later="the site reads a feed again when its next episode is due, and cannot be asked to",
)
async def test_flow(flow: Flow, tmp_path: Path) -> None:
    assert SERVER is not None
    async with world(SERVER, tmp_path) as its_world:
        await flow(its_world)


@pytest.mark.skipif(not _said("ALLAUTH"), reason=f"{VARIABLE}_ALLAUTH names no server")
async def test_a_limit_of_logins_is_not_told_as_a_wrong_password(tmp_path: Path) -> None:
    assert SERVER is not None
    server = dataclasses.replace(SERVER, settings=dataclasses.replace(SERVER.settings, base_url=_said("ALLAUTH")))
    async with world(server, tmp_path) as its_world:
        feed_url = its_world.primary.add(show(2))
        assert server.wrong
        its_world.post(feed_url, *[server.wrong] * 6)
        words = [said for _, said in await its_world.run(max_concurrency=1)]
        assert sum("does not accept the credentials" in each for each in words) == 5
        its_world.post(feed_url)
        told = await its_world.run()
        assert [each for each in told if each[0] is Outcome.WAITING and "takes no logins now" in each[1]]
