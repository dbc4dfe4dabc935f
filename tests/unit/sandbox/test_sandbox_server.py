"""Worlds, the three servers together, and the command."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pyotp
import pytest

import likepion_provider
from likepion_provider.sandbox import command
from likepion_provider.sandbox.server import Sandbox
from likepion_provider.sandbox.site import SiteSettings
from likepion_provider.sandbox.world import (
    DOMAINS,
    World,
    build_world,
    demo_world,
    troubled_world,
    walkthrough_world,
)


class TestWorlds:
    def test_the_demo_has_what_the_demo_must_show(self) -> None:
        world = demo_world()
        assert (len(world.groups), len(world.posts), len(world.accounts)) == (3, 3, 24)
        assert {account.domain for account in world.accounts} == set(DOMAINS)
        shared = Counter((account.group_id, account.domain) for account in world.accounts)
        assert max(shared.values()) >= 2
        assert all(post.feed_ready and not post.podcast.locked for post in world.posts)
        surplus = [post.podcast.episodes - post.target for post in world.posts]
        assert min(surplus) < 0 < max(surplus)
        assert 0 in surplus

    def test_every_secret_is_unique_recognizable_and_listed(self) -> None:
        world = troubled_world()
        secrets = list(world.credentials())
        per_account = 6
        assert len(secrets) == len(set(secrets)) == per_account * len(world.accounts) + 1 + len(world.posts)
        assert all("canary" in secret.lower() for secret in secrets)
        for account in world.accounts:
            assert set(account.credentials.secrets()) <= set(secrets)
            assert pyotp.TOTP(account.credentials.twofa).now().isdigit()

    def test_no_secret_is_in_a_repr(self) -> None:
        world = troubled_world()
        assert "canary" not in repr((world.posts, world.accounts)).lower()

    def test_the_same_seed_gives_the_same_world(self) -> None:
        def ids(world: World) -> list[str]:
            return [*world.groups, *world.credentials(), *(post.request_id for post in world.posts)]

        assert ids(demo_world(1)) == ids(demo_world(1)) != ids(demo_world(2))

    def test_built_worlds_are_dealt_out_evenly(self) -> None:
        world = build_world(accounts=100, posts=10, waiting_posts=4, episodes=2, target=1)
        assert set(Counter(account.group_id for account in world.accounts).values()) == {10}
        assert set(Counter(account.domain for account in world.accounts).values()) <= {30, 40}
        assert [post.feed_ready for post in world.posts] == [True] * 6 + [False] * 4
        assert {(post.podcast.episodes, post.target) for post in world.posts} == {(2, 1)}

    def test_a_world_needs_a_post_and_a_domain(self) -> None:
        for options in ({"posts": 0}, {"domains": ()}):
            with pytest.raises(ValueError, match="needs"):
                build_world(**options)


class TestSandbox:
    async def test_manager_and_site_know_the_same_accounts(self, sandbox: Sandbox) -> None:
        for task in sandbox.manager.pull(1000):
            account = sandbox.site.check_login(task["domain"], task["username"], task["password"])
            assert account
            assert sandbox.site.check_code(account, pyotp.TOTP(task["twofa"]).now())
            assert task["link_rss"] == sandbox.feed_url(task["request_id"])

    async def test_troubles_are_where_they_belong(self) -> None:
        async with Sandbox(troubled_world()) as sandbox:
            tasks = sandbox.manager.pull(1000)
            wrong = [t for t in tasks if not sandbox.site.check_login(t["domain"], t["username"], t["password"])]
            assert len(wrong) == 1
            waiting = {task["request_id"] for task in tasks if not task["link_rss"]}
            assert waiting == {sandbox.world.posts[2].request_id}
            sandbox.set_feed(waiting.pop())
            assert all(sandbox.manager.account(task["id"])["link_rss"] for task in tasks)
            assert "nobody.example" in {task["domain"] for task in tasks}
            locked = [post.request_id for post in sandbox.world.posts if post.podcast.locked]
            assert locked == [sandbox.world.posts[1].request_id]

    async def test_the_walkthrough_is_the_demo_until_its_last_post_runs(self) -> None:
        async with Sandbox(walkthrough_world()) as sandbox:
            assert len(sandbox.manager.pull(1000)) == len(demo_world().accounts)
            post = sandbox.world.posts[-1]
            sandbox.manager.update_post(post.request_id, status="running")
            tasks = sandbox.manager.pull(1000)
            assert {task["request_id"] for task in tasks} == {post.request_id}
            found = [sandbox.site.check_login(t["domain"], t["username"], t["password"]) for t in tasks]
            assert [account and account.verified for account in found] == [None, False, True]

    async def test_its_end_stops_the_imports_that_run(self) -> None:
        async with Sandbox(settings=SiteSettings(import_latency_s=60)) as sandbox, aiohttp.ClientSession() as client:
            job = sandbox.site.submit(sandbox.site.accounts[0], f"{sandbox.feeds_url}/x/feed.xml", client)
            await asyncio.sleep(0)
            assert job
            assert not job.settled.is_set()
        assert job.settled.is_set()

    async def test_it_listens_on_loopback_and_ends(self) -> None:
        async with Sandbox(build_world(accounts=1, posts=1)) as sandbox:
            urls = [sandbox.manager_url, sandbox.site_url, sandbox.feeds_url]
            assert {urlsplit(url).hostname for url in urls} == {"127.0.0.1"}
            assert len({urlsplit(url).port for url in urls}) == 3
        async with aiohttp.ClientSession() as client:
            for url in urls:
                with pytest.raises(aiohttp.ClientConnectorError):
                    await client.get(url)

    async def test_it_takes_the_ports_it_is_given(self, sandbox: Sandbox) -> None:
        port = urlsplit(sandbox.manager_url).port or 0
        with pytest.raises(OSError, match="in use"):
            await Sandbox(manager_port=port).__aenter__()

    async def test_an_account_may_come_later(self, sandbox: Sandbox) -> None:
        account = sandbox.world.add_account(sandbox.world.groups[0], "tide.example")
        sandbox.add_account(account)
        assert sandbox.manager.account(account.account_id)["username"] == account.credentials.username
        assert sandbox.site.find_account("tide.example", account.credentials.username)

    async def test_its_secrets_include_key_and_sessions(self, sandbox: Sandbox) -> None:
        token = sandbox.site.open_session(sandbox.site.accounts[0])
        assert {token, "key", *sandbox.world.credentials()} == set(sandbox.credentials())

    async def test_without_a_key_each_has_its_own(self) -> None:
        assert Sandbox().api_key != Sandbox().api_key


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser


@pytest.fixture
def started(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own."""
    code = (
        "import argparse, sys\n"
        "from likepion_provider.sandbox import command\n"
        "parser = argparse.ArgumentParser()\n"
        "command.add_arguments(parser)\n"
        "sys.exit(command.run(parser.parse_args()))\n"
    )
    path = str(Path(likepion_provider.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *request.param],
        env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


class TestCommand:
    @pytest.mark.parametrize("started", [["--json", "--api-key", "k"]], indirect=True)
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    async def test_one_line_of_json_then_a_clean_end(self, started: subprocess.Popen[str], number: int) -> None:
        assert started.stdout
        addresses = json.loads(started.stdout.readline())
        assert addresses.keys() == {"manager_url", "site_url", "feeds_url", "api_key"}
        url = f"{addresses['manager_url']}/api/v1/podcast/links?type=secondary"
        headers = {"X-API-Key": addresses["api_key"]}
        async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as answer:
            assert answer.status == 200
            started.send_signal(number)
        assert started.communicate(timeout=10) == ("", "")
        assert started.returncode == 0

    @pytest.mark.parametrize("started", [["--world", "built", "--accounts", "7"]], indirect=True)
    def test_text_for_people(self, started: subprocess.Popen[str]) -> None:
        assert started.stdout
        first = started.stdout.readline()
        assert first.startswith("A sandbox with 7 accounts in 3 posts on harbor.example,")
        started.terminate()
        assert "Ctrl-C ends it" in started.stdout.read()

    def test_a_taken_port_is_one_clear_line(
        self, parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            assert command.run(parser.parse_args(["--site-port", port])) == 1
        assert "Choose another port" in capsys.readouterr().err

    def test_a_world_without_posts_is_refused(
        self, parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command.run(parser.parse_args(["--world", "built", "--posts", "0"])) == 2
        assert "needs a post" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "arguments", [["--accounts", "-1"], ["--latency-s", "nan"], ["--site-port", "65536"], ["--world", "x"]]
    )
    def test_bad_arguments_are_refused(self, parser: argparse.ArgumentParser, arguments: list[str]) -> None:
        with pytest.raises(SystemExit):
            parser.parse_args(arguments)
