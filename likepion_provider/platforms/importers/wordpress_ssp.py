"""WordPress sites with the plugin Seriously Simple Podcasting, by WordPress's REST API: one episode at a time.

Sources: developer.wordpress.org/rest-api (posts, terms, authentication, pagination); of WordPress ``wp-login.php`` and
``wp-admin/admin-ajax.php``; CastosHQ/Seriously-Simple-Podcasting (June 2026), in ``php/classes``:
``handlers/class-cpt-podcast-handler.php``, ``handlers/class-series-handler.php``,
``rest/class-episodes-rest-controller.php``. Verified against WordPress 6.6 with the plugin's 3.16.2: see
docs/platforms.md.

The plugin's own import is not used. There is one per site, whoever began it; it begins from anew what is there, goes on
when its caller is gone, and takes no episode that appears later.

- A podcast is a term of the taxonomy ``series``. The feed's own is the connection's ``series`` (id or name); else the
  one that was made for the feed's address, or that has most of the feed's episodes; else an empty one of the feed's
  title; else it is made. Another one is never written to: two shows may have one title, or a trailer in common.
- An episode's page has a name (``slug``) that ends in a hash of the episode's guid and the podcast's id. By it, an
  episode is looked up right before it is made, whatever its status; so one whose answer was lost is not made again.
- The plugin's own import keeps of a file's address the last one in it, without what follows ``.mp3``; what a person
  imported by it is recognised all the same.
- What is missing is made newest first. A visit that ends before is gone on with by the next.
- The list ``ssp/v1/episodes`` asks for no login, and has what is public.
- With the account's ``app_password`` (an application password of WordPress) no login is needed. WordPress takes these
  by https only, unless the site says that it is a local one. Else the login's cookies open the API, with a nonce.

Logins with a second factor, a captcha or a moved login page are not supported; application passwords are their remedy.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime, timezone
from typing import Any

from likepion_provider.errors import PlatformError, Transient
from likepion_provider.models import Episode, ImportState
from likepion_provider.platforms import (
    Job,
    JsonRow,
    ListedEpisode,
    Page,
    Platform,
    Progress,
    Rereads,
    basic_auth,
    enough,
    match,
    paged,
    plain,
    quoted,
    shown_text,
    shown_url,
)

_EPISODES = "ssp/v1/episodes"
_PODCAST = "wp/v2/podcast"
_SERIES = "wp/v2/series"
_PER_PAGE = 100
_FIELDS = "id,slug,date_gmt,link,title,meta,series"
#: The end of names that were given here: a hash; of episodes also the podcast's id, and a number where it was taken.
_MARK = re.compile("-([0-9a-f]{12})(?:-([0-9]+)(?:-[0-9]+)?)?$")
_NONCE = re.compile("[0-9a-f]{10}")
#: An episode takes two requests; a visit has 2,000, and lists take up to 500 of them.
MADE_PER_VISIT = 700
_ROLE = "Give the account the role Podcast Editor, Podcast Manager or Administrator."


class WordpressSsp(Platform):
    """Makes the episodes that a podcast lacks, reads the public list."""

    name = "wordpress_ssp"
    title = "WordPress with Seriously Simple Podcasting"
    needs = ("username",)
    needs_connection = (
        "host: the site's address, or nothing: then https and the account's domain; "
        "extra: platform: wordpress_ssp, and series where the feed belongs into a podcast of another title"
    )
    max_concurrency = 2
    poll_s = (2, 5, 10, 20, 30, 60)
    rereads = Rereads(by_itself="is given new episodes by the next run")
    # Between the look for an episode and its making, no other account may make it.
    one_at_a_time = True

    async def submit(self, job: Job) -> Progress:
        """Make what the feed's podcast lacks."""
        site = _Site(self, job)
        await site.open()
        series = await site.find_series() or await site.make_series()
        listed = await site.episodes(series)
        there = {each.guid for each, _ in match(job.feed, listed, len(job.wanted) or 1)}
        missing = [each for each in job.wanted if each.guid not in there]
        for episode in missing[:MADE_PER_VISIT]:
            await site.bring(series, episode)
        if left := len(missing[MADE_PER_VISIT:]):
            raise Transient(f"{self.title}: {left} of {len(job.wanted)} episodes are left for a later run to make")
        return _progress(job, series, await site.episodes(series) if missing else listed, ImportState.SUBMITTED)

    async def collect(self, job: Job) -> Progress:
        """List what the feed's podcast has; ``NEW`` as long as an episode is missing there."""
        site = _Site(self, job)
        series = await site.find_series()
        listed = await site.episodes(series) if series else []
        return _progress(job, series, listed, ImportState.NEW)

    async def sign_in(self, job: Job) -> None:
        """Open the API, as somebody who may make episodes: the list is public."""
        await _Site(self, job).open()


