"""A list that a platform gives page by page."""

from __future__ import annotations

from typing import Any, cast

import pytest

from likepion_provider.errors import PlatformChanged, VisitTooLarge
from likepion_provider.platforms import Job, Page, paged
from likepion_provider.web.visit import Visit, VisitLimits


class FakeHttp:
    def __init__(self, pages: int = 500) -> None:
        self.visit = Visit("p", VisitLimits(pages=pages))


class FakeJob:
    def __init__(self, **limits: int) -> None:
        self.http = FakeHttp(**limits)


async def numbers(bodies: dict[int, str], following: Any, status: int = 200, **limits: int) -> list[str]:
    async def read(number: int) -> Page:
        return Page("p", "https://site.example/list", status, {}, bodies.get(number, f"page {number}").encode())

    job = cast(Job, FakeJob(**limits))
    return [page.text async for page in paged(job, read, 1, following)]


async def test_it_is_read_to_its_end() -> None:
    assert await numbers({}, lambda _, number: number + 1 if number < 3 else None) == ["page 1", "page 2", "page 3"]
    assert await numbers({}, lambda _, number: number + 1, status=404) == ["page 1"], "nothing follows a missing page"


async def test_a_place_or_a_page_that_comes_again_is_named() -> None:
    with pytest.raises(PlatformChanged, match="next page"):
        await numbers({}, lambda _, number: 3 - number)
    with pytest.raises(PlatformChanged, match="next page"):
        await numbers({7: "page 2"}, lambda _, number: number + 1)


async def test_it_has_no_more_pages_than_a_visit_reads() -> None:
    with pytest.raises(VisitTooLarge, match="more than 9 pages"):
        await numbers({}, lambda _, number: number + 1, pages=9)
