"""gpodder.net and every other mygpo: its API creates a podcast from a feed's URL and knows episodes by their media URL.

Source: gpodder/mygpo, ``mygpo/api/advanced/directory.py``: ``POST api/2/podcasts/create`` answers 202 with the task's
address or, for a known podcast, 302; ``GET api/2/task/{id}`` says ``pending``, ``successful`` or ``unsuccessful``;
``GET api/2/data/podcast.json?url=`` and ``episode.json?podcast=&url=`` hold ``mygpo_link``. None asks for a login.
``POST api/2/subscriptions/{username}/{device}.json`` (``mygpo/api/subscriptions.py``) does, and subscribes the account.

Consequences:

- A task whose feed could not be read is "successful" too (``mygpo/data/feeddownloader.py``); there is no podcast then.
- To subscribe to a podcast that is not there makes an empty one, which is answered for an hour, as every answer of 200
  is kept; and the site then does not take the feed for new. So the account is subscribed once the podcast is there.
- ``episode.json`` looks for the URL that it was asked for as ``normalize_feed_url`` (``mygpo/utils.py``) rewrites it,
  but the site keeps what the feed says. So it is asked in the spelling that is rewritten to the feed's; where there is
  none (a host with capitals, ``a+b.mp3``, ``op3.dev/e/https://...``), the podcast's pages are read instead: the list of
  its episodes, twenty a page, then an episode's own, which links to its file.
- The list holds the newest 200 of a feed (``MAX_EPISODES_UPDATE``); older ones are there only if it knew them before.
- Each episode is one request. What was found is not asked for again by the same run; after :data:`_MAX_MISSES` that are
  not there, a look ends, and the next one begins with those that were asked for least.
- The site reads a feed again by itself, at intervals like those of its episodes; there is no request for it.

Not verified: nothing of this was run against gpodder.net. ``tests/real`` plays it against mygpo.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import weakref
from collections import Counter
from typing import ClassVar
from urllib.parse import quote, quote_plus, unquote_plus, urljoin, urlsplit, urlunsplit

from likepion_provider.models import Episode, ImportState
from likepion_provider.platforms import (
    Job,
    ListedEpisode,
    Page,
    Platform,
    PlatformHttp,
    Progress,
    Rereads,
    basic_auth,
    match,
    paged,
)

#: Begins the reference of a task; else the reference is the podcast's path on the site.
_TASK = "task:"
#: Episodes that are not there, of one look.
_MAX_MISSES = 20
#: The account's device that is subscribed.
_DEVICE = "likepion"
#: The last part of an episode's path; the podcast's other pages begin otherwise, or are these two.
_EPISODE = re.compile("(?!subscribe$|unsubscribe$)[^-+/?][^/?]*")
_UNREADABLE = (
    "Open the feed's address from outside: the site reads it from the internet. Then run the account by its id."
)


class Gpodder(Platform):
    """Creates by feed URL, asks for each episode by its media URL."""

    name = "gpodder"
    title = "gpodder.net"
    domains = ("gpodder.net",)
    base_url = "https://gpodder.net"
    needs = ("username", "password")
    max_concurrency = 2
    poll_s = (2, 5, 15, 30, 60, 120)
    rereads = Rereads(by_itself="reads a feed again by itself, at intervals like those of its episodes")

    #: How long a new podcast is waited for before the account is left without it: pauses between looks, in seconds.
    first_look_s: ClassVar[tuple[float, ...]] = (1, 2, 5, 10, 20)

    def __init__(self) -> None:
        #: What a run's looks have found, for as long as its client lives.
        self._looks: weakref.WeakKeyDictionary[PlatformHttp, _Looks] = weakref.WeakKeyDictionary()

    async def submit(self, job: Job) -> Progress:
        """Create the podcast, or learn that it is there, and subscribe the account to it."""
        await self._subscribe(job, [])
        page = await job.http.post("api/2/podcasts/create", json={"url": job.feed.url}, allow_redirects=False)
        if page.status in (400, 404):
            raise self.failed(f"refused the feed's URL (status {page.status})")
        task = urlsplit(page.join(page.headers.get("location", "/"))).path.rstrip("/").rsplit("/", 1)[-1]
        if page.status not in (202, 302) or not task:
            raise page.changed("the header Location of a task")
        if page.status == 202 and not await self._shows_up(job):
            return Progress(ImportState.SUBMITTED, _TASK + task)
        await self._subscribe(job, [job.feed.url])
        return await self.collect(dataclasses.replace(job, reference=""))

    async def collect(self, job: Job) -> Progress:
        """Find the podcast, then each episode wanted."""
        page = await self._podcast(job)
        if page.status == 404:
            return await self._task(job)
        link = page.join(page.field("mygpo_link"))
        looks = self._looks.setdefault(job.http, _Looks())
        await self._ask(job, looks)
        await self._read_pages(job, link, looks)
        state = ImportState.LISTED if looks.found else ImportState.SUBMITTED
        return Progress(state, urlsplit(link).path, tuple(looks.found.values()))

    async def sign_in(self, job: Job) -> None:
        """Subscribe the account to nothing more."""
        await self._subscribe(job, [])

    async def _subscribe(self, job: Job, urls: list[str]) -> None:
        user = job.credentials.username
        path = f"api/2/subscriptions/{quote(user, safe='')}/{_DEVICE}.json"
        headers = basic_auth(user, job.credentials.password)
        page = await job.http.post(path, json={"add": urls, "remove": []}, headers=headers)
        if page.status in (400, 401):
            raise self.refused_login(job)
        page.expect(200, what="an answer to a subscription")

    async def _shows_up(self, job: Job) -> bool:
        """Whether the podcast is there soon."""
        for pause_s in self.first_look_s:
            await asyncio.sleep(pause_s)
            if (await self._podcast(job)).status != 404:
                return True
        return False

    async def _podcast(self, job: Job) -> Page:
        return await job.http.get("api/2/data/podcast.json", params={"url": job.feed.url})

    async def _task(self, job: Job) -> Progress:
        """Not there; whether it failed. A task that the queue has lost is pending for ever, so this says no more."""
        if not job.reference.startswith(_TASK):
            return Progress(ImportState.NEW)
        page = await job.http.get(f"api/2/task/{job.reference.removeprefix(_TASK)}")
        if page.status == 404:
            return Progress(ImportState.NEW)
        status = page.field("status")
        if status == "successful":
            # It may have ended between the two questions.
            podcast = await self._podcast(job)
            if podcast.status != 404:
                return Progress(ImportState.SUBMITTED, urlsplit(podcast.join(podcast.field("mygpo_link"))).path)
        if status != "pending":
            raise self.failed("could not read the feed, or found no episodes in it", remedy=_UNREADABLE)
        return Progress(ImportState.NEW, job.reference)

    async def _ask(self, job: Job, looks: _Looks) -> None:
        """Ask for what is missing by its media URL."""
        misses = 0
        for episode in sorted(looks.missing(job), key=lambda each: looks.asked[each.guid]):
            spelling = _askable(episode.enclosure.url) if episode.enclosure else ""
            if spelling and misses < _MAX_MISSES:
                looks.asked[episode.guid] += 1
                misses += not await self._episode(job, episode, spelling, looks)

    async def _episode(self, job: Job, episode: Episode, spelling: str, looks: _Looks) -> bool:
        params = {"podcast": job.feed.url, "url": spelling}
        page = await job.http.get("api/2/data/episode.json", params=params)
        if page.status == 404:
            return False
        # It was asked for this very episode.
        looks.found[episode.guid] = ListedEpisode(url=page.field("mygpo_link"), guid=episode.guid)
        return True

    async def _read_pages(self, job: Job, link: str, looks: _Looks) -> None:
        """Read the podcast's pages while episodes are missing that cannot be asked for."""
        path = f"{urlsplit(link).path.rstrip('/')}/"

        async def read(number: int) -> Page:
            return (await job.http.get(f"{path}-episodes?page={number}")).expect(200, 404, what="a list of episodes")

        def following(page: Page, number: int) -> int | None:
            return number + 1 if _episodes_on(page, path) else None

        if not looks.unaskable(job):
            return
        async for page in paged(job, read, 1, following):
            for href in _episodes_on(page, path):
                await self._read_page(job, urljoin(link, href), looks)
            if not looks.unaskable(job):
                return

    async def _read_page(self, job: Job, url: str, looks: _Looks) -> None:
        if url in looks.pages or url in {each.url for each in looks.found.values()}:
            return
        page = (await job.http.get(urlsplit(url).path)).expect(200, 404, what="an episode's page")
        looks.pages.add(url)
        for anchor in page.html.anchors:
            if "://" in anchor.href:
                looks.found[f"{url} {anchor.href}"] = ListedEpisode(url, enclosure_url=anchor.href)


