"""The stranger of the models keeps the rules, so it never makes a duplicate by itself."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likepion_provider.sandbox.clock import SandboxClock
from likepion_provider.sandbox.manager import SandboxManager
from likepion_provider.sandbox.oddities import ENTRIES
from tests.faults.stranger import MARGIN, Stranger, platform_pages

ACCOUNTS = 3
STEPS = 120


class World:
    """A manager with one group and some strangers; its own steps are what happens without them."""

    def __init__(self, strangers: int, *, margin: timedelta = MARGIN) -> None:
        self.clock = SandboxClock(datetime(2026, 1, 1, tzinfo=timezone.utc))
        self.manager = SandboxManager(self.clock)
        self.manager.add_group("group")
        self.manager.add_post("group", request_id="post-0")
        for number in range(ACCOUNTS):
            self.manager.add_account("group", "tide", account_id=f"a{number}")
        self.strangers = [
            Stranger(self.manager, self.clock, name=f"stranger-{number}", limit=2, margin=margin)
            for number in range(strangers)
        ]

    def step(self, rng: random.Random) -> None:
        actor = rng.choice([*self.strangers * 4, None])
        if actor is not None:
            actor.step(rng)
        else:
            rng.choice([self.pass_time, self.pass_time, self.pass_time, self.refuse, self.change_posts, self.be_odd])(
                rng
            )

    def pass_time(self, rng: random.Random) -> None:
        self.clock.advance(rng.choice([1, 20, 49, 51, 300, 830, 845, 901]))

    def refuse(self, rng: random.Random) -> None:
        self.manager.refuse_records(rng.randint(1, 4))

    def be_odd(self, rng: random.Random) -> None:
        endpoint = rng.choice(["pull", "claim", "insert"])
        self.manager.answer(endpoint, entries=(rng.choice(sorted(ENTRIES[endpoint])),))

    def change_posts(self, rng: random.Random) -> None:
        posts = self.manager.posts
        if len(posts) < 4:
            self.manager.add_post("group", status=rng.choice(["running", "pending"]), request_id=f"post-{len(posts)}")
        else:
            self.manager.update_post(rng.choice(sorted(posts)), status=rng.choice(["running", "completed"]))

    def check(self) -> None:
        assert not self.manager.duplicates()
        writes = [event for event in self.manager.events if event.kind != "pull"]
        assert not [event for event in writes if event.foreign or event.unclaimed]
        assert not [event for stranger in self.strangers for event in stranger.disturbances()]


@settings(max_examples=300, deadline=None)
@given(strangers=st.sampled_from([1, 2]), seed=st.integers(0, 2**32))
def test_strangers_that_keep_the_rules_make_no_duplicate(strangers: int, seed: int) -> None:
    world, rng = World(strangers), random.Random(seed)
    for _ in range(STEPS):
        world.step(rng)
    world.check()


def test_their_walks_go_far() -> None:
    """The property is worth something only where they insert, lose, die and meet."""
    taken, rows, by = set(), 0, set()
    for seed in range(30):
        world, rng = World(2), random.Random(seed)
        for _ in range(STEPS):
            taken.add(world.strangers[0].step(rng))
            world.step(rng)
        rows += len(world.manager.rows)
        by |= {(event.kind, event.worker) for event in world.manager.events if event.account_ids}
    assert taken == {"pull", "find", "renew", "insert", "arrive", "hear", "lose", "die", "arrive_late"}
    assert rows >= 30 * 3
    assert by == {(kind, f"stranger-{number}") for kind in ("pull", "claim", "insert") for number in (0, 1)}


def test_strangers_that_ignore_the_lapse_are_caught() -> None:
    found = 0
    for seed in range(60):
        world, rng = World(2, margin=-timedelta(days=1)), random.Random(seed)
        for _ in range(STEPS):
            world.step(rng)
        found += bool(world.manager.duplicates())
        disturbed = [event for stranger in world.strangers for event in stranger.disturbances()]
        assert disturbed or not world.manager.duplicates()
    assert found


class TestSteps:
    def test_from_pull_to_insert(self) -> None:
        world = World(1)
        (stranger,) = world.strangers
        stranger.pull()
        assert stranger.held() == []
        stranger.arrive()
        assert set(world.manager.holders()) == {"a0", "a1"}
        assert stranger.held() == [], "it has not heard yet"
        stranger.hear()
        assert stranger.held() == ["a0", "a1"]
        stranger.find("a0")
        stranger.insert("a0")
        assert stranger.held() == ["a1"]
        stranger.arrive()
        assert [row.link_post for row in world.manager.rows] == platform_pages("a0", "post-0")
        assert stranger.served == {("post-0", "a0")}

    def test_a_claim_counts_from_before_the_request(self) -> None:
        world = World(1)
        (stranger,) = world.strangers
        stranger.pull()
        world.clock.advance(40)
        stranger.arrive()
        stranger.hear()
        world.clock.advance(15 * 60 - 60 - 40 - 1)
        assert stranger.held() == ["a0", "a1"]
        world.clock.advance(1)
        assert stranger.held() == []

    def test_a_renewal_keeps_them(self) -> None:
        world = World(1)
        (stranger,) = world.strangers
        for call in (stranger.pull, stranger.arrive, stranger.hear):
            call()
        world.clock.advance(800)
        for call in (stranger.renew, stranger.arrive, stranger.hear):
            call()
        world.clock.advance(800)
        assert stranger.held() == ["a0", "a1"]

    def test_a_request_arrives_within_50_s_or_never(self) -> None:
        world = World(1)
        (stranger,) = world.strangers
        stranger.pull()
        stranger.lose()
        world.clock.advance(51)
        stranger.arrive_late()
        assert world.manager.events == []
        stranger.pull()
        stranger.die()
        world.clock.advance(50)
        stranger.arrive_late()
        assert set(world.manager.holders()) == {"a0", "a1"}

    def test_no_step_breaks_the_rules_by_hand(self) -> None:
        world = World(1)
        (stranger,) = world.strangers
        stranger.pull()
        with pytest.raises(ValueError, match="waits"):
            stranger.pull()
        for call in (stranger.arrive, stranger.arrive, stranger.hear):
            call()
        assert len(world.manager.events) == 1
        with pytest.raises(ValueError, match="does not hold a2"):
            stranger.find("a2")
        stranger.find("a0")
        world.clock.advance(850)
        with pytest.raises(ValueError, match="does not hold a0"):
            stranger.insert("a0")

    def test_after_a_lost_insert_it_waits_for_a_pull(self) -> None:
        world = World(1)
        (stranger,) = world.strangers
        for call in (stranger.pull, stranger.arrive, stranger.hear):
            call()
        stranger.find("a0")
        stranger.insert("a0")
        stranger.lose()
        assert stranger.held() == ["a1"]
        world.clock.advance(901)
        for call in (stranger.pull, stranger.arrive, stranger.hear):
            call()
        assert stranger.held() == ["a0", "a1"]

    def test_who_touches_what_it_holds_is_found_out(self) -> None:
        world = World(1)
        (stranger,) = world.strangers
        stranger.pull()
        world.manager.claim(["a0"], worker="ours")
        stranger.arrive()
        assert stranger.disturbances() == [], "that was before"
        assert set(world.manager.holders()) == {"a0", "a1", "a2"}
        world.manager.claim(["a0"], worker="ours")
        assert stranger.disturbances() == [], "that is ours"
        world.manager.claim(["a0", "a1"], worker="ours")
        assert [event.account_ids for event in stranger.disturbances()] == [("a0", "a1")]
        world.clock.advance(900)
        world.manager.claim(["a2"], worker="ours")
        assert len(stranger.disturbances()) == 1, "that was after"
