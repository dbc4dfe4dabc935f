"""django-podcast-analyzer 0.6.0 as its ``views.py`` and templates answer, with Django's own login form and CSRF.

Or with allauth's limit of failed logins: https://pypi.org/project/django-allauth, 65, ``allauth/account/adapter.py``.
"""

from __future__ import annotations

import secrets
import uuid
from html import escape

from aiohttp import web
from aiohttp.typedefs import Handler

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_TITLE, PlatformServer, ServerEpisode

PODCAST = "1f0c4e3a-7a39-4b1e-9a59-3d5f9d9be001"
OTHER = "1f0c4e3a-7a39-4b1e-9a59-3d5f9d9be002"
PASSWORD = f"{CANARY}password"
APP = "/podcasts"


class PodcastAnalyzerServer(PlatformServer):
    """Mounted at ``/podcasts/`` as the package's README shows it; another podcast is there from the start."""

    page_size = 50
    required = ("csrfmiddlewaretoken", "username", "rss_feed")

    def __init__(self) -> None:
        super().__init__()
        self.sessions: set[str] = set()
        #: Where it sends logins; empty: to itself.
        self.login_at = ""
        self.csrf = secrets.token_hex(16)
        #: Each visitor has one of them.
        self.tokens = {self.csrf}
        #: Too many logins have failed: no password is looked at.
        self.limited = False

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/accounts/login/", self._login_form),
            web.post("/accounts/login/", self._login),
            web.get(f"{APP}/podcasts/", self._signed_in(self._podcasts)),
            web.get(f"{APP}/podcasts/add/", self._signed_in(self._add_form)),
            web.post(f"{APP}/podcasts/add/", self._signed_in(self._add)),
            web.get(f"{APP}/podcasts/{{id}}/", self._signed_in(self._podcast)),
            web.get(f"{APP}/podcasts/{{id}}/edit/", self._signed_in(self._edit_form)),
            web.get(f"{APP}/podcasts/{{id}}/episodes/", self._signed_in(self._episodes)),
            web.get(f"{APP}/podcasts/{{id}}/episodes/{{episode}}/", self._signed_in(self._episode)),
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"{self.url}{self._path(episode)}"

    def _path(self, episode: ServerEpisode) -> str:
        return f"{APP}/podcasts/{PODCAST}/episodes/{uuid.uuid5(uuid.UUID(PODCAST), episode.guid)}/"

    def _signed_in(self, handler: Handler) -> Handler:
        async def check(request: web.Request) -> web.StreamResponse:
            if request.cookies.get("sessionid") not in self.sessions:
                return web.Response(
                    status=302, headers={"Location": f"{self.login_at}/accounts/login/?next={request.path}"}
                )
            return await handler(request)

        return check

    def _html(self, body: str, status: int = 200) -> web.Response:
        page = (
            f"<!DOCTYPE html><html><body><nav><ul><li><a href='{APP}/'>Analyzer</a></li></ul></nav>{body}</body></html>"
        )
        answer = web.Response(text=page, content_type="text/html", status=status)
        answer.set_cookie("csrftoken", self.csrf, samesite="Lax")
        return answer

    def _form(self, *inputs: str) -> str:
        # Django's template masks the cookie's secret; a token of its own stands for that here.
        token = f'<input type="hidden" name="csrfmiddlewaretoken" value="masked-{self.csrf}">'
        return f'<form method="post">{token}{"".join(inputs)}<button type="submit">Go</button></form>'

    async def _checked(self, request: web.Request) -> dict[str, str]:
        """The posted fields; as Django's middleware has it, token and cookie belong together."""
        fields = {name: str(value) for name, value in (await request.post()).items()}
        token = request.cookies.get("csrftoken", "")
        if token not in self.tokens or fields.get("csrfmiddlewaretoken") != f"masked-{token}":
            raise web.HTTPForbidden(text="CSRF verification failed. Request aborted.")
        return fields

    async def _login_form(self, request: web.Request) -> web.Response:
        return self._html(self._login_page(request.query.get("next", "")))

    def _login_page(self, target: str, error: str = "") -> str:
        return error + self._form(
            '<input type="text" name="username" autofocus maxlength="150" required>',
            '<input type="password" name="password" autocomplete="current-password" required>',
            f'<input type="hidden" name="next" value="{escape(target)}">',
        )

    async def _login(self, request: web.Request) -> web.Response:
        fields = await self._checked(request)
        if self.limited:
            words = "Too many failed login attempts. Try again later."
            if not request.headers.get("Accept-Language", "").startswith("en"):
                words = "Zu viele gescheiterte Anmeldeversuche."
            error = f'<ul class="errorlist nonfield"><li>{words}</li></ul>'
            return self._html(self._login_page(fields.get("next", ""), error))
        if not self.auth_ok or (fields.get("username"), fields.get("password")) != ("ada", PASSWORD):
            error = '<ul class="errorlist nonfield"><li>Please enter a correct username and password.</li></ul>'
            return self._html(self._login_page(fields.get("next", ""), error))
        session, self.csrf = secrets.token_hex(16), secrets.token_hex(16)
        self.sessions.add(session)
        self.tokens.add(self.csrf)
        answer = web.Response(status=302, headers={"Location": fields.get("next") or "/accounts/profile/"})
        answer.set_cookie("sessionid", session, httponly=True, samesite="Lax")
        answer.set_cookie("csrftoken", self.csrf, samesite="Lax")
        return answer

    async def _podcasts(self, request: web.Request) -> web.Response:
        there = [(OTHER, FEED_TITLE), (PODCAST, FEED_TITLE)] if self.there else [(OTHER, FEED_TITLE)]
        rows = "".join(
            f'<li><article><p><strong><a href="{APP}/podcasts/{each}/">{escape(title)}</a></strong> '
            f"<small>3 episodes</small></p></article></li>"
            for each, title in there
        )
        return self._html(f"<h1>Podcasts</h1><ul>{rows}</ul>")

    def _podcast_form(self, title: str, feed: str, error: str = "") -> str:
        return self._form(
            f'<input type="text" name="title" value="{escape(title)}" maxlength="250" required>',
            f'{error}<input type="url" name="rss_feed" value="{escape(feed)}" maxlength="200" required>',
        )

    async def _add_form(self, request: web.Request) -> web.Response:
        return self._html(self._podcast_form("", ""))

    async def _add(self, request: web.Request) -> web.Response:
        fields = await self._checked(request)
        if not fields.get("title") or fields.get("rss_feed") != self.feed_url or self.there:
            error = '<ul class="errorlist"><li>Podcast with this Rss feed already exists.</li></ul>'
            return self._html(self._podcast_form(fields.get("title", ""), fields.get("rss_feed", ""), error))
        self.take_in()
        return web.Response(status=302, headers={"Location": f"{APP}/podcasts/{PODCAST}/"})

    async def _podcast(self, request: web.Request) -> web.Response:
        if request.match_info["id"] != PODCAST or not self.there:
            raise web.HTTPNotFound
        return self._html(f"<h1>{FEED_TITLE}</h1>")

    async def _edit_form(self, request: web.Request) -> web.Response:
        feeds = {PODCAST: self.feed_url} if self.there else {}
        feed = (feeds | {OTHER: "https://feeds.example/other.xml"}).get(request.match_info["id"])
        if feed is None:
            raise web.HTTPNotFound
        return self._html(self._podcast_form(FEED_TITLE, feed))

    async def _episodes(self, request: web.Request) -> web.Response:
        if request.match_info["id"] != PODCAST or not self.there:
            raise web.HTTPNotFound
        self.count_page()
        number = int(request.query.get("page", "1"))
        listed = self.listed if self.look() else []
        rows = "".join(
            f'<tr><td>None</td><td><a href="{self._path(each)}">{escape(each.title)}</a></td><td>Notes ...</td>'
            f"<td>{each.published:%B} {each.published.day}, {each.published.year}</td><td>0:30:00</td></tr>"
            for each in listed[(number - 1) * self.page_size : number * self.page_size]
        )
        pages = -(-len(listed) // self.page_size)
        after = (
            f'<li><a class="pagination-link" href="?page={number + 1}">{number + 1}</a></li>' if number < pages else ""
        )
        head = (
            "<thead><tr><td>Ep #</td><td>Title</td><td>Summary</td><td>Release Date</td><td>Duration</td></tr></thead>"
        )
        return self._html(f"<h2>Episodes</h2><table>{head}<tbody>{rows}</tbody></table><ul>{after}</ul>")

    async def _episode(self, request: web.Request) -> web.Response:
        for each in self.listed:
            if request.path == self._path(each):
                media = escape(each.enclosure_url)
                return self._html(
                    f"<h1>{escape(each.title)}</h1><dl><dt>Episode URL</dt><dd>None</dd>"
                    f'<dt>Download URL</dt><dd><a href="{media}" rel="nofollow">{media[:34]}…</a></dd></dl>'
                )
        raise web.HTTPNotFound


SERVER = PodcastAnalyzerServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=f"{url}{APP}", extra={"platform": "podcast_analyzer"})


def credentials() -> Credentials:
    """The account's."""
    return Credentials(email="ada@feeds.example", username="ada", password=PASSWORD)
