"""Sites that run django-podcast-analyzer: form login with CSRF, a form that adds a feed, pages of HTML to read.

Source: django-podcast-analyzer 0.6.0 on PyPI, ``podcast_analyzer/{urls,views,models,receivers}.py`` and its templates:
``podcasts/add/`` takes ``title`` and ``rss_feed`` (unique, at most 200 characters) and redirects to
``podcasts/{uuid}/``; a django-q worker then reads the feed; ``podcasts/`` has 25 podcasts a page by title and
``podcasts/{uuid}/episodes/`` 50 episodes a page, newest first. What a podcast's feed is, only its edit form shows.
Every page asks for a login, whose form is the site's own: the package has none. Django's and allauth's are known.
``tests/integration/test_podcast_analyzer.py`` runs it against the real package.

**What is reported** is an episode's page on the site. It opens for signed-in users only; the package has no other page.

The list shows an episode's title and date only, so a title that the feed has once and whose date agrees is taken for
that episode; for the others, and on sites in other languages than English, the episode's page and its media URL decide.

Where the site's worker cannot read the feed, no page says so, and the account waits until its time is up. Release
0.6.0 cannot read a feed whose ``itunes:owner`` has no ``itunes:name``. Not verified: other releases, allauth's form.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from likepion_provider.errors import LoginRefused, PlatformError
from likepion_provider.models import Episode, ImportState, SecondaryTask
from likepion_provider.platforms.base import Job, ListedEpisode, Platform, PlatformSettings, Progress
from likepion_provider.platforms.match import enough, same_feed
from likepion_provider.web.http import Page

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_PODCAST = re.compile(rf"/podcasts/({_UUID})/$")
_EPISODE = re.compile(rf"/podcasts/{_UUID}/episodes/{_UUID}/$")
_USER_FIELDS = ("username", "login")
_REDIRECTS = (301, 302, 303)


class PodcastAnalyzer(Platform):
    """Adds by the form, matches by title and date, reads an episode's own page where that is not enough."""

    name = "podcast_analyzer"
    title = "Podcast Analyzer"
    needs = ("username", "password")
    needs_connection = (
        "host: the site's address with the path that the app is mounted at, /podcasts where it names none; "
        "or nothing: then https and the account's domain; extra: platform: podcast_analyzer"
    )
    max_concurrency = 4
    poll_s = (1, 2, 3, 5, 10, 20, 30)

    def address(self, task: SecondaryTask, settings: PlatformSettings) -> str:
        """The site's root, so that the session's cookie is kept whatever the app's path is."""
        return urljoin(settings.base_url or f"https://{task.domain}", "/")

    async def submit(self, job: Job) -> Progress:
        """Add the feed, unless it is there."""
        seen = await self.collect(job)
        if seen.state is not ImportState.NEW:
            return seen
        path = f"{_mount(job)}podcasts/add/"
        form = await self._page(job, path)
        fields = {"title": job.feed.title[:250] or job.feed.display_url[:250], "rss_feed": job.feed.url}
        data = {"csrfmiddlewaretoken": _csrf(form, *fields)} | fields
        answer = await job.http.post(path, data=data, headers={"Referer": form.url}, allow_redirects=False)
        added = _PODCAST.search(urlsplit(answer.headers.get("location", "")).path)
        if answer.status in _REDIRECTS and added:
            return Progress(ImportState.SUBMITTED, added[1], cookie=job.http.cookie)
        if answer.status != 200:
            raise answer.changed("a redirect to the podcast")
        # Refused in words of the site's language: that it is there under another title is seen by looking.
        found = await self._find(job, any_title=True)
        if not found:
            refusal = " ".join(_read(answer).errors) or "it gives no reason"
            raise PlatformError(f"{self.title} refused the feed: {refusal[:300]}", platform=self.name)
        return Progress(ImportState.SUBMITTED, found, cookie=job.http.cookie)

    async def collect(self, job: Job) -> Progress:
        """Find the podcast by its title and feed, then read its list of episodes."""
        reference = job.reference or await self._find(job)
        episodes = await self._episodes(job, reference) if reference else None
        if episodes is None:
            return Progress(ImportState.NEW, cookie=job.http.cookie)
        state = ImportState.LISTED if episodes else ImportState.SUBMITTED
        return Progress(state, reference, episodes, cookie=job.http.cookie)

    async def _find(self, job: Job, *, any_title: bool = False) -> str:
        """The podcast's id; empty where it is not there."""
        wanted = _plain(job.feed.title)
        async for page in self._pages(job, f"{_mount(job)}podcasts/"):
            for href, text in _read(page).links:
                podcast = _PODCAST.search(href)
                if podcast and text and (any_title or _plain(text) == wanted) and await self._is_feed(job, podcast[1]):
                    return podcast[1]
        return ""

    async def _is_feed(self, job: Job, podcast: str) -> bool:
        page = await self._page(job, f"{_mount(job)}podcasts/{podcast}/edit/")
        fields = _read(page).inputs
        if "rss_feed" not in fields:
            raise page.changed("the input rss_feed")
        return same_feed(job.feed, fields["rss_feed"])

    async def _episodes(self, job: Job, reference: str) -> tuple[ListedEpisode, ...] | None:
        """What is listed; None where the podcast is gone."""
        titles = Counter(_plain(each.title) for each in job.feed.episodes)
        found: tuple[ListedEpisode, ...] = ()
        async for page in self._pages(job, f"{_mount(job)}podcasts/{reference}/episodes/"):
            if page.status == 404:
                return None
            for row in _read(page).rows:
                if titles[_plain(row.title)] and _EPISODE.search(urlsplit(row.href).path):
                    found = (*found, await self._listed(job, page, row))
            if enough(job, found):
                break
        return found

    async def _listed(self, job: Job, page: Page, row: _Row) -> ListedEpisode:
        url = urljoin(page.url, row.href)
        same = [each for each in job.feed.episodes if _plain(each.title) == _plain(row.title)]
        if len(same) == 1 and row.appeared(same[0]):
            return ListedEpisode(url, guid=same[0].guid)
        links = {_media(href) for href, _ in _read(await self._page(job, url)).links}
        for each in same:
            if each.enclosure and _media(each.enclosure.url) in links:
                return ListedEpisode(url, guid=each.guid)
        return ListedEpisode(url, title=row.title)

    async def _pages(self, job: Job, path: str) -> AsyncIterator[Page]:
        """A list, page by page."""
        number, more = 1, True
        while more:
            page = await self._page(job, f"{path}?page={number}")
            yield page
            number += 1
            more = any(href == f"?page={number}" for href, _ in _read(page).links)

    async def _page(self, job: Job, path: str) -> Page:
        """A page of the app, after a login where the cookie has run out."""
        page = await job.http.get(path, allow_redirects=False)
        if page.status in _REDIRECTS:
            await self._login(job, urljoin(page.url, page.headers.get("location", "")))
            page = await job.http.get(path, allow_redirects=False)
        if page.status == 404 and job.reference and job.reference in path:
            return page
        if page.status != 200:
            raise page.changed(f"a page at {urlsplit(page.url).path} after the login")
        return page

    async def _login(self, job: Job, url: str) -> None:
        form = await job.http.get(url)
        self.refuse_login_elsewhere(job, form.url)
        inputs = _read(form).inputs
        user_field = next((name for name in _USER_FIELDS if name in inputs), "username")
        fields = {user_field: job.credentials.username, "password": job.credentials.password}
        data = {"csrfmiddlewaretoken": _csrf(form, *fields), "next": inputs.get("next", "")} | fields
        answer = await job.http.post(form.url, data=data, headers={"Referer": form.url}, allow_redirects=False)
        if answer.status in (200, 400) and "password" in _read(answer).inputs:
            raise LoginRefused(f"{self.title} does not accept the credentials of {job.task.label}", platform=self.name)
        if answer.status not in _REDIRECTS:
            raise answer.changed("a redirect after the login")


