"""The sandbox's podcast site: form login with TOTP, an import in the background, a paged list of episodes.

Written against the interface that :mod:`likepion_provider.sandbox.site` documents, as an importer for a site of one's
own would be.
"""

from __future__ import annotations

from urllib.parse import quote

from likepion_provider.errors import FeedLocked, NeedsVerification
from likepion_provider.models import ImportState, SecondaryTask
from likepion_provider.platforms import (
    Job,
    JsonRow,
    ListedEpisode,
    Page,
    Platform,
    PlatformSettings,
    Progress,
    Rereads,
    enough,
    paged,
    quoted,
    totp_code,
)

_STATES = {
    "queued": ImportState.SUBMITTED,
    "importing": ImportState.SUBMITTED,
    "listed": ImportState.LISTED,
}


class SandboxSite(Platform):
    """Imports by the site's form, reads its JSON."""

    name = "sandbox_site"
    title = "Sandbox site"
    domains = ("tide.example", "harbor.example", "lantern.example")
    needs = ("username", "password")
    needs_connection = "host: the site's address, as 'likepion sandbox' prints it"
    poll_s = (0.1, 0.4, 1, 1, 2, 5, 10)
    rereads = Rereads(on_request=True)
    # It is one's own machine that answers.
    max_concurrency = 64

    def address(self, task: SecondaryTask, settings: PlatformSettings) -> str:
        """One server stands for every domain, told apart by the first part of the path."""
        return f"{settings.base_url}/{task.domain}" if settings.base_url else ""

    async def submit(self, job: Job) -> Progress:
        """Post the import form."""
        form = await self._signed_in(job, "import")
        fields = {"csrf": form.inputs("csrf")["csrf"], "feed_url": job.feed.url}
        answer = await job.http.post("import", data=fields)
        if answer.status == 423:
            raise _locked(job)
        if answer.status in (400, 403):
            raise self.failed(f"refused the feed: {quoted(job, answer.row().text('message'))}")
        if answer.status == 409:
            return await self.collect(job)
        return _progress(job, answer.expect(202, what="an import's id").row())

    async def collect(self, job: Job) -> Progress:
        """Find the import, and list its episodes where it has come so far."""
        page = await self._signed_in(job, "api/imports")
        mine = next((each for each in page.rows("imports") if _is_mine(job, each)), None)
        if mine is None or mine.get("state") == "failed":
            return Progress(ImportState.NEW, cookie=job.http.cookie)
        if mine.get("state") == "locked":
            raise _locked(job)
        episodes = await self._episodes(job, mine) if mine.get("state") == "listed" else ()
        return _progress(job, mine, episodes)

    async def refresh(self, job: Job) -> None:
        """One call, after a login where there is no session."""
        await self._signed_in(job, "api/imports")
        (await job.http.post(f"api/imports/{job.reference}/refresh")).expect(202, what="an import that is read again")

    async def _episodes(self, job: Job, row: JsonRow) -> tuple[ListedEpisode, ...]:
        found: list[ListedEpisode] = []
        path = f"api/shows/{row.get('show_id')}/episodes"
        # Newest first, as the feed is: no page beyond what is wanted is read.
        async for page in paged(job, lambda number: job.http.get(path, params={"page": str(number)}), 1, _next_number):
            found += map(_listed, page.rows("episodes"))
            if enough(job, found):
                break
        return tuple(found)

    async def _signed_in(self, job: Job, path: str) -> Page:
        """A page of the account, after a login where there is no cookie or it has run out."""
        if not job.http.cookie:
            await self._login(job)
        page = await job.http.get(path, allow_redirects=False)
        if page.status == 401 or page.redirects_to:
            await self._login(job)
            page = await job.http.get(path, allow_redirects=False)
        return page.expect(200, what=f"a page at {path} after the login")

    async def _login(self, job: Job) -> None:
        answer = await _post_form(job, "login", username=job.credentials.username, password=job.credentials.password)
        if "/verify/" in answer.redirects_to:
            raise self._held_up(job)
        if answer.redirects_to.endswith("/login/totp"):
            answer = await _post_form(job, "login/totp", code=totp_code(self, job))
        if answer.status == 401:
            raise self.refused_login(job)
        if not answer.redirects_to:
            raise answer.changed("a redirect after the login")

    def _held_up(self, job: Job) -> NeedsVerification:
        address = f"{job.http.base_url}verify/{quote(job.credentials.username, safe='')}"
        return NeedsVerification(
            f"{self.title} asks the owner of {job.task.label} whether the sign-in was theirs",
            platform=self.name,
            remedy=f"Open {address} and press 'It was me'; the next run imports the feed.",
        )


def _next_number(page: Page, number: int) -> int | None:
    return number + 1 if number < page.field("pages", kind=int) else None


async def _post_form(job: Job, path: str, **fields: str) -> Page:
    """Open a form, and send it with the token that it holds against forgery."""
    form = await job.http.get(path)
    data = {"csrf": form.inputs("csrf")["csrf"], **fields}
    return await job.http.post(path, data=data, allow_redirects=False)


def _is_mine(job: Job, row: JsonRow) -> bool:
    """Whether an import is the one that is looked for: by its id where that is known, else by the feed."""
    return row.get("import_id") == job.reference if job.reference else row.get("feed_url") == job.feed.url


def _locked(job: Job) -> FeedLocked:
    return FeedLocked("the site says the feed is locked", url=job.feed.display_url, where="podcast:locked")


def _progress(job: Job, row: JsonRow, episodes: tuple[ListedEpisode, ...] = ()) -> Progress:
    state = _STATES.get(row.text("state"), ImportState.SUBMITTED)
    return Progress(state, row.text("import_id"), episodes, cookie=job.http.cookie, message=row.text("message"))


def _listed(row: JsonRow) -> ListedEpisode:
    return ListedEpisode(
        url=row.field("url"),
        guid=row.text("guid"),
        title=row.text("title"),
        enclosure_url=row.text("enclosure_url"),
        published_at=row.date("published"),
    )
