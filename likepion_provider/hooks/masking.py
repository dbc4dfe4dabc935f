"""Airflow's masking of secrets in logs, at a cost that a batch of accounts can bear.

``mask_secret`` compiles every known secret anew for each one that it is given, here and in the supervisor: for 500
secrets 9 s of CPU here, measured with Airflow 3.3.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import sys
from collections.abc import Collection, Iterable, Iterator
from typing import TextIO

from airflow.sdk.log import mask_secret

from likepion_provider.hooks.internals import mask_in_one_go

log = logging.getLogger(__name__)

#: Accounts that are read at the same time share a compilation.
GATHER_S = 0.05
#: Airflow does not mask what is shorter.
LEAST_CHARS = 5


def mask(secrets: Iterable[str]) -> None:
    """Mask a few secrets, here and in the supervisor."""
    for secret in secrets:
        mask_secret(secret)


class BatchMask:
    """Masks what the accounts of a batch bring, in this process; :func:`printing_masked` is why that is enough."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()
        self._masked: set[str] = set()
        self._flush: asyncio.Task[None] | None = None

    async def __call__(self, secrets: Collection[str]) -> None:
        """Return as soon as all of these are masked."""
        while unmasked := set(secrets) - self._masked:
            self._waiting |= unmasked
            if self._flush is None or self._flush.done():
                self._flush = asyncio.create_task(self._mask_waiting())
            await asyncio.shield(self._flush)

    async def _mask_waiting(self) -> None:
        await asyncio.sleep(GATHER_S)
        secrets, self._waiting = self._waiting, set()
        mask_at_once(secrets)
        self._masked |= secrets


def mask_at_once(secrets: Collection[str]) -> None:
    """Mask many secrets, in this process only: see :func:`printing_masked`."""
    try:
        mask_in_one_go(secrets, LEAST_CHARS)
    except (ImportError, AttributeError):
        # Where Airflow's inside has changed, masking is slow again and nothing worse.
        mask(secrets)


class _Lines(io.TextIOBase):
    """Standard output as lines of the log, where masking is done.

    :param console: gets what the log itself prints, where it goes to the standard output.
    """

    def __init__(self, console: TextIO) -> None:
        self._console = console
        self._rest = ""
        self._logging = False

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._logging:
            return self._console.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        self._logging = True
        try:
            for line in filter(None, lines):
                log.info("%s", line)
        finally:
            self._logging = False
        return len(text)

    def close(self) -> None:
        if self._rest:
            self.write("\n")
        super().close()


@contextlib.contextmanager
def printing_masked() -> Iterator[None]:
    """Send what is printed to the log: the supervisor, which would read it, does not know a batch's secrets."""
    with (
        contextlib.closing(_Lines(sys.stdout)) as out,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
    ):
        yield
