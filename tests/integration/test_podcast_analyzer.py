"""The importer against the real django-podcast-analyzer: a site of its own on loopback, with its worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import requests
from aiohttp import web
from aiohttp.typedefs import Handler

from likepion_provider.aio import Gate
from likepion_provider.cli.local import free_port, process
from likepion_provider.errors import LoginRefused
from likepion_provider.feed import read_feed
from likepion_provider.models import Credentials, ImportState, SecondaryTask
from likepion_provider.platforms import Job, Platform, PlatformHttp, PlatformSettings, Progress, match
from likepion_provider.platforms.importers.podcast_analyzer import PodcastAnalyzer
from likepion_provider.platforms.recipe import importer, parse
from likepion_provider.platforms.recipe.browser import SANDBOX_EXTRA
from likepion_provider.sandbox.faults import Faults
from likepion_provider.sandbox.feeds import Feeds, Podcast, feeds_app
from likepion_provider.web.http import connections
from tests.recipes import FOLDER

PACKAGE = "django-podcast-analyzer==0.6.0"
#: More than the 50 that the site has on one page.
EPISODES = 53
PASSWORD = "a long password of ada's"
SITE = """
from pathlib import Path

from django.urls import include, path

HOME = Path(__file__).parent
SECRET_KEY = "for this test only, and on loopback only"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "site_urls"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": HOME / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MEDIA_ROOT = HOME / "media"
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.messages",
    "django.forms", "tagulous", "django_q", "podcast_analyzer",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [HOME / "templates"], "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
Q_CLUSTER = {"name": "test", "orm": "default", "workers": 1, "poll": 0.2, "timeout": 60, "retry": 120}
"""
URLS = """
from django.contrib.auth.views import LoginView
from django.urls import include, path

