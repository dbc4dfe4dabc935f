"""WordPress: two shows on one site, answers that are lost, episodes that come later, rights."""

from __future__ import annotations

import dataclasses
from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from likepion_provider.errors import LoginRefused, PlatformError, Transient
from likepion_provider.models import Enclosure, ImportState
from likepion_provider.platforms import Job
from likepion_provider.platforms.importers import wordpress_ssp as wordpress_importer
from likepion_provider.platforms.importers.wordpress_ssp import WordpressSsp
from likepion_provider.testing.server import FEED_TITLE, STRANGER, Case, episodes, opened
from likepion_provider.web.visit import VisitLimits

from . import wordpress_ssp
from .wordpress_ssp import APP_PASSWORD, DEFAULT, WordpressServer


def _server(case: Case) -> WordpressServer:
    return cast(WordpressServer, case.server)


def _another_show(job: Job) -> Job:
    """Of the same title, with the same episodes' titles and days."""
    foreign = tuple(
        dataclasses.replace(
            each, guid=f"vi-{each.guid}", enclosure=Enclosure(f"https://media.feeds.example/vi/{n}.mp3")
        )
        for n, each in enumerate(job.feed.episodes)
    )
    feed = dataclasses.replace(
        job.feed, url="https://feeds.example/vi.xml", display_url="https://feeds.example/vi.xml", episodes=foreign
    )
    return dataclasses.replace(job, feed=feed)


def _by_app_password(job: Job, password: str = APP_PASSWORD) -> Job:
    return dataclasses.replace(
        job, credentials=dataclasses.replace(job.credentials, password="", app_password=password)
    )


def _made(server: WordpressServer) -> Counter[tuple[int, str]]:
    return Counter((each.series, each.file) for each in server.posts)


async def test_two_shows_of_one_title_have_pages_of_their_own() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        english, vietnamese = case.job(), _another_show(case.job())
        for job in (english, vietnamese, english, vietnamese):
            progress = await case.platform.submit(job)
            assert progress.state is ImportState.LISTED
            files = {each.enclosure_url for each in progress.episodes}
            assert files == {each.enclosure.url for each in job.feed.episodes if each.enclosure}
        assert len([each for each in _server(case).terms if each.name == FEED_TITLE]) == 2
        assert set(_made(_server(case)).values()) == {1}


@pytest.mark.parametrize("made_by_us", [True, False])
async def test_two_shows_that_have_a_trailer_in_common_stay_apart(made_by_us: bool) -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        case.server.listed = episodes(5)
        english, vietnamese = case.job(), _another_show(case.job())
        trailer = english.feed.episodes[-1]
        theirs = dataclasses.replace(vietnamese.feed, episodes=(*vietnamese.feed.episodes[1:], trailer))
        if not made_by_us:
            server, term = _server(case), _server(case).make_term("By hand")
            for each in case.server.listed:
                server.make(each, term.id)
        first = await case.platform.submit(english)
        second = await case.platform.submit(dataclasses.replace(vietnamese, feed=theirs))
        assert first.reference != second.reference
        assert (len(first.episodes), len(second.episodes)) == (5, 5)


async def test_a_trailer_alone_does_not_draw_another_show_in() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        whole = case.job()
        first = dataclasses.replace(whole, feed=dataclasses.replace(whole.feed, episodes=whole.feed.episodes[-1:]))
        other = _another_show(whole)
        both = dataclasses.replace(other.feed, episodes=(*other.feed.episodes, whole.feed.episodes[-1]))
        one = await case.platform.submit(first)
        assert (await case.platform.submit(dataclasses.replace(other, feed=both))).reference != one.reference


async def test_a_write_that_is_redirected_is_not_taken_for_done() -> None:
    async def trick(request: web.Request, handler: Handler, number: int) -> web.StreamResponse:
        if request.method == "POST" and request.path == "/wp-json/wp/v2/podcast":
            return web.Response(status=301, headers={"Location": f"{request.path}/?{request.query_string}"})
        return await handler(request)

    async with opened(WordpressSsp(), wordpress_ssp) as case:
        case.server.trick = trick
        with pytest.raises(PlatformError):
            await case.platform.submit(case.job())


