"""Time that moves by hand."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone

#: Sleeps up to this move the clock by themselves; longer ones (a keeper's) wait until a test moves it.
SHORT_S = 60.0


class VirtualClock:
    """Implements :class:`likepion_provider.clock.Clock`; the wall clock can jump, the boot clock cannot."""

    def __init__(self) -> None:
        self.boot_id = "boot-1"
        self._boot_s = 1000.0
        self._wall = datetime(2026, 1, 1, tzinfo=timezone.utc)
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._wall

    def boot_s(self) -> float:
        return self._boot_s

    async def sleep(self, delay_s: float) -> None:
        target_s = self._boot_s + delay_s
        if delay_s <= SHORT_S:
            await asyncio.sleep(0)
            self.advance(max(0.0, target_s - self._boot_s))
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((target_s, waiting))
        await waiting

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._boot_s += seconds
        self._wall += timedelta(seconds=seconds)
        due = [future for target_s, future in self._sleepers if target_s <= self._boot_s]
        self._sleepers = [each for each in self._sleepers if each[0] > self._boot_s]
        for future in due:
            if not future.done() and not future.get_loop().is_closed():
                future.set_result(None)

    def jump(self, seconds: float) -> None:
        """Set the wall clock wrong, as an operator or NTP may."""
        self._wall += timedelta(seconds=seconds)

    @property
    def server(self) -> ServerClock:
        """The manager's own clock, which nobody sets wrong."""
        return ServerClock(self)


class ServerClock:
    """True time, for the sandbox's manager."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=self._clock.boot_s() - 1000.0)
