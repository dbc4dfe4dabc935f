"""WordPress 6.6 as ``wp-login.php`` and its REST API answer, with Seriously Simple Podcasting 3.16 as its routes do.

Seen at the real software: an episode that is made gets its page's name with a number where that name is taken; a
podcast (term of ``series``) that is named in vain is replaced by the default one; lists are cut by ``per_page``, beyond
their end WordPress's own say 400 and the plugin's is empty; whoever asks for ``status=any`` must be let in.
"""

from __future__ import annotations

import base64
import dataclasses
import re
import secrets
from datetime import datetime, timezone
from html import escape
from typing import Any

from aiohttp import web

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_TITLE, PlatformServer, ServerEpisode, episodes

PASSWORD = f"{CANARY}password"
APP_PASSWORD = f"{CANARY}app password"
LOGIN = "/wp-login.php"
ADMIN = "/wp-admin"
NONCE = "a1b2c3d4e5"
#: Podcasts: the site's own, which is WordPress's default, and another with an episode.
DEFAULT, OTHER = 2, 7
OLD = ServerEpisode("wp-1", "Letter 1", "https://media.self.example/old/1.mp3", episodes(1)[0].published)


@dataclasses.dataclass
class Term:
    """A podcast."""

    id: int
    name: str
    slug: str


@dataclasses.dataclass
class Post:
    """An episode, as WordPress has it."""

    id: int
    slug: str
    title: str
    file: str
    published: datetime
    series: int
    status: str = "publish"


