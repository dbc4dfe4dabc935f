"""Lease arithmetic."""

from __future__ import annotations

import pytest

from likepion_provider.clock import SYSTEM_CLOCK, Moment
from likepion_provider.manager.lease import MARGIN_S, Lease, renewal_delay_s
from likepion_provider.manager.protocol import CLAIM_TTL_S
from tests.clocks import VirtualClock


def granted(clock: VirtualClock, ttl_s: float = CLAIM_TTL_S) -> Lease:
    return Lease.granted(Moment.read(clock), ttl_s)


def test_a_lease_ends_a_minute_before_the_server_lets_it_lapse() -> None:
    clock = VirtualClock()
    lease = granted(clock)
    clock.advance(CLAIM_TTL_S - MARGIN_S - 0.1)
    assert lease.holds(Moment.read(clock))
    clock.advance(0.2)
    assert not lease.holds(Moment.read(clock))


def test_the_servers_ttl_counts_where_it_is_shorter_and_never_where_it_is_longer() -> None:
    clock = VirtualClock()
    assert granted(clock, 300).remaining_s(Moment.read(clock)) == 300
    assert granted(clock, 3600).remaining_s(Moment.read(clock)) == CLAIM_TTL_S


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
def test_a_wall_clock_that_jumps_never_adds_time(jump_s: float) -> None:
    clock = VirtualClock()
    lease = granted(clock)
    clock.advance(600)
    clock.jump(jump_s)
    assert lease.remaining_s(Moment.read(clock)) <= 300


def test_another_boot_knows_only_the_wall_clock() -> None:
    clock = VirtualClock()
    lease = granted(clock)
    clock.boot_id = "boot-2"
    clock.advance(100)
    assert lease.remaining_s(Moment.read(clock)) == 800


def test_renewals_come_at_a_third_of_the_ttl_and_not_in_step() -> None:
    delays = {renewal_delay_s(900) for _ in range(200)}
    assert all(270 <= delay <= 330 for delay in delays)
    assert len(delays) > 100


def test_the_systems_clocks_are_aware_and_move_together() -> None:
    first, second = Moment.read(SYSTEM_CLOCK), Moment.read(SYSTEM_CLOCK)
    assert first.at.utcoffset() is not None
    assert first.boot_id == second.boot_id
    assert 0 <= second.boot_s - first.boot_s < 1
