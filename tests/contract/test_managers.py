"""Two managers in one journal, with equal ids: whatever is done for one, the other's rows and answers stay the same."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Engine, create_engine, select, text

from likepion_provider.board.questions import Filter, Overview
from likepion_provider.clock import Moment
from likepion_provider.errors import BadRequest, LikepionError, NotJournaled
from likepion_provider.journal import Journal, TaskName
from likepion_provider.journal.bulk import OfTable
from likepion_provider.journal.claims import HANDED_OVER
from likepion_provider.journal.database import Database
from likepion_provider.journal.schema import metadata
from likepion_provider.journal.settling import BY_HAND
from likepion_provider.journal.unfinished import Left
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Record
from likepion_provider.models import ImportState, LinkState, PostAccount, SecondaryTask, Standing
from tests import MANAGER
from tests.clocks import VirtualClock
from tests.fakes import episodes
from tests.owned import OWNED, nameless

OTHER = "https://staging.example"
KEYS = [PostAccount("post", f"account-{number}") for number in range(8)]
URLS = ["https://tide.example/1", "https://tide.example/2"]
LEASE_S = 900.0
Rows = dict[str, list[dict[str, Any]]]


class Times(NamedTuple):
    """When something is played.

    :param now: while the claims hold.
    :param later: after they have lapsed.
    """

    now: Moment
    later: Moment


@pytest.fixture
def times() -> Times:
    clock = VirtualClock()
    now = Moment.read(clock)
    clock.advance(LEASE_S + 60)
    return Times(now, Moment.read(clock))


def tell(journal: Journal, now: Moment, *, turn: int) -> None:
    """An account in each state that there is.

    :param turn: by how many places the states are dealt out otherwise.
    """
    keys = KEYS[turn:] + KEYS[:turn]
    delivered, found, lost, refused, sending, failed, reported, alone = keys
    # Days are told apart by an account that delivered on two.
    deliver(journal, delivered, "https://tide.example/0", dataclasses.replace(now, at=now.at - timedelta(days=1)))
    group, domain = ("group", "tide.example") if not turn else ("group", "moon.example")
    tasks = [SecondaryTask(key.account_id, key.request_id, group, domain) for key in keys]
    if turn:
        tasks[-1] = dataclasses.replace(tasks[-1], group_id="theirs")
    lease = Lease.granted(dataclasses.replace(now, at=now.at - timedelta(seconds=turn)))
    journal.submissions.note(tasks, "run", now.at, pulled=True)
    journal.claims.grant("run", dict.fromkeys(keys[:7], lease))
    journal.claims.take_over("run", "holder", keys[:7], now)
    journal.submissions.worked_by(keys, TaskName("dag", "run", "task", turn))
    for key in (delivered, found, lost, refused, sending):
        journal.submissions.begin(key, "holder", now)
        journal.submissions.record(key, "holder", now, state=ImportState.LISTED, reference=f"show-{turn}")
        journal.links.prepare(key, episodes(URLS), now.at)
    for key, outcome in ((delivered, True), (lost, None), (refused, False), (sending, None)):
        sent = journal.links.begin_send(key, "holder", URLS, now)
        if key is not sending:
            journal.links.end_send(key, sent, [Record(url, outcome) for url in URLS], now.at)
    for key in (failed, reported):
        journal.submissions.record(key, "holder", now, state=ImportState.FAILED, permanent=True)
        journal.failures.put(key, "holder", "why", now)
    journal.failures.end_send(reported, journal.failures.begin_send(reported, "holder", now), LinkState.UNKNOWN)
    journal.claims.grant(HANDED_OVER, {alone: lease})
    journal.settings.note_pace(200 + turn, 100)
    journal.managers.begin_run(f"dag-{turn}", now.at)
    if turn:
        journal.unfinished.in_vain(["post"], [], now.at)
        journal.settings.report_outage(now.at)
        journal.settling.set_mode(BY_HAND)


def deliver(journal: Journal, key: PostAccount, url: str, now: Moment) -> None:
    journal.submissions.note([SecondaryTask(key.account_id, key.request_id, "group", "tide.example")], "run", now.at)
    journal.claims.grant("run", {key: Lease.granted(now)})
    journal.claims.take_over("run", "holder", [key], now)
    journal.links.prepare(key, episodes([url]), now.at)
    journal.links.end_send(key, journal.links.begin_send(key, "holder", [url], now), [Record(url, True)], now.at)


def settle(journal: Journal, link_id: int, times: Times) -> Any:
    """What becomes of a link that may be anybody's."""
    try:
        return journal.settling.settle(link_id, is_there=True, who="somebody", note="", at=times.now.at)
    except BadRequest as error:
        return str(error)


