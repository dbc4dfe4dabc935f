"""What HarborFM's importer does beside the contract."""

from __future__ import annotations

import pytest

from likepion_provider.errors import PlatformError, Transient
from likepion_provider.models import ImportState
from likepion_provider.platforms import registry
from likepion_provider.testing.server import CANARY, opened

from . import harborfm

PLATFORM = registry().platforms["harborfm"]


async def test_an_import_that_nobody_looked_at_does_not_hold_the_account() -> None:
    async with opened(PLATFORM, harborfm) as case:
        case.server.busy = True  # type: ignore[attr-defined]
        with pytest.raises(Transient, match="busy with another import"):
            await case.platform.submit(case.job())
        assert case.server.imports == 0
        assert (await case.bring_in()).state is ImportState.LISTED


async def test_an_import_that_a_restart_has_cut_off_says_what_to_do() -> None:
    async with opened(PLATFORM, harborfm) as case:
        submitted = await case.platform.submit(case.job())
        case.server.cut_off = True  # type: ignore[attr-defined]
        for reference in (submitted.reference, ""):
            with pytest.raises(PlatformError, match="without an episode") as raised:
                await case.platform.collect(case.job(reference))
            assert "Delete the show" in raised.value.remedy
        assert case.server.imports == 1


async def test_the_words_of_a_refusal_do_not_show_the_feed() -> None:
    async with opened(PLATFORM, harborfm) as case:
        job = case.job()
        case.server.feed_url = "https://feeds.example/other.xml"
        with pytest.raises(PlatformError, match="HTTP 404: File not found") as raised:
            await case.platform.submit(job)
        assert CANARY not in raised.value.message


async def test_episodes_are_listed_where_the_show_has_a_domain_of_its_own() -> None:
    async with opened(PLATFORM, harborfm) as case:
        await case.bring_in()
        show = case.server._show  # type: ignore[attr-defined]
        own = {"canonicalFeedUrl": "https://tide.example/"}
        case.server._show = lambda *names: show(*names) | own  # type: ignore[attr-defined]
        seen = await case.platform.collect(case.job())
        assert case.urls(seen)[0] == "https://tide.example/letter-3"