class _Site:
    """One visit's way to a site's API."""

    def __init__(self, platform: WordpressSsp, job: Job) -> None:
        self._platform = platform
        self._job = job
        self._headers: dict[str, str] = {}
        episodes = job.feed.episodes
        self._guids = {_hash(each.guid): each.guid for each in episodes}
        self._files = {each.enclosure.url for each in episodes if each.enclosure}
        kept = Counter(map(_kept, self._files))
        self._kept = {_kept(each): each for each in self._files if kept[_kept(each)] == 1}
        #: Without permalinks, routes are named by a parameter.
        self._by_parameter = False

    # --- the way in ---

    async def open(self) -> None:
        """Be let in, as somebody who may make episodes.

        :raises LoginRefused: the site does not accept the account.
        :raises PlatformError: it may not make episodes, or the plugin is not there.
        """
        credentials = self._job.credentials
        if credentials.app_password:
            self._headers = basic_auth(credentials.username, credentials.app_password)
            if await self._is_entitled():
                return
        if credentials.password:
            self._headers = {"X-WP-Nonce": await self._nonce()}
            if await self._is_entitled():
                return
        raise await self._refused()

    async def _is_entitled(self) -> bool:
        """Whether the site knows who asks.

        :raises PlatformError: it does, and does not let them make episodes.
        """
        params = {"context": "edit", "per_page": "1", "_fields": "id"}
        page = await self._call("GET", _PODCAST, params=params, headers=self._headers)
        if page.status == 401:
            return False
        if page.status != 403:
            page.expect(200, what="a list of episodes to edit")
        if page.status == 403 or "POST" not in page.headers.get("allow", "POST"):
            raise self._unable(page)
        return True

    async def _refused(self) -> PlatformError:
        """What to do about an account that was not let in."""
        error = self._platform.refused_login(self._job)
        if not self._job.credentials.app_password:
            return error
        index = (await self._call("GET", "", params={"_fields": "authentication"})).text
        if "application-passwords" not in index:
            error.remedy = (
                "The site takes no application passwords: they work by https only, and an administrator may have "
                "switched them off. Put https into the connection's host, or the login's password into the account."
            )
        return error

    def _unable(self, page: Page) -> PlatformError:
        words = f"does not let {self._job.task.label} publish episodes ({_said(page, 'code') or page.status})"
        return self._platform.failed(words, remedy=_ROLE)

    async def _nonce(self) -> str:
        """What the API wants beside a login's cookies; after a login where none holds."""
        if nonce := await self._ask_nonce():
            return nonce
        page = await self._job.http.get("wp-admin/", allow_redirects=False)
        if page.redirects_to:
            await self._login(page)
        if nonce := await self._ask_nonce():
            return nonce
        raise page.changed("a session after the login")

    async def _ask_nonce(self) -> str:
        params = {"action": "rest-nonce"}
        page = await self._job.http.get("wp-admin/admin-ajax.php", params=params, allow_redirects=False)
        return page.text if page.status == 200 and _NONCE.fullmatch(page.text) else ""

    async def _login(self, sent_on: Page) -> None:
        # The page also sets the cookie by which WordPress sees that cookies work.
        http, credentials = self._job.http, self._job.credentials
        form = await http.follow(sent_on)
        self._platform.refuse_login_elsewhere(self._job, form.url)
        inputs = form.inputs("log", "pwd")
        fields = {
            "log": credentials.username,
            "pwd": credentials.password,
            "wp-submit": inputs.get("wp-submit", ""),
            "redirect_to": inputs.get("redirect_to", ""),
            "testcookie": "1",
        }
        answer = await http.post(form.url.split("?")[0], data=fields, allow_redirects=False)
        if answer.status in (200, 401, 403):
            raise self._platform.refused_login(self._job)
        if not answer.redirects_to:
            raise answer.changed("a redirect after the login")

    # --- the API ---

    async def _call(self, method: str, route: str, *, params: Mapping[str, str], **options: Any) -> Page:
        """One call.

        :raises PlatformError: the site does not have the route.
        """
        http = self._job.http
        if not self._by_parameter:
            page = await http.request(method, f"wp-json/{route}", params=params, **options)
            # Without permalinks, the web server answers for itself, or WordPress with its home page.
            if page.status not in (200, 404) or "json" in page.headers.get("content-type", ""):
                return self._existing(page)
            self._by_parameter = True
        page = await http.request(method, "", params={"rest_route": f"/{route}", **params}, **options)
        return self._existing(page)

    def _existing(self, page: Page) -> Page:
        if _said(page, "code") == "rest_no_route" or (page.status == 404 and not _said(page, "code")):
            raise self._platform.failed(
                f"has no podcasts at {self._job.task.domain}: the plugin, or the site's REST API, is not there",
                remedy="Activate the plugin Seriously Simple Podcasting, and allow the site's REST API.",
            )
        return page

    async def _signed(self, method: str, route: str, *, params: Mapping[str, str], **options: Any) -> Page:
        """A call in the account's name. A nonce that has run out is replaced: nothing was done then."""
        page = await self._call(method, route, params=params, headers=self._headers, **options)
        if _said(page, "code") == "rest_cookie_invalid_nonce":
            await self.open()
            page = await self._call(method, route, params=params, headers=self._headers, **options)
        return page

    async def _make(self, route: str, fields: Mapping[str, Any]) -> Page:
        """Make something, or change it.

        :raises PlatformError: the site does not let the account, or does not take the fields.
        """
        page = await self._signed("POST", route, params={"_fields": "id"}, json=fields)
        if page.status in (401, 403) and route != _SERIES:
            raise self._unable(page)
        if page.status == 400 and _said(page, "code") != "term_exists":
            raise self._platform.failed(f"did not take it: {quoted(self._job, _said(page, 'message'))}")
        return page

    # --- the podcast ---

    async def find_series(self) -> str:
        """The id of the feed's own podcast; empty where the site has none."""
        if wanted := str(self._job.settings.extra.get("series") or ""):
            return await self._named_series(wanted)
        return await self._known_series() or await self._own_series()

    async def _known_series(self) -> str:
        """The one that an earlier run noted, unless it was deleted since: WordPress would take the default one."""
        reference = self._job.reference
        if not reference.isdigit():
            return ""
        page = await self._call("GET", f"{_SERIES}/{reference}", params={"_fields": "id"})
        return reference if page.status == 200 else ""

    async def _named_series(self, wanted: str) -> str:
        terms = await self._terms()
        for each in terms:
            if wanted == _id(each) or plain(wanted) == _name(each):
                return _id(each)
        raise self._platform.failed(
            f"has no podcast {wanted!r} at {self._job.task.domain}",
            remedy="Correct 'series' in the connection's extra, or take it out: then the feed's podcast is made.",
        )

    async def _own_series(self) -> str:
        """The one that was made for the feed, or holds its episodes, or has nothing and the feed's title."""
        terms = {_id(each): each for each in await self._terms()}
        by_us = {series for series, each in terms.items() if _MARK.search(each.text("slug"))}
        for series in by_us:
            if terms[series].text("slug") == self._series_slug():
                return series
        if series := await self._series_of_episodes(by_us):
            return series
        title = plain(self._job.feed.title)
        empty = (
            series
            for series, each in terms.items()
            if series not in by_us and _name(each) == title and each.get("count") == 0
        )
        return next(empty, "")

    async def _series_of_episodes(self, by_us: Collection[str]) -> str:
        """The one that has most of the feed's episodes by what is sure: shows may have titles, or a trailer, in common.

        That is half of the feed's, or of what a person brought in before.
        """
        shared: Counter[str] = Counter()
        listed: Counter[str] = Counter()
        async for page in self._episode_pages({}):
            for row in page.rows():
                series = _series(row)
                each = self._listed(row, series)
                listed[series] += 1
                shared[series] += bool(each.guid or each.enclosure_url in self._files)
            if shared and max(shared.values()) >= len(self._job.wanted):
                break
        most = max(shared, key=lambda series: shared[series], default="")
        of = len(self._guids) if most in by_us else min(len(self._guids), listed[most])
        return most if 0 < of <= 2 * shared[most] else ""

    async def _terms(self) -> list[JsonRow]:
        return [each async for page in self._pages(_SERIES, {"_fields": "id,name,slug,count"}) for each in page.rows()]

    async def make_series(self) -> str:
        """Make the feed's podcast; its id."""
        feed = self._job.feed
        name = feed.title.strip() or "Podcast"
        page = await self._make(_SERIES, {"name": html.escape(name, quote=False), "slug": self._series_slug()})
        if page.status in (401, 403):
            raise self._platform.failed(
                f"does not let {self._job.task.label} make a podcast, and has none of this feed's",
                remedy="Give the account the role Podcast Manager or Administrator, or name a podcast that is there as "
                "'series' in the connection's extra.",
            )
        if page.status == 400:
            return str(page.field("data", "term_id", kind=int))
        return str(page.expect(201, what="a podcast that was made").field("id", kind=int))

    def _series_slug(self) -> str:
        feed = self._job.feed
        # A hash of an address with a secret could give it away.
        known_by = shown_url(feed) or "\n".join(sorted(each.guid for each in feed.episodes))
        return f"{_words(feed.title, 'podcast')}-{_hash(known_by)}"

    # --- its episodes ---

    async def episodes(self, series: str) -> list[ListedEpisode]:
        """A podcast's public episodes, newest first; no page beyond what is wanted is read."""
        listed: list[ListedEpisode] = []
        async for page in self._episode_pages({"series": series}):
            listed += [self._listed(row, series) for row in page.rows() if _series(row) == series]
            if enough(self._job, listed):
                break
        return listed

    async def bring(self, series: str, episode: Episode) -> None:
        """Make an episode, unless it is there; where it is there by halves, complete it."""
        slug = f"{_words(episode.title, 'episode')}-{_hash(episode.guid)}-{series}"
        params = {"slug": slug, "status": "any", "context": "edit", "_fields": "id,series,meta"}
        found = (await self._signed("GET", _PODCAST, params=params)).expect(200, what="a list of episodes").rows()
        if found and any(_series(each) == series and each.text("meta", "audio_file") for each in found):
            return
        fields: dict[str, Any] = {
            "title": html.escape(episode.title or self._job.feed.title, quote=False),
            "status": "publish",
            "slug": slug,
            "series": [series],
            "meta": {"audio_file": episode.enclosure.url if episode.enclosure else "", "episode_type": "audio"},
        }
        # With a date to come, WordPress would hold it back, although the feed has it.
        if episode.published_at and episode.published_at < datetime.now(timezone.utc):
            fields["date_gmt"] = f"{episode.published_at.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%S}"
        route = f"{_PODCAST}/{_id(found[0])}" if found else _PODCAST
        page = await self._make(route, fields)
        # A write that was redirected reads instead.
        page.expect(200 if found else 201, what="an episode that was made").field("id", kind=int)

    def _listed(self, row: JsonRow, series: str) -> ListedEpisode:
        mark, file = _MARK.search(row.text("slug")), row.text("meta", "audio_file")
        return ListedEpisode(
            url=row.field("link"),
            guid=self._guids.get(mark[1], "") if mark and mark[2] == series else "",
            title=shown_text(row.text("title", "rendered")),
            enclosure_url=file if file in self._files else self._kept.get(file, file),
            published_at=row.date("date_gmt"),
        )

    def _episode_pages(self, params: Mapping[str, str]) -> AsyncIterator[Page]:
        return self._pages(_EPISODES, {"orderby": "date", "order": "desc", "_fields": _FIELDS, **params})

    def _pages(self, route: str, params: Mapping[str, str]) -> AsyncIterator[Page]:
        async def read(number: int) -> Page:
            page = await self._call("GET", route, params={"per_page": str(_PER_PAGE), "page": str(number), **params})
            if page.status in (401, 403):
                raise self._platform.failed(
                    f"shows no list at {self._job.task.domain} ({_said(page, 'code')})",
                    remedy="Allow the site's REST API to visitors: a security plugin may have closed it.",
                )
            return page.expect(200, what="a list")

        return paged(self._job, read, 1, _next_number)


