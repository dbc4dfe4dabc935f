"""Audiobookshelf servers: an admin's bearer token, a podcast in a library, its downloads, its public feed.

Source: advplyr/audiobookshelf, ``server/Auth.js`` (``POST login``, 40 per address in ten minutes),
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
from collections.abc import AsyncIterator
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

from likepion_provider.errors import LoginRefused
from likepion_provider.models import Episode, ImportState
from likepion_provider.platforms import (
    Job,
    JsonRow,
    ListedEpisode,
    Page,
    Platform,
    PlatformHttp,
    Progress,
    bare_url,
    paged,
    same_feed,
)

_ITEMS_PER_PAGE = 100
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
        # What an earlier run has added may be gone.
        podcast = await self._podcast(job, item) or await self._podcast(job, await self._add(job))
        if podcast is None:
            raise self.failed("does not show the podcast that it has added")
        await self._download_missing(job, podcast)
        await self._open_feed(job, podcast)
        return Progress(ImportState.SUBMITTED, podcast.field("id"))

    async def collect(self, job: Job) -> Progress:
        """Find the podcast, its downloads and its public feed, and list what is in both."""
        item = job.reference or await self._find(job)
        podcast = await self._podcast(job, item) if item else None
        if podcast is None:
            return Progress(ImportState.NEW)
        episodes = await self._public(job, podcast)
        if not _is_downloading(podcast):
            if _missing(job, podcast):
                message = "episodes are missing and none is being downloaded"
                return Progress(ImportState.NEW, item, episodes, message=message)
            if not episodes and _downloaded(podcast):
                return Progress(ImportState.NEW, item, message="the podcast's public feed is not open")
        return Progress(ImportState.LISTED if episodes else ImportState.SUBMITTED, item, episodes)

    # --- the podcast ---

    async def _find(self, job: Job) -> str:
        """The podcast's library item; empty where it is not there."""
        for library in await self._libraries(job):
            async for page in self._items(job, f"api/libraries/{library.field('id')}/items"):
                for row in page.rows("results"):
                    row.field("media", "metadata", kind=dict)
                    if same_feed(job.feed, row.text("media", "metadata", "feedUrl")):
                        return str(row.field("id"))
        return ""

    def _items(self, job: Job, path: str) -> AsyncIterator[Page]:
        """A library's items; the server may give fewer a page than it is asked for."""

        async def read(place: tuple[int, int]) -> Page:
            params = {"limit": str(_ITEMS_PER_PAGE), "page": str(place[0]), "minified": "1"}
            return await self._call(job, "GET", path, params=params)

        def following(page: Page, place: tuple[int, int]) -> tuple[int, int] | None:
            rows, (number, before) = page.rows("results"), place
            seen = before + len(rows)
            return (number + 1, seen) if rows and seen < page.field("total", kind=int) else None

        return paged(job, read, (0, 0), following)

    async def _libraries(self, job: Job) -> list[JsonRow]:
        """The podcast libraries, the one to import into first; with a name in the connection only that."""
        page = await self._call(job, "GET", "api/libraries")
        rows = [each for each in page.rows("libraries") if each.get("mediaType") == "podcast"]
        libraries = _chosen(rows, job.settings.extra.get("library"), "name")
        if not libraries:
            raise self.failed(
                f"has no such podcast library for {job.task.label}",
                remedy="Add a podcast library there, or correct 'library' in the connection's extra.",
            )
        return libraries

    async def _add(self, job: Job) -> str:
        """Add the podcast to the library; its id."""
        library = (await self._libraries(job))[0]
        folders = _chosen(library.rows("folders"), job.settings.extra.get("folder"), "fullPath")
        if not folders:
            raise self.failed(
                f"has no such folder in its library {library.get('name')!r}",
                remedy="Add a folder to the library, or correct 'folder' in the connection's extra.",
            )
        read = (await self._read_feed(job)).field("podcast", "metadata", kind=dict)
        media = {"metadata": _metadata(job, read), "autoDownloadEpisodes": False}
        root = folders[0].text("fullPath").rstrip("/")
        for name in _folder_names(job):
            body = {
                "libraryId": library.field("id"),
                "folderId": folders[0].field("id"),
                "path": f"{root}/{name}",
                "media": media,
            }
            page = await self._call(job, "POST", "api/podcasts", json=body)
            if page.status != 400:
                return str(page.field("id"))
            if there := await self._find(job):
                return there
        raise self.failed(f"refused the podcast: {page.text[:200]}")

    async def _read_feed(self, job: Job) -> Page:
        """The feed as the server reads it."""
        page = await self._call(job, "POST", "api/podcasts/feed", json={"rssFeed": job.feed.url})
        if page.status in (400, 404):
            raise self.failed(
                f"cannot read the feed (status {page.status})",
                remedy="See the server's log; it refuses private addresses without DISABLE_SSRF_REQUEST_FILTER.",
            )
        return page

    async def _podcast(self, job: Job, item: str) -> JsonRow | None:
        """The podcast with its episodes, downloads and feed; None where it is gone."""
        params = {"expanded": "1", "include": "rssfeed,downloads"}
        page = await self._call(job, "GET", f"api/items/{item}", params=params)
        return None if page.status == 404 else page.row()

    # --- its downloads and its public feed ---

    async def _download_missing(self, job: Job, podcast: JsonRow) -> None:
        missing = _missing(job, podcast)
        if _is_downloading(podcast) or not missing:
            return
        guids = {each.guid for each in missing}
        media = {bare_url(each.enclosure.url) for each in missing if each.enclosure}
        rows = (await self._read_feed(job)).rows("podcast", "episodes")
        chosen = [row for row in rows if row.text("guid") in guids or bare_url(_listed(row).enclosure_url) in media]
        if chosen:
            path = f"api/podcasts/{podcast.field('id')}/download-episodes"
            if (done := await self._call(job, "POST", path, json=chosen)).status != 200:
                raise self.failed(f"will not download (status {done.status})")

    async def _open_feed(self, job: Job, podcast: JsonRow) -> None:
        """Open the podcast's feed once it has an episode; it shows the later ones by itself."""
        item = podcast.field("id")
        looked: JsonRow | None = podcast
        for pause_s in self.first_download_s:
            if looked is None or looked.get("rssFeed"):
                return
            if _downloaded(looked):
                break
            await asyncio.sleep(pause_s)
            looked = await self._podcast(job, item)
        else:
            return
        body = {"slug": item, "serverAddress": urljoin(job.http.base_url, "/").rstrip("/")}
        answer = await self._call(job, "POST", f"api/feeds/item/{item}/open", json=body)
        looked = await self._podcast(job, item) if answer.status != 200 else None
        if looked and not looked.get("rssFeed"):
            raise self.failed(f"will not open the podcast's feed (status {answer.status}): {answer.text[:200]}")

    async def _public(self, job: Job, podcast: JsonRow) -> tuple[ListedEpisode, ...]:
        """The episodes that are in the podcast's public feed; empty where that is not open."""
        downloaded = podcast.rows("media", "episodes")
        if not podcast.get("rssFeed") or not downloaded:
            return ()
        # The server brings the feed up to date when somebody reads it.
        await job.http.get(_public_url(job, podcast.field("rssFeed", "feedUrl")))
        feeds = (await self._call(job, "GET", "api/feeds")).rows("feeds")
        feed = next((each for each in feeds if each.get("id") == podcast.field("rssFeed", "id")), None)
        if feed is None:
            return ()
        urls = {each.text("fullPath"): each.field("enclosure", "url") for each in feed.rows("episodes")}
        paths = [each.field("audioFile", "metadata", "path") for each in downloaded]
        return tuple(
            dataclasses.replace(_listed(row), url=_public_url(job, urls[path]))
            for row, path in zip(downloaded, paths, strict=True)
            if path in urls
        )

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
        return page.expect(200, 400, 404, what=f"an answer to {method} {urlsplit(page.url).path}")

    async def _send(self, job: Job, method: str, path: str, options: dict[str, Any]) -> Page:
        headers = {"Authorization": f"Bearer {self._tokens[job.http]}"}
        return await job.http.request(method, path, headers=headers, **options)

    async def _login(self, job: Job) -> None:
        self._tokens.pop(job.http, None)
        fields = {"username": job.credentials.username, "password": job.credentials.password}
        # Without the header the server would set a cookie, which is of no use here.
        page = await job.http.post("login", json=fields, headers={"x-return-tokens": "true"})
        if page.status in (400, 401):
            raise self.refused_login(job)
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


