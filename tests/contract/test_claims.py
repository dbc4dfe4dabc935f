"""The claim rule, on every database: what may be claimed without a pull, and what may not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from likepion_provider.clock import Moment
from likepion_provider.errors import LeaseLost
from likepion_provider.journal import Journal, Sending
from likepion_provider.journal.claims import HANDED_OVER
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Record
from likepion_provider.models import LinkState, PostAccount
from tests.clocks import VirtualClock
from tests.fakes import episodes

KEY = PostAccount("post", "account")
NEWER = PostAccount("newer post", "account")
URLS = ["https://tide.example/1", "https://tide.example/2"]
TAKEN, BUSY, NEITHER = "taken", "busy", "neither"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


class Scene:
    """One account and its journal."""

    def __init__(self, journal: Journal, clock: VirtualClock) -> None:
        self.journal = journal
        self.clock = clock
        self.claims = journal.claims

    def now(self) -> Moment:
        return Moment.read(self.clock)

    def lease(self) -> Lease:
        return Lease.granted(self.now())

    def pulled(self, scope: str = "run") -> None:
        self.claims.grant(scope, {KEY: self.lease()})
        self.claims.take_over(scope, "holder", [KEY], self.now())

    def begun(self) -> Sending:
        self.journal.links.prepare(KEY, episodes(URLS), self.clock.now())
        return self.journal.links.begin_send(KEY, "holder", URLS, self.now())

    def ended(self, *stored: bool | None) -> None:
        """An insert under a pull's claim, with what the manager says of each link."""
        self.pulled()
        records = [Record(url, each) for url, each in zip(URLS, stored, strict=True)]
        self.journal.links.end_send(KEY, self.begun(), records, self.clock.now())
        self.claims.let_go("run", [KEY.account_id])

    def reserved(self, scope: str = "another run", key: PostAccount = KEY, *, confirmed_counts: bool = True) -> str:
        answer = self.claims.reserve(scope, [key], self.lease(), self.now(), confirmed_counts=confirmed_counts)
        assert not answer.taken.keys() & answer.busy
        return TAKEN if key in answer.taken else BUSY if key in answer.busy else NEITHER


@pytest.fixture
def scene(journal: Journal, clock: VirtualClock) -> Scene:
    return Scene(journal, clock)


def test_what_nobody_of_us_ever_had_comes_from_a_pull_only(scene: Scene) -> None:
    assert scene.reserved() == NEITHER
    assert scene.reserved() == NEITHER, "to ask for it gave no claim"
    assert scene.claims.ours([KEY.account_id], scene.now()) == []


def test_a_claim_of_ours_that_holds_may_be_taken_up_and_only_within_its_own_time(scene: Scene) -> None:
    scene.pulled()
    scene.claims.let_go("run", [KEY.account_id])
    scene.clock.advance(500)
    answer = scene.claims.reserve("another run", [KEY], scene.lease(), scene.now())
    assert answer.taken[KEY].remaining_s(scene.now()) == 400, "until the manager says more"


@pytest.mark.parametrize(("passed_s", "found"), [(839, TAKEN), (840, NEITHER), (901, NEITHER)])
def test_a_claim_of_ours_that_has_lapsed_is_not_claimed_again(scene: Scene, passed_s: float, found: str) -> None:
    scene.pulled()
    scene.claims.let_go("run", [KEY.account_id])
    scene.clock.advance(passed_s)
    assert scene.reserved() == found


def test_what_another_run_of_ours_works_is_busy_until_it_lets_go(scene: Scene) -> None:
    scene.pulled()
    assert scene.reserved() == BUSY
    assert scene.reserved("run") == TAKEN, "its own again"
    scene.claims.let_go("run", [KEY.account_id], holder="nobody")
    assert scene.reserved() == BUSY, "an overtaken attempt lets nothing go"
    scene.claims.let_go("run", [KEY.account_id])
    assert scene.reserved() == TAKEN


def test_a_claim_is_for_its_own_post(scene: Scene) -> None:
    scene.pulled()
    scene.claims.let_go("run", [KEY.account_id])
    assert scene.reserved(key=NEWER) == NEITHER
    assert scene.reserved() == TAKEN, "and it stays"


@pytest.mark.parametrize("said", [(False, False), (None, None), (False, None)])
def test_an_insert_ends_its_claim_even_if_it_stores_nothing(scene: Scene, said: tuple[bool | None, ...]) -> None:
    scene.ended(*said)
    assert scene.reserved() == NEITHER
    assert scene.claims.ours([KEY.account_id], scene.now()) == []