def _progress(job: Job, series: str, listed: list[ListedEpisode], lacking: ImportState) -> Progress:
    state = ImportState.LISTED if series and enough(job, listed) else lacking
    # To be made by the next call: nothing comes by itself.
    stalled = state is ImportState.NEW
    return Progress(state, series, tuple(listed), cookie=job.http.cookie, stalled=stalled)


def _next_number(page: Page, number: int) -> int | None:
    text = page.headers.get("x-wp-totalpages", "")
    if not re.fullmatch("[0-9]{1,9}", text):
        raise page.changed("the header X-WP-TotalPages")
    return number + 1 if number < int(text) else None


def _said(page: Page, name: str) -> str:
    """A text of an error's JSON; empty where there is none."""
    try:
        return str(page.json().get(name) or "")
    except (PlatformError, AttributeError):
        return ""


def _id(row: JsonRow) -> str:
    return str(row.field("id", kind=int))


def _series(row: JsonRow) -> str:
    ids = row.get("series")
    return str(ids[0]) if isinstance(ids, list) and ids else ""


def _name(term: JsonRow) -> str:
    return plain(shown_text(term.text("name")))


def _kept(url: str) -> str:
    """What the plugin's own import keeps of a file's address."""
    last = url[max(url.rfind("https://"), url.rfind("http://"), 0) :]
    return last[: last.rfind(".mp3") + 4] if ".mp3" in last else last


def _words(title: str, otherwise: str) -> str:
    """What of a title an address can have."""
    letters = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", letters)[:60].strip("-") or otherwise


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=6).hexdigest()
