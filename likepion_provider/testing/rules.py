"""The contract of an importer: one coroutine per rule, which fails with ``AssertionError`` and is skipped aloud."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import traceback
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any

import pytest

from likepion_provider.errors import (
    FeedLocked,
    LikepionError,
    LoginRefused,
    NeedsVerification,
    PlatformChanged,
    PlatformError,
    Transient,
)
from likepion_provider.models import Credentials, ImportState
from likepion_provider.platforms import Platform
from likepion_provider.testing.server import Case, ServerEpisode, episodes, opened

Rule = Callable[[Platform, ModuleType], Coroutine[Any, Any, None]]
#: Seconds that no importer would choose by itself.
RETRY_AFTER_S = 37.0


async def describes_itself(platform: Platform, module: ModuleType) -> None:
    """Its metadata can be shown and used."""
    assert platform.name.isidentifier()
    assert platform.title
    assert all(domain == domain.lower().removeprefix("www.") for domain in platform.domains)
    assert set(platform.needs) <= {field.name for field in dataclasses.fields(Credentials)}
    assert platform.max_concurrency >= 1
    assert platform.poll_s
    assert min(platform.poll_s) > 0
    assert platform.base_url or platform.needs_connection, "nothing says where it is"
    assert not any(getattr(module.credentials(), need) == "" for need in platform.needs)


async def lists_what_it_submits(platform: Platform, module: ModuleType) -> None:
    """A feed that is handed in is listed in the end, each episode with its own page."""
    async with opened(platform, module) as case:
        case.server.ready_after = 2
        progress = await case.bring_in()
        assert progress.state is ImportState.LISTED
        assert case.urls(progress) == case.server.expected()
        assert progress.reference
        if not case.server.by_hand:
            assert case.server.imports == 1
            assert case.writes, "it writes without a look at the claim"


async def asks_for_a_person(platform: Platform, module: ModuleType) -> None:
    """Where only a person can import, it says exactly how, and goes on when that is done."""
    if not module.SERVER.by_hand:
        pytest.skip("it imports by itself")
    async with opened(platform, module) as case:
        with pytest.raises(NeedsVerification) as raised:
            await case.platform.submit(case.job())
        assert "https://" in raised.value.remedy
        assert len(raised.value.remedy) > len(NeedsVerification.remedy)
        case.server.already_there = True
        seen = await case.platform.collect(case.job())
        assert (seen.state, case.urls(seen)) == (ImportState.LISTED, case.server.expected())


async def resumes_by_reference(platform: Platform, module: ModuleType) -> None:
    """A later run goes on with the reference alone, and imports nothing again."""
    async with opened(platform, module) as case:
        reference = (await case.bring_in()).reference
        imports, requests = case.server.imports, len(case.server.requests)
        seen = await case.platform.collect(case.job(reference))
        assert (seen.state, case.urls(seen)) == (ImportState.LISTED, case.server.expected())
        assert case.server.imports == imports
        assert len(case.server.requests) > requests


async def resumes_without_reference(platform: Platform, module: ModuleType) -> None:
    """Where the answer to the submission was lost, the show is found by its feed."""
    async with opened(platform, module) as case:
        await case.bring_in()
        imports = case.server.imports
        case.server.lookalike = case.server.searched
        seen = await case.platform.collect(case.job())
        assert (seen.state, case.urls(seen)) == (ImportState.LISTED, case.server.expected())
        assert case.server.imports == imports


async def takes_already_there_as_success(platform: Platform, module: ModuleType) -> None:
    """What the platform has already is not imported a second time."""
    async with opened(platform, module) as case:
        case.server.already_there = True
        progress = await case.bring_in()
        assert (progress.state, case.urls(progress)) == (ImportState.LISTED, case.server.expected())
        assert case.server.imports == 0


async def submits_twice_without_harm(platform: Platform, module: ModuleType) -> None:
    """Handed the same feed again, it ends at the same pages."""
    async with opened(platform, module) as case:
        await case.bring_in()
        progress = await case.look(await case.platform.submit(case.job()))
        assert (progress.state, case.urls(progress)) == (ImportState.LISTED, case.server.expected())
        assert case.server.imports <= 1


async def collecting_changes_nothing(platform: Platform, module: ModuleType) -> None:
    """To look for a feed that is not there says so, and brings nothing in; nor is another's show taken for it."""
    async with opened(platform, module) as case:
        case.server.lookalike = case.server.searched
        seen = await case.platform.collect(case.job())
        assert seen.state is ImportState.NEW
        assert not seen.episodes
        assert case.server.imports == 0