async def test_another_shows_episodes_are_not_reported() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        await case.platform.submit(_another_show(case.job()))
        seen = await case.platform.collect(case.job())
        assert (seen.state, case.urls(seen)) == (ImportState.NEW, [])


@pytest.mark.parametrize("cut_after", range(4))
async def test_what_was_made_although_its_answer_was_lost_is_not_made_again(cut_after: int) -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        _server(case).cut_after = cut_after
        with pytest.raises(Transient):
            await case.platform.submit(case.job())
        progress = await case.platform.submit(case.job())
        assert case.urls(progress) == case.server.expected()
        assert set(_made(_server(case)).values()) == {1}
        assert len([each for each in _server(case).terms if each.name == FEED_TITLE]) == 1


class Late(WordpressServer):
    """Lets the first episode's maker go, and makes it once the next visit has read the list."""

    fields: dict[str, Any] | None = None

    def _write(self, fields: dict[str, Any], number: int) -> web.Response:
        if self.fields is None:
            self.fields = fields
            return web.json_response({}, status=504)
        return super()._write(fields, number)

    def _episodes(self, request: web.Request) -> web.Response:
        answer = super()._episodes(request)
        if self.fields and "series" in request.query and len(self.posts) == 1:
            super()._write(self.fields, 0)
        return answer


async def test_what_is_made_after_the_list_was_read_is_not_made_again() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        case.server.__class__ = Late
        with pytest.raises(Transient):
            await case.platform.submit(case.job())
        progress = await case.platform.submit(case.job())
        assert case.urls(progress) == case.server.expected()
        assert set(_made(_server(case)).values()) == {1}


async def test_a_podcast_that_somebody_made_meanwhile_is_used() -> None:
    class Overtaken(WordpressServer):
        async def _series(self, request: web.Request, known: bool) -> web.Response:
            if request.method == "POST" and len(self.terms) == 2:
                await super()._series(request, known)
            return await super()._series(request, known)

    async with opened(WordpressSsp(), wordpress_ssp) as case:
        case.server.__class__ = Overtaken
        assert case.urls(await case.bring_in()) == case.server.expected()
        assert len([each for each in _server(case).terms if each.name == FEED_TITLE]) == 1


async def test_a_podcast_of_the_feeds_title_with_other_episodes_is_left_alone() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        term = _server(case).make_term(FEED_TITLE)
        _server(case).make(STRANGER, term.id)
        assert (await case.platform.submit(case.job())).reference != str(term.id)
        assert len([each for each in _server(case).posts if each.series == term.id]) == 1


async def test_a_list_that_is_not_of_the_podcast_alone_is_sorted_out() -> None:
    class Careless(WordpressServer):
        def _episodes(self, request: web.Request) -> web.Response:
            return super()._episodes(request.clone(rel_url=request.rel_url.without_query_params("series")))

    async with opened(WordpressSsp(), wordpress_ssp) as case:
        case.server.__class__ = Careless
        first = await case.platform.submit(_another_show(case.job()))
        seen = await case.platform.collect(case.job())
        assert (seen.state, case.urls(seen)) == (ImportState.NEW, [])
        assert len((await case.platform.submit(case.job())).episodes) == len(first.episodes) == 3


async def test_an_episode_whose_file_and_title_changed_is_the_same() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        await case.bring_in()
        case.server.listed = [
            dataclasses.replace(each, title=f"{each.title} (new)", enclosure_url=f"https://moved.example/{number}.mp3")
            for number, each in enumerate(case.server.listed)
        ]
        progress = await case.platform.submit(case.job())
        assert (progress.state, len(case.urls(progress))) == (ImportState.LISTED, 3)
        assert len(_server(case).posts) == 4


