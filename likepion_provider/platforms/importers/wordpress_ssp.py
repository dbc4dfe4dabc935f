"""WordPress sites with the plugin Seriously Simple Podcasting: its RSS import in wp-admin, its public REST list.

Source: CastosHQ/Seriously-Simple-Podcasting (June 2026), in ``php/classes``: ``handlers/class-rss-import-handler.php``,
``handlers/class-ajax-handler.php``, ``controllers/class-app-controller.php``,
``controllers/class-settings-controller.php``, ``rest/class-episodes-rest-controller.php``; ``assets/js/import.rss.js``;
of WordPress ``wp-login.php``. The form on the settings' import tab notes the feed;
``admin-ajax.php?action=import_external_rss_feed`` then imports three episodes a call until ``is_finished``, and
``reset_rss_feed_data`` clears what was noted. Episodes come out of ``ssp/v1/episodes``, which asks for no login.

What follows from it:

- A second import makes every episode a second time, so the site is read first, and what it has of the feed is never
  imported again; where that is only a part, a person has to add the rest.
- There is one import a site at a time, and it goes on where it stopped. One of this feed that stopped is reported as
  ``NEW``, and finished by :meth:`WordpressSsp.submit`; a stranger's is waited for.
- It overwrites the title, cover and description of the podcast ("series") that it imports into, whatever the form's
  checkbox says. That podcast is the connection's ``series`` (id or name), or has the feed's title, or is the only one.
- A publication date is stored in the site's time zone as if it were UTC, and read back so. On a site west of UTC an
  episode only hours old is therefore scheduled, and listed later.
- WordPress sends the cookie that opens wp-admin for that path only; it is handed on all the same.

Not verified: nothing of this was run against WordPress by this package's tests; nor what happens where a call's answer
is lost and PHP goes on with it while the next one begins. Logins with a second factor, a captcha or a moved login page
are not supported.
"""

from __future__ import annotations

import asyncio
import html
import re
import weakref
from datetime import datetime, timezone
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

from likepion_provider.errors import FeedLocked, LoginRefused, PlatformError, Transient
from likepion_provider.models import ImportState
from likepion_provider.platforms.base import Job, ListedEpisode, Platform, Progress
from likepion_provider.platforms.match import enough, match
from likepion_provider.web.http import Page

_TAB = "wp-admin/edit.php?post_type=podcast&page=podcast_settings&tab=import"
_RUNNING = "ssp-external-feed-progress"
_NONCE = "podcast_settings_tab_nonce"
_EPISODES = "ssp/v1/episodes"
_EPISODES_A_PAGE = 100
_REDIRECTS = (301, 302, 303)


