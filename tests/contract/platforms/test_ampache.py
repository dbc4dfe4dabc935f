"""What Ampache's importer does beside the contract."""

from __future__ import annotations

import pytest

from likepion_provider.errors import PlatformError
from likepion_provider.platforms import registry
from likepion_provider.testing.server import CANARY, opened

from . import ampache

PLATFORM = registry().platforms["ampache"]


async def test_it_is_asked_to_read_the_feed_again() -> None:
    async with opened(PLATFORM, ampache) as case:
        reference = (await case.bring_in()).reference
        assert case.platform.rereads.on_request
        await case.platform.refresh(case.job(reference))
        assert (case.server.updates, case.server.imports) == (1, 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("switch", "value", "says"),
    [("has_catalog", False, "Add a podcast catalog"), ("plain_user", True, "access level 75")],
)
async def test_what_the_server_lacks_is_said(switch: str, value: bool, says: str) -> None:
    async with opened(PLATFORM, ampache) as case:
        setattr(case.server, switch, value)
        with pytest.raises(PlatformError) as raised:
            await case.platform.submit(case.job())
        assert says in raised.value.remedy
        assert CANARY not in raised.value.advice