async def test_a_new_episode_is_made_when_it_comes() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        reference = (await case.bring_in()).reference
        case.server.listed = episodes(4)
        seen = await case.platform.collect(case.job(reference))
        assert (seen.state, len(case.urls(seen))) == (ImportState.NEW, 3)
        progress = await case.platform.submit(case.job(reference))
        assert (progress.state, case.urls(progress)) == (ImportState.LISTED, case.server.expected())
        assert set(_made(_server(case)).values()) == {1}


async def test_no_visit_makes_more_than_it_has_requests_for(monkeypatch: pytest.MonkeyPatch) -> None:
    spare = VisitLimits().requests - 2 * wordpress_importer.MADE_PER_VISIT
    monkeypatch.setattr(wordpress_importer, "MADE_PER_VISIT", 90)
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        case.server.listed = episodes(150)
        case.http.begin_visit(VisitLimits(requests=2 * 90 + spare))
        with pytest.raises(Transient, match="60 of 150"):
            await case.platform.submit(case.job())
        case.http.begin_visit(VisitLimits(requests=2 * 90 + spare))
        progress = await case.platform.submit(case.job())
        assert (progress.state, len(set(case.urls(progress)))) == (ImportState.LISTED, 150)
        assert set(_made(_server(case)).values()) == {1}


async def test_a_part_that_is_there_is_completed() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        term = _server(case).make_term(FEED_TITLE)
        for each in case.server.listed[1:]:
            _server(case).make(each, term.id)
        progress = await case.platform.submit(case.job())
        assert (progress.state, case.urls(progress)) == (ImportState.LISTED, case.server.expected())
        assert progress.reference == str(term.id)
        assert set(_made(_server(case)).values()) == {1}


async def test_what_the_plugins_own_import_made_is_recognised() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        server = _server(case)
        kept, term = case.server.listed, server.make_term("Named by a person")
        for each in kept:
            server.make(each, term.id)
        case.server.listed = [
            dataclasses.replace(each, enclosure_url=f"https://count.example/{each.enclosure_url}?key={each.guid}")
            for each in kept
        ]
        progress = await case.platform.submit(case.job())
        assert (progress.state, progress.reference, len(case.urls(progress))) == (ImportState.LISTED, str(term.id), 3)
        assert case.server.imports == 0


async def test_an_episode_that_was_made_by_halves_is_completed() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        await case.bring_in()
        # PHP ended after it had put the post, and before its podcast and its file.
        half = _server(case).posts[-1]
        half.series, half.file = DEFAULT, ""
        progress = await case.platform.submit(case.job())
        assert case.urls(progress) == case.server.expected()
        assert len(_server(case).posts) == 4


async def test_nothing_goes_into_the_default_podcast_where_the_feeds_was_deleted() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        progress = await case.platform.submit(case.job("999"))
        assert case.urls(progress) == case.server.expected()
        assert not [each for each in _server(case).posts if each.series == DEFAULT]


async def test_an_empty_podcast_of_the_feeds_title_is_used() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        term = _server(case).make_term(FEED_TITLE)
        assert (await case.platform.submit(case.job())).reference == str(term.id)


@pytest.mark.parametrize("wanted", ["7", "another & Podcast"])
async def test_the_connection_can_name_the_podcast(wanted: str) -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        case.settings = dataclasses.replace(case.settings, extra={"series": wanted})
        progress = await case.platform.submit(case.job())
        assert (progress.reference, case.urls(progress)) == ("7", case.server.expected())
        case.settings = dataclasses.replace(case.settings, extra={"series": "not there"})
        with pytest.raises(PlatformError, match="not there") as raised:
            await case.platform.submit(case.job())
        assert "'series'" in raised.value.remedy