def _folder_names(job: Job) -> tuple[str, str]:
    """The podcast's folder; the second where another podcast of this title has the first already."""
    name = _FORBIDDEN_IN_PATHS.sub(" ", job.feed.title).strip(". ") or "podcast"
    return name, f"{name} {hashlib.sha256(job.feed.url.encode()).hexdigest()[:8]}"


def _chosen(rows: list[JsonRow], wanted: object, named: str) -> list[JsonRow]:
    """The rows that have the id or the name; all where none is asked for."""
    return [each for each in rows if not wanted or wanted in (each.get("id"), each.get(named))]


def _is_downloading(podcast: JsonRow) -> bool:
    """Whether downloads of the podcast are queued or under way."""
    return bool(podcast.get("episodeDownloadsQueued") or podcast.get("episodesDownloading"))


def _downloaded(podcast: JsonRow) -> list[ListedEpisode]:
    """The podcast's episodes on the server, without an address as yet."""
    return [_listed(row) for row in podcast.rows("media", "episodes")]


def _missing(job: Job, podcast: JsonRow) -> list[Episode]:
    """The wanted episodes that are not on the server."""
    there = _downloaded(podcast)
    guids, media = {each.guid for each in there}, {bare_url(each.enclosure_url) for each in there}
    wanted = [(each, bare_url(each.enclosure.url)) for each in job.wanted if each.enclosure]
    return [each for each, url in wanted if each.guid not in guids and url not in media]


def _listed(row: JsonRow) -> ListedEpisode:
    """An episode of a podcast, or of a feed that the server has read: both have the same fields."""
    return ListedEpisode(
        url="",
        guid=row.text("guid"),
        title=row.text("title"),
        enclosure_url=row.text("enclosure", "url"),
        published_at=row.time("publishedAt", per_s=1000),
    )


def _public_url(job: Job, path: str) -> str:
    """An address of the public feed: the server names them from the root that it runs at."""
    return urljoin(job.http.base_url, path.lstrip("/") if path.startswith("/") else path)
