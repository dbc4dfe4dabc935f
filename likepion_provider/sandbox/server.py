"""The three servers of a sandbox together: manager, site and feeds on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import sys
from collections.abc import Iterator
from types import TracebackType

from aiohttp import web

from likepion_provider.sandbox.clock import SandboxClock
from likepion_provider.sandbox.faults import Faults
from likepion_provider.sandbox.feeds import Feeds, feeds_app
from likepion_provider.sandbox.manager import SandboxManager
from likepion_provider.sandbox.manager_http import manager_app
from likepion_provider.sandbox.site import Site, SiteSettings
from likepion_provider.sandbox.site_http import site_app
from likepion_provider.sandbox.world import World, WorldAccount, demo_world, put_account

#: How long an ending sandbox waits for requests under way, in seconds.
_SHUTDOWN_S = 0.2


class Sandbox:
    """A world behind three servers, from ``async with`` to its end.

    .. code-block:: python

        async with Sandbox(demo_world()) as sandbox:
            ...  # sandbox.manager_url, sandbox.api_key, sandbox.site_url, sandbox.feeds_url
        assert not sandbox.manager.duplicates()

    :param world: its content; default: :func:`demo_world`. Use a new one for each sandbox.
    :param api_key: the key that the manager asks for; empty: a new random one.
    :param host: the address to listen at. Default 127.0.0.1.
    :param manager_port: 0: any free port, as for the others.
    :param site_port: see ``manager_port``.
    :param feeds_port: see ``manager_port``.
    :param settings: how the site behaves.
    :param clock: for the manager's claims; default: real time. The site has a real clock of its own, ``site.clock``,
        because TOTP codes are made from the importer's.
    :param seed: of the faults' probabilities.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        api_key: str = "",
        host: str = "127.0.0.1",
        manager_port: int = 0,
        site_port: int = 0,
        feeds_port: int = 0,
        settings: SiteSettings | None = None,
        clock: SandboxClock | None = None,
        seed: int = 0,
    ) -> None:
        self.world = world or demo_world()
        self.api_key = api_key or f"canary-api-key-{secrets.token_hex(12)}"
        self.faults = Faults(seed)
        self.manager = SandboxManager(clock)
        self.site = Site(settings)
        self.feeds = Feeds()
        #: Where each server is reached, without a path; set while the sandbox runs. The manager's API is below
        #: ``manager_url`` + :data:`likepion_provider.sandbox.contract.API`.
        self.manager_url = self.site_url = self.feeds_url = ""
        self._host = host
        self._ports = {"feeds": feeds_port, "site": site_port, "manager": manager_port}
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Sandbox:
        async with contextlib.AsyncExitStack() as stack:
            self.feeds_url = await self._serve(stack, feeds_app(self.feeds, self.faults), "feeds")
            self.site_url = await self._serve(stack, site_app(self.site, self.faults), "site")
            app = manager_app(self.manager, self.faults, api_key=self.api_key)
            self.manager_url = await self._serve(stack, app, "manager")
            self.world.fill(self.manager, self.site, self.feeds, feeds_url=self.feeds_url)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _serve(self, stack: contextlib.AsyncExitStack, app: web.Application, name: str) -> str:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        listener = web.TCPSite(runner, self._host, self._ports[name])
        await listener.start()
        host, port = runner.addresses[0][:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def feed_url(self, request_id: str) -> str:
        """The feed that belongs to one of the world's posts, token included: a secret.

        :param request_id: the post; must be the world's.
        """
        return self.feeds_url + next(p.podcast.path() for p in self.world.posts if p.request_id == request_id)

    def set_feed(self, request_id: str) -> None:
        """Set the post's ``link_rss`` to its feed, as the primary's worker does when it is ready.

        :param request_id: the post; must be the world's.
        """
        self.manager.set_link_rss(request_id, self.feed_url(request_id))

    def add_account(self, account: WorldAccount) -> None:
        """Make an account known that was added to the world after the start.

        :param account: what :meth:`World.add_account` gave.
        """
        put_account(account, self.manager, self.site)

    def credentials(self) -> Iterator[str]:
        """Every secret string: the world's, the API key, and each session cookie so far."""
        yield from self.world.credentials()
        yield self.api_key
        yield from self.site.issued

    def addresses(self) -> dict[str, str]:
        """The addresses and the key, for a person or another process that uses the sandbox."""
        return {
            "manager_url": self.manager_url,
            "site_url": self.site_url,
            "feeds_url": self.feeds_url,
            "api_key": self.api_key,
        }


async def serve(sandbox: Sandbox, *, as_json: bool = False) -> None:
    """Run a sandbox until SIGINT or SIGTERM; its addresses go to standard output as soon as it answers.

    :param sandbox: what to run.
    :param as_json: whether the addresses are one line of JSON rather than text.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        async with sandbox:
            sys.stdout.write(_announcement(sandbox, as_json=as_json))
            sys.stdout.flush()
            await stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _announcement(sandbox: Sandbox, *, as_json: bool) -> str:
    addresses = sandbox.addresses()
    if as_json:
        return json.dumps(addresses) + "\n"
    accounts, posts = len(sandbox.world.accounts), len(sandbox.world.posts)
    domains = ", ".join(sorted({account.domain for account in sandbox.world.accounts}))
    return (
        f"A sandbox with {accounts} accounts in {posts} posts on {domains}.\n\n"
        f"  manager  {addresses['manager_url']}   API key {addresses['api_key']}\n"
        f"  site     {addresses['site_url']}/<domain>/\n"
        f"  feeds    {addresses['feeds_url']}\n\n"
        f"What was reported so far: {addresses['manager_url']}/sandbox/rows\n"
        "Ctrl-C ends it; nothing is kept.\n"
    )


def run_sandbox(sandbox: Sandbox, *, as_json: bool = False) -> None:
    """Run a sandbox until SIGINT or SIGTERM and return when it has ended; see :func:`serve`.

    :param sandbox: what to run.
    :param as_json: whether the addresses are one line of JSON rather than text.
    """
    asyncio.run(serve(sandbox, as_json=as_json))