def send(journal: Journal, times: Times) -> Any:
    return journal.links.begin_send(KEYS[1], "holder", URLS, times.now)


#: Every method of every table; what each does with the first manager's rows, or what it says of them.
PLAYS: dict[str, Callable[[Journal, Times], Any]] = {
    "claims.grant": lambda j, t: j.claims.grant("other", dict.fromkeys(KEYS, Lease.granted(t.later))),
    "claims.reserve": lambda j, t: j.claims.reserve("other", KEYS, Lease.granted(t.later), t.later),
    "claims.adopt": lambda j, t: j.claims.adopt("other", 100, t.now),
    "claims.ours": lambda j, t: j.claims.ours([key.account_id for key in KEYS], t.now),
    "claims.served": lambda j, t: j.claims.served(KEYS),
    "claims.take_over": lambda j, t: sorted(j.claims.take_over("run", "other", KEYS, t.now)),
    "claims.take_up": lambda j, t: sorted(j.claims.take_up("run", KEYS, t.now)),
    "claims.reasons": lambda j, t: j.claims.reasons("run", KEYS, t.now),
    "claims.leases": lambda j, t: j.claims.leases("run", KEYS, t.now),
    "claims.live": lambda j, t: j.claims.live("run", [key.account_id for key in KEYS], t.now),
    "claims.refusals": lambda j, t: [str(each) for each in j.claims.refusals(KEYS, "holder", t.now)],
    "claims.extend": lambda j, t: j.claims.extend("run", [k.account_id for k in KEYS], Lease.granted(t.later)),
    "claims.confirm": lambda j, t: j.claims.confirm("run", [k.account_id for k in KEYS], Lease.granted(t.later)),
    "claims.claim_anew": lambda j, t: j.claims.claim_anew("run", "holder", KEYS[0].account_id, Lease.granted(t.later)),
    "claims.hand_over": lambda j, t: j.claims.hand_over("run", [key.account_id for key in KEYS], "holder"),
    "claims.let_go": lambda j, t: j.claims.let_go("run", [key.account_id for key in KEYS]),
    "submissions.note": lambda j, t: j.submissions.note(
        [SecondaryTask(key.account_id, key.request_id, "moved", "moved.example") for key in KEYS], "next", t.later.at
    ),
    "submissions.worked_by": lambda j, t: j.submissions.worked_by(KEYS, TaskName("d", "r", "t")),
    "submissions.set_aside": lambda j, t: j.submissions.set_aside(KEYS, "somebody", "", t.later.at),
    "submissions.begin": lambda j, t: j.submissions.begin(KEYS[1], "holder", t.now),
    "submissions.begin_refresh": lambda j, t: j.submissions.begin_refresh(KEYS[1], "holder", t.now),
    "submissions.record": lambda j, t: j.submissions.record(KEYS[1], "holder", t.now, state=ImportState.IN_REVIEW),
    "submissions.trouble": lambda j, t: j.submissions.trouble(KEYS[1], "holder", t.now),
    "submissions.set_back": lambda j, t: j.submissions.set_back(
        KEYS[1], "holder", t.now, message="why", remedy="what", not_before=t.later.at
    ),
    "submissions.get": lambda j, t: j.submissions.get(KEYS),
    "submissions.incomplete": lambda j, t: j.submissions.incomplete(KEYS, t.now.at + timedelta(days=1)),
    "submissions.looked_at": lambda j, t: j.submissions.looked_at(KEYS, t.later.at),
    "submissions.of_account": lambda j, t: j.submissions.of_account(KEYS[0].account_id),
    "submissions.account_ids": lambda j, t: [
        j.submissions.account_ids(group_id="group", limit=100),
        j.submissions.account_ids(domains=["tide.example", "moon.example"], limit=100),
    ],
    "submissions.known_groups": lambda j, t: j.submissions.known_groups(["group", "theirs"]),
    "links.prepare": lambda j, t: [
        j.links.prepare(key, [*episodes(URLS), ("new", "https://tide.example/new")], t.later.at, once_per_account=each)
        for key, each in zip(KEYS, [True, False] * 4, strict=True)
    ],
    "links.to_send": lambda j, t: j.links.to_send(KEYS),
    "links.begin_send": send,
    "links.end_send": lambda j, t: j.links.end_send(
        KEYS[1], send(j, t), [Record(URLS[0], True), Record(URLS[1], False)], t.now.at
    ),
    "links.fail_send": lambda j, t: j.links.fail_send(KEYS[1], send(j, t), LinkState.PREPARED, "", t.now.at),
    "links.orphaned": lambda j, t: j.links.orphaned(KEYS, t.later.at),
    "links.prune": lambda j, t: j.links.prune(t.later.at),
    "links.leftovers": lambda j, t: j.links.leftovers(KEYS),
    "links.states": lambda j, t: j.links.states(KEYS),
    "links.evidence": lambda j, t: [j.links.evidence(key, state) for key in KEYS for state in LinkState],
    "links.pages": lambda j, t: j.links.pages(KEYS, 100),
    "links.listed": lambda j, t: [
        j.links.listed(),
        [j.links.listed(state=state) for state in LinkState],
        j.links.listed(group_id="group"),
        j.links.listed(retired=True),
    ],
    "links.of_key": lambda j, t: [j.links.of_key(key) for key in KEYS],
    "failures.put": lambda j, t: j.failures.put(KEYS[1], "holder", "why", t.now),
    "failures.to_send": lambda j, t: [j.failures.to_send(key) for key in KEYS],
    "failures.begin_send": lambda j, t: j.failures.begin_send(KEYS[5], "holder", t.now),
    "failures.end_send": lambda j, t: j.failures.end_send(
        KEYS[5], j.failures.begin_send(KEYS[5], "holder", t.now), LinkState.STORED
    ),
    "unfinished.due": lambda j, t: [j.unfinished.due(why, 100, t.later.at) for why in Left],
    "unfinished.put_off": lambda j, t: j.unfinished.put_off(KEYS, t.later.at),
    "unfinished.in_vain": lambda j, t: [
        j.unfinished.in_vain(["post"], KEYS, t.now.at + timedelta(days=day)) for day in (0, 15)
    ],
    "unfinished.revive": lambda j, t: [
        j.unfinished.in_vain(["post"], KEYS, t.later.at),
        j.unfinished.revive(["post"]),
    ],
    "settling.mode": lambda j, t: j.settling.mode(),
    "settling.set_mode": lambda j, t: j.settling.set_mode(BY_HAND),
    "settling.park_stale": lambda j, t: j.settling.park_stale(t.later.at),
    "settling.reappeared": lambda j, t: [
        j.settling.reappeared(KEYS[1:], t.later.at),
        j.settling.reappeared(KEYS, t.later.at),
    ],
    "settling.presumable": lambda j, t: j.settling.presumable([], t.later.at),
    "settling.presume": lambda j, t: [j.settling.presume(key, t.later.at) for key in KEYS],
    "settling.settle": lambda j, t: [settle(j, link_id, t) for link_id in range(1, 40)],
    "settling.settle_all": lambda j, t: j.settling.settle_all(
        range(1, 40), is_there=True, who="somebody", note="", at=t.later.at
    ),
    "settling.resend": lambda j, t: j.settling.resend(KEYS, t.later.at, "somebody", t.later.at),
    "settling.forgive": lambda j, t: j.settling.forgive(KEYS, t.later.at),
    "settings.pace": lambda j, t: j.settings.pace(),
    "settings.note_pace": lambda j, t: j.settings.note_pace(100, 50),
    "settings.outage_reported_at": lambda j, t: j.settings.outage_reported_at(),
    "settings.report_outage": lambda j, t: j.settings.report_outage(t.later.at),
    "settings.end_outage": lambda j, t: j.settings.end_outage(),
    "managers.begin_run": lambda j, t: j.managers.begin_run("dag-3", t.later.at),
    "board.totals": lambda j, t: Overview(j.database).totals(),
    "board.groups": lambda j, t: [Overview(j.database).groups(group_id=group) for group in ("", "gr")],
    "board.accounts": lambda j, t: [
        Overview(j.database).accounts(which, t.now)
        for which in (
            Filter(),
            Filter(group_id="group"),
            Filter(domain="moon.example"),
            Filter(standing=Standing.UNKNOWN),
            Filter(run_id="run", map_index=0),
            Filter(text="account-3"),
        )
    ],
    "board.every_account": lambda j, t: [*Overview(j.database).every_account(Filter())],
    "board.links": lambda j, t: [Overview(j.database).links(key) for key in KEYS],
    "board.unknown": lambda j, t: [Overview(j.database).unknown(Filter(group_id=group)) for group in ("", "group")],
    "board.parked_links": lambda j, t: Overview(j.database).parked_links(Filter(domain="tide.example"), 100),
    "board.keys": lambda j, t: Overview(j.database).keys(Filter(), 100),
    "board.history": lambda j, t: [Overview(j.database).history(key) for key in KEYS],
    "board.waiting": lambda j, t: Overview(j.database).waiting(Filter(), 100),
    "board.reasons": lambda j, t: Overview(j.database).reasons(),
    "board.failed": lambda j, t: Overview(j.database).failed(t.now.at.date() - timedelta(days=2)),
    "board.delivery_times": lambda j, t: Overview(j.database).delivery_times(t.now.at.date() - timedelta(days=2)),
    "board.delivered": lambda j, t: Overview(j.database).delivered(t.now.at.date() - timedelta(days=2)),
}
#: About all managers at once, or used by what is played above.
NOT_PLAYED = {"managers.listed", "managers.counts", "managers.rename"}