async def test_twins_of_which_one_is_missing_are_told_apart() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        twins = [
            dataclasses.replace(each, title="Ebb", published=case.server.listed[0].published) for each in episodes(4)
        ]
        case.server.listed = twins
        _server(case).cut_after = 2
        with pytest.raises(Transient):
            await case.platform.submit(case.job())
        progress = await case.platform.submit(case.job())
        assert len(set(case.urls(progress))) == 4
        assert set(_made(_server(case)).values()) == {1}


async def test_an_episode_with_a_date_to_come_is_public_at_once() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
        case.server.listed[0] = dataclasses.replace(case.server.listed[0], published=tomorrow)
        progress = await case.platform.submit(case.job())
        assert (progress.state, len(case.urls(progress))) == (ImportState.LISTED, 3)


async def test_titles_are_text() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        case.server.listed[0] = dataclasses.replace(case.server.listed[0], title="<b>R&B</b>")
        case.server.listed[1] = dataclasses.replace(case.server.listed[1], title="")
        assert case.urls(await case.platform.submit(case.job())) == case.server.expected()
        assert {"&lt;b&gt;R&amp;B&lt;/b&gt;", FEED_TITLE} <= {each.title for each in _server(case).posts}


@pytest.mark.parametrize("status", [404, 200])
async def test_a_site_without_permalinks_is_served(status: int) -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        _server(case).has_permalinks, _server(case).status_without = False, status
        assert case.urls(await case.bring_in()) == case.server.expected()


# --- the way in ---


async def test_it_is_opened_again_by_the_cookie_alone() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        progress = await case.bring_in()
        async with opened(WordpressSsp(), wordpress_ssp, cookie=progress.cookie) as later:
            _server(later).session = _server(case).session
            await later.platform.sign_in(later.job())
            assert not [each for each in later.server.requests if each.startswith("POST")]


async def test_a_session_that_ends_in_the_middle_is_opened_again() -> None:
    class Forgetful(WordpressServer):
        def _write(self, fields: dict[str, Any], number: int) -> web.Response:
            answer = super()._write(fields, number)
            self.session = self.session if len(self.posts) > 3 else ""
            return answer

    async with opened(WordpressSsp(), wordpress_ssp) as case:
        case.server.__class__ = Forgetful
        assert case.urls(await case.bring_in()) == case.server.expected()
        assert case.server.imports == 1


async def test_an_application_password_needs_no_login() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        progress = await case.platform.submit(_by_app_password(case.job()))
        assert case.urls(progress) == case.server.expected()
        assert not [each for each in case.server.requests if "wp-login" in each or "wp-admin" in each]


async def test_where_application_passwords_are_not_taken_the_login_is_used_or_the_remedy_told() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        _server(case).takes_app_passwords = False
        with pytest.raises(LoginRefused) as raised:
            await case.platform.sign_in(_by_app_password(case.job()))
        assert "https" in raised.value.remedy
        case.credentials = dataclasses.replace(case.credentials, app_password=APP_PASSWORD)
        await case.platform.sign_in(case.job())


async def test_a_wrong_application_password_is_the_accounts_matter() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        with pytest.raises(LoginRefused) as raised:
            await case.platform.sign_in(_by_app_password(case.job(), "not that one"))
        assert raised.value.remedy == LoginRefused.remedy


@pytest.mark.parametrize(
    ("missing", "says"),
    [("may_publish", "role Podcast Editor"), ("has_plugin", "Activate the plugin")],
)
async def test_what_is_missing_is_told_when_the_account_is_checked(missing: str, says: str) -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        setattr(case.server, missing, False)
        with pytest.raises(PlatformError) as raised:
            await case.platform.sign_in(case.job())
        assert says in raised.value.remedy


async def test_who_may_make_no_podcast_is_told_so() -> None:
    async with opened(WordpressSsp(), wordpress_ssp) as case:
        _server(case).may_make_podcasts = False
        with pytest.raises(PlatformError, match="make a podcast") as raised:
            await case.platform.submit(case.job())
        assert "'series'" in raised.value.remedy
        assert case.server.imports == 0
