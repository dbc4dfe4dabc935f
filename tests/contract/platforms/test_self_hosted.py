"""What the rules cannot know of software that people host themselves."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from types import ModuleType

import pytest
from aiohttp import web

from likepion_provider.errors import LoginRefused, PlatformError, Transient
from likepion_provider.models import ImportState
from likepion_provider.platforms.importers.audiobookshelf import Audiobookshelf
from likepion_provider.platforms.importers.funkwhale import Funkwhale
from likepion_provider.platforms.importers.podcast_analyzer import PodcastAnalyzer
from likepion_provider.platforms.importers.wordpress_ssp import WordpressSsp
from likepion_provider.testing.server import Case, episodes, opened

from . import audiobookshelf, funkwhale, podcast_analyzer, wordpress_ssp


@contextlib.asynccontextmanager
async def _shelf() -> AsyncIterator[tuple[Case, audiobookshelf.AudiobookshelfServer]]:
    async with opened(Audiobookshelf(), audiobookshelf) as case:
        assert isinstance(case.server, audiobookshelf.AudiobookshelfServer)
        yield case, case.server


async def test_audiobookshelf_downloads_again_what_its_queue_has_lost() -> None:
    async with _shelf() as (case, server):
        await case.bring_in()
        lost = server.downloaded.pop()
        seen = await case.platform.collect(case.job())
        assert (seen.state, seen.stalled, case.urls(seen)) == (ImportState.LISTED, True, server.expected()[:-1])
        await case.platform.refresh(case.job(seen.reference))
        assert [each["guid"] for each in server.queue + server.downloaded].count(lost["guid"]) == 1
        seen = await case.platform.collect(case.job(seen.reference))
        assert (seen.stalled, case.urls(seen), server.imports) == (False, server.expected(), 1)


@pytest.mark.parametrize("listed", [0, 2])
async def test_audiobookshelf_says_at_once_that_a_restart_has_forgotten_its_downloads(listed: int) -> None:
    async with _shelf() as (case, server):
        server.ready_after = 0 if listed else 1000
        server.listed = episodes(6)
        case.platform.first_download_s = (0.01,) * 6  # type: ignore[attr-defined]
        server.at_a_time = 1
        submitted = await case.platform.submit(case.job())
        seen = await case.platform.collect(case.job(submitted.reference))
        assert not seen.stalled
        server.restart()
        seen = await case.platform.collect(case.job(submitted.reference))
        assert seen.stalled
        assert seen.state is (ImportState.LISTED if listed else ImportState.NEW)
        server.ready_after = 0
        again = await case.platform.submit(case.job(submitted.reference))
        assert case.urls(await case.look(again)) == server.expected()
        assert len(server.downloaded) == 6, "nothing is downloaded twice"


async def test_audiobookshelf_is_sent_what_to_download_in_parts_that_it_takes() -> None:
    async with _shelf() as (case, server):
        server.listed = episodes(1000)
        server.notes = "\u00e2" * 1800
        await case.platform.submit(case.job())
        assert len({each["guid"] for each in server.queue + server.downloaded}) == 1000
        sent = [each for each in server.requests if each.endswith("/download-episodes")]
        assert 2 <= len(sent) <= 40


async def test_audiobookshelf_downloads_no_episode_that_is_on_its_way() -> None:
    async with _shelf() as (case, server):
        server.listed = episodes(6)
        case.platform.first_download_s = (0.01,)  # type: ignore[attr-defined]
        await case.platform.submit(case.job(target=2))
        await case.platform.submit(case.job())
        guids = [each["guid"] for each in server.queue + server.downloaded]
        assert sorted(guids) == sorted(each.guid for each in server.listed)


async def test_audiobookshelf_has_one_podcast_for_a_feed_that_two_tasks_have_added_at_once() -> None:
    async with _shelf() as (case, server):
        server.raced = True
        progress = await case.bring_in()
        assert progress.reference == audiobookshelf.RIVAL
        assert server.items == [audiobookshelf.RIVAL], "the empty one is taken away"
        assert case.urls(progress) == server.expected()


@pytest.mark.parametrize("act", ["sign_in", "submit", "collect"])
async def test_audiobookshelf_says_that_the_account_is_no_admin(act: str) -> None:
    async with _shelf() as (case, server):
        server.user_type = "user"
        with pytest.raises(PlatformError) as raised:
            await getattr(case.platform, act)(case.job())
        assert not isinstance(raised.value, LoginRefused), "the password is right"
        assert "admin" in raised.value.message
        assert "admin" in raised.value.remedy


async def test_audiobookshelf_says_how_it_may_read_a_feed_at_a_private_address() -> None:
    async with _shelf() as (case, _):
        job = case.job()
        feed = dataclasses.replace(job.feed, url="http://10.1.2.3/feed?k=1", display_url="http://10.1.2.3/feed?k=***")
        with pytest.raises(PlatformError) as raised:
            await case.platform.submit(dataclasses.replace(job, feed=feed))
        assert "SSRF_REQUEST_FILTER_WHITELIST=10.1.2.3" in raised.value.remedy


async def test_podcast_analyzer_does_not_take_a_limit_of_logins_for_a_wrong_password() -> None:
    async with opened(PodcastAnalyzer(), podcast_analyzer) as case:
        case.server.limited = True  # type: ignore[attr-defined]
        with pytest.raises(Transient, match="takes no logins now") as raised:
            await case.platform.sign_in(case.job())
        assert raised.value.retry_after_s == 300


@contextlib.asynccontextmanager
async def _pod() -> AsyncIterator[tuple[Case, funkwhale.FunkwhaleServer]]:
    async with opened(Funkwhale(), funkwhale) as case:
        assert isinstance(case.server, funkwhale.FunkwhaleServer)
        yield case, case.server


@pytest.mark.parametrize("scope", ["read:libraries", "write:libraries"])
async def test_funkwhale_says_at_the_login_which_scopes_a_token_needs(scope: str) -> None:
    async with _pod() as (case, server):
        await case.platform.sign_in(case.job())
        assert (server.imports, case.writes) == (0, [])
        server.scopes = {scope}
        for act in (case.platform.sign_in, case.platform.submit):
            with pytest.raises(PlatformError, match="does not let the access token") as raised:
                await act(case.job())
            assert not isinstance(raised.value, LoginRefused)
            assert "write:libraries" in raised.value.remedy


async def test_funkwhale_says_why_it_did_not_take_a_feed() -> None:
    async with _pod() as (case, server):
        server.trouble = "HTTP 404 at https://feeds.example/tide.xml"
        with pytest.raises(PlatformError, match="HTTP 404 at <address>"):
            await case.platform.submit(case.job())
        for server.trouble in ("timeout", "connection error", "HTTP 503"):
            with pytest.raises(Transient):
                await case.platform.submit(case.job())
        server.trouble = ""
        assert case.urls(await case.bring_in()) == server.expected()


async def test_podcast_analyzer_finds_the_feed_under_another_title() -> None:
    async with opened(PodcastAnalyzer(), podcast_analyzer) as case:
        case.server.already_there = True
        job = case.job()
        renamed = dataclasses.replace(job, feed=dataclasses.replace(job.feed, title="As it is called today"))
        progress = await case.platform.submit(renamed)
        assert progress.reference == podcast_analyzer.PODCAST
        seen = await case.platform.collect(case.job(progress.reference))
        assert case.urls(seen) == case.server.expected()


async def test_podcast_analyzer_reads_episodes_where_dates_are_in_another_language() -> None:
    class Foreign(podcast_analyzer.PodcastAnalyzerServer):
        def _html(self, body: str, status: int = 200) -> web.Response:
            return super()._html(body.replace("February", "Februar").replace("March", "März"), status)

    async with opened(PodcastAnalyzer(), podcast_analyzer) as case:
        case.server.__class__ = Foreign
        progress = await case.bring_in()
        assert case.urls(progress) == case.server.expected()
        own_pages = [each for each in case.server.requests if each.count("/") == 6 and "/episodes/" in each]
        assert own_pages, case.server.requests


@pytest.mark.parametrize("server", [podcast_analyzer, wordpress_ssp])
async def test_no_password_is_given_to_another_host(server: ModuleType) -> None:
    platform = PodcastAnalyzer() if server is podcast_analyzer else WordpressSsp()
    async with opened(platform, server) as case:
        case.server.login_at = case.server.url.replace("127.0.0.1", "localhost")  # type: ignore[attr-defined]
        with pytest.raises(PlatformError, match="localhost"):
            await case.platform.submit(case.job())
        assert not [each for each in case.server.requests if each.startswith("POST")]
