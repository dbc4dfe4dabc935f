"""WordPress sites with the plugin Seriously Simple Podcasting: its RSS import in wp-admin, its public REST list.

Source: CastosHQ/Seriously-Simple-Podcasting (June 2026), in ``php/classes``: ``handlers/class-rss-import-handler.php``,
``handlers/class-ajax-handler.php``, ``controllers/class-app-controller.php``,
``controllers/class-settings-controller.php``, ``rest/class-episodes-rest-controller.php``; ``assets/js/import.rss.js``;
of WordPress ``wp-login.php``. The form on the settings' import tab notes the feed;
``admin-ajax.php?action=import_external_rss_feed`` then imports three episodes per call until ``is_finished``, and
``reset_rss_feed_data`` clears what was noted. Episodes come out of ``ssp/v1/episodes``, which asks for no login.

Consequences:

- A second import makes every episode a second time, so the site is read first, and what it has of the feed is never
  imported again; where that is only a part, a person has to add the rest.
- There is one import per site at a time, and it goes on where it stopped. One of this feed that stopped is reported as
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
import re
import weakref
from typing import NamedTuple

from likepion_provider.errors import FeedLocked, Transient
from likepion_provider.models import ImportState
from likepion_provider.platforms import (
    Job,
    JsonRow,
    ListedEpisode,
    Page,
    Platform,
    Progress,
    bare_url,
    enough,
    match,
    paged,
    quoted,
    shown_text,
)

_TAB = "wp-admin/edit.php?post_type=podcast&page=podcast_settings&tab=import"
_RUNNING = "ssp-external-feed-progress"
_NONCE = "podcast_settings_tab_nonce"
_EPISODES = "ssp/v1/episodes"
_EPISODES_PER_PAGE = 100


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
            posts = await self._posts(job)
            if _is_complete(job, posts):
                return _progress(job, posts)
            tab = await self._tab(job)
            if tab.running and not await self._ours(job, tab, posts):
                await self._ajax(job, tab, "reset_rss_feed_data", writes=True)
                tab = await self._tab(job)
            if not tab.running:
                if posts:
                    return _progress(job, posts)
                tab = await self._begin(job, tab)
            await self._drive(job, tab)
            return Progress(ImportState.SUBMITTED, job.reference, cookie=job.http.cookie)

    async def collect(self, job: Job) -> Progress:
        """List what the site has of the feed."""
        posts = await self._posts(job)
        if not posts:
            return Progress(ImportState.NEW)
        if not _is_complete(job, posts) and (await self._tab(job)).running:
            message = "an import has not been finished"
            return Progress(ImportState.NEW, job.reference, cookie=job.http.cookie, message=message)
        return _progress(job, posts)

    async def sign_in(self, job: Job) -> None:
        """Open wp-admin: the list is public."""
        await self._tab(job)

    def _alone(self, job: Job) -> asyncio.Lock:
        """One import per site at a time, as far as this process goes."""
        locks = self._locks.setdefault(asyncio.get_running_loop(), {})
        return locks.setdefault(job.http.base_url, asyncio.Lock())

    # --- the import ---

    async def _ours(self, job: Job, tab: _Tab, posts: list[_Post]) -> bool:
        """Whether the import that has not been finished is of this feed; False where it may as well be forgotten.

        :raises Transient: it is of another one.
        """
        progress = await self._ajax(job, tab, "get_external_rss_feed_progress")
        imported = progress.field("episodes", kind=(list, dict))
        # Nothing imported yet, or everything: only the note is left.
        if not imported or progress.field("progress", kind=(int, float)) >= 100:
            return False
        titles = {_letters(str(each)) for each in (imported.values() if isinstance(imported, dict) else imported)}
        if posts or titles & {_letters(each.title) for each in job.feed.episodes}:
            return True
        raise Transient(
            f"{self.title}: another feed is being imported into {job.task.domain}",
            remedy="If nobody is importing there, finish or cancel it on the plugin's import tab.",
        )

    async def _begin(self, job: Job, tab: _Tab) -> _Tab:
        """Post the form."""
        inputs = tab.page.inputs("external_rss", "Submit")
        fields = {
            "action": "post_import_form",
            "_wpnonce": tab.nonce,
            "external_rss": job.feed.url,
            "import_series": self._series(job, tab),
            "import_podcast_data": "true",
            # The plugin compares the button's text, which is in the site's language.
            "Submit": inputs["Submit"],
        }
        answer = await job.http.post(_TAB, data=fields)
        if answer.status != 200 or not (begun := _Tab(answer)).running:
            raise self.failed(f"did not take the feed (status {answer.status})")
        return begun

    def _series(self, job: Job, tab: _Tab) -> str:
        """The podcast to import into."""
        wanted = str(job.settings.extra.get("series") or "")
        for name, value in tab.series.items():
            if wanted in (value, name) or (not wanted and _letters(name) == _letters(job.feed.title)):
                return value
        if wanted or len(tab.series) > 1:
            raise self.failed(
                f"has {len(tab.series)} podcasts on {job.task.domain}, and none is the one to import into",
                remedy="Name the podcast, which will be overwritten, as 'series' in the connection's extra.",
            )
        return next(iter(tab.series.values()), "")

    async def _drive(self, job: Job, tab: _Tab) -> None:
        """Import a few episodes per call until it is finished."""
        count = -1
        # Its end is that of the visit at the latest, which counts requests.
        while not (page := await self._import_some(job, tab)).field("is_finished", kind=bool):
            before, count = count, page.field("count", kind=int)
            if count <= before:
                raise self.failed(f"imports no more than {count} episodes")
        await self._ajax(job, tab, "reset_rss_feed_data", writes=True)

    async def _import_some(self, job: Job, tab: _Tab) -> Page:
        return await self._ajax(job, tab, "import_external_rss_feed", writes=True)

    async def _ajax(self, job: Job, tab: _Tab, action: str, *, writes: bool = False) -> Page:
        """One of the plugin's calls; they are all GET."""
        params = {"action": action, "nonce": tab.nonce}
        page = await job.http.request("GET", "wp-admin/admin-ajax.php", params=params, writes=writes)
        if isinstance(answer := page.json(), dict) and answer.get("status") == "error":
            self._refuse(job, str(answer.get("message") or ""))
        return page

    def _refuse(self, job: Job, message: str) -> None:
        """Raise what the plugin's words say; they may hold the feed's URL."""
        words = quoted(job, shown_text(message))
        if job.feed.locked or "podcast:lock" in message:
            raise FeedLocked(f"{self.title}: {words}", url=job.feed.display_url, where="podcast:locked")
        raise self.failed(f"did not import: {words}")

    # --- the login ---

    async def _tab(self, job: Job) -> _Tab:
        """The plugin's import tab, after a login where none holds."""
        page = await job.http.get(_TAB, allow_redirects=False)
        if page.redirects_to:
            await self._login(job, page)
            page = await job.http.get(_TAB, allow_redirects=False)
        if page.status == 403:
            raise self.failed(
                f"does not let {job.task.label} import, or the plugin is not there",
                remedy="Activate the plugin, and give the account the role Podcast Manager or Administrator.",
            )
        return _Tab(page.expect(200, what="the import tab after the login"))

    async def _login(self, job: Job, sent_on: Page) -> None:
        # The page also sets the cookie by which WordPress sees that cookies work.
        form = await job.http.follow(sent_on)
        self.refuse_login_elsewhere(job, form.url)
        inputs = form.inputs("log", "pwd")
        fields = {
            "log": job.credentials.username,
            "pwd": job.credentials.password,
            "wp-submit": inputs.get("wp-submit", ""),
            "redirect_to": inputs.get("redirect_to", ""),
            "testcookie": "1",
        }
        answer = await job.http.post(form.url.split("?")[0], data=fields, allow_redirects=False)
        if answer.status in (200, 401, 403):
            raise self.refused_login(job)
        if not answer.redirects_to:
            raise answer.changed("a redirect after the login")

    # --- the public list ---

    async def _posts(self, job: Job) -> list[_Post]:
        """The site's episodes that are the feed's, newest first; no page beyond what is wanted is read."""
        known = _Known(job)
        posts: list[_Post] = []
        async for page in paged(job, lambda number: self._rest(job, number), 1, _next_number):
            posts += map(known.post, page.rows())
            if enough(job, _episodes(posts)):
                break
        ours = {each.url for _, each in match(job.feed, _episodes(posts), len(job.feed.episodes) or 1)}
        return [each for each in posts if each.episode.url in ours]

    async def _rest(self, job: Job, number: int) -> Page:
        params = {"per_page": str(_EPISODES_PER_PAGE), "page": str(number), "orderby": "date", "order": "desc"}
        page = await job.http.get(f"wp-json/{_EPISODES}", params=params)
        if page.status == 404:
            # A site without permalinks has its REST interface here.
            page = await job.http.get("", params={"rest_route": f"/{_EPISODES}"} | params)
        if page.status in (401, 403, 404):
            raise self.failed(
                f"shows no list of episodes at {job.task.domain} (status {page.status})",
                remedy="Activate the plugin, and allow its REST interface to visitors.",
            )
        return page.expect(200, what="a list of episodes")