@pytest.mark.parametrize("of_failure", [False, True])
def test_an_insert_that_began_has_ended_its_claim_for_everybody(scene: Scene, *, of_failure: bool) -> None:
    scene.pulled()
    if of_failure:
        scene.journal.failures.put(KEY, "holder", "wrong password", scene.now())
        assert scene.journal.failures.begin_send(KEY, "holder", scene.now())
    else:
        scene.begun()
    (row,) = scene.claims.live("run", [KEY.account_id], scene.now()).values()
    assert row.is_spent
    assert scene.claims.leases("run", [KEY], scene.now()) == {}
    (refusal,) = scene.claims.refusals([KEY], "holder", scene.now())
    assert "an insert has ended the claim" in str(refusal)
    assert scene.claims.take_over("run", "a later attempt", [KEY], scene.now())[KEY].is_spent
    with pytest.raises(LeaseLost, match="an insert has ended"):
        scene.journal.links.begin_send(KEY, "a later attempt", URLS, scene.now())
    scene.claims.let_go("run", [KEY.account_id])
    assert scene.reserved() == NEITHER


def test_where_nothing_is_left_to_send_no_claim_ends(scene: Scene) -> None:
    scene.pulled()
    assert scene.journal.links.begin_send(KEY, "holder", URLS, scene.now()).urls == ()
    assert scene.journal.failures.begin_send(KEY, "holder", scene.now()) == ""
    assert scene.claims.refusals([KEY], "holder", scene.now()) == [None]


@pytest.mark.parametrize("of_failure", [False, True])
def test_an_insert_that_provably_was_not_sent_gives_the_claim_back(scene: Scene, *, of_failure: bool) -> None:
    scene.pulled()
    if of_failure:
        scene.journal.failures.put(KEY, "holder", "wrong password", scene.now())
        send_id = scene.journal.failures.begin_send(KEY, "holder", scene.now())
        scene.journal.failures.end_send(KEY, send_id, LinkState.PREPARED)
    else:
        scene.journal.links.fail_send(KEY, scene.begun(), LinkState.PREPARED, "refused", scene.clock.now())
    assert scene.claims.refusals([KEY], "holder", scene.now()) == [None]
    scene.claims.let_go("run", [KEY.account_id])
    assert scene.reserved() == TAKEN


def test_an_older_insert_that_was_not_sent_gives_no_newer_ones_claim_back(scene: Scene) -> None:
    scene.pulled()
    older = scene.begun()
    scene.claims.claim_anew("run", "holder", KEY.account_id, scene.lease())
    scene.journal.links.prepare(KEY, episodes(["https://tide.example/3"]), scene.clock.now())
    scene.journal.links.begin_send(KEY, "holder", ["https://tide.example/3"], scene.now())
    scene.journal.links.fail_send(KEY, older, LinkState.PREPARED, "refused", scene.clock.now())
    assert scene.claims.live("run", [KEY.account_id], scene.now())[KEY.account_id].is_spent


def test_a_confirmed_link_lets_its_account_be_claimed_whenever(scene: Scene) -> None:
    scene.ended(True, False)
    assert scene.claims.served([KEY, NEWER]) == {KEY}
    assert scene.reserved(key=NEWER) == NEITHER, "for its own post"
    assert scene.reserved(confirmed_counts=False) == NEITHER, "a person says that it is lost"
    scene.clock.advance(90_000)
    assert scene.reserved() == TAKEN
    assert scene.reserved("a third run") == BUSY


@pytest.mark.parametrize("state", [LinkState.STORED, LinkState.UNKNOWN, LinkState.REFUSED])
def test_a_report_of_failure_counts_once_it_is_confirmed(scene: Scene, state: LinkState) -> None:
    scene.pulled()
    scene.journal.failures.put(KEY, "holder", "wrong password", scene.now())
    send_id = scene.journal.failures.begin_send(KEY, "holder", scene.now())
    scene.journal.failures.end_send(KEY, send_id, state)
    scene.clock.advance(901)
    assert scene.reserved() == (TAKEN if state is LinkState.STORED else NEITHER)


def test_a_presumed_link_lets_nothing_be_claimed(scene: Scene) -> None:
    scene.ended(None, None)
    scene.clock.advance(901)
    scene.journal.settling.presume(KEY, scene.clock.now())
    assert scene.claims.served([KEY]) == set()
    assert scene.reserved() == NEITHER