class _Row:
    """A row of the episodes' table."""

    def __init__(self) -> None:
        self.href = ""
        self.title = ""
        self.cells: list[str] = []

    def appeared(self, episode: Episode) -> bool:
        """Whether a cell has the episode's date; the site's time zone may make it a day more or less."""
        if episode.published_at is None:
            return False
        days = [day for day in map(_day, self.cells) if day]
        return any(abs(day - episode.published_at) < timedelta(days=2) for day in days)


class _Reader(HTMLParser):
    """What the importer needs of a page: links, inputs, rows of a table, and Django's error lists."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[tuple[str, str]] = []
        self.inputs: dict[str, str] = {}
        self.rows: list[_Row] = []
        self.errors: list[str] = []
        self._row: _Row | None = None
        self._open: list[str] = []
        self._link: str | None = None
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "input" and given.get("name"):
            self.inputs.setdefault(given["name"], given.get("value", ""))
        elif tag == "tr":
            self._row = _Row()
            self.rows.append(self._row)
        elif tag in ("a", "td", "li"):
            self._text = ""
        if tag == "a":
            self._link = given.get("href", "")
        elif tag == "ul":
            self._open.append(given.get("class", ""))

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        text = " ".join(self._text.split())
        if tag == "a" and self._link is not None:
            self.links.append((self._link, text))
            if self._row:
                self._row.href, self._row.title = self._link, text
            self._link = None
        elif tag == "td" and self._row:
            self._row.cells.append(text)
        elif tag == "tr":
            self._row = None
        elif tag == "li" and self._open and "errorlist" in self._open[-1]:
            self.errors.append(text)
        elif tag == "ul" and self._open:
            self._open.pop()


def _read(page: Page) -> _Reader:
    reader = _Reader()
    reader.feed(page.text)
    reader.close()
    return reader


def _csrf(page: Page, *needed: str) -> str:
    """The form's token, where it also has the fields that are to be sent."""
    inputs = _read(page).inputs
    for name in ("csrfmiddlewaretoken", *needed):
        if name not in inputs:
            raise page.changed(f"the input {name}")
    return inputs["csrfmiddlewaretoken"]


def _mount(job: Job) -> str:
    """Where the app is on the site, with slashes around it."""
    path = urlsplit(job.settings.base_url).path.strip("/") or str(job.settings.extra.get("path", "podcasts")).strip("/")
    return f"/{path}/" if path else "/"


def _plain(title: str) -> str:
    return " ".join(title.lower().split())


def _media(url: str) -> str:
    return url.split("?")[0].partition("://")[2]


def _day(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%B %d, %Y").replace(hour=12, tzinfo=timezone.utc)
    except ValueError:
        return None
