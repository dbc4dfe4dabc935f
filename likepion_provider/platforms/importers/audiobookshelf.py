"""Audiobookshelf servers: an admin's bearer token, a podcast in a library, its downloads, its public feed.

Source: advplyr/audiobookshelf, ``server/Auth.js`` (``POST login``, 40 per address in ten minutes),
``controllers/{Library,LibraryItem,Podcast,RSSFeed}Controller.js``, ``managers/{Podcast,RssFeed}Manager.js`` and the
``toOldJSON...`` methods in ``models/``. Everything but reading wants a user of type admin or root, which the answer to
the login tells. A body of more than 10 MB is refused (``Server.js``), as one of more than 1 MB is by nginx before it,
unless it is set otherwise; so episodes to download are sent in parts.

An episode is there once the server has downloaded it. Its queue is in memory, drops what fails and does not survive a
restart, so a podcast with episodes missing and nothing queued is reported as stalled: what is missing, and only that,
is asked for again. The server's own ``api/podcasts/{id}/checknew`` is not used: it goes by date, and downloads more
than is wanted. Nothing there keeps two tasks from adding one feed at once; the older item is used then, and the other,
which is empty, taken away.

**What is reported** is an episode's media URL in the podcast's public feed, ``/feed/{slug}/item/{id}/media.mp3``: the
only address of one episode that opens without a login. The item's page is one for all episodes and wants a login; a
share link (``POST api/share/mediaitem``) can be made for an episode, but the server answers it with 404. So
:meth:`Audiobookshelf.submit` opens the public feed, as the button in the web client does, with the item's id as its
slug and not to be indexed; where it is open already it is left as it is. It opens only once the first episode is there.
Closing the feed ends the URLs.

The connection's extra may name ``library`` and ``folder``, by id or name; else the first podcast library is taken. The
server refuses feeds on private addresses unless ``SSRF_REQUEST_FILTER_WHITELIST`` names their host.

``tests/real/audiobookshelf.py`` runs it against the real server. Servers before 2.26, which have other tokens, and
OpenID logins are not supported.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import re
import weakref
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

from likepion_provider.errors import PlatformError
from likepion_provider.models import Episode, ImportState
from likepion_provider.platforms import (
    Job,
    JsonRow,
    ListedEpisode,
    Page,
    Platform,
    PlatformHttp,
    Progress,
    Rereads,
    match,
    paged,
    quoted,
    same_feed,
)

_ITEMS_PER_PAGE = 100
_MAX_BODY_BYTES = 900_000
_ADMINS = ("root", "admin")
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
    rereads = Rereads(on_request=True)
    #: How long the first download is waited for before the feed is opened: pauses between looks, in seconds.
    first_download_s: ClassVar[tuple[float, ...]] = (0.5, 1, 2, 3, 5, 10, 15, 20, 30)

    def __init__(self) -> None:
        #: An account's token for as long as its client lives; each run logs in once.
        self._tokens: weakref.WeakKeyDictionary[PlatformHttp, str] = weakref.WeakKeyDictionary()

    async def submit(self, job: Job) -> Progress:
        """Add the podcast where it is not there, download what is missing, open the feed."""
        item = job.reference or await self._find(job) or await self._add(job)
        # What an earlier run has added may be gone.
        if await self._podcast(job, item) is None:
            item = await self._add(job)
        await self._download_missing(job, item)
        await self._open_feed(job, item)
        return await self.collect(dataclasses.replace(job, reference=item))

    async def collect(self, job: Job) -> Progress:
        """Find the podcast, its downloads and its public feed, and list what is in both."""
        item = job.reference or await self._find(job)
        podcast = await self._podcast(job, item) if item else None
        if podcast is None:
            return Progress(ImportState.NEW)
        episodes = await self._public(job, podcast)
        stalled = "" if _queued(podcast) else _lacks(job, podcast)
        unlisted = ImportState.NEW if stalled else ImportState.SUBMITTED
        state = ImportState.LISTED if episodes else unlisted
        return Progress(state, item, episodes, message=stalled, stalled=bool(stalled))

    async def refresh(self, job: Job) -> None:
        """Have it read the feed, and download what is missing of it."""
        await self.submit(job)

    async def sign_in(self, job: Job) -> None:
        """Log in as an admin who sees the library."""
        await self._libraries(job)

    # --- the podcast ---

    async def _find(self, job: Job) -> str:
        """The podcast's library item, the oldest of several in a library; empty where it is not there."""
        for library in await self._libraries(job):
            found: list[tuple[int, str]] = []
            async for page in self._items(job, f"api/libraries/{library.field('id')}/items"):
                for row in page.rows("results"):
                    row.field("media", "metadata", kind=dict)
                    if same_feed(job.feed, row.text("media", "metadata", "feedUrl")):
                        found.append((row.field("addedAt", kind=int), row.field("id")))
            if found:
                return min(found)[1]
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
            added = "" if page.status == 400 else str(page.field("id"))
            # Another task may have added it in the meantime.
            there = await self._find(job) or added
            if added and added != there:
                await self._call(job, "DELETE", f"api/items/{added}")
            if there:
                return there
        raise self.failed(f"refused the podcast: {quoted(job, page.text)}")

    async def _read_feed(self, job: Job) -> Page:
        """The feed as the server reads it."""
        page = await self._call(job, "POST", "api/podcasts/feed", json={"rssFeed": job.feed.url})
        if page.status in (400, 404):
            host = urlsplit(job.feed.display_url).hostname
            raise self.failed(
                f"cannot read the feed (status {page.status})",
                remedy="The server's log says why. Where the feed is at a private address, start the server with "
                f"SSRF_REQUEST_FILTER_WHITELIST={host}.",
            )
        return page

    async def _podcast(self, job: Job, item: str) -> JsonRow | None:
        """The podcast with its episodes, downloads and feed; None where it is gone."""
        params = {"expanded": "1", "include": "rssfeed,downloads"}
        page = await self._call(job, "GET", f"api/items/{item}", params=params)
        return None if page.status == 404 else page.row()

    # --- its downloads and its public feed ---

    async def _download_missing(self, job: Job, item: str) -> None:
        feed = (await self._read_feed(job)).rows("podcast", "episodes")
        # Looked at last: another account may be downloading the same.
        podcast = await self._podcast(job, item)
        missing = {each.guid for each in _missing(job, podcast)} if podcast else set()
        places = {page.url for episode, page in _matched(job, map(_listed, feed)) if episode.guid in missing}
        for part in _parts([feed[place] for place in sorted(map(int, places))]):
            done = await self._call(job, "POST", f"api/podcasts/{item}/download-episodes", json=part)
            if done.status != 200:
                raise self.failed(f"will not download (status {done.status})")

    async def _open_feed(self, job: Job, item: str) -> None:
        """Open the podcast's feed once it has an episode; it shows the later ones by itself."""
        for pause_s in self.first_download_s:
            looked = await self._podcast(job, item)
            if looked is None or looked.get("rssFeed"):
                return
            if looked.rows("media", "episodes"):
                break
            await asyncio.sleep(pause_s)
        else:
            return
        body = {"slug": item, "serverAddress": urljoin(job.http.base_url, "/").rstrip("/")}
        answer = await self._call(job, "POST", f"api/feeds/item/{item}/open", json=body)
        looked = await self._podcast(job, item) if answer.status != 200 else None
        if looked and not looked.get("rssFeed"):
            raise self.failed(f"will not open the podcast's feed (status {answer.status}): {quoted(job, answer.text)}")

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
        if page.status == 401:
            raise self.refused_login(job)
        if page.status == 403:
            raise self._no_right(job)
        if page.status == 413:
            raise self.failed(
                "is behind a server that refuses large requests",
                remedy="Let the server before it take bodies of 10 MB: in nginx, client_max_body_size 10m.",
            )
        return page.expect(200, 400, 404, what=f"an answer to {method} {urlsplit(page.url).path}")

    def _no_right(self, job: Job) -> PlatformError:
        return self.failed(
            f"lets {job.task.label} in, but not add podcasts: it is no admin",
            remedy="Make the account's user an admin there, under Settings, Users; then run the account by its id.",
        )

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
        token = page.field("user", "accessToken")
        if page.field("user", "type") not in _ADMINS:
            raise self._no_right(job)
        self._tokens[job.http] = token


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


