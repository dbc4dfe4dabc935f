"""The sandbox's podcast site: form login with TOTP, an import in the background, a paged list of episodes.

Written against the interface that :mod:`likepion_provider.sandbox.site` documents, as an importer for a site of one's
own would be.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from likepion_provider.errors import FeedLocked, LoginRefused, PlatformError
from likepion_provider.models import ImportState, SecondaryTask
from likepion_provider.platforms.base import Job, ListedEpisode, Platform, PlatformSettings, Progress
from likepion_provider.platforms.totp import totp_code
from likepion_provider.web.html import hidden_fields
from likepion_provider.web.http import Page

_STATES = {
    "queued": ImportState.SUBMITTED,
    "importing": ImportState.SUBMITTED,
    "listed": ImportState.LISTED,
}
_REDIRECTS = (302, 303)


class SandboxSite(Platform):
    """Imports by the site's form, reads its JSON."""

    name = "sandbox_site"
    title = "Sandbox site"
    domains = ("tide.example", "harbor.example", "lantern.example")
    needs = ("username", "password")
    needs_connection = "host: the site's address, as 'likepion sandbox' prints it"
    poll_s = (0.5, 1, 1, 2, 5, 10)
    # It is one's own machine that answers.
    max_concurrency = 64

    def address(self, task: SecondaryTask, settings: PlatformSettings) -> str:
        """One server stands for every domain, told apart by the first part of the path."""
        return f"{settings.base_url}/{task.domain}" if settings.base_url else ""

    async def submit(self, job: Job) -> Progress:
        """Post the import form."""
        form = await self._signed_in(job, "import")
        fields = {"csrf": _csrf(form), "feed_url": job.feed.url}
        answer = await job.http.post("import", data=fields)
        if answer.status == 423:
            raise FeedLocked("the site says the feed is locked", url=job.feed.display_url, where="podcast:locked")
        if answer.status in (202, 409):
            return self._progress(job, answer.json())
        if answer.status in (400, 403):
            raise PlatformError(f"{self.title} refused the feed: {answer.field('message')}", platform=self.name)
        raise answer.changed("an import's id")

    async def collect(self, job: Job) -> Progress:
        """Find the import, and list its episodes where it has come so far."""
        page = await self._signed_in(job, "api/imports")
        imports = page.field("imports", kind=list)
        mine = [each for each in imports if job.reference in ("", each.get("import_id"))]
        mine = [each for each in mine if job.reference or each.get("feed_url") == job.feed.url]
        if not mine:
            return Progress(ImportState.NEW, cookie=job.http.cookie)
        state = mine[0].get("state")
        if state == "locked":
            raise FeedLocked("the site says the feed is locked", url=job.feed.display_url, where="podcast:locked")
        if state == "failed":
            return Progress(ImportState.NEW, cookie=job.http.cookie)
        episodes = await self._episodes(job, mine[0]) if state == "listed" else ()
        return self._progress(job, mine[0], episodes)

    def _progress(self, job: Job, row: dict[str, Any], episodes: tuple[ListedEpisode, ...] = ()) -> Progress:
        state = _STATES.get(str(row.get("state")), ImportState.SUBMITTED)
        return Progress(
            state, str(row.get("import_id", "")), episodes, cookie=job.http.cookie, message=str(row.get("message", ""))
        )

    async def _episodes(self, job: Job, row: dict[str, Any]) -> tuple[ListedEpisode, ...]:
        found: list[ListedEpisode] = []
        wanted = job.task.target or len(job.feed.episodes)
        number = pages = 1
        # Newest first, as the feed is: no page beyond what is wanted is read.
        while number <= pages and len(found) < wanted:
            page = await job.http.get(f"api/shows/{row.get('show_id')}/episodes", params={"page": str(number)})
            pages = page.field("pages", kind=int)
            found += [_listed(page, index) for index in range(len(page.field("episodes", kind=list)))]
            number += 1
        return tuple(found)

    async def _signed_in(self, job: Job, path: str) -> Page:
        """A page of the account, after a login where there is no cookie or it has run out."""
        if not job.http.cookie:
            await self._login(job)
        page = await job.http.get(path, allow_redirects=False)
        if page.status in (401, *_REDIRECTS):
            await self._login(job)
            page = await job.http.get(path, allow_redirects=False)
        if page.status != 200:
            raise page.changed(f"a page at {path} after the login")
        return page

    async def _login(self, job: Job) -> None:
        form = await job.http.get("login")
        credentials = job.credentials
        fields = {"csrf": _csrf(form), "username": credentials.username, "password": credentials.password}
        answer = await job.http.post("login", data=fields, allow_redirects=False)
        if answer.status in _REDIRECTS and answer.headers.get("location", "").endswith("/login/totp"):
            form = await job.http.get("login/totp")
            fields = {"csrf": _csrf(form), "code": totp_code(self, job)}
            answer = await job.http.post("login/totp", data=fields, allow_redirects=False)
        if answer.status == 401:
            raise LoginRefused(f"{self.title} does not accept the credentials of {job.task.label}", platform=self.name)
        if answer.status not in _REDIRECTS:
            raise answer.changed("a redirect after the login")


def _csrf(page: Page) -> str:
    token = hidden_fields(page.text).get("csrf")
    if not token:
        raise page.changed("the hidden input csrf")
    return token


def _listed(page: Page, index: int) -> ListedEpisode:
    row = page.field("episodes", index, kind=dict)
    published = row.get("published")
    return ListedEpisode(
        url=page.field("episodes", index, "url"),
        guid=str(row.get("guid") or ""),
        title=str(row.get("title") or ""),
        enclosure_url=str(row.get("enclosure_url") or ""),
        published_at=datetime.fromisoformat(published.replace("Z", "+00:00")) if published else None,
    )
