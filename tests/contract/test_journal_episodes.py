"""One episode once, one URL once, on every database that the journal works on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, select

from likepion_provider.clock import Moment
from likepion_provider.journal import Journal, many
from likepion_provider.journal.keys import named, of_key
from likepion_provider.journal.links import Prepared
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import claim, link, submission
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Record
from likepion_provider.models import LinkState, PostAccount, SecondaryTask
from tests.clocks import VirtualClock

KEY = PostAccount("post", "account")
OTHER = PostAccount("other post", "account")
SITE = "https://tide.example"


@pytest.fixture(autouse=True)
def _as_many_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The few here go through the statements that many go through; in the other files they do not."""
    monkeypatch.setattr(many, "JOINED_FROM", 1)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def now(journal: Journal, clock: VirtualClock) -> Moment:
    return hold(journal, clock, KEY)


def hold(journal: Journal, clock: VirtualClock, key: PostAccount) -> Moment:
    """Let the attempt ``holder`` hold an account for a post."""
    now = Moment.read(clock)
    journal.submissions.note([SecondaryTask(key.account_id, key.request_id, "group", "tide.example")], "run", now.at)
    journal.claims.grant("run", {key: Lease.granted(now)})
    assert set(journal.claims.take_over("run", "holder", [key], now)) == {key}
    return now


def send(journal: Journal, now: Moment, state: LinkState, key: PostAccount = KEY) -> None:
    """Send all that may be sent, and let it end in a state."""
    urls = journal.links.to_send([key])[key]
    sending = journal.links.begin_send(key, "holder", urls, now)
    if state is not LinkState.SENDING:
        word = {LinkState.STORED: True, LinkState.REFUSED: False, LinkState.UNKNOWN: None}[state]
        journal.links.end_send(key, sending, [Record(url, word) for url in urls], now.at)


def urls(journal: Journal, key: PostAccount = KEY) -> list[str]:
    return [each.url for each in journal.links.of_key(key)]


def numbers(journal: Journal, key: PostAccount = KEY) -> tuple[int, int]:
    """The account's links, and those of them that are refused, as they are filed for people."""
    query = select(submission.c.links, submission.c.refused).where(of_key(submission))
    with journal.database.reading() as connection:
        links, refused = connection.execute(query, named(key)).one()
    return links, refused


@pytest.mark.parametrize("state", [LinkState.SENDING, LinkState.STORED, LinkState.UNKNOWN])
def test_an_episode_that_may_be_stored_gets_no_other_url(journal: Journal, now: Moment, state: LinkState) -> None:
    journal.links.prepare(KEY, [("g1", f"{SITE}/old")], now.at)
    send(journal, now, state)
    assert journal.links.prepare(KEY, [("g1", f"{SITE}/new")], now.at) == Prepared(0, 1, 0)
    assert [(each.url, each.state) for each in journal.links.of_key(KEY)] == [(f"{SITE}/old", state)]
    assert journal.links.to_send([KEY]) == {KEY: []}


@pytest.mark.parametrize("refused", [False, True])
def test_an_episode_that_is_not_stored_takes_its_newest_url(journal: Journal, now: Moment, refused: bool) -> None:
    journal.links.prepare(KEY, [("g1", f"{SITE}/old"), ("g2", f"{SITE}/2")], now.at)
    if refused:
        send(journal, now, LinkState.REFUSED)
    prepared = journal.links.prepare(KEY, [("g1", f"{SITE}/new"), ("g2", f"{SITE}/2")], now.at)
    assert prepared == Prepared(0, 2, 0)
    (first, second) = journal.links.of_key(KEY)
    assert (first.url, first.state, first.sends) == (f"{SITE}/new", LinkState.PREPARED, int(refused))
    assert first.evidence == f"in place of {SITE}/old, not stored"
    assert (second.url, second.state) == (f"{SITE}/2", LinkState.REFUSED if refused else LinkState.PREPARED)
    assert numbers(journal) == (2, int(refused))


def test_an_old_url_that_was_read_before_it_was_superseded_is_not_sent(journal: Journal, now: Moment) -> None:
    journal.links.prepare(KEY, [("g1", f"{SITE}/old"), ("g2", f"{SITE}/2")], now.at)
    read = journal.links.to_send([KEY])[KEY]
    journal.links.prepare(KEY, [("g1", f"{SITE}/new")], now.at)
    assert journal.links.begin_send(KEY, "holder", read, now).urls == (f"{SITE}/2",)


def test_a_refused_link_that_took_another_url_is_offered_however_often_the_old_one_was(
    journal: Journal, clock: VirtualClock, now: Moment
) -> None:
    journal.links.prepare(KEY, [("g1", f"{SITE}/old")], now.at)
    for _ in range(5):
        now = hold(journal, clock, KEY)
        send(journal, now, LinkState.REFUSED)
    assert journal.links.to_send([KEY]) == {KEY: []}
    journal.links.prepare(KEY, [("g1", f"{SITE}/new")], now.at)
    assert journal.links.to_send([KEY]) == {KEY: [f"{SITE}/new"]}


