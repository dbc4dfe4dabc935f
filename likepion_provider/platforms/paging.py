"""A platform's list, page by page, to an end that it cannot put off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from hashlib import blake2b
from typing import TypeVar

from likepion_provider.platforms.base import Job
from likepion_provider.web.page import Page

Place = TypeVar("Place", bound=Hashable)


async def paged(
    job: Job,
    read: Callable[[Place], Awaitable[Page]],
    first: Place,
    following: Callable[[Page, Place], Place | None],
) -> AsyncIterator[Page]:
    """The pages of a list, as many as the caller takes.

    :param read: gives the page at a place: a number, an offset, a cursor.
    :param following: the place of the page after one; None after the last. Nothing follows a page that is not there.
    :raises PlatformChanged: a place, or a page's very content, comes a second time: the list goes in a circle.
    :raises VisitTooLarge: the list has more pages than a visit may read.
    """
    place: Place | None = first
    seen: set[Hashable] = set()
    while place is not None:
        job.http.visit.count_page()
        page = await read(place)
        content = blake2b(page.body, digest_size=16).digest()
        if place in seen or content in seen:
            raise page.changed("a next page that was not there before")
        seen |= {place, content}
        # Looked for although the caller may need no more: what is missing is a change of the platform's.
        place = following(page, place) if page.status == 200 else None
        yield page