@pytest.mark.parametrize("pruned", [False, True])
def test_what_a_person_says_is_lost_lets_nothing_be_claimed(scene: Scene, *, pruned: bool) -> None:
    scene.ended(True, True)
    later = scene.clock.now() + timedelta(days=1)
    if pruned:
        scene.journal.links.prune(later)
    scene.journal.settling.resend([KEY], later, "run", later)
    assert scene.claims.served([KEY]) == set()
    assert scene.journal.links.to_send([KEY])[KEY] == ([] if pruned else URLS)
    scene.clock.advance(90_000)
    scene.journal.settling.reappeared([KEY], scene.clock.now())
    assert scene.journal.links.to_send([KEY])[KEY] == ([] if pruned else URLS), "what was pruned has no URL to send"


def test_nothing_rests_on_a_reservation_that_the_manager_did_not_confirm(scene: Scene) -> None:
    scene.ended(True, False)
    assert scene.reserved() == TAKEN
    assert not scene.claims.leases("another run", [KEY], scene.now())
    assert scene.claims.ours([KEY.account_id], scene.now()) == []
    scene.claims.confirm("another run", [KEY.account_id], scene.lease())
    assert scene.claims.leases("another run", [KEY], scene.now())
    assert scene.claims.ours([KEY.account_id], scene.now()) == [KEY]


@pytest.mark.parametrize("how", ["extend", "confirm", "claim anew by an earlier attempt"])
def test_a_claim_that_is_noted_late_does_not_undo_the_beginning_of_an_insert(scene: Scene, how: str) -> None:
    scene.pulled()
    scene.begun()
    if how.startswith("claim anew"):
        scene.claims.claim_anew("run", "an earlier attempt", KEY.account_id, scene.lease())
    else:
        getattr(scene.claims, how)("run", [KEY.account_id], scene.lease())
    assert scene.claims.live("run", [KEY.account_id], scene.now())[KEY.account_id].is_spent


def test_a_pull_and_a_claim_after_a_confirmed_record_begin_anew(scene: Scene) -> None:
    scene.pulled()
    scene.begun()
    scene.pulled()
    assert scene.claims.refusals([KEY], "holder", scene.now()) == [None]
    scene.journal.links.fail_send(KEY, Sending("", ()), LinkState.UNKNOWN, "", scene.clock.now())
    scene.claims.claim_anew("run", "holder", KEY.account_id, scene.lease())
    assert scene.claims.refusals([KEY], "holder", scene.now()) == [None]


def test_what_was_handed_over_is_adopted_once_while_it_holds(scene: Scene) -> None:
    keys = [PostAccount("post", f"account-{number}") for number in range(30)]
    scene.claims.grant(HANDED_OVER, {key: scene.lease() for key in keys})
    with ThreadPoolExecutor(6) as pool:
        adopted = [pool.submit(scene.claims.adopt, f"run-{number}", 7, scene.now()) for number in range(6)]
    found = [key for each in adopted for key in each.result()]
    assert sorted(found) == sorted(keys), "each by one run"
    assert max(len(each.result()) for each in adopted) == 7
    owner = next(number for number, each in enumerate(adopted) if keys[0] in each.result())
    assert scene.claims.leases(f"run-{owner}", keys, scene.now()).keys() == set(adopted[owner].result())
    assert scene.claims.adopt("a late run", 100, scene.now()) == []


def test_what_was_handed_over_and_lapsed_is_left_to_the_next_pull(scene: Scene) -> None:
    scene.claims.grant(HANDED_OVER, {KEY: scene.lease()})
    scene.clock.advance(840)
    assert scene.claims.adopt("run", 10, scene.now()) == []
    assert scene.reserved() == NEITHER


def test_what_was_handed_over_may_be_asked_for(scene: Scene) -> None:
    scene.claims.grant(HANDED_OVER, {KEY: scene.lease()})
    assert scene.reserved("by hand") == TAKEN
    assert scene.claims.adopt("run", 10, scene.now()) == []


def test_who_hands_an_account_over_does_not_take_it_back(scene: Scene) -> None:
    scene.pulled()
    scene.claims.hand_over("run", [KEY.account_id], "an earlier attempt")
    assert scene.claims.live("run", [KEY.account_id], scene.now()), "a later attempt has it"
    scene.claims.hand_over("run", [KEY.account_id], "holder")
    assert scene.claims.refusals([KEY], "holder", scene.now()) != [None]
    assert scene.claims.take_up("run", [KEY], scene.now()) == {}
    assert scene.claims.reasons("run", [KEY], scene.now()) == {KEY: "it was left to the next run"}
    assert scene.claims.adopt("the next run", 10, scene.now()) == [KEY]


def test_a_run_that_begins_anew_takes_back_what_it_handed_over(scene: Scene) -> None:
    scene.pulled()
    scene.claims.hand_over("run", [KEY.account_id], "holder")
    assert scene.claims.take_up("run", [KEY], scene.now(), handed_over=True).keys() == {KEY}
