"""``likepion platforms try`` and ``check --login``: what they say, and that they say nothing secret."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from likepion_provider.cli import main
from likepion_provider.testing.server import PlatformServer
from tests.recipes import FOLDER

from . import analyzer, letters, podcast_analyzer, wordpress_ssp

SECRETS = (letters.PASSWORD, letters.TOKEN, letters.TOTP, "feed-token")


Command = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def likepion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, in a thread: its exit status, and everything it says."""
    monkeypatch.setenv("AIRFLOW__LIKEPION__RECIPES_FOLDER", str(FOLDER))

    async def run(*arguments: str, **account: str) -> tuple[int, str]:
        for name, value in account.items():
            monkeypatch.setenv(name, value)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = await asyncio.wait_for(asyncio.to_thread(main, ["platforms", *arguments]), 90)
        assert not [secret for secret in SECRETS if secret in said.getvalue()], "a secret is shown"
        return status, said.getvalue()

    return run


ACCOUNT = {
    "LIKEPION_TRY_USERNAME": "ada",
    "LIKEPION_TRY_PASSWORD": letters.PASSWORD,
    "LIKEPION_TRY_TWOFA": letters.TOTP,
}


class Feeds(letters.LettersServer):
    """The site, and the feed too."""

    def routes(self) -> list[web.RouteDef]:
        return [*super().routes(), web.get("/tide.xml", self._feed)]

    async def __aenter__(self) -> PlatformServer:
        await super().__aenter__()
        self.feed_url = f"{self.url}/tide.xml?token=feed-token"
        return self

    async def _feed(self, request: web.Request) -> web.Response:
        return web.Response(text=self.rss(), content_type="application/rss+xml")


async def test_try_says_each_step_and_ends_with_the_pages(likepion: Command) -> None:
    async with Feeds() as server:
        arguments = ("try", str(FOLDER / "letters.yaml"), "--feed", server.feed_url, "--address", server.url)
        status, said = await likepion(*arguments, "--allow-private", **ACCOUNT)
        assert status == 0, said
        for part in (
            "find: open api/shows -> 401",
            "login[1]: POST api/session/{kept.session}/code -> 200",
            "find: the feed is not there",
            "submit[0]: POST api/shows -> 201",
            "list: 3 of 3 episodes are the feed's",
            "state: listed, 3 of 3 episodes",
        ):
            assert part in said, said
        assert said.splitlines()[-3:] == server.expected()

        status, said = await likepion(*arguments, "--allow-private", **(ACCOUNT | {"LIKEPION_TRY_PASSWORD": "wrong"}))
        assert (status, server.imports) == (1, 1)
        assert "does not accept the credentials" in said


async def test_try_looks_only_where_it_is_told_so(likepion: Command) -> None:
    async with Feeds() as server:
        arguments = ("try", str(FOLDER / "letters.yaml"), "--feed", server.feed_url, "--address", server.url)
        status, said = await likepion(*arguments, "--allow-private", "--look-only", **ACCOUNT)
        assert (status, server.imports) == (1, 0)
        assert "state: new, 0 of 3" in said


async def test_try_names_what_is_missing(likepion: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    bad = tmp_path / "bad.yaml"
    bad.write_text("recipe: bad\n")
    for arguments, says in (
        ((str(bad), "--feed", "https://feeds.example/a.xml"), "bad.yaml:1: "),
        ((str(FOLDER / "letters.yaml"), "--feed", "https://feeds.example/a.xml"), "set LIKEPION_TRY_USERNAME"),
        ((str(FOLDER / "analyzer.yaml"), "--feed", "https://feeds.example/a.xml"), "--address"),
    ):
        status, said = await likepion("try", *arguments)
        assert status == 1
        assert len(said.splitlines()) == 1
        assert says in said


@pytest.mark.parametrize("module", [podcast_analyzer, wordpress_ssp, analyzer], ids=lambda module: module.__name__)
async def test_check_tells_whether_an_account_can_sign_in(likepion: Command, module: object) -> None:
    name = module.__name__.rsplit(".", 1)[1]  # type: ignore[attr-defined]
    async with module.SERVER() as server:  # type: ignore[attr-defined]
        host = module.settings(server.url).base_url  # type: ignore[attr-defined]
        connection = f'{{"conn_type": "http", "host": "{host}", "extra": {{"platform": "{name}"}}}}'
        account = module.credentials()  # type: ignore[attr-defined]
        given = {
            "AIRFLOW_CONN_LIKEPION_PLATFORM_MINE_EXAMPLE": connection,
            "LIKEPION_TRY_USERNAME": account.username,
            "LIKEPION_TRY_PASSWORD": account.password,
        }
        status, said = await likepion("check", "mine.example", "--login", **given)
        assert (status, server.imports) == (0, 0), said
        assert f"mine.example is served by {name} (" in said
        assert said.splitlines()[-1].split() == ["login", "works"]
        server.auth_ok = False
        server.session = ""
        status, said = await likepion("check", "mine.example", "--login", **given)
        assert status == 1
        assert "login        failed: " in said
