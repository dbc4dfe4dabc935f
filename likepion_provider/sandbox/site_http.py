"""The site behind HTTP: the interface that :mod:`likepion_provider.sandbox.site` specifies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from html import escape
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from likepion_provider.sandbox import pages
from likepion_provider.sandbox.faults import Faults
from likepion_provider.sandbox.site import PAGE_SIZE, Import, Session, Site, SiteAccount, SiteEpisode, SiteSubmission

_SignedIn = Callable[[web.Request, Session], Awaitable[web.Response]]
_LOGIN = (
    pages.Field("username", "User name or e-mail", autocomplete="username"),
    pages.Field("password", "Password", "password", "current-password"),
)
_TOTP = (pages.Field("code", "Code from your authenticator", autocomplete="one-time-code"),)
_IMPORT = (pages.Field("feed_url", "Address of the RSS feed", "url"),)


def site_app(site: Site, faults: Faults) -> web.Application:
    """The site behind HTTP; see the module's docstring.

    :param site: what it serves.
    :param faults: strike its endpoints.
    """
    app = web.Application(middlewares=[_latency(site), faults.middleware(), _html_errors])
    http = _Http(site)
    app.cleanup_ctx.append(http.lifetime)
    app.add_routes(http.routes())
    return app


def _latency(site: Site) -> Middleware:
    @web.middleware
    async def wait(request: web.Request, handler: Handler) -> web.StreamResponse:
        await asyncio.sleep(site.settings.latency_s)
        return await handler(request)

    return wait


@web.middleware
async def _html_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        domain = request.match_info.get("domain", "sandbox")
        return _html(f"{error.status} {error.reason}", "<p>There is nothing here.</p>", domain, error.status)


def _html(title: str, body: str, domain: str, status: int = 200) -> web.Response:
    return web.Response(text=pages.page(title, body, domain=domain), content_type="text/html", status=status)


def _error(status: int, code: str, message: str, **fields: Any) -> web.Response:
    return web.json_response({"error": code, "message": message, **fields}, status=status)


def _domain(request: web.Request) -> str:
    return request.match_info["domain"].lower()


def _see(request: web.Request, path: str) -> web.Response:
    return web.Response(status=303, headers={"Location": f"/{_domain(request)}/{path}"})


async def _posted(request: web.Request, *names: str) -> tuple[str, ...]:
    values = await request.post()
    return tuple(value if isinstance(value := values.get(name), str) else "" for name in names)


def _import_of(request: web.Request, session: Session) -> Import | None:
    jobs = session.account.imports.values()
    return next((job for job in jobs if job.import_id == request.match_info["import_id"]), None)


def _verify_path(account: SiteAccount) -> str:
    return f"verify/{quote(account.username, safe='')}"


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


class _Http:
    """The routes of the module's docstring."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._client: aiohttp.ClientSession | None = None

    async def lifetime(self, app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(auto_decompress=True) as self._client:
            yield
            await self._site.close()

    def routes(self) -> list[web.RouteDef]:
        at = r"/{domain:[A-Za-z0-9][A-Za-z0-9.-]*}"
        return [
            web.get(f"{at}/login", self._login_form),
            web.post(f"{at}/login", self._login, name="site.login"),
            web.get(f"{at}/verify/{{username}}", self._verify_form),
            web.post(f"{at}/verify/{{username}}", self._verify),
            web.get(f"{at}/login/totp", self._totp_form),
            web.post(f"{at}/login/totp", self._totp, name="site.totp"),
            web.get(f"{at}/import", self._import_form),
            web.post(f"{at}/import", self._signed_in(self._import), name="site.submit"),
            web.get(f"{at}/api/imports", self._signed_in(self._imports), name="site.imports"),
            web.get(f"{at}/api/imports/{{import_id}}", self._signed_in(self._status), name="site.status"),
            web.post(f"{at}/api/imports/{{import_id}}/refresh", self._signed_in(self._refresh), name="site.refresh"),
            web.get(f"{at}/api/shows/{{show_id}}/episodes", self._signed_in(self._episodes), name="site.episodes"),
            web.get(f"{at}/shows/{{show_id}}/episodes/{{episode_id}}", self._episode_page, name="site.page"),
            web.get(f"{at}/shows/{{show_id}}", self._show_page),
            web.get(f"{at}/", self._home),
        ]

    # Signing in

    async def _login_form(self, request: web.Request) -> web.Response:
        return self._visited(request, "Sign in", "login", _LOGIN)

    async def _verify_form(self, request: web.Request) -> web.Response:
        return self._visited(request, "It was me", _verify_path(self._owned(request)), ())

    def _visited(self, request: web.Request, title: str, action: str, fields: tuple[pages.Field, ...]) -> web.Response:
        token, visit = self._site.new_visit()
        answer = self._form(request, title, action, visit.csrf, fields)
        answer.set_cookie("visit", token, path=f"/{_domain(request)}", httponly=True, samesite="Lax")
        return answer

    def _form(
        self, request: web.Request, title: str, action: str, csrf: str, fields: tuple[pages.Field, ...], error: str = ""
    ) -> web.Response:
        domain = _domain(request)
        body = pages.form(f"/{domain}/{action}", csrf, fields, title, error=error)
        return _html(title, body, domain, 401 if error else 200)

    async def _login(self, request: web.Request) -> web.Response:
        csrf, name, password = await _posted(request, "csrf", "username", "password")
        visit = self._site.visit(request.cookies.get("visit", ""))
        if visit is None or csrf != visit.csrf:
            return self._forged(request)
        account = self._site.check_login(_domain(request), name, password)
        if account and not account.verified:
            return _see(request, _verify_path(account))
        visit.account = account
        if visit.account is None:
            return self._form(request, "Sign in", "login", csrf, _LOGIN, "Wrong user name or password.")
        if visit.account.twofa:
            return _see(request, "login/totp")
        return self._welcome(request, visit.account)

    async def _verify(self, request: web.Request) -> web.Response:
        account = self._owned(request)
        (csrf,) = await _posted(request, "csrf")
        visit = self._site.visit(request.cookies.get("visit", ""))
        if visit is None or csrf != visit.csrf:
            return self._forged(request)
        account.verified = True
        return _html("Thank you", f"<p>{escape(account.username)} can sign in again.</p>", account.domain)

    def _owned(self, request: web.Request) -> SiteAccount:
        account = self._site.find_account(_domain(request), request.match_info["username"])
        if account is None:
            raise web.HTTPNotFound
        return account

    async def _totp_form(self, request: web.Request) -> web.Response:
        visit = self._site.visit(request.cookies.get("visit", ""))
        if visit is None or visit.account is None:
            return _see(request, "login")
        return self._form(request, "Verify", "login/totp", visit.csrf, _TOTP)

    async def _totp(self, request: web.Request) -> web.Response:
        csrf, code = await _posted(request, "csrf", "code")
        visit = self._site.visit(request.cookies.get("visit", ""))
        if visit is None or csrf != visit.csrf:
            return self._forged(request)
        if visit.account is None or visit.account.domain != _domain(request):
            return _see(request, "login")
        if not self._site.check_code(visit.account, code.strip()):
            return self._form(request, "Verify", "login/totp", csrf, _TOTP, "Wrong code.")
        return self._welcome(request, visit.account)

    def _forged(self, request: web.Request) -> web.Response:
        return _html("Form expired", "<p>Open the form again and send it anew.</p>", _domain(request), 403)

    def _welcome(self, request: web.Request, account: SiteAccount) -> web.Response:
        domain = _domain(request)
        self._site.end_visit(request.cookies.get("visit", ""))
        answer = _see(request, "import")
        answer.del_cookie("visit", path=f"/{domain}")
        self._set_session(answer, domain, self._site.open_session(account))
        return answer

    def _set_session(self, answer: web.Response, domain: str, token: str) -> None:
        answer.set_cookie("session", token, path=f"/{domain}", httponly=True, samesite="Lax")

    def _signed_in(self, handler: _SignedIn) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def work(request: web.Request) -> web.Response:
            renewed = self._site.renew(_domain(request), request.cookies.get("session", ""))
            if renewed is None:
                return _error(401, "login_required", "Sign in first.")
            session, token = renewed
            answer = await handler(request, session)
            self._set_session(answer, _domain(request), token)
            return answer

        return work

    # Importing

    async def _import_form(self, request: web.Request) -> web.Response:
        async def form(request: web.Request, session: Session) -> web.Response:
            return self._form(request, "Import a podcast", "import", session.csrf, _IMPORT)

        answer = await self._signed_in(form)(request)
        if answer.status == 401:
            return _see(request, "login")
        return answer

    async def _import(self, request: web.Request, session: Session) -> web.Response:
        csrf, feed_url = await _posted(request, "csrf", "feed_url")
        if csrf != session.csrf:
            return _error(403, "bad_csrf", "Open the form again and send it anew.")
        if not _is_web_address(feed_url):
            return _error(400, "bad_feed_url", "The address of a feed begins with http:// or https://.")
        answer = await self._submit(request, session.account, feed_url)
        account, show_id = session.account, session.account.imports[feed_url].show_id
        now = self._site.clock.now()
        self._site.submissions.append(SiteSubmission(now, account.domain, account.username, answer.status, show_id))
        return answer

    async def _submit(self, request: web.Request, account: SiteAccount, feed_url: str) -> web.Response:
        if self._client is None:
            raise RuntimeError("the site has not been started")
        job = self._site.submit(account, feed_url, self._client)
        if job is None:
            before = self._described(request, account.imports[feed_url])
            return _error(409, "already_imported", "This account has this feed already.", **_without_message(before))
        try:
            await asyncio.wait_for(job.settled.wait(), self._site.settings.check_wait_s)
        except (TimeoutError, asyncio.TimeoutError):
            return web.json_response(self._described(request, job), status=202)
        described = self._described(request, job)
        if job.stage == "locked":
            return _error(423, "locked", job.message, **_without_message(described))
        return web.json_response(described, status=202)

    def _described(self, request: web.Request, job: Import) -> dict[str, Any]:
        return {
            "import_id": job.import_id,
            "show_id": job.show_id,
            "state": self._site.state(job),
            "message": job.message,
            "episodes": len(self._site.listed(job)),
            "feed_url": job.feed_url,
            "show_url": self._show_url(request, job),
        }

    def _show_url(self, request: web.Request, job: Import) -> str:
        return f"{request.url.origin()}/{_domain(request)}/shows/{job.show_id}"

    def _episode_url(self, request: web.Request, job: Import, episode: SiteEpisode) -> str:
        comma = "e," if self._site.settings.comma_in_urls else ""
        return f"{self._show_url(request, job)}/episodes/{comma}{episode.episode_id}"

    async def _imports(self, request: web.Request, session: Session) -> web.Response:
        jobs = session.account.imports.values()
        return web.json_response({"imports": [self._described(request, job) for job in jobs]})

    async def _status(self, request: web.Request, session: Session) -> web.Response:
        job = _import_of(request, session)
        if job is None:
            return _error(404, "not_found", "There is no such import.")
        return web.json_response(self._described(request, job))

    async def _refresh(self, request: web.Request, session: Session) -> web.Response:
        job = _import_of(request, session)
        if job is None or self._client is None:
            return _error(404, "not_found", "There is no such import.")
        self._site.refresh(job, self._client)
        return web.json_response(self._described(request, job), status=202)

    async def _episodes(self, request: web.Request, session: Session) -> web.Response:
        account, job = self._site.find_show(_domain(request), request.match_info["show_id"]) or (None, None)
        if job is None or account is not session.account:
            return _error(404, "not_found", "There is no such show.")
        page = request.query.get("page", "1")
        if not (page.isascii() and page.isdigit() and int(page) >= 1):
            return _error(400, "bad_page", "page must be 1 or more.")
        listed, start = self._site.listed(job), (int(page) - 1) * PAGE_SIZE
        return web.json_response(
            {
                "show_id": job.show_id,
                "page": int(page),
                "pages": -(-len(listed) // PAGE_SIZE),
                "total": len(listed),
                "episodes": [
                    {
                        "guid": episode.guid,
                        "title": episode.title,
                        "url": self._episode_url(request, job, episode),
                        "enclosure_url": episode.enclosure_url,
                        "published": episode.published_at.isoformat() if episode.published_at else None,
                    }
                    for episode in listed[start : start + PAGE_SIZE]
                ],
            }
        )

    # Public pages

    async def _home(self, request: web.Request) -> web.Response:
        shows = [(self._show_url(request, job), job.title) for _, job in self._site.shows(_domain(request))]
        return _html("Podcasts", pages.links(shows, empty="No podcast yet."), _domain(request))

    def _public(self, request: web.Request) -> Import:
        found = self._site.find_show(_domain(request), request.match_info["show_id"])
        if found is None or self._site.state(found[1]) != "listed":
            raise web.HTTPNotFound
        return found[1]

    async def _show_page(self, request: web.Request) -> web.Response:
        job = self._public(request)
        episodes = [(self._episode_url(request, job, episode), episode.title) for episode in job.episodes]
        return _html(job.title, pages.links(episodes, empty="No episode yet."), _domain(request))

    async def _episode_page(self, request: web.Request) -> web.Response:
        job = self._public(request)
        episode_id = request.match_info["episode_id"].removeprefix("e,")
        for episode in job.episodes:
            if episode.episode_id == episode_id:
                back = pages.links([(self._show_url(request, job), job.title)], empty="")
                return _html(episode.title, pages.player(episode.enclosure_url, episode.title) + back, _domain(request))
        raise web.HTTPNotFound


def _without_message(described: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in described.items() if name != "message"}
