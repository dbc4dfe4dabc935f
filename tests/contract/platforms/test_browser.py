"""Recipes in a real browser, at a site whose pages are empty without JavaScript."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from types import ModuleType

import pytest
from aiohttp import web

from likepion_provider.errors import LoginRefused, PlatformChanged, PlatformError, Transient
from likepion_provider.models import ImportState
from likepion_provider.platforms import PlatformSettings
from likepion_provider.platforms.recipe import importer, parse
from likepion_provider.platforms.recipe.browser import SANDBOX_EXTRA
from likepion_provider.testing.server import PlatformServer, ServerEpisode, opened

from . import letters

#: Chromium has no sandbox as root, as tests in a container run.
SANDBOX = {} if os.geteuid() else {SANDBOX_EXTRA: False}
RECIPE = """
recipe: scripted
title: A site of scripts
engine: browser
headers: {X-Recipe: scripted}
login:
  needed: {css: "input[name=password]"}
  steps:
    - form: {css: "#login", fields: {name: "{account.username}", password: "{account.password}"}}
find:
  open: /#shows
  rows: {css: "li.show"}
  fields: {reference: {css: ":scope", attr: id}, feed: {css: "span"}}
submit:
  - open: /#add
  - form: {css: "#add", fields: {feed: "{feed.url}", kind: audio, mine: "yes"}}
    expect: {css: ".added"}
list:
  open: "/#{reference}"
  rows: {css: "li.episode"}
  fields: {url: {css: a, attr: href}, guid: {css: ":scope", attr: id}}
"""
PAGE = """<!DOCTYPE html><title>Scripts</title><main></main><script>
const main = document.querySelector("main"), send = async (path, fields) =>
  (await fetch(path, {method: fields ? "POST" : "GET", body: fields && new URLSearchParams(fields)})).json();
async function show() {
  const data = await send("/data" + location.hash.replace("#", "/"));
  main.innerHTML = data.html;
  for (const form of document.forms) form.onsubmit = async event => {
    event.preventDefault();
    await send("/" + form.id, new FormData(form));
    if (form.id === "add") main.innerHTML = "<p class='added'>Thank you</p>"; else await show();
  };
}
show(); onhashchange = show;
</script>"""


class ScriptedServer(PlatformServer):
    """One page; everything else is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = False
        self.headers: set[str | None] = set()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._page),
            web.get("/data/{part}", self._data),
            web.post("/login", self._login),
            web.post("/add", self._add),
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"{self.url}/{episode.guid}"

    async def _page(self, request: web.Request) -> web.Response:
        self.headers.add(request.headers.get("X-Recipe"))
        return web.Response(text=PAGE, content_type="text/html")

    async def _login(self, request: web.Request) -> web.Response:
        fields = await request.post()
        answer = web.json_response({})
        if self.auth_ok and (fields["name"], fields["password"]) == ("ada", letters.PASSWORD):
            answer.set_cookie("session", letters.TOKEN, path="/data")
        return answer

    async def _data(self, request: web.Request) -> web.Response:
        if self.busy:
            return web.json_response({}, status=429, headers={"Retry-After": "37"})
        if request.cookies.get("session") != letters.TOKEN:
            login = "<form id=login><input name=name><input name=password type=password></form>"
            return web.json_response({"html": login})
        add = (
            "<form id=add><input name=feed><select name=kind><option>video<option>audio</select>"
            "<input type=checkbox name=mine value=yes><button>Go</button></form>"
        )
        shows = f"<li class=show id=tide><span>{self.feed_url}</span></li>" if self.there else ""
        listed = "".join(f"<li class=episode id={each.guid}><a href='/{each.guid}'>x</a></li>" for each in self.listed)
        parts = {"add": add, "shows": f"<ul>{shows}</ul>", "tide": f"<ul>{listed}</ul>"}
        return web.json_response({"html": parts[request.match_info["part"]]})

    async def _add(self, request: web.Request) -> web.Response:
        fields = dict(await request.post())
        if fields == {"feed": self.feed_url, "kind": "audio", "mine": "yes"}:
            self.take_in()
        return web.json_response({})


def module() -> ModuleType:
    made = ModuleType("scripted")
    made.SERVER = ScriptedServer  # type: ignore[attr-defined]
    made.credentials = letters.credentials  # type: ignore[attr-defined]
    made.settings = lambda url: PlatformSettings(url, extra=SANDBOX)  # type: ignore[attr-defined]
    return made


@pytest.fixture
def chromium() -> None:
    if not shutil.which("chromium"):
        pytest.skip("there is no chromium on this machine")


@pytest.mark.usefixtures("chromium")
async def test_a_site_of_scripts_takes_the_feed_and_lists_it() -> None:
    async with opened(importer(parse(RECIPE, "my.yaml"))(), module(), timeout_s=60) as case:
        progress = await case.bring_in()
        assert (progress.state, case.urls(progress)) == (ImportState.LISTED, case.server.expected())
        assert case.server.imports == 1
        assert case.writes
        assert case.server.requests.count("POST /login") == 1, "the next visit has the cookies of the one before"
        assert case.server.headers == {"scripted"}  # type: ignore[attr-defined]


@pytest.mark.usefixtures("chromium")
async def test_what_its_scripts_are_told_counts() -> None:
    async with opened(importer(parse(RECIPE, "my.yaml"))(), module(), timeout_s=60) as case:
        case.server.auth_ok = False
        with pytest.raises(LoginRefused):
            await case.platform.collect(case.job())
        case.server.busy = True  # type: ignore[attr-defined]
        with pytest.raises(Transient) as raised:
            await case.platform.collect(case.job())
        assert raised.value.retry_after_s == 37
        assert case.gate.closings_s == [37]


async def test_over_http_the_same_site_is_empty() -> None:
    recipe = parse(RECIPE.replace("engine: browser", "engine: http"), "my.yaml")
    async with opened(importer(recipe)(), module()) as case:
        with pytest.raises(PlatformChanged, match="the form #add"):
            await case.platform.submit(case.job())


async def test_a_browser_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKEPION_CHROMIUM", "no-such-browser")
    async with opened(importer(parse(RECIPE, "my.yaml"))(), module()) as case:
        with pytest.raises(PlatformError, match="no-such-browser is not installed") as raised:
            await case.platform.collect(case.job())
        assert "apt-get install chromium" in raised.value.remedy


def test_playwright_is_imported_late_and_named_where_it_is_missing() -> None:
    script = (
        "import sys; sys.modules['playwright'] = None\n"
        "import asyncio\nfrom types import SimpleNamespace\n"
        "from likepion_provider.platforms.recipe.run import engine_for\n"
        "async def go():\n"
        "    async with engine_for(SimpleNamespace(), 'browser', {}): pass\n"
        "try: asyncio.run(go())\nexcept Exception as error: print(type(error).__name__, error.advice)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert "PlatformError" in done.stdout, done.stderr
    assert "airflow-provider-likepion[recipes,browser]" in done.stdout
