"""One HTTP request, sent exactly once: no library repeats it, and a write has a last look before its first byte."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # aiohttp takes longer to import than all of this package: only what sends something pays for it
    import aiohttp

#: Gives the seconds that a write may take, and raises where it must not begin.
LastLook = Callable[[], float]


class BrokenOff(Exception):
    """An exchange that ended early; see :func:`session`."""


class Departure:
    """One request's way out: what fails before it began provably never reached the other side.

    :param last_look: called when the connection is there, right before the first byte leaves; what it raises comes out
        of the request, and nothing was sent.
    """

    def __init__(self, last_look: LastLook | None = None) -> None:
        self._last_look = last_look
        self.began = False

    def look(self) -> None:
        """The last look, where there is one."""
        if self._last_look:
            self._last_look()


_departure: contextvars.ContextVar[Departure] = contextvars.ContextVar("departure")


@contextlib.contextmanager
def departing(last_look: LastLook | None = None) -> Iterator[Departure]:
    """For the one request that the body sends by a :func:`session`."""
    token = _departure.set(departure := Departure(last_look))
    try:
        yield departure
        if not departure.began:
            raise RuntimeError("this aiohttp sends without a last look: install a version that is supported")
    finally:
        _departure.reset(token)


def session(**options: Any) -> aiohttp.ClientSession:
    """A session of aiohttp's that sends each request once, and only inside :func:`departing`.

    It raises :class:`BrokenOff`, beside aiohttp's own errors.
    """
    import aiohttp

    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), middlewares=(_sent_once,), request_class=_watched_request(), **options
    )


@functools.cache
def _watched_request() -> type[aiohttp.ClientRequest]:
    """A request of aiohttp's with a last look before its first byte leaves.

    Nothing public of aiohttp comes between a connection that is there, proxy and TLS included, and the first byte:
    a middleware runs before the connection is made, and tracing only watches. So two methods that aiohttp does not
    promise to keep are overridden here: ``send``, and ``write_bytes``, which writes a body with the head before it,
    before Python 3.12 only in the loop's next round. Were they no longer called, a run's first requests would say so.
    """
    import aiohttp

    class WatchedRequest(aiohttp.ClientRequest):
        async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
            departure = _departure.get()
            departure.look()
            departure.began = not self.body
            return await super().send(conn)

        async def write_bytes(self, writer: Any, conn: Any, content_length: int | None = None) -> None:
            departure = _departure.get()
            try:
                departure.look()
            except Exception as error:  # noqa: BLE001 - it comes out of the request, which waits for an answer
                conn.protocol.set_exception(error)
                return
            departure.began = True
            await super().write_bytes(writer, conn, content_length)

    return WatchedRequest


async def _sent_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Hide early disconnects from aiohttp, which would send a GET a second time on a kept-alive connection."""
    import aiohttp

    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        # Without a connection nothing was sent, and aiohttp does not repeat it.
        if isinstance(error, aiohttp.ClientConnectorError):
            raise
        raise BrokenOff(type(error).__name__) from error
