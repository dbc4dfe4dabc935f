"""A web server on a free port of the loopback interface, and feeds to serve from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Site:
    """Routes that a test adds while the server runs.

    ``url`` is the server's root without a slash; ``requests`` holds path and headers of what came in.
    """

    def __init__(self) -> None:
        self.routes: dict[str, Handler] = {}
        self.requests: list[web.BaseRequest] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, path: str, body: bytes, **headers: str) -> str:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(body=body, headers={"Content-Type": "application/rss+xml", **headers})

        self.routes[path] = answer
        return self.url + path

    def redirect(self, path: str, target: str, status: int = 302) -> str:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": target})

        self.routes[path] = answer
        return self.url + path

    def status(self, path: str, status: int, **headers: str) -> str:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(status=status, headers=headers)

        self.routes[path] = answer
        return self.url + path

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        route = self.routes.get(request.path)
        return await route(request) if route else web.Response(status=404)  # type: ignore[arg-type]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    found = Site()
    server = web.Server(found.answer)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    socket = web.TCPSite(runner, "127.0.0.1", 0)
    await socket.start()
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


def rss(numbers: range | list[int], *, channel: str = "", item: str = "") -> bytes:
    """A feed with one episode for each number, published on that day of January 2024."""
    items = "".join(
        f"<item><title>Episode {n}</title><guid isPermaLink='false'>g{n}</guid>"
        f"<pubDate>{n:02d} Jan 2024 06:00:00 GMT</pubDate>"
        f"<enclosure url='https://media.example/{n}.mp3' length='{n}' type='audio/mpeg'/>{item}</item>\n"
        for n in numbers
    )
    return (
        "<?xml version='1.0'?><rss version='2.0' xmlns:atom='http://www.w3.org/2005/Atom' "
        "xmlns:podcast='https://podcastindex.org/namespace/1.0'>"
        f"<channel><title>Show</title>{channel}{items}</channel></rss>"
    ).encode()