class _Looks:
    """What a run knows of the podcast so far."""

    def __init__(self) -> None:
        #: By guid where it was asked for, else by page and link.
        self.found: dict[str, ListedEpisode] = {}
        #: How often each was asked for.
        self.asked: Counter[str] = Counter()
        #: Episodes' pages that were read.
        self.pages: set[str] = set()

    def missing(self, job: Job) -> list[Episode]:
        """The wanted episodes that were not found."""
        found = {each.guid for each, _ in match(job.feed, tuple(self.found.values()), len(job.feed.episodes))}
        return [each for each in job.wanted if each.enclosure and each.guid not in found]

    def unaskable(self, job: Job) -> bool:
        """Whether there are some among them that cannot be asked for."""
        return any(each.enclosure and not _askable(each.enclosure.url) for each in self.missing(job))


def _episodes_on(page: Page, path: str) -> list[str]:
    """The addresses of a podcast's episodes that a page links to."""
    links = dict.fromkeys(each.href for each in page.html.anchors if each.href.startswith(path))
    return [each for each in links if re.fullmatch(_EPISODE, each.removeprefix(path))]


def _askable(url: str) -> str:
    """The spelling of a media URL that mygpo rewrites to it; empty where there is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    spellings = (url, urlunsplit(parts._replace(query=unquote_plus(parts.query))))
    return next((each for each in spellings if _rewritten(each) == url), "")


def _rewritten(url: str) -> str:
    """A URL as mygpo rewrites it before it looks for it."""
    scheme, netloc, path, query, fragment = urlsplit(url.strip())
    host = netloc.lower().rpartition("@")[2]
    return urlunsplit((scheme.lower(), host, quote(path, "/%") or "/", quote_plus(query, ":&="), fragment))