@pytest.mark.parametrize(
    "other", ["HTTPS://Tide.Example/a~b", "https://tide.example:443/a%7Eb", "https://tide.example/x/../a~b"]
)
def test_a_url_in_another_spelling_is_there_already(journal: Journal, now: Moment, other: str) -> None:
    journal.links.prepare(KEY, [("g1", other)], now.at)
    assert journal.links.prepare(KEY, [("g1", f"{SITE}/a~b")], now.at) == Prepared(0, 1, 0)
    assert urls(journal) == [other]
    send(journal, now, LinkState.STORED)
    assert journal.links.prepare(KEY, [("g2", f"{SITE}/a~b")], now.at) == Prepared(0, 1, 0)


def test_a_link_is_sent_as_the_platform_spells_it(journal: Journal, now: Moment) -> None:
    spelled = "HTTPS://Tide.Example:443/%7e"
    journal.links.prepare(KEY, [("g1", spelled)], now.at)
    sending = journal.links.begin_send(KEY, "holder", [spelled], now)
    assert sending.urls == (spelled,)
    journal.links.end_send(KEY, sending, [Record(spelled, True)], now.at)
    assert journal.links.states([KEY])[KEY] == {LinkState.STORED: 1}


def test_what_comes_twice_in_one_call_is_put_once(journal: Journal, now: Moment) -> None:
    listed = [("g1", f"{SITE}/1"), ("g1", f"{SITE}/1"), ("g1", f"{SITE}/1b"), ("g2", f"{SITE}/1"), ("g3", f"{SITE}/3")]
    assert journal.links.prepare(KEY, listed, now.at) == Prepared(2, 2, 0)
    assert journal.links.prepare(KEY, listed, now.at) == Prepared(0, 2, 0)
    assert urls(journal) == [f"{SITE}/1", f"{SITE}/3"]
    assert numbers(journal) == (2, 0)


def test_episodes_may_swap_their_urls(journal: Journal, now: Moment) -> None:
    journal.links.prepare(KEY, [("g1", f"{SITE}/1"), ("g2", f"{SITE}/2")], now.at)
    assert journal.links.prepare(KEY, [("g1", f"{SITE}/2"), ("g2", f"{SITE}/1")], now.at) == Prepared(0, 2, 0)
    assert urls(journal) == [f"{SITE}/2", f"{SITE}/1"]
    assert journal.links.prepare(KEY, [("g1", f"{SITE}/2"), ("g2", f"{SITE}/3")], now.at).new == 0
    assert urls(journal) == [f"{SITE}/2", f"{SITE}/3"]


def test_an_episode_that_takes_the_url_of_one_that_is_not_listed_any_more_replaces_it(
    journal: Journal, now: Moment
) -> None:
    journal.links.prepare(KEY, [("g1", f"{SITE}/1"), ("g2", f"{SITE}/2")], now.at)
    assert journal.links.prepare(KEY, [("g1", f"{SITE}/2")], now.at) == Prepared(0, 1, 0)
    assert urls(journal) == [f"{SITE}/2"]
    assert numbers(journal) == (1, 0)


def test_an_episode_whose_new_url_is_stored_as_anothers_is_not_sent_under_its_old_one(
    journal: Journal, clock: VirtualClock, now: Moment
) -> None:
    journal.links.prepare(KEY, [("g2", f"{SITE}/2")], now.at)
    send(journal, now, LinkState.STORED)
    now = hold(journal, clock, KEY)
    journal.links.prepare(KEY, [("g1", f"{SITE}/1")], now.at)
    assert journal.links.prepare(KEY, [("g1", f"{SITE}/2")], now.at) == Prepared(0, 1, 0)
    assert journal.links.to_send([KEY]) == {KEY: []}


def test_an_episode_that_is_not_listed_keeps_its_link(journal: Journal, now: Moment) -> None:
    journal.links.prepare(KEY, [("g1", f"{SITE}/1")], now.at)
    journal.links.prepare(KEY, [("g2", f"{SITE}/2")], now.at)
    assert journal.links.to_send([KEY]) == {KEY: [f"{SITE}/1", f"{SITE}/2"]}


def test_runs_at_once_that_see_different_urls_put_an_episode_once(journal: Journal, now: Moment) -> None:
    def look(number: int) -> int:
        listed = [(f"g{episode}", f"{SITE}/{episode}?seen={number}") for episode in range(10)]
        return journal.links.prepare(KEY, listed, now.at).new

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(look, range(16))) == 10
    assert len({url.split("=")[1] for url in urls(journal)}) == 1, "all of them as the last run saw them"
    assert numbers(journal) == (10, 0)


def test_of_a_look_and_an_insert_at_once_no_episode_is_sent_twice(journal: Journal, now: Moment) -> None:
    listed = [(f"g{episode}", f"{SITE}/{episode}") for episode in range(10)]
    journal.links.prepare(KEY, listed, now.at)
    read = journal.links.to_send([KEY])[KEY]
    with ThreadPoolExecutor(2) as pool:
        sending = pool.submit(journal.links.begin_send, KEY, "holder", read, now)
        again = pool.submit(journal.links.prepare, KEY, [(guid, f"{url}/new") for guid, url in listed], now.at)
        assert again.result().links == 10
    sent = set(sending.result().urls)
    assert sent in (set(), set(read))
    left = set(journal.links.to_send([KEY])[KEY])
    assert left == (set() if sent else {f"{url}/new" for url in read})


