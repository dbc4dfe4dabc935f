"""The processes that read feeds, as the rest of the package uses them.

Started as programs of their own, since a daemon's child (Airflow's task runner, Celery's worker) may not have children
by ``multiprocessing``. They inherit no environment, so no secret in one, and get feeds as bytes over a pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from likepion_provider.aio import Shared
from likepion_provider.errors import FeedInvalid, LikepionError, Transient
from likepion_provider.feed.frames import CUT, END, LENGTH_BYTES, MAX_ANSWER_BYTES, frame, json_frame, length

if TYPE_CHECKING:
    from likepion_provider.feed.document import Read

#: What a Python needs of its environment to start.
_KEPT = ("LD_LIBRARY_PATH", "PATH", "LC_ALL", "LANG")
#: Feeds that one event loop reads at a time.
_MOST = 2
_REMEDY = "Check that the address serves a podcast feed; if it does, ask its host for a leaner one."


class TimeUp(Transient):
    """Try again later: the body did not come in time."""


class Reader:
    """A process that reads one document at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ready = False
        #: Whether it can be asked again.
        self.is_free = True

    @classmethod
    async def start(cls) -> Reader:
        """Start one; it is not waited for.

        :raises LikepionError: no process can be had.
        """
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        try:
            paths = [os.path.join(os.getcwd(), each) for each in sys.path if each]  # noqa: PTH109, PTH118
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-S", "-m", "likepion_provider.feed.reader",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd="/", start_new_session=True,
                env={**environment, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"},
            )  # fmt: skip
        except (OSError, ValueError, NotImplementedError, RuntimeError) as error:
            raise _no_process(f"{type(error).__name__}: {error}") from error
        return cls(process)

    @property
    def is_alive(self) -> bool:
        """Whether the process runs, as far as is known."""
        return self._process.returncode is None

    async def close(self) -> None:
        """End the process, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()

    async def read(
        self, chunks: AsyncIterator[bytes], *, url: str, shown: str, want: int, charset: str, within_s: float
    ) -> tuple[Read, LikepionError | None]:
        """Read one document.

        :param chunks: its body.
        :param shown: its address, redacted.
        :param want: how many episodes are wanted.
        :param within_s: when the answer must be there, in seconds; the body is read for four fifths of it.
        :return: what it says, and what ended its body early.
        :raises FeedInvalid: it cannot be parsed, or the process was ended at one of its limits.
        :raises Transient: it was not there in time.
        :raises LikepionError: no process can be had.
        """
        self.is_free = False
        until_s = asyncio.get_running_loop().time() + within_s
        answer = asyncio.ensure_future(self._answer(shown))
        ended: LikepionError | None = None

        async def end() -> dict[str, Any]:
            await self._send(frame(CUT if ended else END))
            return await answer

        try:
            await self._send(json_frame({"url": url, "want": want, "charset": charset}))
            ended = await self._hand_on(chunks, answer, within_s * 0.8, shown)
            found = await asyncio.wait_for(end(), max(0.0, until_s - asyncio.get_running_loop().time()))
        except ConnectionError:  # it has ended, and has said why or has not
            found = await answer
        except asyncio.TimeoutError:
            if ended:
                raise ended from None
            raise _refused(shown, f"was not read within {within_s:g} s") from None
        finally:
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)
        self.is_free = "refused" not in found
        if not self.is_free:
            raise _refused(shown, found["refused"])
        return cast("Read", found), ended

    async def _hand_on(
        self, chunks: AsyncIterator[bytes], answer: asyncio.Future[Any], within_s: float, shown: str
    ) -> LikepionError | None:
        """Hand on the body until it ends, the answer is there or the time is up; what ended it early."""

        async def pump() -> None:
            async for chunk in chunks:
                if answer.done():
                    return
                if chunk:
                    await self._send(frame(b"\x00" + chunk))
                # Inflating may give many pieces without any wait between them.
                await asyncio.sleep(0)

        try:
            await asyncio.wait_for(pump(), within_s)
        except asyncio.TimeoutError:
            return TimeUp(f"the feed {shown} came too slowly to be read to its end")
        except (FeedInvalid, Transient) as error:
            return error
        return None

    async def _send(self, data: bytes) -> None:
        stdin = cast(asyncio.StreamWriter, self._process.stdin)
        stdin.write(data)
        await stdin.drain()

    async def _answer(self, shown: str) -> dict[str, Any]:
        if not self._ready:
            try:
                await self._frame()
            except asyncio.IncompleteReadError:
                raise _no_process(f"it ended with {await self._process.wait()}") from None
            self._ready = True
        try:
            found: dict[str, Any] = json.loads(await self._frame())
        except asyncio.IncompleteReadError:
            code = await self._process.wait()
            why = "costs more CPU to read than a feed may" if code == -signal.SIGXCPU else f"ended its reader ({code})"
            raise _refused(shown, why) from None
        except _TooLong as long:
            raise _refused(shown, f"gives {long} bytes of addresses and titles, more than is taken") from None
        return found

    async def _frame(self) -> bytes:
        stdout = cast(asyncio.StreamReader, self._process.stdout)
        size = length(await stdout.readexactly(LENGTH_BYTES))
        if size > MAX_ANSWER_BYTES:
            raise _TooLong(size)
        return await stdout.readexactly(size)


class Readers:
    """The readers of one event loop, used again as long as they are free."""

    def __init__(self) -> None:
        self._free: list[Reader] = []
        self._slots = asyncio.Semaphore(_MOST)

    @contextlib.asynccontextmanager
    async def reader(self) -> AsyncIterator[Reader]:
        """One to use alone.

        :raises LikepionError: no process can be had.
        """
        async with self._slots:
            reader = self._free.pop() if self._free else await Reader.start()
            if not reader.is_alive:
                await reader.close()
                reader = await Reader.start()
            try:
                yield reader
            finally:
                if reader.is_free and reader.is_alive:
                    self._free.append(reader)
                else:
                    await reader.close()

    async def close(self) -> None:
        """End them all."""
        for reader in self._free:
            await reader.close()
        self._free.clear()


class _TooLong(Exception):
    pass


_SHARED: Shared[asyncio.AbstractEventLoop, Readers] = Shared(lambda _: Readers(), Readers.close)


@contextlib.asynccontextmanager
async def readers() -> AsyncIterator[Readers]:
    """The running loop's readers: whoever reads several feeds holds this, so that one process serves them all."""
    async with _SHARED.use(asyncio.get_running_loop()) as found:
        yield found


def _refused(shown: str, why: str) -> FeedInvalid:
    return FeedInvalid(f"the feed {shown} {why} (document)", url=shown, where="document", remedy=_REMEDY)


def _no_process(why: str) -> LikepionError:
    remedy = "Let the worker start processes of its own Python: feeds are read in one, so that it can be ended."
    return LikepionError(f"no process to read feeds in can be had ({why})", remedy=remedy)