def methods() -> Iterator[str]:
    tables = ("claims", "submissions", "links", "failures", "unfinished", "settling", "settings", "managers")
    journal = Journal.__new__(Journal)
    Journal.__init__(journal, SimpleNamespace(engine=create_engine("sqlite://")))  # type: ignore[arg-type]
    for name, table in ((each, type(getattr(journal, each))) for each in tables):
        yield from (f"{name}.{each}" for each, _ in inspect.getmembers(table, _is_method) if each[0] != "_")
    yield from (f"board.{each}" for each, _ in inspect.getmembers(Overview, inspect.isfunction) if each[0] != "_")


def _is_method(member: object) -> bool:
    return inspect.isfunction(member) or isinstance(member, OfTable)


def test_every_method_of_the_journal_is_played() -> None:
    assert {*methods()} - NOT_PLAYED == {*PLAYS}


class Twins:
    """Two managers' rows in one database, which are put back before each play."""

    def __init__(self, journal: Journal, engine: Engine, times: Times) -> None:
        # Of its own, as the journal's own reads nothing of two managers.
        self._engine = engine
        self.ours, self._times = journal, times
        self.theirs = Journal(journal.database.of(OTHER))
        tell(self.ours, times.now, turn=0)
        self._alone = self._read()
        tell(self.theirs, times.now, turn=3)
        self._both = self._read()

    def play(self, name: str, *, alone: bool) -> tuple[str, Rows, Rows]:
        """What is answered, and what the two managers' rows are then."""
        self._write(self._alone if alone else self._both)
        try:
            answer = PLAYS[name](self.ours, self._times)
        except LikepionError as error:
            answer = error
        rows = self._read()
        return _plain(answer), _of(self.ours, rows), _of(self.theirs, rows)

    @property
    def before(self) -> Rows:
        """Their rows, untouched."""
        return _of(self.theirs, self._both)

    def _read(self) -> Rows:
        with self._engine.connect() as connection:
            tables = [metadata.tables[name] for name in OWNED]
            found = {each: connection.execute(select(each).order_by(*each.primary_key)).mappings() for each in tables}
            return {table.name: [dict(row) for row in rows] for table, rows in found.items()}

    def _write(self, rows: Rows) -> None:
        with self._engine.begin() as connection:
            for name in OWNED:
                connection.execute(text(f"DELETE FROM {name}"))
                given = [each.name for each in metadata.tables[name].c if each.computed is None]
                if rows[name]:
                    put = [{column: row[column] for column in given} for row in rows[name]]
                    connection.execute(metadata.tables[name].insert(), put)


