"""A short campaign; ``make faults`` runs the long one."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.faults.moments import Moments

TestMoments = Moments.TestCase
TestMoments.settings = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