class WordpressSsp(Platform):
    """Imports by the plugin's form and its Ajax calls, reads the public list."""

    name = "wordpress_ssp"
    title = "WordPress with Seriously Simple Podcasting"
    needs = ("username", "password")
    needs_connection = (
        "host: the site's address, or nothing: then https and the account's domain; "
        "extra: platform: wordpress_ssp, and series where the site has several podcasts"
    )
    max_concurrency = 2
    poll_s = (2, 5, 10, 20, 30, 60)

    def __init__(self) -> None:
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Lock]]
        self._locks = weakref.WeakKeyDictionary()

    async def submit(self, job: Job) -> Progress:
        """Import the feed, or finish an import of it; nothing where the site has episodes of it."""
        async with self._alone(job):
            rows = await self._rows(job)
            if _complete(job, rows):
                return _progress(job, rows)
            tab = _Tab(await self._admin(job))
            if tab.running and not await self._ours(job, tab, rows):
                await self._ajax(job, tab, "reset_rss_feed_data", writes=True)
                tab = _Tab(await self._admin(job))
            if rows and not tab.running:
                return _progress(job, rows)
            if not tab.running:
                tab = await self._begin(job, tab)
            await self._drive(job, tab)
            return Progress(ImportState.SUBMITTED, job.reference, cookie=job.http.cookie)

    async def collect(self, job: Job) -> Progress:
        """List what the site has of the feed."""
        rows = await self._rows(job)
        if not rows:
            return Progress(ImportState.NEW)
        if not _complete(job, rows) and _Tab(await self._admin(job)).running:
            message = "an import has not been finished"
            return Progress(ImportState.NEW, job.reference, cookie=job.http.cookie, message=message)
        return _progress(job, rows)

    async def sign_in(self, job: Job) -> None:
        """Open wp-admin: the list is public."""
        await self._admin(job)

    def _alone(self, job: Job) -> asyncio.Lock:
        """One import a site at a time, as far as this process goes."""
        locks = self._locks.setdefault(asyncio.get_running_loop(), {})
        return locks.setdefault(job.http.base_url, asyncio.Lock())

    # --- the import ---

    async def _ours(self, job: Job, tab: _Tab, rows: list[_Row]) -> bool:
        """Whether the import that has not been finished is of this feed; False where it may as well be forgotten.

        :raises Transient: it is of another one.
        """
        progress = await self._ajax(job, tab, "get_external_rss_feed_progress")
        imported = progress.field("episodes", kind=(list, dict))
        # Nothing imported yet, or everything: only the note is left.
        if not imported or progress.field("progress", kind=(int, float)) >= 100:
            return False
        titles = {_plain(str(each)) for each in (imported.values() if isinstance(imported, dict) else imported)}
        if rows or titles & {_plain(each.title) for each in job.feed.episodes}:
            return True
        raise Transient(
            f"{self.title}: another feed is being imported into {job.task.domain}",
            remedy="If nobody is importing there, finish or cancel it on the plugin's import tab.",
        )

    async def _begin(self, job: Job, tab: _Tab) -> _Tab:
        """Post the form."""
        for name in ("external_rss", "Submit"):
            if name not in tab.inputs:
                raise tab.page.changed(f"the input {name}")
        fields = {
            "action": "post_import_form",
            "_wpnonce": tab.nonce,
            "external_rss": job.feed.url,
            "import_series": self._series(job, tab),
            "import_podcast_data": "true",
            # The plugin compares the button's text, which is in the site's language.
            "Submit": tab.inputs["Submit"],
        }
        answer = await job.http.post(_TAB, data=fields)
        if answer.status != 200 or not (begun := _Tab(answer)).running:
            raise PlatformError(f"{self.title} did not take the feed (status {answer.status})", platform=self.name)
        return begun

    def _series(self, job: Job, tab: _Tab) -> str:
        """The podcast to import into."""
        wanted = str(job.settings.extra.get("series") or "")
        for name, value in tab.series.items():
            if wanted in (value, name) or (not wanted and _plain(name) == _plain(job.feed.title)):
                return value
        if wanted or len(tab.series) > 1:
            raise PlatformError(
                f"{self.title} has {len(tab.series)} podcasts on {job.task.domain}, and none is the one to import into",
                platform=self.name,
                remedy="Name the podcast, which will be overwritten, as 'series' in the connection's extra.",
            )
        return next(iter(tab.series.values()), "")

    async def _drive(self, job: Job, tab: _Tab) -> None:
        """Import a few episodes a call until it is finished."""
        count = -1
        while True:
            page = await self._ajax(job, tab, "import_external_rss_feed", writes=True)
            if page.field("is_finished", kind=bool):
                break
            before, count = count, page.field("count", kind=int)
            if count <= before:
                raise PlatformError(f"{self.title} imports no more than {count} episodes", platform=self.name)
        await self._ajax(job, tab, "reset_rss_feed_data", writes=True)

    async def _ajax(self, job: Job, tab: _Tab, action: str, *, writes: bool = False) -> Page:
        """One of the plugin's calls; they are all GET."""
        params = {"action": action, "nonce": tab.nonce}
        page = await job.http.request("GET", "wp-admin/admin-ajax.php", params=params, writes=writes)
        if isinstance(answer := page.json(), dict) and answer.get("status") == "error":
            self._refuse(job, str(answer.get("message") or ""))
        return page

    def _refuse(self, job: Job, message: str) -> None:
        """Raise what the plugin's words say; they may hold the feed's URL."""
        words = re.sub(r"\S+://\S+", "<address>", html.unescape(re.sub(r"<[^>]*>", " ", message)))[:300]
        if job.feed.locked or "podcast:lock" in message:
            raise FeedLocked(f"{self.title}: {words}", url=job.feed.display_url, where="podcast:locked")
        raise PlatformError(f"{self.title} did not import: {words}", platform=self.name)

    # --- the login ---

    async def _admin(self, job: Job) -> Page:
        """The plugin's import tab, after a login where none holds."""
        page = await job.http.get(_TAB, allow_redirects=False)
        if page.status in _REDIRECTS:
            await self._login(job, urljoin(page.url, page.headers.get("location", "")))
            page = await job.http.get(_TAB, allow_redirects=False)
        if page.status == 403:
            raise PlatformError(
                f"{self.title} does not let {job.task.label} import, or the plugin is not there",
                platform=self.name,
                remedy="Activate the plugin, and give the account the role Podcast Manager or Administrator.",
            )
        if page.status != 200:
            raise page.changed("the import tab after the login")
        return page

    async def _login(self, job: Job, url: str) -> None:
        # The page also sets the cookie by which WordPress sees that cookies work.
        form = await job.http.get(url)
        self.refuse_login_elsewhere(job, form.url)
        inputs = _read(form).inputs
        for name in ("log", "pwd"):
            if name not in inputs:
                raise form.changed(f"the input {name}")
        fields = {
            "log": job.credentials.username,
            "pwd": job.credentials.password,
            "wp-submit": inputs.get("wp-submit", ""),
            "redirect_to": inputs.get("redirect_to", ""),
            "testcookie": "1",
        }
        answer = await job.http.post(form.url.split("?")[0], data=fields, allow_redirects=False)
        if answer.status in (200, 401, 403):
            raise LoginRefused(f"{self.title} does not accept the credentials of {job.task.label}", platform=self.name)
        if answer.status not in _REDIRECTS:
            raise answer.changed("a redirect after the login")

    # --- the public list ---

    async def _rows(self, job: Job) -> list[_Row]:
        """The site's episodes that are the feed's, newest first; no page beyond what is wanted is read."""
        known = _Known(job)
        found: list[_Row] = []
        number = pages = 1
        while number <= pages:
            page = await self._rest(job, number)
            found += [_Row(page, index, known) for index in range(len(page.json()))]
            if enough(job, tuple(each.episode for each in found)):
                break
            text = page.headers.get("x-wp-totalpages", "")
            if not text.isdigit():
                raise page.changed("the header X-WP-TotalPages")
            number, pages = number + 1, int(text)
        ours = {
            each.url for each in match(job.feed, tuple(each.episode for each in found), len(job.feed.episodes) or 1)
        }
        return [each for each in found if each.episode.url in ours]

    async def _rest(self, job: Job, number: int) -> Page:
        params = {"per_page": str(_EPISODES_A_PAGE), "page": str(number), "orderby": "date", "order": "desc"}
        page = await job.http.get(f"wp-json/{_EPISODES}", params=params)
        if page.status == 404:
            # A site without permalinks has its REST interface here.
            page = await job.http.get("", params={"rest_route": f"/{_EPISODES}"} | params)
        if page.status in (401, 403, 404):
            raise PlatformError(
                f"{self.title}: {job.task.domain} shows no list of episodes (status {page.status})",
                platform=self.name,
                remedy="Activate the plugin, and allow its REST interface to visitors.",
            )
        if page.status != 200 or not isinstance(page.json(), list):
            raise page.changed("a list of episodes")
        return page