def _parts(rows: Sequence[JsonRow]) -> Iterator[list[JsonRow]]:
    """The rows, in lists that the server takes in one request."""
    part: list[JsonRow] = []
    part_bytes = 0
    for row in rows:
        row_bytes = len(json.dumps(row)) + 2
        if part and part_bytes + row_bytes > _MAX_BODY_BYTES:
            yield part
            part, part_bytes = [], 0
        part.append(row)
        part_bytes += row_bytes
    if part:
        yield part


def _queued(podcast: JsonRow) -> list[ListedEpisode]:
    """The podcast's episodes that are being downloaded, or wait for it."""
    names = (each for each in ("episodesDownloading", "episodeDownloadsQueued") if podcast.get(each))
    rows = (row for name in names for row in podcast.rows(name))
    return [ListedEpisode(url="", guid=each.text("guid"), enclosure_url=each.text("url")) for each in rows]


def _lacks(job: Job, podcast: JsonRow) -> str:
    """What a podcast still needs to be listed whole, in words; empty where nothing."""
    if _missing(job, podcast):
        return "episodes are missing and none is being downloaded"
    is_closed = podcast.rows("media", "episodes") and not podcast.get("rssFeed")
    return "the podcast's public feed is not open" if is_closed else ""


def _missing(job: Job, podcast: JsonRow) -> list[Episode]:
    """The wanted episodes that are neither on the server nor on their way there."""
    coming = [*map(_listed, podcast.rows("media", "episodes")), *_queued(podcast)]
    found = {episode.guid for episode, _ in _matched(job, coming)}
    return [each for each in job.wanted if each.enclosure and each.guid not in found]


def _matched(job: Job, rows: Iterable[ListedEpisode]) -> list[tuple[Episode, ListedEpisode]]:
    """The feed's episodes among what has no page as yet, each with its place there for one."""
    placed = [dataclasses.replace(each, url=str(place)) for place, each in enumerate(rows)]
    return match(job.feed, placed, len(job.feed.episodes))


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
