"""Sites that run django-podcast-analyzer: form login with CSRF, a form that adds a feed, pages of HTML to read.

Source: django-podcast-analyzer 0.6.0 on PyPI, ``podcast_analyzer/{urls,views,models,receivers}.py`` and its templates:
``podcasts/add/`` takes ``title`` and ``rss_feed`` (unique, at most 200 characters) and redirects to
``podcasts/{uuid}/``; a django-q worker then reads the feed; ``podcasts/`` has 25 podcasts per page by title and
``podcasts/{uuid}/episodes/`` 50 episodes per page, newest first. Only a podcast's edit form shows its feed.
Every page asks for a login, whose form is the site's own: the package has none. Django's and allauth's are known.
After five failed logins in five minutes, or ten from one address in one, allauth refuses the right password too, in
words only (``allauth/account/{adapter,app_settings}.py``, release 65); they are asked for in English.
``tests/integration/test_podcast_analyzer.py`` runs it against the real package.

**What is reported** is an episode's page on the site. It opens for signed-in users only; the package has no other page.

The list shows an episode's title and date only. That is enough where the feed has the title once and the date agrees;
for the others, and on sites in other languages than English, the links of the episode's page are read too, of which one
is its media URL.

Where the site's worker cannot read the feed, no page says so, and the account waits until its time is up. Release
0.6.0 cannot read a feed whose ``itunes:owner`` has no ``itunes:name``. Not verified: other releases, allauth's form.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from urllib.parse import urljoin, urlsplit

from likepion_provider.errors import Transient
from likepion_provider.models import Episode, ImportState, SecondaryTask
from likepion_provider.platforms import (
    Job,
    ListedEpisode,
    LooksFirst,
    Page,
    PlatformSettings,
    Progress,
    Rereads,
    TableRow,
    by_title,
    enough,
    paged,
    plain,
    quoted,
    read_date,
    same_feed,
)

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_PODCAST = re.compile(rf"/podcasts/({_UUID})/$")
_EPISODE = re.compile(rf"/podcasts/{_UUID}/episodes/{_UUID}/$")
_USER_FIELDS = ("username", "login")
_CSRF = "csrfmiddlewaretoken"
_TOO_MANY_LOGINS = "Too many failed login attempts"
#: How long allauth counts failed logins, in seconds.
_LOGIN_PAUSE_S = 300.0


class PodcastAnalyzer(LooksFirst):
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
    rereads = Rereads(
        by_itself="reads a feed again when its next episode is due",
        by_person="In the site's Django admin, choose Get new episodes for the podcast.",
    )

    def address(self, task: SecondaryTask, settings: PlatformSettings) -> str:
        """The site's root, so that the session's cookie is kept whatever the app's path is."""
        return urljoin(settings.base_url or f"https://{task.domain}", "/")

    async def add(self, job: Job) -> Progress:
        """Add the feed by the form."""
        path = f"{_mount(job)}podcasts/add/"
        fields = {"title": job.feed.title[:250] or job.feed.display_url[:250], "rss_feed": job.feed.url}
        answer = await _send(job, await self._page(job, path), path, fields)
        if added := _PODCAST.search(urlsplit(answer.redirects_to).path):
            return Progress(ImportState.SUBMITTED, added[1], cookie=job.http.cookie)
        answer.expect(200, what="a redirect to the podcast")
        # Refused in words of the site's language: that it is there under another title is seen by looking.
        if found := await self._find(job, any_title=True):
            return Progress(ImportState.SUBMITTED, found, cookie=job.http.cookie)
        reasons = " ".join(text for kind, text in answer.html.items if "errorlist" in kind)
        raise self.failed(f"refused the feed: {quoted(job, reasons) or 'it gives no reason'}")

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
        wanted = plain(job.feed.title)
        async for page in self._pages(job, f"{_mount(job)}podcasts/"):
            for href, text in page.html.anchors:
                podcast = _PODCAST.search(href)
                if podcast and text and (any_title or plain(text) == wanted) and await self._is_feed(job, podcast[1]):
                    return podcast[1]
        return ""

    async def _is_feed(self, job: Job, podcast: str) -> bool:
        page = await self._page(job, f"{_mount(job)}podcasts/{podcast}/edit/")
        return same_feed(job.feed, page.inputs("rss_feed")["rss_feed"])

    async def _episodes(self, job: Job, reference: str) -> tuple[ListedEpisode, ...] | None:
        """What is listed; None where the podcast is gone."""
        titles = by_title(job.feed)
        found: list[ListedEpisode] = []
        async for page in self._pages(job, f"{_mount(job)}podcasts/{reference}/episodes/"):
            if page.status == 404:
                return None
            for row in page.html.rows:
                anchor = row.anchors[-1] if row.anchors else None
                if anchor and plain(anchor.text) in titles and _EPISODE.search(urlsplit(page.join(anchor.href)).path):
                    found += await self._listed(job, page.join(anchor.href), titles[plain(anchor.text)], row)
            if enough(job, found):
                break
        return tuple(found)

    async def _listed(self, job: Job, url: str, same: list[Episode], row: TableRow) -> list[ListedEpisode]:
        """What is known of a row: its title and day; where these leave a doubt, each link of the episode's page too.

        :param same: the feed's episodes of the row's title.
        """
        day = next(filter(None, (read_date(cell, "%B %d, %Y") for cell in row.cells)), None)
        listed = ListedEpisode(url, title=same[0].title, published_at=day)
        if day and len(same) == 1 and _is_near(day, same[0]):
            return [listed]
        links = [anchor.href for anchor in (await self._page(job, url)).html.anchors if "://" in anchor.href]
        return [dataclasses.replace(listed, enclosure_url=each) for each in links] or [listed]

    def _pages(self, job: Job, path: str) -> AsyncIterator[Page]:
        """A list, page by page."""
        return paged(job, lambda number: self._page(job, f"{path}?page={number}"), 1, _next_number)

    async def _page(self, job: Job, path: str) -> Page:
        """A page of the app, after a login where the cookie has run out."""
        page = await job.http.get(path, allow_redirects=False)
        if page.redirects_to:
            await self._login(job, page)
            page = await job.http.get(path, allow_redirects=False)
        if page.status == 404 and job.reference and job.reference in path:
            return page
        return page.expect(200, what=f"a page at {urlsplit(page.url).path} after the login")

    async def _login(self, job: Job, sent_on: Page) -> None:
        form = await job.http.follow(sent_on)
        self.refuse_login_elsewhere(job, form.url)
        inputs = form.inputs()
        user_field = next((name for name in _USER_FIELDS if name in inputs), "username")
        fields = {user_field: job.credentials.username, "password": job.credentials.password}
        answer = await _send(job, form, form.url, fields, next=inputs.get("next", ""))
        if _TOO_MANY_LOGINS in answer.text:
            raise Transient(f"{self.title} at {job.task.domain} takes no logins now", retry_after_s=_LOGIN_PAUSE_S)
        if answer.status in (200, 400) and "password" in answer.inputs():
            raise self.refused_login(job)
        if not answer.redirects_to:
            raise answer.changed("a redirect after the login")


def _next_number(page: Page, number: int) -> int | None:
    return number + 1 if any(anchor.href == f"?page={number + 1}" for anchor in page.html.anchors) else None


async def _send(job: Job, form: Page, path: str, fields: dict[str, str], **more: str) -> Page:
    """Fill in a form of Django's.

    :param fields: what the form must have.
    :param more: what is sent beside.
    :raises PlatformChanged: the form lacks a field, or the token against forgery.
    """
    token = form.inputs(_CSRF, *fields)[_CSRF]
    data = {_CSRF: token, **fields, **more}
    headers = {"Referer": form.url, "Accept-Language": "en"}
    return await job.http.post(path, data=data, headers=headers, allow_redirects=False)


def _is_near(day: datetime, episode: Episode) -> bool:
    """Whether it is the episode's day; the site's time zone may make it one more or less."""
    published = episode.published_at
    return published is not None and abs(day + timedelta(hours=12) - published) < timedelta(days=2)


def _mount(job: Job) -> str:
    """Where the app is on the site, with slashes around it."""
    path = urlsplit(job.settings.base_url).path.strip("/") or str(job.settings.extra.get("path", "podcasts")).strip("/")
    return f"/{path}/" if path else "/"
