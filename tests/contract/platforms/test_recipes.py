"""Recipes: what is wrong with one is said with its line; what a step gets wrong is said by its name."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiohttp import web

from likepion_provider.errors import LoginRefused, NoImporter, PlatformError
from likepion_provider.models import Credentials
from likepion_provider.platforms import registry
from likepion_provider.platforms.recipe import BadRecipe, importer, parse
from likepion_provider.testing.server import PlatformServer, opened
from tests.recipes import FOLDER

from . import analyzer, letters

pytestmark = pytest.mark.usefixtures("own_heap")

GOOD = (FOLDER / "letters.yaml").read_text()


@pytest.mark.parametrize(
    ("before", "after", "line", "says"),
    [
        ("title: A site", "titel: A site", 1, "title: Field required"),
        ("title: A site", "titel: A site", 2, "titel: Extra inputs are not permitted"),
        ("domains: [letters.example]", "domains: [www.letters.example]", 3, "domains[0]: must be a domain"),
        ("address: https", "address: ftp", 4, "address: String should match"),
        ("status: [401]", "status: [unauthorised]", 7, "login.needed.status[0]: Input should be a valid integer"),
        (
            "refused: {json: $.error}\n      keep: {session",
            "refused: {json: '$['}\n      keep: {session",
            10,
            "JSONPath",
        ),
        ("{json: $.token}", "{css: 'a[', attr: x}", 16, "login.steps[2].keep.token.css: is no CSS selector"),
        ("{json: $.token}", "{css: a, json: $.token}", 16, "needs exactly one of css, json_path"),
        ("$.feed}", "$.feed, match: '(['}", 20, "find.fields.feed.match: is no regular expression"),
        ("{feed.url}", "{feed.address}", 22, "nothing is called {feed.address}"),
        ("api/session/{kept.session}/token", "api?p={account.password}", 15, "must not be in an address"),
        ("open: api/shows/{reference}/episodes", "opens: x", 29, "list.open: Field required"),
        ("{json: $.page}", "{json: $.page}, link: {json: $.page}", 29, "knows no field 'link'"),
        ("  next: {json: $.next}", "  next: {json: $.next}\nlist: {}", 34, "list is given twice"),
        ("title: A site", "title: [A site", 3, "is no YAML"),
        ("Bearer {kept.token}", "Bearer {kept.tokn}", 1, "no step keeps {kept.tokn}"),
        ("recipe: letters", "recipe: !!python/name:os.system x", 1, "no recipe has tags"),
        ("title: A site with an API", "title: !!int x", 2, "no recipe has tags"),
        ("title: A site with an API", "title: &a x", 2, "anchor or an alias"),
        ("title: A site with an API", "title: *a", 2, "anchor or an alias"),
        ("title: A site with an API", "title: A \x07 site", 2, "holds the character U+0007"),
        ("title: A site with an API", "? [a, b]\n: c", 2, "a key must be a text"),
        ("title: A site with an API", "title: " + "[" * 20 + "]" * 20, 2, "more than 16 levels deep"),
        ("title: A site with an API", "title: " + "[" * 20_000, 2, "more than 16 levels deep"),
        ("title: A site with an API", "title: " + "9" * 5000, 2, "cannot be read (ValueError)"),
        ("title: A site with an API", "title: .nan", 2, "cannot be read (ValueError)"),
        ("title: A site with an API", "title: " + "x" * 70_000, 1, "is larger than 65536 bytes"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(before: str, after: str, line: int, says: str) -> None:
    assert before in GOOD
    with pytest.raises(BadRecipe) as raised:
        parse(GOOD.replace(before, after), "my.yaml")
    found = [each for each in raised.value.message.split("; my.yaml") if says in each]
    assert found, raised.value.message
    assert f":{line}: " in found[0]


def test_the_guide_has_the_recipe_that_is_tested() -> None:
    guide = (Path(__file__).parents[3] / "docs/guides/recipes.md").read_text()
    (shown,) = [each.split("```")[0] for each in guide.split("```yaml\n")[1:]]
    assert shown == (FOLDER / "analyzer.yaml").read_text()


def test_an_empty_file_and_one_that_is_none(tmp_path: Path) -> None:
    for text in ("", "- a\n- b\n", "7"):
        with pytest.raises(BadRecipe, match="my.yaml:1: "):
            parse(text, "my.yaml")


def test_a_folder_of_recipes_adds_importers_and_names_broken_ones(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text("recipe: bad\n")
    (tmp_path / "again.yaml").write_text(GOOD.replace("recipe: letters", "recipe: sandbox_site"))
    found = registry(tmp_path)
    assert found.for_domain("www.letters.example").name == "letters"
    assert found.broken["bad.yaml"].startswith("bad.yaml:1: ")
    assert "taken" in found.broken["again.yaml"]
    with pytest.raises(NoImporter):
        registry().for_domain("letters.example")


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    "bad",
    [
        "? {a: b}\n: c\n",
        "title: \x00\n",
        "title: 2026-99-99\n",
        "a: &a [*a]\n",
        "title: !!int x\n",
        ALIASES,
        "[" * 60_000,
        "- " * 30_000,
        "<<: [1, 2]\n",
        "\ufeff\ufeff",
        "a: 1:99:99\n",
        "%YAML 9.9\n---\n",
        "--- a\n--- b\n",
    ],
)
def test_a_bad_file_beside_a_good_one_is_named_and_the_good_one_works(tmp_path: Path, bad: str) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(bad)
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"title: \xe9")
    began_s = time.thread_time()
    found = registry(tmp_path)
    assert time.thread_time() - began_s < 2
    assert found.for_domain("letters.example").name == "letters"
    assert set(registry().platforms) < set(found.platforms)
    assert set(found.broken) == {"bad.yaml", "folder.yaml", "latin.yaml"}
    assert all(words.startswith(f"{name}:") for name, words in found.broken.items())
    assert found.broken["bad.yaml"].split(":")[1].isdigit()


def test_without_the_extra_the_rest_works_and_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    script = (
        "import sys; sys.modules['cssselect'] = None\n"
        "from pathlib import Path\nfrom likepion_provider.platforms import registry\n"
        "found = registry(Path(sys.argv[1])); print(found.broken['good.yaml'], len(found.platforms))"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "airflow-provider-likepion[recipes]" in done.stdout, done.stderr
    assert int(done.stdout.split()[-1]) == len(registry().platforms)


def test_needs_are_what_no_run_can_do_without() -> None:
    assert parse(GOOD, "my.yaml").needs == ("username", "password")
    assert parse(GOOD.replace("when: {json: \"$[?@ == 'code']\"}\n      ", ""), "my.yaml").needs == (
        "username",
        "password",
        "twofa",
    )


async def test_the_code_is_asked_for_only_where_the_site_does() -> None:
    platform = importer(parse(GOOD, "my.yaml"))()
    async with opened(platform, letters) as case:
        case.credentials = Credentials(username="ada", password=letters.PASSWORD, twofa="no base32!")
        with pytest.raises(LoginRefused, match="TOTP"):
            await case.platform.collect(case.job())


async def test_a_login_form_that_sends_elsewhere_gets_no_password() -> None:
    class Elsewhere(analyzer.SERVER):
        def _form(self, *inputs: str) -> str:
            there = self.url.replace("127.0.0.1", "localhost") + "/accounts/login/"
            return super()._form(*inputs).replace("<form ", f'<form action="{there}" ')

    async with opened(registry(FOLDER).platforms["analyzer"], analyzer) as case:
        case.server.__class__ = Elsewhere
        with pytest.raises(PlatformError, match="localhost"):
            await case.platform.collect(case.job())
        assert not [each for each in case.server.requests if each.startswith("POST")]


KEYED = """
recipe: keyed
title: A site with a key
headers: {X-Key: "{connection.password}"}
login: {needed: {status: [401]}}
find: {open: shows, rows: {json: $.shows}, fields: {reference: {json: $.id}, feed: {json: $.feed}}}
submit: [{call: {path: shows, data: {feed: "{feed.url}"}}}]
list: {open: shows, rows: {json: $.shows}, fields: {url: {json: $.url}, guid: {json: $.id}}}
"""


class KeyedServer(PlatformServer):
    """Sends lists of shows on to another host, which must not get the key."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[tuple[str | None, str]] = []

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/shows", self._shows)]

    async def _shows(self, request: web.Request) -> web.Response:
        self.keys.append((request.headers.get("X-Key"), request.host.split(":")[0]))
        if "127.0.0.1" in request.host and self.auth_ok:
            return web.Response(status=302, headers={"Location": str(request.url.with_host("localhost"))})
        return web.json_response({"shows": []}, status=200 if self.auth_ok else 401)


async def test_a_key_goes_to_the_sites_host_only_and_a_refused_one_names_the_connection() -> None:
    module = letters.__class__("keyed")
    module.SERVER, module.credentials = KeyedServer, letters.credentials  # type: ignore[attr-defined]
    module.settings = lambda url: letters.PlatformSettings(  # type: ignore[attr-defined]
        url, password="the-key", extra={"allow_private": True}
    )  # type: ignore[attr-defined]
    async with opened(importer(parse(KEYED, "my.yaml"))(), module) as case:
        assert isinstance(case.server, KeyedServer)
        await case.platform.collect(case.job())
        assert case.server.keys == [("the-key", "127.0.0.1"), (None, "localhost")]
        case.server.auth_ok = False
        with pytest.raises(PlatformError, match="likepion_platform_keyed"):
            await case.platform.collect(case.job())