def _of(journal: Journal, rows: Rows) -> Rows:
    number = journal.database.manager_id
    return {table: [row for row in found if row["manager_id"] == number] for table, found in rows.items()}


def _plain(value: Any) -> str:
    """As text, without the names that are made up anew each time."""
    return re.sub(r"\b[0-9a-f]{32}\b", "a name", repr(value))


def _without_new_ids(rows: Rows) -> str:
    return _plain({name: [{**row, "id": None} for row in found] for name, found in rows.items()})


def test_neither_sees_nor_touches_the_other(journal: Journal, journal_url: str, times: Times) -> None:
    engine = create_engine(journal_url)
    twins = Twins(journal, engine, times)
    for name in PLAYS:
        answer, ours, _ = twins.play(name, alone=True)
        beside, ours_beside, theirs = twins.play(name, alone=False)
        assert beside == answer, name
        assert _without_new_ids(ours_beside) == _without_new_ids(ours), name
        assert theirs == twins.before, name
    engine.dispose()


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        ("SELECT likepion_link.url FROM likepion_link WHERE likepion_link.state = ?", ["likepion_link"]),
        ("UPDATE likepion_link SET url=? WHERE likepion_link.manager_id = ? AND likepion_link.id = ?", []),
        ("DELETE FROM likepion_claim WHERE likepion_claim.account_id = %(account)s", ["likepion_claim"]),
        ("INSERT INTO likepion_claim (account_id) VALUES (?)", ["likepion_claim"]),
        ("INSERT INTO likepion_claim (manager_id, account_id) VALUES (?, ?)", []),
        (
            "SELECT 1 FROM likepion_link JOIN likepion_submission ON likepion_link.account_id = "
            "likepion_submission.account_id WHERE likepion_link.manager_id = ?",
            ["likepion_submission"],
        ),
        (
            "SELECT 1 FROM likepion_link JOIN likepion_submission ON likepion_link.manager_id = "
            "likepion_submission.manager_id",
            ["likepion_link", "likepion_submission"],
        ),
        ("SELECT likepion_manager.id FROM likepion_manager", []),
    ],
)
def test_the_guard_finds_a_statement_that_names_no_manager(statement: str, tables: list[str]) -> None:
    assert nameless(statement) == tables


