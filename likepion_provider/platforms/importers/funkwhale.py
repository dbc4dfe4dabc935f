"""Funkwhale pods: one call makes a channel of a feed and subscribes the account, another lists the channel's tracks.

Source: Funkwhale's API as mirrored in mx2913/funkwhale: ``api/funkwhale_api/audio/{views,serializers}.py``,
``api/funkwhale_api/music/{filters,serializers}.py``. ``POST api/v1/channels/rss-subscribe/`` takes ``url``, reads the
feed while it is waited for, and answers 201 with the channel, whether it was there or not.
``GET api/v1/subscriptions/`` has the account's channels, ``GET api/v1/tracks/?channel=`` their tracks. The account's
``app_password`` is an access token with the scopes ``read:libraries`` and ``write:libraries``, made in its settings;
what else is asked of it is answered with 403 (``users/oauth/permissions.py``). A subscription without an address is
refused with 400, after the scope was looked at, so it shows whether the token may subscribe and changes nothing.

Consequences:

- A channel is kept under the address that the feed's ``atom:link`` names. Where that is another one, the channel is not
  found by its feed; then it is subscribed to again, which changes nothing.
- A track has neither the feed's guid nor its media's address, so title and day decide; the day is the pod's.
- A feed that could not be read is answered with 400 and a reason; ``connection error`` and ``timeout`` pass.
- A pod reads a feed again a day after it last did (``PODCASTS_RSS_FEED_REFRESH_DELAY``), looked at every hour; there is
  no request for it.
- A pod takes the newest 250 episodes unless it is set otherwise, and shows a third party's podcast to its subscribers
  only: **what is reported**, ``/library/tracks/{id}``, opens for signed-in accounts.

Not verified: nothing of this was run against Funkwhale.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urljoin, urlsplit

from likepion_provider.errors import Transient
from likepion_provider.models import ImportState
from likepion_provider.platforms import (
    Job,
    JsonRow,
    ListedEpisode,
    LooksFirst,
    Page,
    Progress,
    Rereads,
    enough,
    paged,
    quoted,
    same_feed,
)

_ROWS_PER_PAGE = 50
#: Reasons of a pod that could not read a feed which may be others the next time.
_PASSING = re.compile("fetching feed: (timeout|connection error|HTTP 5)")


class Funkwhale(LooksFirst):
    """Subscribes by feed URL, lists by the channel's id."""

    name = "funkwhale"
    title = "Funkwhale"
    needs = ("app_password",)
    needs_connection = (
        "host: the pod's address, or nothing: then https and the account's domain; extra: platform: funkwhale"
    )
    max_concurrency = 2
    poll_s = (2, 5, 10, 20, 30)
    rereads = Rereads(by_itself="reads a feed again a day after it last did, unless the pod is set otherwise")

    async def add(self, job: Job) -> Progress:
        """Subscribe."""
        page = await self._call(job, "POST", "channels/rss-subscribe/", json={"url": job.feed.url})
        if page.status != 201:
            reasons = [str(each) for each in page.row().values()]
            if _PASSING.search(" ".join(reasons)):
                raise Transient(f"{self.title} at {job.task.domain} cannot reach the feed now")
            raise self.failed(f"did not take the feed: {quoted(job, ' '.join(reasons))}")
        return Progress(ImportState.SUBMITTED, page.field("channel", "uuid"))

    async def collect(self, job: Job) -> Progress:
        """Find the channel among the account's, then list its tracks."""
        reference = job.reference or await self._find(job)
        if not reference:
            return Progress(ImportState.NEW)
        found: list[ListedEpisode] = []
        params = {"channel": reference, "include_channels": "true", "ordering": "-creation_date"}
        async for page in self._pages(job, "tracks/", params):
            found += [_listed(job, row) for row in page.rows("results")]
            if enough(job, found):
                break
        # A channel that is gone has no tracks; to subscribe again does no harm where it is not.
        return Progress(ImportState.LISTED if found else ImportState.NEW, reference, tuple(found))

    async def sign_in(self, job: Job) -> None:
        """Read the account's subscriptions, and see whether the token may subscribe."""
        await self._find(job)
        await self._call(job, "POST", "channels/rss-subscribe/", json={}, writes=False)

    async def _find(self, job: Job) -> str:
        async for page in self._pages(job, "subscriptions/", {}):
            for row in page.rows("results"):
                if same_feed(job.feed, row.field("channel", "rss_url")):
                    return str(row.field("channel", "uuid"))
        return ""

    def _pages(self, job: Job, path: str, params: dict[str, str]) -> AsyncIterator[Page]:
        async def read(number: int) -> Page:
            here = {**params, "page": str(number), "page_size": str(_ROWS_PER_PAGE)}
            return (await self._call(job, "GET", path, params=here)).expect(200, what="a list")

        return paged(job, read, 1, lambda page, number: number + 1 if page.row().get("next") else None)

    async def _call(self, job: Job, method: str, path: str, **options: Any) -> Page:
        headers = {"Authorization": f"Bearer {job.credentials.app_password}"}
        page = await job.http.request(method, f"api/v1/{path}", headers=headers, allow_redirects=False, **options)
        if page.status == 401:
            raise self.refused_login(job)
        if page.status == 403:
            raise self.failed(
                f"does not let the access token of {job.task.label} do this",
                remedy="Make a token with the scopes read:libraries and write:libraries in its settings there; put it"
                " into the account's app password in the manager.",
            )
        if page.status == 405:
            raise self.failed(f"has channels switched off at {job.task.domain}")
        return page.expect(200, 201, 400, what=f"an answer to {method} {urlsplit(page.url).path}")


def _listed(job: Job, row: JsonRow) -> ListedEpisode:
    row.field("creation_date")  # it is needed: there is little else to know an episode by
    return ListedEpisode(
        url=urljoin(job.http.base_url, f"library/tracks/{row.field('id', kind=int)}"),
        title=row.field("title"),
        published_at=row.date("creation_date"),
    )