async def gives_up_on_locked(platform: Platform, module: ModuleType) -> None:
    """A platform that refuses a locked feed is not asked again."""
    if not module.SERVER.refuses_locked:
        pytest.skip("the platform does not look at podcast:locked; the worker does")
    async with opened(platform, module) as case:
        case.server.locked = True
        with pytest.raises((FeedLocked, PlatformError)) as raised:
            await case.bring_in()
        assert not isinstance(raised.value, PlatformChanged), raised.value


async def names_refused_credentials(platform: Platform, module: ModuleType) -> None:
    """A refused password is the account's matter, a refused key the connection's."""
    if not module.SERVER.authenticates:
        pytest.skip("the platform asks for no credentials")
    async with opened(platform, module) as case:
        case.server.auth_ok = False
        with pytest.raises(PlatformError) as raised:
            await case.bring_in()
        error = raised.value
        if platform.needs:
            assert isinstance(error, LoginRefused)
        else:
            assert f"likepion_platform_{platform.name}" in error.message + error.remedy


async def honours_retry_after(platform: Platform, module: ModuleType) -> None:
    """429, wherever it comes: the domain's gate closes, and the caller learns for how long."""

    def check(error: Transient, case: Case) -> None:
        assert error.retry_after_s == RETRY_AFTER_S
        assert case.gate.closings_s == [RETRY_AFTER_S]

    headers = {"Retry-After": str(int(RETRY_AFTER_S))}
    await _everywhere(platform, module, 429, headers, check)


async def takes_server_errors_as_passing(platform: Platform, module: ModuleType) -> None:
    """5xx, wherever it comes, passes; and the next try comes through with one import."""
    await _everywhere(platform, module, 502, {}, lambda error, case: None)


async def _everywhere(
    platform: Platform,
    module: ModuleType,
    status: int,
    headers: dict[str, str],
    check: Callable[[Transient, Case], None],
) -> None:
    async with opened(platform, module) as case:
        await case.bring_in()
        requests = len(case.server.requests)
    failures = 0
    for number in range(min(requests, 12)):
        async with opened(platform, module) as case:
            case.server.fail_next(status, headers, skip=number)
            try:
                await case.bring_in()
            except Transient as error:
                failures += 1
                check(error, case)
                progress = await case.bring_in()
                assert case.urls(progress) == case.server.expected()
                assert case.server.imports <= 1
    # Looks differ in number where an import runs by the clock.
    assert failures >= min(requests, 12) - (2 if module.SERVER.look_pause_s else 0)


async def takes_timeouts_as_passing(platform: Platform, module: ModuleType) -> None:
    """No answer in time passes."""
    async with opened(platform, module, timeout_s=0.2) as case:
        case.server.delay_s = 0.6
        with pytest.raises(Transient):
            await case.bring_in()


async def names_what_changed(platform: Platform, module: ModuleType) -> None:
    """Of a page without what it needs, the field is named."""
    assert module.SERVER.required, "the server names no field that the importer depends on"
    for field in module.SERVER.required:
        async with opened(platform, module) as case:
            case.server.drop_field = field
            with pytest.raises(PlatformChanged) as raised:
                await case.bring_in()
            assert field in raised.value.field
            assert field in raised.value.message
            assert raised.value.platform == platform.name