class WordpressServer(PlatformServer):
    """A site with two podcasts, none of them the feed's, and an episode of the second."""

    page_size = 100
    required = ("log", "pwd", "id", "link")

    def __init__(self) -> None:
        super().__init__()
        self.session = ""
        #: Where it sends logins; empty: to itself.
        self.login_at = ""
        #: Whether application passwords are taken; the account's rights; whether the plugin is active.
        self.takes_app_passwords = True
        self.may_publish = self.may_make_podcasts = self.has_plugin = True
        #: Whether it has permalinks: without them, a parameter names the route.
        self.has_permalinks, self.status_without = True, 404
        #: Answers to writes that are cut off after their effect, by how many are let pass before.
        self.cut_after: int | None = None
        self.terms = [
            Term(DEFAULT, "Harbor Site (default)", "harbor-site"),
            Term(OTHER, "Another &amp; podcast", "another"),
        ]
        self.posts = [Post(40, "letter-1", OLD.title, OLD.enclosure_url, OLD.published, OTHER)]
        self._last_id = 50

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(LOGIN, self._login_form),
            web.post(LOGIN, self._login),
            web.get(f"{ADMIN}/", self._admin),
            web.get(f"{ADMIN}/admin-ajax.php", self._ajax),
            web.get("/", self._by_parameter),
            web.post("/", self._by_parameter),
            web.route("*", "/wp-json/{route:.*}", self._by_path),
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        self._settle_already_there()
        ours = [each for each in self.posts if each.file == episode.enclosure_url]
        return self._link(ours[0]) if ours else f"{self.url}/podcast/missing-{episode.guid}/"

    def _link(self, post: Post) -> str:
        return f"{self.url}/podcast/{post.slug}/"

    def make(self, episode: ServerEpisode, series: int, slug: str = "") -> Post:
        """An episode that somebody else made."""
        self._last_id += 1
        slug = self._free(slug or re.sub("[^a-z0-9]+", "-", episode.title.lower()))
        post = Post(self._last_id, slug, escape(episode.title), episode.enclosure_url, episode.published, series)
        self.posts.append(post)
        return post

    def make_term(self, name: str, slug: str = "") -> Term:
        """A podcast."""
        self._last_id += 1
        self.terms.append(Term(self._last_id, escape(name), slug or f"term-{self._last_id}"))
        return self.terms[-1]

    def _settle_already_there(self) -> None:
        if self.already_there and not any(each.name == FEED_TITLE for each in self.terms):
            term = self.make_term(FEED_TITLE)
            for each in self.listed:
                self.make(each, term.id)

    def _free(self, slug: str) -> str:
        taken, number = {each.slug for each in self.posts}, 2
        if slug not in taken:
            return slug
        while f"{slug}-{number}" in taken:
            number += 1
        return f"{slug}-{number}"

    # --- the login ---

    def _login_page(self, error: str = "") -> web.Response:
        body = (
            f'{error}<form name="loginform" id="loginform" action="{self.url}{LOGIN}" method="post">'
            '<input type="text" name="log" id="user_login" value=""><input type="password" name="pwd" value="">'
            '<input name="rememberme" type="checkbox" value="forever">'
            '<input type="submit" name="wp-submit" value="Log In">'
            f'<input type="hidden" name="redirect_to" value="{self.url}{ADMIN}/edit.php">'
            '<input type="hidden" name="testcookie" value="1"></form>'
        )
        answer = web.Response(text=f"<!DOCTYPE html><body>{body}</body>", content_type="text/html")
        answer.set_cookie("wordpress_test_cookie", "WP%20Cookie%20check")
        return answer

    async def _login_form(self, request: web.Request) -> web.Response:
        return self._login_page()

    async def _login(self, request: web.Request) -> web.Response:
        fields = await request.post()
        if "wordpress_test_cookie" not in request.cookies:
            return self._login_page('<div id="login_error">Cookies are blocked</div>')
        if not self.auth_ok or (fields.get("log"), fields.get("pwd")) != ("ada", PASSWORD):
            return self._login_page('<div id="login_error">The password you entered is incorrect.</div>')
        self.session = secrets.token_hex(8)
        answer = web.Response(status=302, headers={"Location": str(fields.get("redirect_to"))})
        # One cookie opens the admin pages, for that path only; the other says on every page who is logged in.
        answer.headers.add("Set-Cookie", f"wordpress_site={CANARY}{self.session}; Path={ADMIN}; HttpOnly")
        answer.headers.add("Set-Cookie", f"wordpress_logged_in_site={CANARY}li-{self.session}; Path=/; HttpOnly")
        return answer

    async def _admin(self, request: web.Request) -> web.Response:
        if self._opens_admin(request):
            return web.Response(text="<!DOCTYPE html><body>Dashboard</body>", content_type="text/html")
        to = f"{self.login_at or self.url}{LOGIN}?redirect_to=x&reauth=1"
        return web.Response(status=302, headers={"Location": to})

    async def _ajax(self, request: web.Request) -> web.Response:
        if not self._opens_admin(request) or request.query.get("action") != "rest-nonce":
            return web.Response(status=400, text="0")
        return web.Response(text=NONCE, content_type="text/html")

    def _opens_admin(self, request: web.Request) -> bool:
        return bool(self.session) and request.cookies.get("wordpress_site") == f"{CANARY}{self.session}"

    # --- the REST API ---

    async def _by_path(self, request: web.Request) -> web.StreamResponse:
        if not self.has_permalinks:
            return web.Response(status=self.status_without, text="<!DOCTYPE html>Harbor", content_type="text/html")
        return await self._rest(request, request.match_info["route"].strip("/"))

    async def _by_parameter(self, request: web.Request) -> web.StreamResponse:
        route = request.query.get("rest_route", "")
        if not route:
            return web.Response(text="<!DOCTYPE html>Home", content_type="text/html")
        return await self._rest(request, route.strip("/"))

    async def _rest(self, request: web.Request, route: str) -> web.StreamResponse:
        nonce = request.headers.get("X-WP-Nonce")
        if nonce is not None and (nonce != NONCE or not self._is_logged_in(request)):
            return _error(403, "rest_cookie_invalid_nonce", "Cookie check failed")
        if route == "":
            methods = {"application-passwords": {}} if self.takes_app_passwords else []
            return web.json_response({"name": "Harbor Site", "authentication": methods})
        known = self._knows(request)
        name, _, number = route.partition("/series/") if "/series/" in route else route.rpartition("/")
        if not self.has_plugin:
            return _error(404, "rest_no_route", "No route was found matching the URL and request method.")
        if route == "wp/v2/podcast" or name == "wp/v2/podcast":
            answer = await self._podcast(request, known, int(number) if name == "wp/v2/podcast" else 0)
        elif route == "wp/v2/series":
            answer = await self._series(request, known)
        elif "/series/" in route:
            found = [each for each in self.terms if str(each.id) == number]
            answer = web.json_response({"id": found[0].id}) if found else _error(404, "rest_term_invalid", "No term.")
        elif route == "ssp/v1/episodes":
            answer = self._episodes(request)
        else:
            return _error(404, "rest_no_route", "No route was found matching the URL and request method.")
        if request.method == "POST" and answer.status in (200, 201) and self.cut_after is not None:
            self.cut_after -= 1
            if self.cut_after < 0:
                self.cut_after = None
                assert request.transport
                request.transport.close()
        return answer

    def _is_logged_in(self, request: web.Request) -> bool:
        return bool(self.session) and request.cookies.get("wordpress_logged_in_site") == f"{CANARY}li-{self.session}"

    def _knows(self, request: web.Request) -> bool:
        """Whether it is said who asks: a session counts beside its nonce only."""
        told = "Basic " + base64.b64encode(f"ada:{APP_PASSWORD}".encode()).decode()
        by_password = self.takes_app_passwords and self.auth_ok and request.headers.get("Authorization") == told
        return by_password or ("X-WP-Nonce" in request.headers and self._is_logged_in(request))

    # --- the public list, and the podcasts ---

    def _episodes(self, request: web.Request) -> web.Response:
        self.count_page()
        self.look()
        self._settle_already_there()
        wanted = request.query.get("series")
        posts = [each for each in self.posts if each.status == "publish" and wanted in (None, str(each.series))]
        posts.sort(key=lambda each: (each.published, each.id), reverse=True)
        return _list(request, [self._row(each) for each in posts])

    def _row(self, post: Post) -> dict[str, Any]:
        return {
            "id": post.id,
            "slug": post.slug,
            "status": post.status,
            "date_gmt": f"{post.published:%Y-%m-%dT%H:%M:%S}",
            "link": self._link(post),
            "title": {"rendered": post.title.replace("&amp;", "&#038;").replace("Letter ", "Letter&nbsp;")},
            "meta": {"audio_file": post.file, "episode_type": "audio", "duration": ""},
            "series": [post.series],
        }

    async def _series(self, request: web.Request, known: bool) -> web.Response:
        self._settle_already_there()
        if request.method == "POST":
            if not known or not self.may_make_podcasts:
                return _error(
                    403 if known else 401, "rest_cannot_create", "Sorry, you are not allowed to create terms."
                )
            fields = await request.json()
            for each in self.terms:
                if (each.name, each.slug) == (fields["name"], fields["slug"]):
                    return _error(400, "term_exists", "A term with the name exists.", term_id=each.id)
            term = self.make_term("", fields["slug"])
            term.name = fields["name"]
            return web.json_response({"id": term.id}, status=201)
        counts = {each.id: sum(post.series == each.id for post in self.posts) for each in self.terms}
        return _list(request, [dataclasses.asdict(each) | {"count": counts[each.id]} for each in self.terms], 400)

    # --- the episodes ---

    async def _podcast(self, request: web.Request, known: bool, number: int) -> web.Response:
        if request.method == "GET":
            return self._listed_to_edit(request, known)
        if not known or not self.may_publish:
            code = "rest_cannot_edit" if number else "rest_cannot_create"
            return _error(403 if known else 401, code, "Sorry, you are not allowed to create posts as this user.")
        return self._write(await request.json(), number)

    def _listed_to_edit(self, request: web.Request, known: bool) -> web.Response:
        if request.query.get("context") == "edit" and not (known and self.may_publish):
            return _error(403 if known else 401, "rest_forbidden_context", "Sorry, you are not allowed to edit posts.")
        if request.query.get("status") == "any" and not known:
            return _error(400, "rest_invalid_param", "Invalid parameter(s): status")
        slug = request.query.get("slug")
        answer = _list(request, [self._row(each) for each in self.posts if slug in (None, each.slug)], 400)
        answer.headers["Allow"] = "GET, POST" if known and self.may_publish else "GET"
        return answer

    def _write(self, fields: dict[str, Any], number: int) -> web.Response:
        if not fields["title"]:
            return _error(400, "empty_content", "Content, title, and excerpt are empty.")
        now = datetime.now(timezone.utc)
        published = (
            datetime.fromisoformat(fields["date_gmt"]).replace(tzinfo=timezone.utc) if "date_gmt" in fields else now
        )
        series = int(fields["series"][0])
        known = {each.id for each in self.terms}
        if not any(each.file == fields["meta"]["audio_file"] for each in self.posts):
            if not any(each.file.startswith("https://media.feeds.example/tide/") for each in self.posts):
                self.take_in()
        elif not number:
            self.take_in()
        post = next((each for each in self.posts if each.id == number), None)
        if post is None:
            self._last_id += 1
            post = Post(self._last_id, self._free(fields["slug"]), "", "", now, DEFAULT)
            self.posts.append(post)
        post.title, post.file, post.published = fields["title"], fields["meta"]["audio_file"], published
        post.series = series if series in known else DEFAULT
        post.status = "future" if published > now else fields["status"]
        return web.json_response({"id": post.id}, status=200 if number else 201)


def _list(request: web.Request, rows: list[dict[str, Any]], beyond: int = 200) -> web.Response:
    """A page of a list; what there is beyond its end differs."""
    size, page = int(request.query.get("per_page", "10")), int(request.query.get("page", "1"))
    pages = -(-len(rows) // size)
    if page > max(pages, 1) and beyond == 400:
        return _error(400, "rest_post_invalid_page_number", "The page number requested is larger than that.")
    headers = {"X-WP-Total": str(len(rows)), "X-WP-TotalPages": str(pages)}
    return web.json_response(rows[(page - 1) * size : page * size], headers=headers)


def _error(status: int, code: str, message: str, **data: Any) -> web.Response:
    return web.json_response({"code": code, "message": message, "data": {"status": status, **data}}, status=status)


SERVER = WordpressServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url, extra={"platform": "wordpress_ssp"})


def credentials() -> Credentials:
    """A podcast manager's."""
    return Credentials(email="ada@feeds.example", username="ada", password=PASSWORD)
