"""Audiobookshelf servers: an admin's bearer token, a podcast in a library, its downloads, its public feed.

Source: advplyr/audiobookshelf, ``server/Auth.js`` (``POST login``, 40 in ten minutes an address),
``controllers/{Library,LibraryItem,Podcast,RSSFeed}Controller.js``, ``managers/{Podcast,RssFeed}Manager.js`` and the
``toOldJSON...`` methods in ``models/``. Everything but reading wants a user of type admin or root.

An episode is there once the server has downloaded it. Its queue is in memory and drops what fails, so a podcast with
episodes missing and nothing queued is reported as ``NEW``: it is handed in again, and only what is missing downloaded.

**What is reported** is an episode's media URL in the podcast's public feed, ``/feed/{slug}/item/{id}/media.mp3``: the
only address of one episode that opens without a login. The item's page is one for all episodes and wants a login; a
share link (``POST api/share/mediaitem``) can be made for an episode, but the server answers it with 404. So
:meth:`Audiobookshelf.submit` opens the public feed, as the button in the web client does, with the item's id as its
slug and not to be indexed; where it is open already it is left as it is. It opens only once the first episode is there.
Closing the feed ends the URLs.

The connection's extra may name ``library`` and ``folder``, by id or name; else the first podcast library is taken. The
server refuses feeds on private addresses unless it runs with ``DISABLE_SSRF_REQUEST_FILTER``.

Not verified: nothing of this was run against a server by this package's tests; servers before 2.26, which have other
tokens, and OpenID logins are not supported.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import re
import weakref
from datetime import datetime, timezone
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

from likepion_provider.errors import LoginRefused, PlatformError
from likepion_provider.models import Episode, ImportState
from likepion_provider.platforms.base import Job, ListedEpisode, Platform, Progress
from likepion_provider.platforms.match import same_feed
from likepion_provider.web.http import Page, PlatformHttp

_ITEMS_A_PAGE = 100
_FORBIDDEN_IN_PATHS = re.compile(r'[\x00-\x1f<>:"/\\|?*]+')


class Audiobookshelf(Platform):
    """Adds the podcast, downloads what is wanted of it, opens its public feed."""

    name = "audiobookshelf"
    title = "Audiobookshelf"
    needs = ("username", "password")
    needs_connection = (
        "host: the server's address, or nothing: then https and the account's domain; "
        "extra: platform: audiobookshelf, and where there are several: library and folder"
    )
    max_concurrency = 2
    poll_s = (2, 3, 5, 10, 20, 30, 60)
    #: How long the first download is waited for before the feed is opened: pauses between looks, in seconds.
    first_download_s: ClassVar[tuple[float, ...]] = (0.5, 1, 2, 3, 5, 10, 15, 20, 30)

    def __init__(self) -> None:
        #: An account's token for as long as its client lives; each run logs in once.
        self._tokens: weakref.WeakKeyDictionary[PlatformHttp, str] = weakref.WeakKeyDictionary()

    async def submit(self, job: Job) -> Progress:
        """Add the podcast where it is not there, download what is missing, open the feed."""
        item = job.reference or await self._find(job) or await self._add(job)
        page = await self._item(job, item)
        if page is None:
            item = await self._add(job)
            page = await self._item(job, item)
        if page is None:
            raise PlatformError(f"{self.title} does not show the podcast that it has added", platform=self.name)
        await self._download_missing(job, page)
        await self._open_feed(job, page)
        return Progress(ImportState.SUBMITTED, item)

    async def collect(self, job: Job) -> Progress:
        """Find the podcast, its downloads and its public feed, and list what is in both."""
        item = job.reference or await self._find(job)
        page = await self._item(job, item) if item else None
        if page is None:
            return Progress(ImportState.NEW)
        episodes = await self._public(job, page)
        running = _running(page)
        if not running and _missing(job, _listed(page)):
            return Progress(
                ImportState.NEW, item, episodes, message="episodes are missing and none is being downloaded"
            )
        if not running and not episodes and _listed(page):
            return Progress(ImportState.NEW, item, message="the podcast's public feed is not open")
        return Progress(ImportState.LISTED if episodes else ImportState.SUBMITTED, item, episodes)

    # --- the podcast ---

    async def _find(self, job: Job) -> str:
        """The podcast's library item; empty where it is not there."""
        for library in await self._libraries(job):
            number, seen, total = 0, 0, 1
            while seen < total:
                params = {"limit": str(_ITEMS_A_PAGE), "page": str(number), "minified": "1"}
                page = await self._call(job, "GET", f"api/libraries/{library['id']}/items", params=params)
                rows = page.rows("results")
                for index in range(len(rows)):
                    metadata = page.field("results", index, "media", "metadata", kind=dict)
                    if same_feed(job.feed, str(metadata.get("feedUrl") or "")):
                        item: str = page.field("results", index, "id")
                        return item
                number, seen, total = number + 1, seen + len(rows), page.field("total", kind=int) if rows else 0
        return ""

    async def _libraries(self, job: Job) -> list[dict[str, Any]]:
        """The podcast libraries, the one to import into first; with a name in the connection only that."""
        page = await self._call(job, "GET", "api/libraries")
        rows = [each for each in page.rows("libraries") if each.get("mediaType") == "podcast"]
        libraries = _chosen(rows, job.settings.extra.get("library"), "name")
        if not libraries:
            raise PlatformError(
                f"{self.title} has no such podcast library for {job.task.label}",
                platform=self.name,
                remedy="Add a podcast library there, or correct 'library' in the connection's extra.",
            )
        return libraries

    async def _add(self, job: Job) -> str:
        """Add the podcast to the library; its id."""
        library = (await self._libraries(job))[0]
        folders = _chosen(library.get("folders") or [], job.settings.extra.get("folder"), "fullPath")
        if not folders:
            raise PlatformError(
                f"the library {library.get('name')!r} of {self.title} has no such folder",
                platform=self.name,
                remedy="Add a folder to the library, or correct 'folder' in the connection's extra.",
            )
        metadata = (await self._read_feed(job)).field("podcast", "metadata", kind=dict)
        name = _FORBIDDEN_IN_PATHS.sub(" ", job.feed.title).strip(". ") or "podcast"
        digest = hashlib.sha256(job.feed.url.encode()).hexdigest()[:8]
        # Another podcast of this title may have the folder already.
        for path in (name, f"{name} {digest}"):
            body = {
                "libraryId": library["id"],
                "folderId": folders[0]["id"],
                "path": f"{str(folders[0].get('fullPath', '')).rstrip('/')}/{path}",
                "media": {"metadata": _metadata(job, metadata), "autoDownloadEpisodes": False},
            }
            page = await self._call(job, "POST", "api/podcasts", json=body)
            if page.status != 400:
                item: str = page.field("id")
                return item
            if there := await self._find(job):
                return there
        raise PlatformError(f"{self.title} refused the podcast: {page.text[:200]}", platform=self.name)

    async def _read_feed(self, job: Job) -> Page:
        """The feed as the server reads it."""
        page = await self._call(job, "POST", "api/podcasts/feed", json={"rssFeed": job.feed.url})
        if page.status in (400, 404):
            raise PlatformError(
                f"{self.title} cannot read the feed (status {page.status})",
                platform=self.name,
                remedy="See the server's log; it refuses private addresses without DISABLE_SSRF_REQUEST_FILTER.",
            )
        return page

    async def _item(self, job: Job, item: str) -> Page | None:
        """The podcast with its episodes, downloads and feed; None where it is gone."""
        params = {"expanded": "1", "include": "rssfeed,downloads"}
        page = await self._call(job, "GET", f"api/items/{item}", params=params)
        return None if page.status == 404 else page

    # --- its downloads and its public feed ---

    async def _download_missing(self, job: Job, page: Page) -> None:
        if _running(page) or not (missing := _missing(job, _listed(page))):
            return
        answer = await self._read_feed(job)
        guids = {each.guid for each in missing}
        media = {_bare(each.enclosure.url) for each in missing if each.enclosure}
        rows = answer.rows("podcast", "episodes")
        chosen = [row for row in rows if row.get("guid") in guids or _bare(_feed_episode(row).enclosure_url) in media]
        if chosen:
            path = f"api/podcasts/{page.field('id')}/download-episodes"
            if (done := await self._call(job, "POST", path, json=chosen)).status != 200:
                raise PlatformError(f"{self.title} will not download (status {done.status})", platform=self.name)

    async def _open_feed(self, job: Job, page: Page) -> None:
        """Open the podcast's feed once it has an episode; it shows the later ones by itself."""
        item = page.field("id")
        looked: Page | None = page
        for pause_s in self.first_download_s:
            if looked is None or looked.json().get("rssFeed"):
                return
            if _listed(looked):
                break
            await asyncio.sleep(pause_s)
            looked = await self._item(job, item)
        else:
            return
        body = {"slug": item, "serverAddress": urljoin(job.http.base_url, "/").rstrip("/")}
        answer = await self._call(job, "POST", f"api/feeds/item/{item}/open", json=body)
        looked = await self._item(job, item) if answer.status != 200 else None
        if looked and not looked.json().get("rssFeed"):
            reason = f"(status {answer.status}): {answer.text[:200]}"
            raise PlatformError(f"{self.title} will not open the podcast's feed {reason}", platform=self.name)

    async def _public(self, job: Job, page: Page) -> tuple[ListedEpisode, ...]:
        """The episodes that are in the podcast's public feed; empty where that is not open."""
        feed = page.json().get("rssFeed")
        if not feed or not _listed(page):
            return ()
        # The server brings the feed up to date when somebody reads it.
        path = str(feed.get("feedUrl") or "")
        if not path:
            raise page.changed("rssFeed.feedUrl")
        await job.http.get(_public_url(job, path))
        feeds = await self._call(job, "GET", "api/feeds")
        index = next((index for index, row in enumerate(feeds.rows("feeds")) if row.get("id") == feed.get("id")), None)
        if index is None:
            return ()
        urls = {
            row.get("fullPath"): _public_url(job, feeds.field("feeds", index, "episodes", number, "enclosure", "url"))
            for number, row in enumerate(feeds.rows("feeds", index, "episodes"))
        }
        found = zip(_paths(page), _listed(page), strict=True)
        return tuple(dataclasses.replace(each, url=urls[path]) for path, each in found if path in urls)

    # --- the wire ---

    async def _call(self, job: Job, method: str, path: str, **options: Any) -> Page:
        """A request with the account's token, after a login where there is none or it has run out."""
        fresh = job.http not in self._tokens
        if fresh:
            await self._login(job)
        page = await self._send(job, method, path, options)
        if page.status == 401 and not fresh:
            await self._login(job)
            page = await self._send(job, method, path, options)
        if page.status in (401, 403):
            raise LoginRefused(
                f"{self.title} does not let {job.task.label} do this; it must be an admin", platform=self.name
            )
        if page.status not in (200, 400, 404):
            raise page.changed(f"an answer to {method} {urlsplit(page.url).path}")
        return page

    async def _send(self, job: Job, method: str, path: str, options: dict[str, Any]) -> Page:
        headers = {"Authorization": f"Bearer {self._tokens[job.http]}"}
        return await job.http.request(method, path, headers=headers, **options)

    async def _login(self, job: Job) -> None:
        self._tokens.pop(job.http, None)
        fields = {"username": job.credentials.username, "password": job.credentials.password}
        # Without the header the server would set a cookie, which is of no use here.
        page = await job.http.post("login", json=fields, headers={"x-return-tokens": "true"})
        if page.status in (400, 401):
            raise LoginRefused(f"{self.title} does not accept the credentials of {job.task.label}", platform=self.name)
        self._tokens[job.http] = page.field("user", "accessToken")


