"""Castopod instances: the admin's form queues an import, the REST API lists what is there.

Source: ad-aures/castopod (March 2026): ``modules/PodcastImport/{Config/Routes,Controllers/PodcastImportController,
Commands/PodcastImport}.php``, ``themes/cp_admin/import``, ``themes/cp_auth/login.php``, ``modules/Auth/Config``,
``modules/Api/Rest/V1``, ``app/Config/Routes.php``. ``cp-admin/imports/add`` takes ``imported_feed_url``, ``handle``,
``language`` and ``category`` and queues a task, which the instance's own schedule runs; it downloads every media file.
``api/rest/v1/podcasts`` and ``api/rest/v1/episodes`` list; the API is off unless ``restapi.enabled`` is set.
``cp-admin/podcasts/{id}/sync-feeds`` queues another import of its feed, which adds what is new: older versions where it
is opened, newer ones by a form (``themes/cp_admin/import/podcast_sync.php``). Nothing does that by itself.

Consequences:

- An import under a handle that exists goes *into* that podcast where the feed has no ``podcast:guid``, so a handle that
  a podcast or an import in the queue has is never used, and one account at a time looks for one.
- The queue's page says what became of a task in the site's language only. A task of the feed is taken for one that
  runs; where it failed (a locked feed, one without ``itunes:owner`` or image), the account waits until its time is up,
  and the queue has the reason.

Not verified: nothing of this was run against Castopod. Accounts with a second factor are not supported.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import urljoin, urlsplit

from likepion_provider.models import ImportState
from likepion_provider.platforms import (
    Job,
    JsonRow,
    ListedEpisode,
    LooksFirst,
    Page,
    Progress,
    Rereads,
    basic_auth,
    enough,
    paged,
    same_feed,
)

_CSRF = "csrf_test_name"
_LOGIN = "cp-auth/login"
_QUEUE = "cp-admin/imports"
_ADD = "cp-admin/imports/add"
_EPISODES_PER_PAGE = 100


class Castopod(LooksFirst):
    """Queues by the admin's form, lists by the API."""

    name = "castopod"
    title = "Castopod"
    needs = ("email", "password")
    needs_connection = (
        "host: the instance's address, or nothing: then https and the account's domain; extra: platform: castopod, "
        "and language and category (their values in the form) where the form's own will not do; "
        "login and password where the REST API asks for them"
    )
    max_concurrency = 2
    poll_s = (5, 10, 20, 30, 60)
    rereads = Rereads(on_request=True)
    one_at_a_time = True

    async def sign_in(self, job: Job) -> None:
        """Open the admin's queue."""
        await self._admin(job, _QUEUE)

    async def add(self, job: Job) -> Progress:
        """Queue an import."""
        form = await self._admin(job, _ADD)
        fields = form.inputs(_CSRF, "imported_feed_url", "handle", "language", "category")
        data = {
            _CSRF: fields[_CSRF],
            "imported_feed_url": job.feed.url,
            "handle": await self._free_handle(job),
            "language": str(job.settings.extra.get("language") or fields["language"]),
            "category": str(job.settings.extra.get("category") or fields["category"]),
        }
        answer = await job.http.post(_ADD, data=data, allow_redirects=False)
        if not answer.redirects_to or urlsplit(answer.redirects_to).path.endswith(_ADD):
            raise self.failed(f"did not queue the feed (status {answer.status})")
        return Progress(ImportState.SUBMITTED, cookie=job.http.cookie)

    async def collect(self, job: Job) -> Progress:
        """Find the podcast by its feed, and list it; else look into the queue."""
        podcast = await self._podcast(job)
        if podcast is None:
            queue = await self._admin(job, _QUEUE)
            queued = any(same_feed(job.feed, anchor.href) for anchor in queue.html.anchors)
            return Progress(ImportState.SUBMITTED if queued else ImportState.NEW, cookie=job.http.cookie)
        reference, handle = podcast
        episodes = await self._episodes(job, reference, handle)
        state = ImportState.LISTED if episodes else ImportState.SUBMITTED
        return Progress(state, reference, episodes, cookie=job.http.cookie)

    async def refresh(self, job: Job) -> None:
        """Queue another import of the podcast's own feed."""
        # For the login, which the request that may act already must not be sent on to.
        await self._admin(job, _QUEUE)
        path = f"cp-admin/podcasts/{job.reference}/sync-feeds"
        answer = await job.http.request("GET", path, writes=True, allow_redirects=False)
        if answer.status == 200:
            fields = answer.inputs(_CSRF, "feed_url")
            data = {_CSRF: fields[_CSRF], "feed_url": fields["feed_url"]}
            answer = await job.http.post(path, data=data, allow_redirects=False)
        if not answer.redirects_to or urlsplit(answer.redirects_to).path.endswith("sync-feeds") or _to_login(answer):
            raise self.failed(
                f"does not let {job.task.label} synchronize the podcast (status {answer.status})",
                remedy="Give the account a role that may manage the podcast's imports, or synchronize its feed there.",
            )

    # --- the API ---

    async def _podcast(self, job: Job) -> tuple[str, str] | None:
        """The podcast's id and handle; None where it is not there."""
        rows = (await self._api(job, "podcasts")).rows()
        known = [row for row in rows if str(row.get("id")) == job.reference]
        for row in known or [each for each in rows if same_feed(job.feed, _feed_of(each))]:
            return str(row.field("id", kind=(int, str))), row.field("handle")
        return None

    async def _episodes(self, job: Job, podcast: str, handle: str) -> tuple[ListedEpisode, ...]:
        found: list[ListedEpisode] = []

        async def read(offset: int) -> Page:
            params = {"podcastIds": podcast, "limit": str(_EPISODES_PER_PAGE), "offset": str(offset)}
            return await self._api(job, "episodes", params=params)

        async for page in paged(job, read, 0, _next_offset):
            found += [_listed(job, row, handle) for row in page.rows()]
            if enough(job, found):
                break
        return tuple(found)

    async def _api(self, job: Job, path: str, **options: Any) -> Page:
        headers = basic_auth(job.settings.login, job.settings.password) if job.settings.password else {}
        page = await job.http.get(f"api/rest/v1/{path}", headers=headers, allow_redirects=False, **options)
        if page.status == 401:
            raise self.refused_key()
        if page.status == 404:
            raise self.failed(
                f"has its REST API switched off at {job.task.domain}",
                remedy="Set restapi.enabled=true in the instance's .env.",
            )
        return page.expect(200, what=f"an answer to {path}")

    # --- the admin's pages ---

    async def _free_handle(self, job: Job) -> str:
        """A handle like the feed's title, that no podcast has, and none that is being imported."""
        taken = {str(row.get("handle")).lower() for row in (await self._api(job, "podcasts")).rows()}
        taken |= {each.lower() for each in re.findall(r"@(\w{1,32})", (await self._admin(job, _QUEUE)).text)}
        name = re.sub(r"\W+", "_", job.feed.title, flags=re.ASCII).strip("_") or "podcast"
        digest = hashlib.sha256(job.feed.url.encode()).hexdigest()[:8]
        for handle in (name[:32], f"{name[:23]}_{digest}"):
            if handle.lower() not in taken:
                return handle
        raise self.failed(f"has another podcast called {handle}")

    async def _admin(self, job: Job, path: str) -> Page:
        """One of the admin's pages, after a login where none holds."""
        page = await job.http.get(path, allow_redirects=False)
        if _to_login(page):
            await self._login(job, page)
            page = await job.http.get(path, allow_redirects=False)
        if page.status != 200:
            raise self.failed(
                f"does not let {job.task.label} import (status {page.status})",
                remedy="Give the account a role that may import podcasts, and no second factor.",
            )
        return page

    async def _login(self, job: Job, sent_on: Page) -> None:
        form = await job.http.follow(sent_on)
        self.refuse_login_elsewhere(job, form.url)
        data = {
            _CSRF: form.inputs(_CSRF, "email", "password")[_CSRF],
            "email": job.credentials.email,
            "password": job.credentials.password,
        }
        answer = await job.http.post(form.url, data=data, allow_redirects=False)
        if _to_login(answer):
            raise self.refused_login(job)
        if not answer.redirects_to:
            raise answer.changed("a redirect after the login")


def _feed_of(row: JsonRow) -> str:
    """What a podcast was imported from; empty where it was made there."""
    return row.field("imported_feed_url", kind=(str, type(None))) or ""


def _next_offset(page: Page, offset: int) -> int | None:
    return offset + _EPISODES_PER_PAGE if len(page.rows()) >= _EPISODES_PER_PAGE else None


def _to_login(page: Page) -> bool:
    return urlsplit(page.redirects_to).path.endswith(_LOGIN)


def _listed(job: Job, row: JsonRow, handle: str) -> ListedEpisode:
    public = row.get("published_at") and not row.get("is_premium")
    path = f"@{handle}/episodes/{row.field('slug')}"
    return ListedEpisode(
        url=urljoin(job.http.base_url, path) if public else "",
        guid=row.field("guid"),
        title=row.text("title"),
    )
