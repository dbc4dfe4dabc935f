"""WordPress as ``wp-login.php`` answers, with Seriously Simple Podcasting as its handlers and REST controller do."""

from __future__ import annotations

import secrets
from html import escape
from typing import Any

from aiohttp import web

from likepion_provider.models import Credentials
from likepion_provider.platforms import PlatformSettings
from likepion_provider.testing.server import CANARY, FEED_TITLE, PlatformServer, ServerEpisode, episodes

PASSWORD = f"{CANARY}password"
LOGIN = "/wp-login.php"
ADMIN = "/wp-admin"
TAB_NONCE, SCREEN_NONCE = "a1b2c3d4e5", "0000000000"
OLD = ServerEpisode("wp-1", "Letter 1", "https://media.self.example/old/1.mp3", episodes(1)[0].published)


class WordpressServer(PlatformServer):
    """A site with two podcasts, one of them the feed's, and an episode of the other."""

    page_size = 100
    refuses_locked = True
    required = ("log", "pwd", "podcast_settings_tab_nonce", "external_rss", "is_finished", "link")

    def __init__(self) -> None:
        super().__init__()
        self.session = ""
        #: Where it sends logins; empty: to itself.
        self.login_at = ""
        #: The options ``ssp_external_rss`` and ``ssp_rss_import_data``.
        self.noted = ""
        self.data: list[ServerEpisode] | None = None
        self.added: list[ServerEpisode] = []
        self.posts: list[ServerEpisode] = []

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(LOGIN, self._login_form),
            web.post(LOGIN, self._login),
            web.get(f"{ADMIN}/edit.php", self._tab),
            web.post(f"{ADMIN}/edit.php", self._post_tab),
            web.get(f"{ADMIN}/admin-ajax.php", self._ajax),
            web.get("/wp-json/ssp/v1/episodes", self._episodes),
        ]

    def page_url(self, episode: ServerEpisode) -> str:
        return f"{self.url}/podcast/{episode.guid}/"

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

    def _is_in(self, request: web.Request) -> bool:
        return bool(self.session) and request.cookies.get("wordpress_site") == f"{CANARY}{self.session}"

    # --- the import ---

    def _asked(self, request: web.Request) -> bool:
        return request.query.get("page") == "podcast_settings" and request.query.get("tab") == "import"

    async def _tab(self, request: web.Request) -> web.Response:
        if not self._is_in(request):
            return web.Response(
                status=302, headers={"Location": f"{self.login_at or self.url}{LOGIN}?redirect_to=x&reauth=1"}
            )
        if not self._asked(request):
            raise web.HTTPForbidden(text="Sorry, you are not allowed to access this page.")
        return self._tab_page()

    def _tab_page(self) -> web.Response:
        done = len(self.added)
        inside = (
            f'<div class="ssp-external-feed-message">Your external RSS feed is being imported.</div>'
            f'<div id="ssp-external-feed-progress" data-progress="{done}"></div>'
            if self.noted
            else '<input id="external_rss" name="external_rss" type="text" value="">'
            '<select id="import_post_type" name="import_post_type"><option value="podcast">Podcast</option></select>'
            '<select id="import_series" name="import_series"><option value="7">Another podcast</option>'
            f'<option value="12">{FEED_TITLE}</option></select>'
            '<input type="checkbox" name="import_podcast_data" value="true" checked="checked">'
            '<input id="ssp-settings-submit" name="Submit" type="submit" value="Import jetzt starten"/>'
        )
        body = (
            f'<form id="adv-settings"><input type="hidden" name="screenoptionnonce" value="{SCREEN_NONCE}"></form>'
            '<form method="post" enctype="multipart/form-data">'
            '<input type="hidden" name="action" value="post_import_form"/>'
            f'<input type="hidden" id="_wpnonce" name="_wpnonce" value="{TAB_NONCE}"/>'
            f'<input type="hidden" name="podcast_settings_tab_nonce" value="{TAB_NONCE}"/>{inside}</form>'
        )
        return web.Response(text=f"<!DOCTYPE html><body>{body}</body>", content_type="text/html")

    async def _post_tab(self, request: web.Request) -> web.Response:
        fields = await request.post()
        if not self._is_in(request) or not self._asked(request) or fields.get("_wpnonce") != TAB_NONCE:
            raise web.HTTPForbidden(text="The link you followed has expired.")
        begins = fields.get("action") == "post_import_form" and fields.get("Submit") == "Import jetzt starten"
        if begins and fields.get("external_rss") == self.feed_url and fields.get("import_series") == "12":
            self.noted = self.feed_url
        return self._tab_page()

    async def _ajax(self, request: web.Request) -> web.Response:
        if not self._is_in(request):
            return web.Response(status=400, text="0")
        if request.query.get("nonce") != TAB_NONCE:
            return web.json_response({"status": "error", "message": "Security error!"})
        action = request.query.get("action")
        if action == "reset_rss_feed_data":
            self.noted, self.data, self.added = "", None, []
            return web.json_response("success")
        if action == "get_external_rss_feed_progress":
            progress = 100 * len(self.added) // len(self.data or [1])
            return web.json_response({"progress": progress, "episodes": [each.title for each in self.added]})
        return web.json_response(self._import())

    def _import(self) -> dict[str, Any]:
        if not self.noted:
            return {"status": "error", "message": "No feed to process", "can_try_again": False}
        if self.locked:
            self.noted = ""
            message = "Your podcast cannot be imported because the RSS feed is locked: see the podcast:lock tag"
            return {"status": "error", "message": message}
        if self.data is None:
            self.data = list(self.listed)
            self.take_in()
        part = self.data[len(self.added) :][:3]
        self.added += part
        self.posts += part
        finished = len(self.added) == len(self.data)
        titles = [each.title for each in self.added]
        base = {"status": "success", "count": len(titles), "episodes": titles}
        return base | {"message": "Partially imported", "is_finished": finished}

    # --- the public list ---

    async def _episodes(self, request: web.Request) -> web.Response:
        self.count_page()
        self.look()
        ours = self.listed if self.already_there else self.posts
        size, page = int(request.query.get("per_page", "10")), int(request.query.get("page", "1"))
        posts = sorted([*ours, OLD], key=lambda each: each.published, reverse=True)
        rows = [self._row(each) for each in posts[(page - 1) * size : page * size]]
        headers = {"X-WP-Total": str(len(posts)), "X-WP-TotalPages": str(-(-len(posts) // size))}
        return web.json_response(rows, headers=headers)

    def _row(self, each: ServerEpisode) -> dict[str, Any]:
        title = escape(each.title).replace("&amp;", "&#038;").replace("Letter ", "Letter&nbsp;")
        return {
            "id": 40,
            "date": f"{each.published:%Y-%m-%dT%H:%M:%S}",
            "guid": {"rendered": f"{self.url}/?post_type=podcast&#038;p=40"},
            "type": "podcast",
            "status": "publish",
            "link": self.page_url(each),
            "title": {"rendered": title},
            "meta": {"audio_file": each.enclosure_url, "episode_type": "audio", "duration": ""},
            "series": [7] if each is OLD else [12],
        }


SERVER = WordpressServer


def settings(url: str) -> PlatformSettings:
    """As the connection says it."""
    return PlatformSettings(base_url=url, extra={"platform": "wordpress_ssp"})


def credentials() -> Credentials:
    """A podcast manager's."""
    return Credentials(email="ada@feeds.example", username="ada", password=PASSWORD)
