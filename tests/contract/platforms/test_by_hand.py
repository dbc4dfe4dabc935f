"""What the importers of YouTube and Deezer do beside the contract."""

from __future__ import annotations

import dataclasses

import pytest

from likepion_provider.errors import PlatformError, Transient
from likepion_provider.models import Credentials, ImportState
from likepion_provider.platforms import Job, PlatformSettings, registry
from likepion_provider.testing.server import Case, opened

from . import deezer, youtube

YOUTUBE, DEEZER = registry().platforms["youtube"], registry().platforms["deezer"]


def called(case: Case, username: str) -> Job:
    return dataclasses.replace(case.job(), credentials=Credentials(username=username))


async def test_youtube_finds_the_channel_by_its_handle() -> None:
    async with opened(YOUTUBE, youtube) as case:
        case.server.already_there = True
        seen = await case.platform.collect(called(case, youtube.HANDLE))
        assert (seen.state, case.urls(seen)) == (ImportState.LISTED, case.server.expected())
        for username in ("@nobody", "ada@feeds.example", ""):
            with pytest.raises(PlatformError, match="channel") as raised:
                await case.platform.collect(called(case, username))
            assert "username" in raised.value.remedy


async def test_youtube_waits_where_the_days_quota_is_used_up_and_asks_nothing_without_a_key() -> None:
    async with opened(YOUTUBE, youtube) as case:
        case.server.exhausted = True  # type: ignore[attr-defined]
        with pytest.raises(Transient, match="no quota left"):
            await case.platform.collect(case.job())
        requests = len(case.server.requests)
        keyless = dataclasses.replace(case.job(), settings=PlatformSettings(base_url=case.server.url))
        with pytest.raises(PlatformError, match="likepion_platform_youtube"):
            await case.platform.collect(keyless)
        assert len(case.server.requests) == requests


async def test_deezer_waits_where_its_quota_is_used_up_and_names_other_errors() -> None:
    async with opened(DEEZER, deezer) as case:
        case.server.already_there = True
        for code in (4, 700):
            case.server.error = code  # type: ignore[attr-defined]
            with pytest.raises(Transient):
                await case.platform.collect(case.job())
        case.server.error = 500  # type: ignore[attr-defined]
        with pytest.raises(PlatformError, match="the error 500"):
            await case.platform.collect(case.job())
        assert (await case.platform.collect(case.job())).state is ImportState.LISTED
