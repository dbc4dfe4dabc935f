"""How far a step has come, in its task's log."""

from __future__ import annotations

import logging

from likepion_provider.clock import Clock
from likepion_provider.plurals import counted

log = logging.getLogger(__name__)

#: Between two lines, in seconds.
APART_S = 5.0


class StepCounter:
    """A line every few seconds, with the rest of the time as it has gone so far; and what somebody should read.

    :param total: accounts in all.
    """

    def __init__(self, total: int, clock: Clock) -> None:
        self._total = total
        self._done = 0
        self._clock = clock
        self._began_s = self._said_s = clock.boot_s()

    def step(self, words: str, *, matters: bool = False) -> None:
        """Count one more account as done.

        :param words: what came of it.
        :param matters: whether a person should read that; the rest is in the report.
        """
        self._done += 1
        log.log(logging.INFO if matters else logging.DEBUG, "%s", words)
        now_s = self._clock.boot_s()
        if now_s - self._said_s < APART_S or self._done == self._total:
            return
        self._said_s, passed_s = now_s, now_s - self._began_s
        left_s = (self._total - self._done) * passed_s / self._done
        log.info(
            "%d of %s, %.1f/s, about %.0f s left",
            *(self._done, counted(self._total, "account"), self._done / passed_s, left_s),
        )