def _next_number(page: Page, number: int) -> int | None:
    text = page.headers.get("x-wp-totalpages", "")
    if not re.fullmatch("[0-9]{1,9}", text):
        raise page.changed("the header X-WP-TotalPages")
    return number + 1 if number < int(text) else None


class _Tab:
    """The import tab: its form, or the progress of an import."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.nonce = page.inputs(_NONCE)[_NONCE]
        self.series = page.html.options.get("import_series", {})
        self.running = f'id="{_RUNNING}"' in page.text


class _Post(NamedTuple):
    """An episode of the public list, and the podcast ("series") that it is in."""

    episode: ListedEpisode
    series: str


class _Known:
    """The feed's episodes, by what of them is left after an import."""

    def __init__(self, job: Job) -> None:
        episodes = job.feed.episodes
        self._guids = {_media(each.enclosure.url): each.guid for each in episodes if each.enclosure}
        self._titles = {_letters(each.title): each.title for each in episodes}

    def post(self, row: JsonRow) -> _Post:
        """A post, with guid and title as the feed has them."""
        rendered = shown_text(row.text("title", "rendered"))
        # PHP writes an object without members as a list.
        media = row.text("meta", "audio_file")
        series = row.get("series")
        episode = ListedEpisode(
            url=row.field("link"),
            guid=self._guids.get(_media(media), ""),
            # WordPress shows other quotation marks and dashes than the feed has.
            title=self._titles.get(_letters(rendered), rendered),
            enclosure_url=media,
            published_at=row.date("date"),
        )
        return _Post(episode, str(series[0]) if isinstance(series, list) and series else "")


def _episodes(posts: list[_Post]) -> tuple[ListedEpisode, ...]:
    return tuple(each.episode for each in posts)


def _is_complete(job: Job, posts: list[_Post]) -> bool:
    return bool(posts) and enough(job, _episodes(posts))


def _progress(job: Job, posts: list[_Post]) -> Progress:
    reference = job.reference or next((each.series for each in posts if each.series), "") or "podcast"
    return Progress(ImportState.LISTED, reference, _episodes(posts), cookie=job.http.cookie)


def _letters(title: str) -> str:
    """A title's letters and digits only."""
    return "".join(re.findall(r"\w+", title.lower()))


def _media(url: str) -> str:
    """A media URL as far as the import keeps it: of several in one the last, without its query."""
    return bare_url(url[max(url.rfind("https://"), url.rfind("http://"), 0) :])