async def reads_every_page(platform: Platform, module: ModuleType) -> None:
    """More episodes than one page has are all found, newest first."""
    size = module.SERVER.page_size
    if not size:
        pytest.skip("the platform gives its whole list at once")
    async with opened(platform, module) as case:
        case.server.listed = episodes(2 * size + 1)
        progress = await case.bring_in()
        assert case.urls(progress) == case.server.expected()
        assert case.server.pages >= 3


async def reads_no_more_than_wanted(platform: Platform, module: ModuleType) -> None:
    """For a target of two, one page will do, however many there are."""
    size = module.SERVER.page_size
    async with opened(platform, module) as case:
        case.server.listed = episodes(2 * size + 1 if size else 5)
        progress = await case.bring_in(target=2)
        assert case.urls(progress, 2) == case.server.expected(2)
        requests, pages = len(case.server.requests), case.server.pages
        await case.platform.collect(case.job(progress.reference, 2))
        assert case.server.pages - pages <= 1
        assert len(case.server.requests) - requests <= 8


async def tells_query_only_addresses_apart(platform: Platform, module: ModuleType) -> None:
    """Media files that one script serves, told apart by its query, are different files."""
    await _lists_whole(platform, module, [_by_query(each) for each in episodes(4)])


def _by_query(episode: ServerEpisode) -> ServerEpisode:
    return dataclasses.replace(episode, enclosure_url=f"https://media.feeds.example/play.php?id={episode.guid}")


async def takes_twins_for_two(platform: Platform, module: ModuleType) -> None:
    """Two episodes of one title and one day are reported as two."""
    first, second, *rest = episodes(4)
    twin = dataclasses.replace(second, title=first.title, published=first.published)
    await _lists_whole(platform, module, [first, twin, *rest])


async def _lists_whole(platform: Platform, module: ModuleType, listed: list[ServerEpisode]) -> None:
    async with opened(platform, module) as case:
        case.server.listed = listed
        progress = await case.bring_in()
        # Whose page is whose makes no difference where nothing tells: only addresses are reported.
        assert sorted(case.urls(progress)) == sorted(case.server.expected())


async def takes_nothing_from_a_neighbour_show(platform: Platform, module: ModuleType) -> None:
    """Another show of the site with the same titles and days is not the feed's, before and after its own is there."""
    if not module.SERVER.has_neighbours:
        pytest.skip("the platform's server has no other show of the same titles and days")
    async with opened(platform, module) as case:
        assert (await case.platform.collect(case.job())).state is ImportState.NEW
        progress = await case.bring_in()
        assert case.urls(progress) == case.server.expected()
        assert len(progress.episodes) == len(case.server.listed), "it lists other shows' episodes too"


async def lets_no_newer_episode_take_a_place(platform: Platform, module: ModuleType) -> None:
    """What the platform still lists, and the feed has no more, takes nobody's place, whatever is wanted."""
    async with opened(platform, module) as case:
        case.server.listed = episodes(4)
        case.server.gone = case.server.listed[:1]
        progress = await case.bring_in(target=2)
        assert case.urls(progress, 2) == case.server.expected(2)


async def takes_one_of_two_equal_shows(platform: Platform, module: ModuleType) -> None:
    """Of a show that is there twice one is taken, and the same one whenever it is looked for."""
    if not module.SERVER.repeats_shows:
        pytest.skip("the platform has one show per feed")
    async with opened(platform, module) as case:
        case.server.twice = True
        progress = await case.bring_in()
        assert case.urls(progress) == case.server.expected()
        again = await case.platform.collect(case.job())
        assert (again.reference, case.urls(again)) == (progress.reference, case.urls(progress))