# --- once per account ---


@pytest.mark.parametrize("state", [LinkState.SENDING, LinkState.STORED, LinkState.UNKNOWN])
@pytest.mark.parametrize("listed", [("g1", f"{SITE}/new"), ("another guid", f"{SITE}/1")])
def test_an_account_gets_nothing_that_it_may_have_under_another_post(
    journal: Journal, clock: VirtualClock, now: Moment, state: LinkState, listed: tuple[str, str]
) -> None:
    journal.links.prepare(KEY, [("g1", f"{SITE}/1")], now.at)
    send(journal, now, state)
    hold(journal, clock, OTHER)
    episodes = [listed, ("g2", f"{SITE}/2")]
    assert journal.links.prepare(OTHER, episodes, now.at, once_per_account=True) == Prepared(1, 1, 1)
    assert urls(journal, OTHER) == [f"{SITE}/2"]
    assert journal.links.prepare(OTHER, episodes, now.at).new == 1, "once per post is another matter"


def test_what_another_post_has_not_sent_moves_to_the_newest(journal: Journal, clock: VirtualClock, now: Moment) -> None:
    journal.links.prepare(KEY, [("g1", f"{SITE}/1"), ("g2", f"{SITE}/2")], now.at)
    hold(journal, clock, OTHER)
    prepared = journal.links.prepare(OTHER, [("g1", f"{SITE}/1")], now.at, once_per_account=True)
    assert prepared == Prepared(1, 1, 0)
    assert (urls(journal), urls(journal, OTHER)) == ([f"{SITE}/2"], [f"{SITE}/1"])
    assert (numbers(journal)[0], numbers(journal, OTHER)[0]) == (1, 1)


def test_other_accounts_do_not_count(journal: Journal, now: Moment) -> None:
    journal.links.prepare(PostAccount("other post", "another"), [("g1", f"{SITE}/1")], now.at)
    assert journal.links.prepare(KEY, [("g1", f"{SITE}/1")], now.at, once_per_account=True) == Prepared(1, 1, 0)


@pytest.mark.parametrize("once_per_account", [False, True])
def test_the_links_that_are_there_are_found_by_an_index(journal: Journal, now: Moment, once_per_account: bool) -> None:
    statements: list[tuple[str, object]] = []
    event.listen(
        journal.database.engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, parameters, *_: statements.append((statement, parameters)),
    )
    journal.links.prepare(KEY, [("g1", f"{SITE}/1")], now.at, once_per_account=once_per_account)
    ((statement, parameters),) = [each for each in statements if each[0].startswith("SELECT likepion_link.id")]
    with journal.database.reading() as connection:
        if connection.dialect.name == "sqlite":
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        else:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            rows = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).all()
    words = " ".join(str(row) for row in rows)
    assert "likepion_link_once" in words or "likepion_link_1" in words, words
    assert "SCAN likepion_link" not in words


# --- any order of looks and inserts ---

looks = st.lists(st.tuples(st.sampled_from(["g1", "g2", "g3"]), st.sampled_from("abcd")), max_size=4)
steps = st.lists(st.tuples(st.sampled_from([KEY, OTHER]), looks | st.sampled_from(list(LinkState)[1:])), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, once_per_account=st.booleans())
def test_in_any_order_no_episode_and_no_url_is_stored_twice(
    journal: Journal, clock: VirtualClock, steps: list[tuple[PostAccount, object]], once_per_account: bool
) -> None:
    with journal.database.writing() as connection:
        for table in (link, submission, claim):
            connection.execute(delete(table).where(of_manager(table)))
    stored: list[tuple[str, str, str]] = []
    for key, step in steps:
        now = hold(journal, clock, key)
        if isinstance(step, LinkState):
            before = set(journal.links.to_send([key])[key])
            episodes = _episodes(journal, key)
            send(journal, now, step, key)
            if step is not LinkState.REFUSED:
                post = "" if once_per_account else key.request_id
                stored += [(post, episodes[url], url) for url in before]
        else:
            listed = [(guid, f"{SITE}/{page}") for guid, page in step]  # type: ignore[attr-defined]
            prepared = journal.links.prepare(key, listed, now.at, once_per_account=once_per_account)
            assert prepared.links == len(urls(journal, key)) == numbers(journal, key)[0]
    assert len({(post, episode) for post, episode, _ in stored}) == len(stored)
    assert len({(post, url) for post, _, url in stored}) == len(stored)


def _episodes(journal: Journal, key: PostAccount) -> dict[str, str]:
    query = select(link.c.url, link.c.episode).where(of_key(link))
    with journal.database.reading() as connection:
        return {row.url: row.episode for row in connection.execute(query, named(key))}