class _Known:
    """The feed's episodes, by what of them is left after an import."""

    def __init__(self, job: Job) -> None:
        episodes = job.feed.episodes
        self.guids = {_media(each.enclosure.url): each.guid for each in episodes if each.enclosure}
        self.titles = {_plain(each.title): each.title for each in episodes}


class _Row:
    """An episode of the public list."""

    def __init__(self, page: Page, index: int, known: _Known) -> None:
        row = page.field(index, kind=dict)
        rendered = html.unescape(str((row.get("title") or {}).get("rendered") or ""))
        # PHP writes an object without members as a list.
        meta: Any = row.get("meta") or {}
        media = str(meta.get("audio_file") or "") if isinstance(meta, dict) else ""
        series = row.get("series")
        self.series = str(series[0]) if isinstance(series, list) and series else ""
        self.episode = ListedEpisode(
            url=page.field(index, "link"),
            guid=known.guids.get(_media(media), ""),
            # WordPress shows other quotation marks and dashes than the feed has.
            title=known.titles.get(_plain(rendered), rendered),
            enclosure_url=media,
            published_at=_date(page, str(row.get("date") or "")),
        )


class _Reader(HTMLParser):
    """The inputs of a page by name, and the options of the selection of a podcast."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.inputs: dict[str, str] = {}
        self.series: dict[str, str] = {}
        self._in_series = False
        self._value: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "input" and given.get("name"):
            self.inputs.setdefault(given["name"], given.get("value", ""))
        elif tag == "select":
            self._in_series = given.get("name") == "import_series"
        elif tag == "option" and self._in_series:
            self._value = given.get("value", "")

    def handle_data(self, data: str) -> None:
        if self._value is not None:
            self.series[data.strip()] = self._value
            self._value = None

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._in_series = False


class _Tab:
    """The import tab: its form, or the progress of an import."""

    def __init__(self, page: Page) -> None:
        read = _read(page)
        self.page = page
        self.inputs = read.inputs
        self.series = read.series
        self.running = f'id="{_RUNNING}"' in page.text
        self.nonce = read.inputs.get(_NONCE, "")
        if not self.nonce:
            raise page.changed(f"the input {_NONCE}")


def _read(page: Page) -> _Reader:
    reader = _Reader()
    reader.feed(page.text)
    reader.close()
    return reader


def _complete(job: Job, rows: list[_Row]) -> bool:
    return bool(rows) and enough(job, tuple(each.episode for each in rows))


def _progress(job: Job, rows: list[_Row]) -> Progress:
    reference = job.reference or next((each.series for each in rows if each.series), "") or "podcast"
    listed = tuple(each.episode for each in rows)
    return Progress(ImportState.LISTED, reference, listed, cookie=job.http.cookie)


def _plain(title: str) -> str:
    """Letters and digits only."""
    return "".join(re.findall(r"\w+", title.lower()))


def _media(url: str) -> str:
    """A media URL as far as the import keeps it: of several in one the last, without its query."""
    parts = urlsplit(url[max(url.rfind("https://"), url.rfind("http://"), 0) :])
    return f"{parts.netloc}{parts.path}"


def _date(page: Page, text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=timezone.utc) if text else None
    except ValueError:
        raise page.changed("date as a date") from None
