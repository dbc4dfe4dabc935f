"""gpodder.net and every other mygpo: its API creates a podcast from a feed's URL and knows episodes by their media URL.

Source: gpodder/mygpo, ``mygpo/api/advanced/directory.py``: ``POST api/2/podcasts/create`` answers 202 with the task's
address or, for a known podcast, 302; ``GET api/2/task/{id}`` says ``pending``, ``successful`` or ``unsuccessful``;
``GET api/2/data/podcast.json?url=`` and ``episode.json?podcast=&url=`` hold ``mygpo_link``. None asks for a login.

There is no list of a podcast's episodes in that API, so each wanted episode is one request, newest first; after a few
in a row that are not there, the rest waits for the next look. "Successful" does not mean that there are episodes.

Not verified: nothing of this was run against gpodder.net.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from likepion_provider.models import Episode, ImportState
from likepion_provider.platforms import Job, ListedEpisode, Platform, Progress

#: Begins the reference of a task; else the reference is the podcast's path on the site.
_TASK = "task:"
#: Episodes missing in a row that end a look.
_MAX_MISSES = 3


class Gpodder(Platform):
    """Creates by feed URL, asks for each episode by its media URL."""

    name = "gpodder"
    title = "gpodder.net"
    domains = ("gpodder.net",)
    base_url = "https://gpodder.net"
    max_concurrency = 2
    poll_s = (2, 5, 15, 30, 60, 120)

    async def submit(self, job: Job) -> Progress:
        """Create the podcast, or learn that it is there."""
        page = await job.http.post("api/2/podcasts/create", json={"url": job.feed.url}, allow_redirects=False)
        if page.status == 302:
            return Progress(ImportState.SUBMITTED)
        if page.status in (400, 404):
            raise self.failed(f"refused the feed's URL (status {page.status})")
        task = urlsplit(page.join(page.headers.get("location", "/"))).path.rstrip("/").rsplit("/", 1)[-1]
        if page.status != 202 or not task:
            raise page.changed("the header Location of a task")
        return Progress(ImportState.SUBMITTED, _TASK + task)

    async def collect(self, job: Job) -> Progress:
        """Find the podcast, then each episode wanted."""
        page = await job.http.get("api/2/data/podcast.json", params={"url": job.feed.url})
        if page.status == 404:
            return await self._task(job)
        reference = urlsplit(page.join(page.field("mygpo_link"))).path
        found: list[ListedEpisode] = []
        misses = 0
        for episode in job.wanted:
            listed = await self._episode(job, episode)
            misses = 0 if listed else misses + 1
            found += [listed] if listed else []
            if misses == _MAX_MISSES:
                break
        return Progress(ImportState.LISTED if found else ImportState.SUBMITTED, reference, tuple(found))

    async def _task(self, job: Job) -> Progress:
        """Not there; whether it failed. A task that the queue has lost is pending for ever, so this says no more."""
        if not job.reference.startswith(_TASK):
            return Progress(ImportState.NEW)
        page = await job.http.get(f"api/2/task/{job.reference.removeprefix(_TASK)}")
        if page.status == 404:
            return Progress(ImportState.NEW)
        if page.field("status") == "unsuccessful":
            raise self.failed("could not read the feed")
        return Progress(ImportState.NEW, job.reference)

    async def _episode(self, job: Job, episode: Episode) -> ListedEpisode | None:
        if not episode.enclosure:
            return None
        params = {"podcast": job.feed.url, "url": episode.enclosure.url}
        page = await job.http.get("api/2/data/episode.json", params=params)
        if page.status == 404:
            return None
        row = page.row()
        # It answered to this very media URL, which it may hold in another spelling.
        return ListedEpisode(
            url=row.field("mygpo_link"),
            title=row.text("title"),
            enclosure_url=episode.enclosure.url,
            published_at=row.date("released"),
        )
