"""A podcast *site* that behaves like a real one: the platform that accounts import their feeds into.

One server stands for any number of domains, told apart by the first part of the path. Everything below is relative to
``{site_url}/{domain}``, e.g. ``http://127.0.0.1:8081/tide.example``; accounts, cookies and shows of two domains have
nothing in common. Forms are ``application/x-www-form-urlencoded`` or ``multipart/form-data``; JSON errors are
``{"error": code, "message": text, ...}``.

Signing in (HTML)
    ``GET /login``
        200, a form with hidden ``csrf`` and the inputs ``username`` and ``password``. Sets the cookie ``visit``.
    ``POST /login`` ``csrf, username, password`` (the user name or the e-mail address), with ``visit``
        303 to ``/login/totp``; 303 to ``/import`` with the cookie ``session`` where the account has no TOTP;
        401 with the form again: wrong user name or password; 403: ``csrf`` or ``visit`` is missing or wrong.
    ``GET /login/totp``
        200, a form with hidden ``csrf`` and the input ``code``; 303 to ``/login`` where no password came before it.
    ``POST /login/totp`` ``csrf, code`` (6 digits, 30 s, SHA-1, one step early or late is accepted)
        303 to ``/import`` with the cookie ``session``; 401 with the form again: wrong code; 403 as above;
        303 to ``/login`` where no password came before it.

The session
    The cookie ``session`` (``Path=/{domain}``, HttpOnly) is *replaced by every answer* to a request that it signed in;
    the old value is void at once, or after ``session_grace_s``. It ends ``session_ttl_s`` after its last use. So send
    one request after the other, keep what ``Set-Cookie`` brings (a cookie jar for an IP address needs
    ``unsafe=True``), and keep one jar an account. Without a valid session ``GET /import`` answers 303 to ``/login``,
    every other endpoint below 401 ``{"error": "login_required"}``.

Importing
    ``GET /import``
        200, an HTML form with hidden ``csrf`` (the same for the whole session) and the input ``feed_url``.
    ``POST /import`` ``csrf, feed_url``
        - 202 ``{"import_id", "show_id", "state", "message", "episodes", "feed_url", "show_url"}``: the import runs in
          the background; ``state`` is ``queued``, or already a later one.
        - 409 ``already_imported`` with the fields of the 202 answer: this account has imported this very URL, or is at
          it. Not after ``failed`` or ``locked``: then the import begins anew, with the ids it had.
        - 423 ``locked`` with the same fields: the feed says ``podcast:locked`` and its owner's address is not the
          account's. Where the feed takes longer than ``check_wait_s`` to read, the answer is 202 and ``state`` becomes
          ``locked`` later.
        - 400 ``bad_feed_url``: not an http(s) URL; 403 ``bad_csrf``.
    ``GET /api/imports``
        200 ``{"imports": [...]}``: every import of the account, each with the fields of the 202 answer.
    ``GET /api/imports/{import_id}``
        200 with the fields of the 202 answer. ``state``: ``queued`` -> ``importing`` -> ``listed`` (the episodes are
        public), or ``failed`` or ``locked`` for good; ``message`` says why. ``importing`` lasts until
        ``listing_delay_s`` after the feed was read. ``episodes`` is the number listed, 0 before. 404 ``not_found``.
    ``GET /api/shows/{show_id}/episodes?page=1``
        200 ``{"show_id", "page", "pages", "total", "episodes": [{"guid", "title", "url", "enclosure_url",
        "published"}, ...]}``: newest first, 20 a page; ``url`` is the episode's absolute public page, ``published``
        ISO 8601 in UTC or null. Before ``listed`` and after the last page the list is empty (``pages`` is 0 when
        ``total`` is). 400 ``bad_page``; 404 ``not_found``, also for another account's show.

Public pages (HTML, no session): ``GET /`` the domain's shows, ``GET /shows/{show_id}``,
``GET /shows/{show_id}/episodes/{episode_id}`` with an audio player; 404 before they are listed. Ids are the same
whenever the same account imports the same feed URL, so URLs are too.

Any answer can be a fault of :mod:`likepion_provider.sandbox.faults` (names ``site.login, site.totp, site.submit,
site.imports, site.status, site.episodes, site.page``) and comes ``latency_s`` late.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import secrets
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pyotp
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from likepion_provider.sandbox import pages
from likepion_provider.sandbox.clock import Clock
from likepion_provider.sandbox.faults import Faults

PAGE_SIZE = 20
#: Every session and login visit begins with this, so that a search of logs finds a leak.
SESSION_CANARY = "canary-session-"
_PODCAST = "{https://podcastindex.org/namespace/1.0}"
_MAX_FEED_BYTES = 64 * 1024 * 1024


@dataclasses.dataclass
class SiteSettings:
    """How the site behaves; may be changed while it runs.

    :param latency_s: added to every answer, in seconds. Default 0.
    :param import_latency_s: how long an import is ``queued`` before the feed is read, in seconds. Default 0.05.
    :param listing_delay_s: from reading the feed until its episodes are public, in seconds. Default 1.
    :param check_wait_s: how long ``POST /import`` waits to see whether the feed is locked, in seconds. Default 2.
    :param fetch_timeout_s: for the feed as a whole, in seconds. Default 30.
    :param session_ttl_s: how long an unused session lives, in seconds. Default 3600.
    :param session_grace_s: how long a replaced session cookie still works, in seconds. Default 0.
    :param comma_in_urls: whether episode URLs hold a comma, as some real sites' do. Default false.
    """

    latency_s: float = 0.0
    import_latency_s: float = 0.05
    listing_delay_s: float = 1.0
    check_wait_s: float = 2.0
    fetch_timeout_s: float = 30.0
    session_ttl_s: float = 3600.0
    session_grace_s: float = 0.0
    comma_in_urls: bool = False


@dataclasses.dataclass(frozen=True)
class SiteEpisode:
    """An episode that was read from a feed."""

    episode_id: str
    guid: str
    title: str
    enclosure_url: str
    published_at: datetime | None


@dataclasses.dataclass
class Import:
    """One feed URL in one account."""

    import_id: str
    show_id: str
    feed_url: str = dataclasses.field(repr=False)
    #: ``queued``, ``read``, ``failed`` or ``locked``; ``read`` shows as ``importing`` or ``listed``.
    stage: str = "queued"
    message: str = ""
    title: str = ""
    episodes: tuple[SiteEpisode, ...] = ()
    #: Aware UTC; set with ``read``.
    listed_at: datetime | None = None
    #: Set as soon as the feed was read or given up.
    settled: asyncio.Event = dataclasses.field(default_factory=asyncio.Event, repr=False)


@dataclasses.dataclass
class SiteAccount:
    """An account of one domain."""

    domain: str
    username: str
    email: str = ""
    password: str = dataclasses.field(default="", repr=False)
    #: base32; empty: no second factor.
    twofa: str = dataclasses.field(default="", repr=False)
    imports: dict[str, Import] = dataclasses.field(default_factory=dict, repr=False)


@dataclasses.dataclass(frozen=True)
class Submission:
    """A feed that was handed in, for tests that ask who wrote what, and when."""

    at: datetime
    domain: str
    username: str
    #: The HTTP status of the answer.
    status: int
    show_id: str


@dataclasses.dataclass
class _Visit:
    csrf: str
    account: SiteAccount | None = None


@dataclasses.dataclass
class _Session:
    account: SiteAccount
    csrf: str


class FeedUnreadable(Exception):
    """Fail the import with this message."""


class Site:
    """Accounts, sessions and imports of all domains.

    :param settings: how it behaves.
    :param clock: for sessions, TOTP and the listing delay; default: real time.
    """

    def __init__(self, settings: SiteSettings | None = None, clock: Clock | None = None) -> None:
        self.settings = settings or SiteSettings()
        self.clock = clock or Clock()
        self.accounts: list[SiteAccount] = []
        self.submissions: list[Submission] = []
        #: Every session cookie that was ever set: for searches of logs.
        self.issued: list[str] = []
        self._by_name: dict[tuple[str, str], SiteAccount] = {}
        self._shows: dict[tuple[str, str], tuple[SiteAccount, Import]] = {}
        self._visits: dict[str, _Visit] = {}
        self._sessions: dict[str, tuple[_Session, datetime]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def add_account(self, account: SiteAccount) -> None:
        """Let an account sign in.

        :param account: its user name, and its e-mail address where it has one, must be new on its domain.
        :raises ValueError: they are not.
        """
        names = {(account.domain, name) for name in (account.username, account.email) if name}
        if not names or names & self._by_name.keys():
            raise ValueError(f"{account.username!r} on {account.domain} has no name or a name that is taken")
        self.accounts.append(account)
        self._by_name.update(dict.fromkeys(names, account))

    def find_account(self, domain: str, name: str) -> SiteAccount | None:
        """An account by its user name or e-mail address.

        :param domain: the platform.
        :param name: the user name or e-mail address.
        """
        return self._by_name.get((domain, name))

    def open_session(self, account: SiteAccount) -> str:
        """Sign an account in and return its ``session`` cookie's value.

        :param account: one of :attr:`accounts`.
        """
        return self._issue(_Session(account, secrets.token_hex(16)))

    def drop_sessions(self) -> None:
        """End every session, as a site's restart or a password change would."""
        self._sessions.clear()

    def check_login(self, domain: str, name: str, password: str) -> SiteAccount | None:
        """The account with this name and password, if any.

        :param domain: the platform.
        :param name: the user name or e-mail address.
        :param password: its password.
        """
        account = self.find_account(domain, name)
        if account is None or not secrets.compare_digest(account.password.encode(), password.encode()):
            return None
        return account

    def check_code(self, account: SiteAccount, code: str) -> bool:
        """Whether a TOTP code is right now.

        :param account: whose secret.
        :param code: 6 digits.
        """
        return pyotp.TOTP(account.twofa).verify(code, for_time=self.clock.now(), valid_window=1)

    def state(self, job: Import) -> str:
        """An import's state as the outside sees it.

        :param job: the import.
        """
        if job.stage != "read" or job.listed_at is None:
            return job.stage
        return "listed" if self.clock.now() >= job.listed_at else "importing"

    def listed(self, job: Import) -> tuple[SiteEpisode, ...]:
        """An import's public episodes, newest first.

        :param job: the import.
        """
        return job.episodes if self.state(job) == "listed" else ()

    def shows(self, domain: str) -> list[tuple[SiteAccount, Import]]:
        """The public shows of a domain.

        :param domain: the platform.
        """
        return [
            (account, job)
            for (owner, _), (account, job) in self._shows.items()
            if owner == domain and self.state(job) == "listed"
        ]

    def find_show(self, domain: str, show_id: str) -> tuple[SiteAccount, Import] | None:
        """A show, public or not, and whose it is.

        :param domain: the platform.
        :param show_id: the show's id.
        """
        return self._shows.get((domain, show_id))

    def submit(self, account: SiteAccount, feed_url: str, client: aiohttp.ClientSession) -> Import | None:
        """Begin an import in the background; needs a running event loop.

        :param account: into which account.
        :param feed_url: http(s).
        :param client: what fetches the feed.
        :return: the import; None where the account has this feed already, or is at it.
        """
        before = account.imports.get(feed_url)
        if before is not None and before.stage in ("queued", "read"):
            return None
        digest = hashlib.sha256(f"{account.domain}\n{account.username}\n{feed_url}".encode()).hexdigest()
        job = Import(import_id=f"i{digest[12:24]}", show_id=digest[:12], feed_url=feed_url)
        account.imports[feed_url] = job
        self._shows[account.domain, job.show_id] = (account, job)
        task = asyncio.get_running_loop().create_task(self._work(account, job, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    async def close(self) -> None:
        """Stop the imports that still run."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Sessions

    def visit(self, token: str) -> _Visit | None:
        """A sign-in under way, by its cookie.

        :param token: the ``visit`` cookie's value.
        """
        return self._visits.get(token)

    def new_visit(self) -> tuple[str, _Visit]:
        """Begin to sign in: the ``visit`` cookie's value and what belongs to it."""
        token = secrets.token_hex(16)
        self._visits[token] = _Visit(csrf=secrets.token_hex(16))
        return token, self._visits[token]

    def end_visit(self, token: str) -> None:
        """Forget a sign-in that came to its end.

        :param token: the ``visit`` cookie's value.
        """
        self._visits.pop(token, None)

    def _issue(self, session: _Session) -> str:
        token = SESSION_CANARY + secrets.token_hex(16)
        self._sessions[token] = (session, self.clock.now() + timedelta(seconds=self.settings.session_ttl_s))
        self.issued.append(token)
        return token

    def renew(self, domain: str, token: str) -> tuple[_Session, str] | None:
        """Use a session once: what it is, and the cookie that replaces it.

        :param domain: the platform it must belong to.
        :param token: the ``session`` cookie's value.
        :return: None where it is not valid.
        """
        session, ends_at = self._sessions.get(token, (None, self.clock.now()))
        if session is None or session.account.domain != domain or self.clock.now() >= ends_at:
            return None
        grace_end = self.clock.now() + timedelta(seconds=self.settings.session_grace_s)
        self._sessions[token] = (session, min(ends_at, grace_end))
        return session, self._issue(session)

    # Imports

    async def _work(self, account: SiteAccount, job: Import, client: aiohttp.ClientSession) -> None:
        try:
            await asyncio.sleep(self.settings.import_latency_s)
            channel = _channel(await self._fetch(job.feed_url, client))
            if _locked_against(channel, account.email):
                job.stage, job.message = (
                    "locked",
                    "The feed is locked; its owner must unlock it before it can be imported.",
                )
                return
            job.title = channel.findtext("title", "").strip() or "Untitled podcast"
            job.episodes = _episodes(channel, job.show_id)
            job.listed_at = self.clock.now() + timedelta(seconds=self.settings.listing_delay_s)
            job.stage = "read"
        except FeedUnreadable as error:
            job.stage, job.message = "failed", str(error)
        finally:
            job.settled.set()

    async def _fetch(self, feed_url: str, client: aiohttp.ClientSession) -> bytes:
        try:
            timeout = aiohttp.ClientTimeout(total=self.settings.fetch_timeout_s)
            async with client.get(feed_url, timeout=timeout) as answer:
                if answer.status != 200:
                    raise FeedUnreadable(f"The feed's server answered {answer.status}.")
                body = await answer.content.read(_MAX_FEED_BYTES)
                while chunk := await answer.content.read(_MAX_FEED_BYTES):
                    body += chunk
                    if len(body) > _MAX_FEED_BYTES:
                        raise FeedUnreadable("The feed is too large.")
                return body
        except (aiohttp.ClientError, TimeoutError, asyncio.TimeoutError) as error:
            raise FeedUnreadable(f"The feed could not be read: {type(error).__name__}.") from error


def _channel(body: bytes) -> ET.Element:
    try:
        channel = ET.fromstring(body).find("channel")  # noqa: S314 - a sandbox reads its own feeds
    except ET.ParseError as error:
        raise FeedUnreadable("The feed is not well-formed XML.") from error
    if channel is None:
        raise FeedUnreadable("The feed has no channel.")
    return channel


def _locked_against(channel: ET.Element, email: str) -> bool:
    locked = channel.find(f"{_PODCAST}locked")
    if locked is None or (locked.text or "").strip().casefold() != "yes":
        return False
    return not email or locked.get("owner", "").strip().casefold() != email.casefold()


def _episodes(channel: ET.Element, show_id: str) -> tuple[SiteEpisode, ...]:
    found = [_episode(item, show_id) for item in channel.findall("item")]
    oldest = datetime.min.replace(tzinfo=timezone.utc)
    return tuple(sorted(found, key=lambda episode: episode.published_at or oldest, reverse=True))


def _episode(item: ET.Element, show_id: str) -> SiteEpisode:
    enclosure = item.find("enclosure")
    enclosure_url = "" if enclosure is None else enclosure.get("url", "")
    title = item.findtext("title", "").strip()
    guid = item.findtext("guid", "").strip() or enclosure_url
    episode_id = hashlib.sha256(f"{show_id}\n{guid}\n{title}".encode()).hexdigest()[:12]
    return SiteEpisode(episode_id, guid, title, enclosure_url, _date(item.findtext("pubDate", "")))


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)


# HTTP

_SignedIn = Callable[[web.Request, _Session], Awaitable[web.Response]]
_LOGIN = (
    pages.Field("username", "User name or e-mail", autocomplete="username"),
    pages.Field("password", "Password", "password", "current-password"),
)
_TOTP = (pages.Field("code", "Code from your authenticator", autocomplete="one-time-code"),)
_IMPORT = (pages.Field("feed_url", "Address of the RSS feed", "url"),)


def site_app(site: Site, faults: Faults) -> web.Application:
    """The site behind HTTP; see the module's docstring.

    :param site: what it serves.
    :param faults: what may strike its endpoints.
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
            web.get(f"{at}/login/totp", self._totp_form),
            web.post(f"{at}/login/totp", self._totp, name="site.totp"),
            web.get(f"{at}/import", self._import_form),
            web.post(f"{at}/import", self._signed_in(self._import), name="site.submit"),
            web.get(f"{at}/api/imports", self._signed_in(self._imports), name="site.imports"),
            web.get(f"{at}/api/imports/{{import_id}}", self._signed_in(self._status), name="site.status"),
            web.get(f"{at}/api/shows/{{show_id}}/episodes", self._signed_in(self._episodes), name="site.episodes"),
            web.get(f"{at}/shows/{{show_id}}/episodes/{{episode_id}}", self._episode_page, name="site.page"),
            web.get(f"{at}/shows/{{show_id}}", self._show_page),
            web.get(f"{at}/", self._home),
        ]

    # Signing in

    async def _login_form(self, request: web.Request) -> web.Response:
        token, visit = self._site.new_visit()
        answer = self._form(request, "Sign in", "login", visit.csrf, _LOGIN)
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
        visit.account = self._site.check_login(_domain(request), name, password)
        if visit.account is None:
            return self._form(request, "Sign in", "login", csrf, _LOGIN, "Wrong user name or password.")
        if visit.account.twofa:
            return _see(request, "login/totp")
        return self._welcome(request, visit.account)

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
        async def form(request: web.Request, session: _Session) -> web.Response:
            return self._form(request, "Import a podcast", "import", session.csrf, _IMPORT)

        answer = await self._signed_in(form)(request)
        if answer.status == 401:
            return _see(request, "login")
        return answer

    async def _import(self, request: web.Request, session: _Session) -> web.Response:
        csrf, feed_url = await _posted(request, "csrf", "feed_url")
        if csrf != session.csrf:
            return _error(403, "bad_csrf", "Open the form again and send it anew.")
        if not _is_web_address(feed_url):
            return _error(400, "bad_feed_url", "The address of a feed begins with http:// or https://.")
        answer = await self._submit(request, session.account, feed_url)
        account, show_id = session.account, session.account.imports[feed_url].show_id
        now = self._site.clock.now()
        self._site.submissions.append(Submission(now, account.domain, account.username, answer.status, show_id))
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

    async def _imports(self, request: web.Request, session: _Session) -> web.Response:
        jobs = session.account.imports.values()
        return web.json_response({"imports": [self._described(request, job) for job in jobs]})

    async def _status(self, request: web.Request, session: _Session) -> web.Response:
        for job in session.account.imports.values():
            if job.import_id == request.match_info["import_id"]:
                return web.json_response(self._described(request, job))
        return _error(404, "not_found", "There is no such import.")

    async def _episodes(self, request: web.Request, session: _Session) -> web.Response:
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
