"""The sandbox's time: the machine's own, or one that a test moves by hand."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone


class SandboxClock:
    """Aware UTC time that can be moved forward.

    :param start: aware; where given, the clock stands still there and moves only by :meth:`advance`.
        Default: it follows the machine's clock.
    """

    def __init__(self, start: datetime | None = None) -> None:
        if start is not None and start.tzinfo is None:
            raise ValueError("the clock's start needs a time zone")
        self._start = start
        self._offset = timedelta()

    def now(self) -> datetime:
        """The time here, aware UTC."""
        base = datetime.now(timezone.utc) if self._start is None else self._start.astimezone(timezone.utc)
        return base + self._offset

    def advance(self, seconds: float) -> datetime:
        """Move the clock forward.

        :param seconds: how far, 0 or more.
        :return: the new time, aware UTC.
        :raises ValueError: ``seconds`` is negative; this clock never goes back.
        """
        if not seconds >= 0:
            raise ValueError(f"the clock only goes forward, not by {seconds} s")
        self._offset += timedelta(seconds=seconds)
        return self.now()