def test_an_address_has_one_manager_however_it_is_spelled(journal: Journal) -> None:
    spellings = [
        "https://Staging.example",
        "HTTPS://staging.example:443/",
        "https://u:s3cret-of-a-test@staging.example",
    ]
    assert len({journal.database.of(each) for each in spellings}) == 1
    others = ["http://staging.example", "https://staging.example:8443", "https://staging.example/two"]
    assert len({journal.database.of(each) for each in [*others, OTHER]}) == 4
    assert "s3cret" not in repr(journal.managers.listed())


def test_a_transaction_of_no_manager_reads_and_writes_nothing(journal_url: str, times: Times) -> None:
    database = Database(journal_url)
    nobodys = Journal(database)
    for play in (nobodys.settings.pace, lambda: nobodys.links.prepare(KEYS[0], episodes(URLS), times.now.at)):
        with pytest.raises((RuntimeError, NotJournaled), match="for no manager"):
            play()
    database.close()


def test_what_is_written_within_another_managers_transaction_is_ones_own(journal: Journal, times: Times) -> None:
    theirs = Journal(journal.database.of(OTHER))
    with journal.database.writing():
        theirs.settings.report_outage(times.now.at)
        journal.settings.note_pace(100, 50)
        assert theirs.database.manager_id != journal.database.manager_id
    assert (journal.settings.pace(), journal.settings.outage_reported_at()) == (50, None)
    assert (theirs.settings.pace(), theirs.settings.outage_reported_at()) == (None, times.now.at)


