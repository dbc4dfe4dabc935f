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
        401 with the form again: wrong user name or password; 403: ``csrf`` or ``visit`` is missing or wrong;
        303 to ``/verify/{username}`` where the site waits for the account's owner.
    ``GET /verify/{username}``
        200, a form with hidden ``csrf`` and a button for the owner, who would be sent here by mail. Sets ``visit``.
    ``POST /verify/{username}`` ``csrf``, with ``visit``
        200: from now on the account can sign in; 403 as above.
    ``GET /login/totp``
        200, a form with hidden ``csrf`` and the input ``code``; 303 to ``/login`` where no password came before it.
    ``POST /login/totp`` ``csrf, code`` (6 digits, 30 s, SHA-1, one step early or late is accepted)
        303 to ``/import`` with the cookie ``session``; 401 with the form again: wrong code; 403 as above;
        303 to ``/login`` where no password came before it.

The session
    The cookie ``session`` (``Path=/{domain}``, HttpOnly) is *replaced by every answer* to a request that it signed in;
    the old value is void at once, or after ``session_grace_s``. It ends ``session_ttl_s`` after its last use. So send
    one request after the other, keep what ``Set-Cookie`` brings (a cookie jar for an IP address needs
    ``unsafe=True``), and keep one jar per account. Without a valid session ``GET /import`` answers 303 to ``/login``,
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
    ``POST /api/imports/{import_id}/refresh``
        202 with the fields of the 202 answer: the feed is read again in the background; what can then be read of it
        takes the old episodes' place. An import that is not ``importing`` or ``listed`` stays as it is. 404
        ``not_found``.
    ``GET /api/shows/{show_id}/episodes?page=1``
        200 ``{"show_id", "page", "pages", "total", "episodes": [{"guid", "title", "url", "enclosure_url",
        "published"}, ...]}``: newest first, 20 per page; ``url`` is the episode's absolute public page, ``published``
        ISO 8601 in UTC or null. Before ``listed`` and after the last page the list is empty (``pages`` is 0 when
        ``total`` is). 400 ``bad_page``; 404 ``not_found``, also for another account's show.

Public pages (HTML, no session): ``GET /`` the domain's shows, ``GET /shows/{show_id}``,
``GET /shows/{show_id}/episodes/{episode_id}`` with an audio player; 404 before they are listed. Ids are the same
whenever the same account imports the same feed URL, so URLs are too.

Any answer can be a fault of :mod:`likepion_provider.sandbox.faults` (names ``site.login, site.totp, site.submit,
site.imports, site.status, site.refresh, site.episodes, site.page``) and comes ``latency_s`` late.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import secrets
import xml.etree.ElementTree as ET
from collections.abc import Coroutine
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pyotp

from likepion_provider.sandbox.clock import SandboxClock

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
    #: Whether the owner has said that a sign-in was theirs; without that, nobody gets in.
    verified: bool = True
    imports: dict[str, Import] = dataclasses.field(default_factory=dict, repr=False)


@dataclasses.dataclass(frozen=True)
class SiteSubmission:
    """A feed that an account handed in, for tests that ask who wrote, and when."""

    at: datetime
    domain: str
    username: str
    #: The HTTP status of the answer.
    status: int
    show_id: str


@dataclasses.dataclass
class Visit:
    """A sign-in under way; ``account`` is set once its password was right."""

    csrf: str
    account: SiteAccount | None = None


@dataclasses.dataclass
class Session:
    """A signed-in account; its cookie changes, this stays."""

    account: SiteAccount
    csrf: str


class FeedUnreadable(Exception):
    """The feed cannot be read: the import fails with this message."""


class Site:
    """Accounts, sessions and imports of all domains.

    :param settings: how it behaves.
    :param clock: for sessions, TOTP and the listing delay; default: real time.
    """

    def __init__(self, settings: SiteSettings | None = None, clock: SandboxClock | None = None) -> None:
        self.settings = settings or SiteSettings()
        self.clock = clock or SandboxClock()
        self.accounts: list[SiteAccount] = []
        self.submissions: list[SiteSubmission] = []
        #: Every session cookie that was ever set: for searches of logs.
        self.issued: list[str] = []
        self._by_name: dict[tuple[str, str], SiteAccount] = {}
        self._shows: dict[tuple[str, str], tuple[SiteAccount, Import]] = {}
        self._visits: dict[str, Visit] = {}
        self._sessions: dict[str, tuple[Session, datetime]] = {}
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
        return self._issue(Session(account, secrets.token_hex(16)))

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
        self._begin(self._work(account, job, client))
        return job

    def refresh(self, job: Import, client: aiohttp.ClientSession) -> None:
        """Read the feed of an import again in the background, where it was read before; needs a running event loop.

        :param job: the import.
        :param client: what fetches the feed.
        """
        if job.stage == "read":
            self._begin(self._reread(job, client))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop the imports that still run."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Sessions

    def visit(self, token: str) -> Visit | None:
        """A sign-in under way, by its cookie.

        :param token: the ``visit`` cookie's value.
        """
        return self._visits.get(token)

    def new_visit(self) -> tuple[str, Visit]:
        """Begin to sign in.

        :return: the ``visit`` cookie's value and the visit.
        """
        token = secrets.token_hex(16)
        self._visits[token] = Visit(csrf=secrets.token_hex(16))
        return token, self._visits[token]

    def end_visit(self, token: str) -> None:
        """Forget a sign-in that came to its end.

        :param token: the ``visit`` cookie's value.
        """
        self._visits.pop(token, None)

    def _issue(self, session: Session) -> str:
        token = SESSION_CANARY + secrets.token_hex(16)
        self._sessions[token] = (session, self.clock.now() + timedelta(seconds=self.settings.session_ttl_s))
        self.issued.append(token)
        return token

    def renew(self, domain: str, token: str) -> tuple[Session, str] | None:
        """Use a session once.

        :param domain: the platform it must belong to.
        :param token: the ``session`` cookie's value.
        :return: the session and the value of the cookie that replaces it; None where it is not valid.
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

    async def _reread(self, job: Import, client: aiohttp.ClientSession) -> None:
        with contextlib.suppress(FeedUnreadable):
            job.episodes = _episodes(_channel(await self._fetch(job.feed_url, client)), job.show_id)

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