urlpatterns = [
    path("accounts/login/", LoginView.as_view(template_name="login.html")),
    path("podcasts/", include("podcast_analyzer.urls", namespace="podcasts")),
]
"""
LOGIN = '<form method="post">{% csrf_token %}{{ form.as_p }}<input type="hidden" name="next" value="{{ next }}"></form>'


def _interpreters() -> Iterator[str]:
    """What may be a Python of at least 3.12, in no order."""
    yield sys.executable
    yield from filter(None, (shutil.which(f"python3.{minor}") for minor in (12, 13, 14)))
    roots = {os.environ.get("PYENV_ROOT")}
    if pyenv := shutil.which("pyenv"):
        answer = subprocess.run([pyenv, "root"], capture_output=True, text=True, timeout=20, check=False)
        roots.add(answer.stdout.strip())
    for root in filter(None, roots):
        yield from map(str, sorted(Path(root).glob("versions/3.*/bin/python")))


def _new_enough(interpreter: str) -> bool:
    ask = [interpreter, "-c", "import sys, venv; sys.exit(sys.version_info < (3, 12))"]
    return subprocess.run(ask, capture_output=True, timeout=20, check=False).returncode == 0


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An interpreter that has the package, in an environment of its own."""
    interpreter = next(filter(_new_enough, _interpreters()), None)
    if interpreter is None:
        pytest.skip("django-podcast-analyzer needs Python 3.12 or later, and there is none")
    home = tmp_path_factory.mktemp("environment")
    try:
        make = [interpreter, "-m", "venv", "--without-pip", str(home)]
        subprocess.run(make, check=True, capture_output=True, timeout=60)
        python = str(home / "bin" / "python")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
        install = [*pip, "install", "--quiet", "--no-compile", PACKAGE]
        done = subprocess.run(install, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode:
            pytest.skip(f"{PACKAGE} cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
        if subprocess.run([python, "-c", "import magic"], capture_output=True, timeout=60, check=False).returncode:
            pytest.skip("django-podcast-analyzer needs the system's libmagic, and there is none")
        yield python
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def site(python: str, tmp_path: Path) -> Iterator[str]:
    """The site with one user and its worker."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "login.html").write_text(LOGIN)
    (tmp_path / "site_settings.py").write_text(SITE)
    (tmp_path / "site_urls.py").write_text(URLS)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "site_settings",
        "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
    }
    django = [python, "-m", "django"]

    def run(*arguments: str) -> None:
        done = subprocess.run([*django, *arguments], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    run("migrate", "--verbosity", "0")
    run("createsuperuser", "--noinput", "--username", "ada", "--email", "ada@feeds.example")
    port = free_port()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((tmp_path / "site.log").open("w"))
        for command in (["runserver", "--noreload", f"127.0.0.1:{port}"], ["qcluster"]):
            started = stack.enter_context(process([*django, *command], env=environment, stdout=log, stderr=log))
            stack.callback(_stop, started)
        _wait_for(f"http://127.0.0.1:{port}/accounts/login/")
        yield f"http://127.0.0.1:{port}"


def _stop(started: subprocess.Popen[str]) -> None:
    """Ask the first process only: it ends its own children. What is left is ended by its group."""
    started.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        started.wait(10)


def _wait_for(url: str) -> None:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        with contextlib.suppress(requests.ConnectionError):
            assert requests.get(url, timeout=10).status_code == 200
            return
        time.sleep(0.2)
    raise AssertionError(f"nobody answers at {url}")


@web.middleware
async def _name_the_owner(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The package's worker fails on an ``itunes:owner`` without a name, as the sandbox's feeds have it."""
    answer = await handler(request)
    if isinstance(answer, web.Response) and answer.content_type == "application/rss+xml" and answer.text:
        answer.text = answer.text.replace("<itunes:owner>", "<itunes:owner><itunes:name>Ada</itunes:name>")
    return answer


@contextlib.asynccontextmanager
async def _feed_url(episodes: int = EPISODES) -> AsyncIterator[str]:
    podcast = Podcast("tides", "Letters & Tides", episodes=episodes, token="tok-1")
    app = feeds_app(Feeds([podcast]), Faults(0))
    app.middlewares.append(_name_the_owner)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}{podcast.path()}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _job(
    site: str, feed_url: str, password: str = PASSWORD, cookie: str = "", *, platform: Platform | None = None
) -> AsyncIterator[Job]:
    """A run's job, with a client that knows nothing but the cookie."""
    platform = platform or PodcastAnalyzer()

    async def before_write() -> float:
        return 60.0

    feed = await read_feed(feed_url, target=EPISODES, allow_private=True)
    address = f"{site}/podcasts" if platform.name == PodcastAnalyzer.name else site
    # Chromium has no sandbox as root.
    settings = PlatformSettings(address, extra={} if os.geteuid() else {SANDBOX_EXTRA: False})
    task = SecondaryTask("a1", "r1", "g1", "podcasts.self.example", username="ada", target=EPISODES)
    async with connections() as shared:
        http = PlatformHttp(
            platform=platform.name,
            base_url=platform.address(task, settings),
            connections=shared,
            gate=Gate(4),
            before_write=before_write,
            cookie=cookie,
            named=settings.addresses,
        )
        yield Job(task, Credentials(username="ada", password=password, cookie=cookie), feed, settings, http)


async def _settled(job: Job, platform: Platform) -> Progress:
    wanted = len(job.feed.episodes)
    deadline_s = time.monotonic() + 90
    while time.monotonic() < deadline_s:
        seen = await platform.collect(job)
        if len(match(job.feed, seen.episodes, wanted)) == wanted:
            return seen
        await asyncio.sleep(0.5)
    raise AssertionError(f"the site lists {len(seen.episodes)} of {wanted} episodes")


async def test_a_feed_goes_in_and_every_episode_comes_out(site: str) -> None:
    platform = PodcastAnalyzer()
    async with _feed_url() as feed_url:
        async with _job(site, feed_url) as job:
            assert (await platform.collect(job)).state is ImportState.NEW
            submitted = await platform.submit(job)
            assert submitted.state is ImportState.SUBMITTED
            listed = await _settled(job, platform)
        urls = [each.url for _, each in match(job.feed, listed.episodes, EPISODES)]
        assert len(set(urls)) == EPISODES
        assert all(url.startswith(f"{site}/podcasts/podcasts/{submitted.reference}/episodes/") for url in urls)
        session = requests.Session()
        session.headers["Cookie"] = listed.cookie
        for url, number in ((urls[0], EPISODES), (urls[-1], 1)):
            assert re.search(rf"/audio/{number}\.wav", session.get(url, timeout=10).text)

        # Another run: the session's cookie alone opens the site, and the feed is there already.
        async with _job(site, feed_url, password="not asked for", cookie=listed.cookie) as job:
            again = await platform.submit(job)
        assert (again.state, again.reference) == (ImportState.LISTED, submitted.reference)
        assert [each.url for _, each in match(job.feed, again.episodes, EPISODES)] == urls

        async with _job(site, feed_url, password="wrong") as job:
            with pytest.raises(LoginRefused):
                await platform.submit(job)


@pytest.mark.parametrize(("engine", "episodes"), [("http", EPISODES), ("browser", 3)])
async def test_the_recipe_alone_brings_the_feed_in(site: str, engine: str, episodes: int) -> None:
    if engine == "browser" and not shutil.which("chromium"):
        pytest.skip("there is no chromium on this machine")
    text = f"engine: {engine}\n{(FOLDER / 'analyzer.yaml').read_text()}"
    platform = importer(parse(text, "analyzer.yaml"))()
    async with _feed_url(episodes) as feed_url:
        async with _job(site, feed_url, platform=platform) as job:
            submitted = await platform.submit(job)
            assert submitted.state is ImportState.SUBMITTED
            listed = await _settled(job, platform)
            assert (await platform.submit(job)).reference == listed.reference, "it is there"
        urls = [each.url for _, each in match(job.feed, listed.episodes, episodes)]
        assert len(set(urls)) == episodes
        session = requests.Session()
        session.headers["Cookie"] = listed.cookie
        for url, number in ((urls[0], episodes), (urls[-1], 1)):
            assert re.search(rf"/audio/{number}\.wav", session.get(url, timeout=10).text)
        async with _job(site, feed_url, password="wrong", platform=platform) as job:
            with pytest.raises(LoginRefused):
                await platform.submit(job)
