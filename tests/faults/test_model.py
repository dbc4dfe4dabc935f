"""A short campaign; ``make faults`` runs the long one."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.faults.model import Faults, TwoManagers

SHORT = settings(
    max_examples=15,
    stateful_step_count=15,
    deadline=None,
    # The same examples every time: a change is to blame, not the day. The long campaign draws new ones.
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

TestFaults = Faults.TestCase
TestFaults.settings = SHORT

TestTwoManagers = TwoManagers.TestCase
TestTwoManagers.settings = SHORT