def test_managers_are_listed_with_what_they_have(journal: Journal, times: Times) -> None:
    tell(journal, times.now, turn=0)
    journal.managers.begin_run("newer", times.later.at)
    journal.database.of(OTHER)
    ours, theirs = journal.managers.listed()
    assert (ours.address, ours.dag_ids, ours.used_at) == (MANAGER, ("newer", "dag-0"), times.later.at)
    assert (theirs.address, theirs.dag_ids, theirs.used_at) == (OTHER, (), None)
    assert [journal.managers.counts(each) for each in (ours, theirs)] == [(8, 11), (0, 0)]


def test_a_first_run_is_told_of_the_only_other_manager(journal: Journal, times: Times) -> None:
    second, third = (Journal(journal.database.of(each)) for each in (OTHER, "https://third.example"))
    assert journal.managers.begin_run("dag", times.now.at) == "", "a journal that is new"
    assert second.managers.begin_run("dag", times.now.at) == "", "the other has no rows"
    tell(journal, times.now, turn=0)
    assert second.managers.begin_run("dag", times.now.at) == "", "not the first run"
    assert third.managers.begin_run("dag", times.now.at) == MANAGER
    tell(second, times.now, turn=3)
    assert Journal(journal.database.of("https://fourth.example")).managers.begin_run("dag", times.now.at) == ""


def test_a_new_address_takes_the_rows_of_the_old_one(journal: Journal, times: Times) -> None:
    tell(journal, times.now, turn=0)
    before = journal.links.listed()
    new = Journal(journal.database.of(OTHER))
    assert new.managers.begin_run("dag", times.later.at) == MANAGER
    new.settings.report_outage(times.later.at)
    new.managers.rename(f"{MANAGER}/", "HTTPS://STAGING.example")
    (only,) = journal.managers.listed()
    assert (only.address, only.dag_ids) == (OTHER, ("dag-0",))
    renamed = Journal(journal.database.of(OTHER))
    assert renamed.links.listed() == before
    assert renamed.settings.outage_reported_at() is None
    assert Journal(journal.database.of(MANAGER)).links.listed() == [], "the old address is a new manager"


def test_two_managers_with_rows_are_not_made_one(journal: Journal, times: Times) -> None:
    other = Journal(journal.database.of(OTHER))
    tell(journal, times.now, turn=0)
    other.claims.grant("run", {KEYS[0]: Lease.granted(times.now)})
    with pytest.raises(BadRequest, match="has accounts of https://staging.example already"):
        journal.managers.rename(MANAGER, OTHER)
    with pytest.raises(BadRequest, match="knows no manager https://nowhere.example"):
        journal.managers.rename("https://nowhere.example", "https://else.example")
    journal.managers.rename(MANAGER, MANAGER)
    assert [each.address for each in journal.managers.listed()] == [MANAGER, OTHER]
    assert len(journal.links.listed()) == 11
