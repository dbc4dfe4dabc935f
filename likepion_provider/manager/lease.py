"""Lease arithmetic. The manager gives no token and refuses nobody, so this is all the protection a claim has.

A lease counts from the clock read *before* the request that claims. It is kept twice: as wall-clock UTC, which other
machines understand, and, for readers on the machine that wrote it, on the boot clock, which no clock change moves and
which goes on while a process is stopped or the machine sleeps. The earlier of the two ends it.
"""

from __future__ import annotations

import dataclasses
import random
from datetime import datetime, timedelta

from likepion_provider.clock import Moment
from likepion_provider.manager.protocol import CLAIM_TTL_S

#: A lease is lost this long before the server would let it lapse: room for the last write and for clock skew.
MARGIN_S = 60.0


@dataclasses.dataclass(frozen=True)
class Lease:
    """Until when one account is ours.

    :param expires_at: aware UTC.
    :param boot_id: the boot whose clock ``boot_expires_s`` is on.
    """

    expires_at: datetime
    boot_id: str
    boot_expires_s: float

    @classmethod
    def granted(cls, asked: Moment, ttl_s: float = CLAIM_TTL_S) -> Lease:
        """The lease that a claim gives.

        :param asked: the clocks, read before the request was sent.
        :param ttl_s: what the server said, at most :data:`~likepion_provider.manager.protocol.CLAIM_TTL_S`.
        """
        ttl_s = min(ttl_s, CLAIM_TTL_S)
        return cls(asked.at + timedelta(seconds=ttl_s), asked.boot_id, asked.boot_s + ttl_s)

    def remaining_s(self, now: Moment) -> float:
        """Seconds until the server lets it lapse, by the clock that leaves less."""
        by_wall = (self.expires_at - now.at).total_seconds()
        if not self.boot_id or self.boot_id != now.boot_id:
            return by_wall
        return min(by_wall, self.boot_expires_s - now.boot_s)

    def holds(self, now: Moment) -> bool:
        """Whether a write may still begin."""
        return self.remaining_s(now) > MARGIN_S


def renewal_delay_s(ttl_s: float = CLAIM_TTL_S) -> float:
    """When to renew: after a third of the TTL, give or take a tenth, so that many batches do not renew in step."""
    return ttl_s / 3 * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load, guards nothing
