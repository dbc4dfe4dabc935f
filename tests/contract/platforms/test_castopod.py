"""What the contract does not ask of Castopod's importer."""

from __future__ import annotations

import dataclasses

import pytest

from likepion_provider.errors import PlatformError
from likepion_provider.platforms.importers.castopod import Castopod
from likepion_provider.testing.server import FEED_TITLE, episodes, opened

from . import castopod


@pytest.mark.parametrize("at_once", [True, False], ids=["older", "newer"])
async def test_the_podcasts_feed_is_synchronized_in_older_versions_too(at_once: bool) -> None:
    async with opened(Castopod(), castopod) as case:
        assert isinstance(case.server, castopod.CastopodServer)
        case.server.syncs_at_once = at_once
        seen = await case.bring_in()
        case.server.unread = [dataclasses.replace(each, guid="tide-0009") for each in episodes(9)[:1]]
        writes = len(case.writes)
        await case.platform.refresh(case.job(seen.reference))
        assert not case.server.unread
        # Older versions act on the request for the form.
        assert len(case.writes) == writes + (1 if at_once else 2)


async def test_an_account_that_may_not_synchronize_is_told_what_it_needs() -> None:
    async with opened(Castopod(), castopod) as case:
        seen = await case.bring_in()
        case.server.auth_ok = False
        with pytest.raises(PlatformError, match="does not let ada@podcasts.self.example synchronize") as raised:
            await case.platform.refresh(case.job(seen.reference))
        assert "role" in raised.value.remedy


async def test_a_handle_that_an_import_in_the_queue_has_is_not_used() -> None:
    async with opened(Castopod(), castopod) as case:
        assert isinstance(case.server, castopod.CastopodServer)
        free = f"{FEED_TITLE}, part 2"
        case.server.queued_handle = free.replace(", ", "_").replace(" ", "_")
        job = case.job()
        await case.platform.submit(dataclasses.replace(job, feed=dataclasses.replace(job.feed, title=free)))
        assert case.server.imports == 1
        assert case.server.handle.lower() != case.server.queued_handle.lower()
        assert case.server.handle.startswith("Letters_from_the_Tide_")