def _metadata(job: Job, read: dict[str, Any]) -> dict[str, Any]:
    """What the web client sends of a feed that the server has read."""
    return {
        "title": read.get("title") or job.feed.title,
        "author": read.get("author") or "",
        "description": read.get("description") or "",
        "releaseDate": "",
        "genres": read.get("categories") or [],
        "feedUrl": job.feed.url,
        "imageUrl": read.get("image") or "",
        "language": read.get("language") or "",
        "explicit": read.get("explicit") in ("yes", "true", True),
        "type": read.get("type") or "episodic",
    }


def _chosen(rows: list[dict[str, Any]], wanted: object, named: str) -> list[dict[str, Any]]:
    """The rows that have the id or the name; all where none is asked for."""
    return [each for each in rows if not wanted or wanted in (each.get("id"), each.get(named))]


def _running(page: Page) -> bool:
    """Whether downloads of the podcast are queued or under way."""
    item = page.json()
    return bool(item.get("episodeDownloadsQueued") or item.get("episodesDownloading"))


def _listed(page: Page) -> tuple[ListedEpisode, ...]:
    """The item's episodes, without an address as yet."""
    return tuple(_feed_episode(row) for row in page.rows("media", "episodes"))


def _paths(page: Page) -> list[str]:
    rows = range(len(page.rows("media", "episodes")))
    return [page.field("media", "episodes", index, "audioFile", "metadata", "path") for index in rows]


def _feed_episode(row: dict[str, Any]) -> ListedEpisode:
    """An episode, of an item or of a feed that the server has read: both have the same fields."""
    published = row.get("publishedAt")
    return ListedEpisode(
        url="",
        guid=str(row.get("guid") or ""),
        title=str(row.get("title") or ""),
        enclosure_url=str((row.get("enclosure") or {}).get("url") or ""),
        published_at=datetime.fromtimestamp(published / 1000, timezone.utc) if published else None,
    )


def _missing(job: Job, listed: tuple[ListedEpisode, ...]) -> list[Episode]:
    """The wanted episodes that are not there."""
    guids, media = {each.guid for each in listed}, {_bare(each.enclosure_url) for each in listed}
    wanted = [each for each in job.feed.episodes[: job.task.target or None] if each.enclosure]
    return [
        each for each in wanted if each.guid not in guids and each.enclosure and _bare(each.enclosure.url) not in media
    ]


def _bare(url: str) -> str:
    return url.split("?")[0].partition("://")[2]


def _public_url(job: Job, path: str) -> str:
    """An address of the public feed: the server names them from the root that it runs at."""
    return urljoin(job.http.base_url, path.lstrip("/") if path.startswith("/") else path)
