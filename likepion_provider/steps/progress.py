"""How far a step has come, in its task's log."""

from __future__ import annotations

import logging

from likepion_provider.clock import Clock

log = logging.getLogger(__name__)


class StepCounter:
    """One log line per account, with the rest of the time.

    :param total: accounts in all.
    """

    def __init__(self, total: int, clock: Clock) -> None:
        self._total = total
        self._done = 0
        self._clock = clock
        self._began_s = clock.boot_s()

    def step(self, words: str) -> None:
        """Count one more account as done."""
        self._done += 1
        passed_s = max(self._clock.boot_s() - self._began_s, 0.001)
        log.info(
            "%d/%d %s (%.1f accounts/s, about %.0f s left)",
            self._done,
            self._total,
            words,
            self._done / passed_s,
            (self._total - self._done) * passed_s / self._done,
        )
