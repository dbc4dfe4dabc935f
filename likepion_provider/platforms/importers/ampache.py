"""Ampache: adds a feed to the server's podcasts, and lists their episodes' pages.

Sources: https://github.com/ampache/ampache, in ``docs``: ``API.md``, ``API-JSON-methods.md``, ``API-Errors.md`` (errors
have status 200 before version 8); its code (a feed is not created twice; its address is decoded once more than a form).

Not verified: nothing of this was run against Ampache. The pages need a login unless the server lets guests in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

from likepion_provider.models import ImportState
from likepion_provider.platforms import (
    Job,
    JsonRow,
    ListedEpisode,
    LooksFirst,
    Page,
    Progress,
    Rereads,
    enough,
    paged,
    quoted,
    same_feed,
)

_PAGE_SIZE = 100
_NO_SESSION, _DENIED, _NOT_FOUND, _NO_ACCESS = "4701", "4703", "4704", "4742"


class Ampache(LooksFirst):
    """Creates by feed URL, lists by the podcast's id."""

    name = "ampache"
    title = "Ampache"
    needs = ("app_password",)
    needs_connection = (
        "host: the server's address, or nothing: then https and the account's domain; extra: platform: ampache"
    )
    max_concurrency = 2
    poll_s = (2, 5, 10, 20, 30)
    rereads = Rereads(on_request=True)

    async def add(self, job: Job) -> Progress:
        """Into the first catalog that takes podcasts."""
        catalogs = await self._call(job, "catalogs", {"filter": "podcast"})
        rows = catalogs.rows("catalog") if _error(catalogs) != _NOT_FOUND else []
        if not rows:
            raise self.failed("has no catalog for podcasts", remedy="Add a podcast catalog to the server.")
        fields = {"url": quote(job.feed.url, errors="replace"), "catalog": _id(rows[0])}
        page = await self._call(job, "podcast_create", fields, writes=True)
        return Progress(ImportState.SUBMITTED, _id(page.row("podcast", 0) if page.row().get("podcast") else page.row()))

    async def collect(self, job: Job) -> Progress:
        """Find the podcast by its feed, then list its episodes."""
        reference = job.reference or await self._find(job)
        if not reference:
            return Progress(ImportState.NEW)
        found: list[ListedEpisode] = []
        async for page in self._pages(job, "podcast_episodes", "podcast_episode", {"filter": reference}):
            found += map(_listed, page.rows("podcast_episode"))
            if enough(job, found):
                break
        return Progress(ImportState.LISTED if found else ImportState.SUBMITTED, reference, tuple(found))

    async def refresh(self, job: Job) -> None:
        """Sync the podcast."""
        await self._call(job, "update_podcast", {"filter": job.reference}, writes=True)

    async def _find(self, job: Job) -> str:
        async for page in self._pages(job, "podcasts", "podcast", {}):
            for row in page.rows("podcast"):
                if same_feed(job.feed, row.field("feed_url")):
                    return _id(row)
        return ""

    async def _pages(self, job: Job, action: str, rows: str, fields: dict[str, str]) -> AsyncIterator[Page]:
        async def read(offset: int) -> Page:
            return await self._call(job, action, {"offset": str(offset), "limit": str(_PAGE_SIZE)} | fields)

        def following(page: Page, offset: int) -> int | None:
            full = _error(page) != _NOT_FOUND and len(page.rows(rows)) == _PAGE_SIZE
            return offset + _PAGE_SIZE if full else None

        async for page in paged(job, read, 0, following):
            if _error(page) != _NOT_FOUND:
                yield page

    async def _call(self, job: Job, action: str, fields: dict[str, str], *, writes: bool = False) -> Page:
        page = await job.http.request(
            "POST" if writes else "GET",
            "server/json.server.php",
            params={"action": action} | ({} if writes else fields),
            headers={"Authorization": f"Bearer {job.credentials.app_password}"},
            data=fields if writes else None,
            allow_redirects=False,
        )
        code = _error(page)
        if code == _NO_SESSION:
            raise self.refused_login(job)
        if code and code != _NOT_FOUND:
            words = quoted(job, f"{code} {page.row('error').text('errorMessage')}")
            remedy = "Give the account the server's access level 75." if code in (_DENIED, _NO_ACCESS) else None
            raise self.failed(f"refuses {action}: {words}", remedy=remedy)
        return page.expect(200, 404, what=f"an answer to {action}")


def _error(page: Page) -> str:
    return str(page.row("error").field("errorCode", kind=(str, int))) if page.row().get("error") else ""


def _id(row: JsonRow) -> str:
    return str(row.field("id", kind=(str, int)))


def _listed(row: JsonRow) -> ListedEpisode:
    return ListedEpisode(row.field("public_url"), title=row.text("title"), published_at=row.date("pubdate"))
