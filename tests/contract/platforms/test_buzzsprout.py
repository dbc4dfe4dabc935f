"""What Buzzsprout's importer does beside the contract."""

from __future__ import annotations

import pytest

from likepion_provider.errors import NeedsVerification, PlatformChanged, PlatformError, Transient
from likepion_provider.models import ImportState
from likepion_provider.platforms import registry
from likepion_provider.testing.server import FEED_TITLE, episodes, opened

from . import buzzsprout

PLATFORM = registry().platforms["buzzsprout"]


async def test_a_new_episode_is_added_when_it_is_asked_for() -> None:
    async with opened(PLATFORM, buzzsprout) as case:
        reference = (await case.bring_in()).reference
        assert [each["guid"] for each in case.server.added] == ["tide-0003", "tide-0002", "tide-0001"]  # type: ignore[attr-defined]
        case.server.listed = episodes(4)
        assert case.platform.rereads.on_request
        await case.platform.refresh(case.job(reference))
        assert {each["guid"] for each in case.server.added} == {each.guid for each in case.server.listed}  # type: ignore[attr-defined]
        await case.platform.refresh(case.job(reference))
        assert case.server.imports == 1


async def test_an_import_that_broke_off_goes_on_where_it_stopped() -> None:
    async with opened(PLATFORM, buzzsprout) as case:
        case.server.fail_next(502, skip=3)
        with pytest.raises(Transient):
            await case.platform.submit(case.job())
        seen = await case.platform.collect(case.job())
        assert (seen.state, len(seen.episodes)) == (ImportState.LISTED, 1)
        await case.platform.submit(case.job())
        assert (len(case.server.added), case.server.imports) == (3, 1)  # type: ignore[attr-defined]


async def test_refresh_adds_what_an_import_has_left_too() -> None:
    async with opened(PLATFORM, buzzsprout) as case:
        case.server.fail_next(502, skip=3)
        with pytest.raises(Transient):
            await case.platform.submit(case.job())
        await case.platform.refresh(case.job(str(buzzsprout.PODCAST)))
        assert (len(case.server.added), case.server.imports) == (3, 1)  # type: ignore[attr-defined]


async def test_without_a_podcast_of_the_feeds_title_a_person_is_asked_and_no_other_podcast_is_touched() -> None:
    async with opened(PLATFORM, buzzsprout) as case:
        case.server.titles.pop(buzzsprout.PODCAST)  # type: ignore[attr-defined]
        with pytest.raises(NeedsVerification) as raised:
            await case.platform.submit(case.job())
        assert FEED_TITLE in raised.value.remedy
        case.server.titles |= {1: FEED_TITLE, 2: FEED_TITLE}  # type: ignore[attr-defined]
        with pytest.raises(PlatformError, match="has 2 podcasts"):
            await case.platform.submit(case.job())
        assert not case.server.added  # type: ignore[attr-defined]


async def test_it_stops_at_the_first_episode_whose_guid_is_not_kept() -> None:
    async with opened(PLATFORM, buzzsprout) as case:
        case.server.keeps_guids = False  # type: ignore[attr-defined]
        with pytest.raises(PlatformChanged, match="guid"):
            await case.platform.submit(case.job())
        assert len(case.server.added) == 1  # type: ignore[attr-defined]