async def brings_a_new_episode(platform: Platform, module: ModuleType) -> None:
    """A later post's episode of a known show arrives: the platform is asked, or it is said how else it comes."""
    async with opened(platform, module) as case:
        await case.bring_in()
        case.server.unread = [dataclasses.replace(each, guid="tide-0009") for each in episodes(9)[:1]]
        # Another post: the journal knows of no submission.
        seen = await case.platform.submit(case.job())
        assert seen.state is ImportState.LISTED
        assert case.server.imports <= 1, "it was imported anew"
        if case.urls(seen) == case.server.expected():
            # Nothing reads the feed there: to hand it in makes what is missing.
            return
        assert case.urls(seen) == case.server.expected()[1:], "what is there is told at once"
        rereads, writes = platform.rereads, len(case.writes)
        if rereads.on_request:
            await case.platform.refresh(case.job(seen.reference))
            assert len(case.writes) > writes, "it acts there without a look at the claim"
            assert not case.server.unread or case.server.look_pause_s, "it was not asked"
        else:
            assert rereads.by_itself or rereads.by_person, "nothing says how the episode comes there"
            case.server.read_again()
        progress = await case.look(seen)
        assert case.urls(progress) == case.server.expected()
        assert case.server.imports <= 1, "it was imported anew"


async def serves_two_accounts_at_once(platform: Platform, module: ModuleType) -> None:
    """Two accounts hand in one feed at one site: side by side, or one by one where it asks for that."""
    async with opened(platform, module) as case:
        cases = [case, case.beside()]
        if platform.one_at_a_time:
            seen = [await each.bring_in() for each in cases]
        else:
            seen = [*await asyncio.gather(*(each.bring_in() for each in cases))]
        assert [each.urls(progress) for each, progress in zip(cases, seen, strict=True)] == [case.server.expected()] * 2
        assert case.server.imports <= 1, "it was imported twice"


async def lists_the_wanted_of_many(platform: Platform, module: ModuleType) -> None:
    """Of 300 episodes the newest 100."""
    async with opened(platform, module) as case:
        case.server.listed = episodes(300)
        progress = await case.bring_in(target=100)
        assert case.urls(progress, 100) == case.server.expected(100)


async def shows_no_secret(platform: Platform, module: ModuleType) -> None:
    """Neither logs nor errors nor ``repr`` show what opens an account or a feed."""
    shown: list[str] = []
    handler = _Keep(shown)
    root = logging.getLogger()
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.DEBUG)
    try:
        for spoil in _SPOILS:
            async with opened(platform, module) as case:
                secrets = {*case.credentials.secrets(), case.settings.password, case.server.feed_url} - {""}
                spoil(case)
                try:
                    shown += [repr(case.job()), repr(await case.bring_in())]
                except LikepionError as error:
                    shown += [error.advice, repr(error), "".join(traceback.format_exception(error))]
                for text in shown:
                    assert not [secret for secret in secrets if secret in text], "a secret is shown"
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def _refuse(case: Case) -> None:
    case.server.auth_ok = False


def _lock(case: Case) -> None:
    case.server.locked = True


def _break(case: Case) -> None:
    case.server.fail_next(500)


def _hide(case: Case) -> None:
    """Not there although a person should have brought it."""
    case.server.by_hand = False


def _drop(case: Case) -> None:
    case.server.drop_field = case.server.required[-1]


_SPOILS: tuple[Callable[[Case], None], ...] = (lambda case: None, _refuse, _lock, _break, _hide, _drop)


class _Keep(logging.Handler):
    def __init__(self, shown: list[str]) -> None:
        super().__init__()
        self._shown = shown

    def emit(self, record: logging.LogRecord) -> None:
        self._shown.append(self.format(record))


RULES: tuple[Rule, ...] = (
    describes_itself,
    lists_what_it_submits,
    asks_for_a_person,
    resumes_by_reference,
    resumes_without_reference,
    takes_already_there_as_success,
    submits_twice_without_harm,
    collecting_changes_nothing,
    gives_up_on_locked,
    names_refused_credentials,
    honours_retry_after,
    takes_server_errors_as_passing,
    takes_timeouts_as_passing,
    names_what_changed,
    reads_every_page,
    reads_no_more_than_wanted,
    tells_query_only_addresses_apart,
    takes_twins_for_two,
    takes_nothing_from_a_neighbour_show,
    lets_no_newer_episode_take_a_place,
    takes_one_of_two_equal_shows,
    brings_a_new_episode,
    serves_two_accounts_at_once,
    lists_the_wanted_of_many,
    shows_no_secret,
)
