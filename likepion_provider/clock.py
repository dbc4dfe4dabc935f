"""Time: the wall clock, which other machines understand, and the boot clock, which nobody moves."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Where time comes from; tests put a virtual one here."""

    @property
    def boot_id(self) -> str:
        """Names the boot that :meth:`boot_s` counts from."""
        ...

    def now(self) -> datetime:
        """The wall clock, aware UTC."""
        ...

    def boot_s(self) -> float:
        """Seconds since boot, never moved by clock changes."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The clocks of the machine."""

    @property
    @functools.cache  # noqa: B019 - one instance per process
    def boot_id(self) -> str:
        """Changes with every boot; empty where the system does not tell, which leaves only the wall clock."""
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return ""

    def now(self) -> datetime:
        """The wall clock, aware UTC."""
        return datetime.now(timezone.utc)

    def boot_s(self) -> float:
        """Seconds since boot, suspend included where the system offers it."""
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    async def sleep(self, delay_s: float) -> None:
        """Wait."""
        await asyncio.sleep(delay_s)


SYSTEM_CLOCK = SystemClock()


@dataclasses.dataclass(frozen=True)
class Moment:
    """One reading of both clocks."""

    at: datetime
    boot_id: str
    boot_s: float

    @classmethod
    def read(cls, clock: Clock) -> Moment:
        """Read both clocks now; do it before the request that the moment is to count from."""
        return cls(clock.now(), clock.boot_id, clock.boot_s())
