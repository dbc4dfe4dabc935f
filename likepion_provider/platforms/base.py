"""The contract of an importer: one file per platform, with nothing of the manager, the journal or Airflow in it."""

from __future__ import annotations

import abc
import dataclasses
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import urlsplit

from likepion_provider.errors import FeedLocked, LoginRefused, NeedsVerification, PlatformError
from likepion_provider.masking import clean, hide, hide_account
from likepion_provider.models import Credentials, Episode, Feed, ImportState, SecondaryTask
from likepion_provider.web.http import PlatformHttp
from likepion_provider.web.work import cut

_SECRET_NAME = re.compile("key|token|secret|password|cookie", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class PlatformSettings:
    """What the Airflow connection ``likepion_platform_<name>`` says; all empty where there is none.

    :param base_url: where the platform is; empty uses the importer's own :attr:`Platform.base_url`.
    :param login: the connection's login.
    :param password: the connection's password; an API key for platforms that want one.
    :param extra: the connection's extra: what :attr:`Platform.needs_connection` asks for, ``allow_private`` and others.
    """

    base_url: str = ""
    login: str = ""
    password: str = dataclasses.field(default="", repr=False)
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address that the connection names: its host, and those in its extra. They need not be public."""
        texts = (self.base_url, *(each for each in self.extra.values() if isinstance(each, str)))
        return tuple(each for each in texts if each.startswith(("http://", "https://")))

    @property
    def allow_private(self) -> bool:
        """Whether the extra ``allow_private`` lets what the site names be at private and loopback addresses."""
        return str(self.extra.get("allow_private", "")).strip().lower() in ("true", "1", "yes", "on")

    def secrets(self) -> list[str]:
        """What must not be shown: the password, and what is called a key, a token, a secret or a password."""
        kept = [str(value) for name, value in self.extra.items() if _SECRET_NAME.search(name)]
        return [*filter(None, [self.password, *kept])]


@dataclasses.dataclass(frozen=True)
class Job:
    """What an importer is handed for one account: import this feed there, or list what is there of it.

    :param task: the account as far as this post is concerned: its platform's ``domain`` and the post's ``target``.
    :param credentials: the account's login, in memory only.
    :param feed: the feed as it was read; :attr:`wanted` has the episodes that are to be reported.
    :param settings: what the platform's connection says.
    :param http: the client to use, which keeps the rules of ``web/``.
    :param reference: the platform's own name for the show, as an earlier answer gave it; empty at first.
    """

    task: SecondaryTask
    credentials: Credentials = dataclasses.field(repr=False)
    feed: Feed
    settings: PlatformSettings
    http: PlatformHttp = dataclasses.field(repr=False)
    reference: str = ""

    def __post_init__(self) -> None:
        hide_account(self.credentials, self.feed.url)
        hide(self.settings.secrets())

    @property
    def wanted(self) -> tuple[Episode, ...]:
        """The feed's episodes that are to be reported, newest first."""
        return self.feed.episodes[: self.task.target or None]


@dataclasses.dataclass(frozen=True)
class ListedEpisode:
    """An episode as a platform lists it. All but its page serves to match it to the feed, and may be left empty.

    :param url: its public page, which is reported.
    :param guid: the feed's ``guid``, where the platform hands it on.
    :param title: as the platform spells it.
    :param enclosure_url: the address of its file.
    :param published_at: aware; when the feed says that it appeared, not when it was imported.
    """

    url: str
    guid: str = ""
    title: str = ""
    enclosure_url: str = ""
    published_at: datetime | None = None


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a platform has come with a feed.

    :param state: ``NEW`` (not there), ``SUBMITTED``, ``IN_REVIEW`` or ``LISTED``; what fails is raised instead.
    :param reference: the platform's own name for the show; handed back in :attr:`Job.reference` from then on.
    :param episodes: what is listed now; all of it, the caller picks this feed's newest.
    :param cookie: a session cookie worth keeping for the account; empty leaves the one it has.
    :param message: the platform's words, for the log.
    :param stalled: the platform has the show, lacks episodes of it, and does nothing about it: it is asked again at
        once, by :meth:`Platform.refresh` where there are episodes, else by :meth:`Platform.submit`.
    """

    state: ImportState
    reference: str = ""
    episodes: tuple[ListedEpisode, ...] = ()
    cookie: str = dataclasses.field(default="", repr=False)
    message: str = ""
    stalled: bool = False


@dataclasses.dataclass(frozen=True)
class Rereads:
    """How a platform comes to know of a new episode of a show that it has; one of the three, or more.

    :param on_request: :meth:`Platform.refresh` asks it to read the feed again.
    :param by_itself: that it reads its feeds by itself, and when, in words that go on from the platform's title.
    :param by_person: what a person can do there, one sentence; it is shown where the other two do not help.
    """

    on_request: bool = False
    by_itself: str = ""
    by_person: str = ""


class Platform(abc.ABC):
    """An importer.

    Subclasses set the class attributes and write the methods. What does not pass by itself is raised:
    :meth:`refused_login`, :meth:`refused_key`, :meth:`Page.changed <likepion_provider.web.page.Page.changed>`,
    :class:`~likepion_provider.errors.NeedsVerification`, else :meth:`failed`. Trouble that passes is raised by
    :class:`PlatformHttp`, and goes through.
    """

    #: Unique; also names the connection ``likepion_platform_<name>``.
    name: ClassVar[str]
    #: For people.
    title: ClassVar[str]
    #: The domains it serves by itself, lower case; empty for software that people host themselves.
    domains: ClassVar[tuple[str, ...]] = ()
    #: Where it is; empty where only a connection can tell.
    base_url: ClassVar[str] = ""
    #: The fields of :class:`~likepion_provider.models.Credentials` it cannot do without.
    needs: ClassVar[tuple[str, ...]] = ()
    #: What the connection must hold, in words; empty where it needs none.
    needs_connection: ClassVar[str] = ""
    #: Requests to one domain at a time.
    max_concurrency: ClassVar[int] = 8
    #: How long to wait between looks at an import that runs, in seconds; the last one repeats.
    poll_s: ClassVar[tuple[float, ...]] = (1, 2, 5, 10, 20, 30)
    #: How it comes to know of a known show's new episodes.
    rereads: ClassVar[Rereads] = Rereads()
    #: Whether a site of it can be worked by one account at a time only: it keeps a state that all its users share.
    one_at_a_time: ClassVar[bool] = False

    def refuse_login_elsewhere(self, job: Job, url: str) -> None:
        """Give an account's password to the site's own origin only.

        :param url: where the login form is, after redirects, or where it would be sent.
        :raises PlatformError: it is of another origin.
        """
        if not job.http.is_own(url):
            there = urlsplit(url)
            raise self.failed(
                f"sends logins of {job.task.domain} to {there.scheme}://{there.netloc.rpartition('@')[2]}",
                remedy="If that is the site, put its address into the host of the domain's Airflow connection.",
            )

    def address(self, task: SecondaryTask, settings: PlatformSettings) -> str:
        """Where the platform is: as its connection says, else its own address, else the account's domain by https."""
        return settings.base_url or self.base_url or f"https://{task.domain}"

    @abc.abstractmethod
    async def submit(self, job: Job) -> Progress:
        """Hand the feed to the platform. That it is there already is success, and told as :meth:`collect` tells it.

        :raises PlatformError: the platform will not take it.
        :raises Transient: passing trouble; the platform is read back before the next try.
        """

    @abc.abstractmethod
    async def collect(self, job: Job) -> Progress:
        """What the platform lists of the feed now, without changing anything there.

        With an empty :attr:`Job.reference` the show is looked up by the feed; ``NEW`` says that it is not there.

        :raises PlatformError: the platform will not tell.
        :raises Transient: passing trouble.
        """

    async def refresh(self, job: Job) -> None:
        """Ask the platform to read the feed of a show that it has again; :meth:`collect` tells what came of it.

        It is called where :attr:`rereads` says ``on_request``, :attr:`Job.reference` is known, and the show lacks
        episodes of the feed; at most once an hour for an account. It is not to wait until the platform is done.

        :raises PlatformError: the platform will not do it; what it lists is used all the same.
        :raises Transient: passing trouble; likewise.
        """
        raise self.failed("cannot be asked to read a feed again")

    async def sign_in(self, job: Job) -> None:
        """Prove that the account, or the connection's key, opens the platform; nothing is changed there.

        By looking for the feed, as far as that takes a login.

        :raises PlatformError: it does not.
        :raises Transient: passing trouble.
        """
        await self.collect(job)

    def failed(self, words: str, *, remedy: str | None = None) -> PlatformError:
        """The error for what does not pass by itself.

        :param words: they go on from the platform's title; what the platform itself says is passed by :func:`quoted`.
        """
        return PlatformError(f"{self.title} {words}", platform=self.name, remedy=remedy)

    def refused_login(self, job: Job) -> LoginRefused:
        """The error for an account that the platform does not let in."""
        message = f"{self.title} does not accept the credentials of {job.task.label}"
        return LoginRefused(message, platform=self.name)

    def refused_key(self) -> PlatformError:
        """The error for a key that the platform does not take, or that the connection lacks."""
        connection = f"likepion_platform_{self.name}"
        return self.failed(
            f"needs a key that it accepts in the Airflow connection {connection}",
            remedy=f"Put into {connection}: {self.needs_connection}.",
        )


class LooksFirst(Platform):
    """An importer of a platform that must not be handed a feed twice: it adds what a look does not find."""

    async def submit(self, job: Job) -> Progress:
        """Look, and add the feed where it is not there; see :meth:`Platform.submit`."""
        seen = await self.collect(job)
        return await self.add(job) if seen.state is ImportState.NEW else seen

    @abc.abstractmethod
    async def add(self, job: Job) -> Progress:
        """Hand the feed to the platform, which does not have it.

        :raises PlatformError: the platform will not take it.
        :raises Transient: passing trouble; the platform is read back before the next try.
        """


class ByHand(LooksFirst):
    """An importer of a platform that only a person can hand a feed; it collects as soon as the show is there."""

    @abc.abstractmethod
    def instructions(self, job: Job) -> str:
        """What the person has to do, in one or two short sentences: the link, what to enter, how long it takes then.

        It is shown, so :func:`address_for_person` goes in, never the feed's URL.
        """

    async def add(self, job: Job) -> Progress:
        """Ask a person.

        :raises NeedsVerification: always.
        """
        message = f"{self.title} does not list the feed, and takes it from a person only"
        remedy = f"{self.instructions(job)} Once it is listed, a run collects the links by itself."
        raise NeedsVerification(message, platform=self.name, remedy=remedy)


def quoted(job: Job, words: str) -> str:
    """A platform's own words as they may be shown: without secrets, and without addresses, which may be the feed's.

    :param job: whose secrets are known by now.
    :return: at most 300 characters.
    """
    # Cut first: the pattern takes its time over a very long word.
    return re.sub(r"\S+://\S+", "<address>", clean(cut(words, 2000)))[:300]


def shown_url(feed: Feed) -> str:
    """The feed's URL where it holds no secret; else empty."""
    return feed.url if feed.display_url == feed.url else ""


def address_for_person(feed: Feed) -> str:
    """The feed's URL where it holds no secret; else where a person finds it."""
    return shown_url(feed) or "the feed's address (the post's link_rss in the manager; it holds a secret)"


def refuse_locked(job: Job) -> None:
    """Honour ``podcast:locked``: only the owner's own address may import a locked feed.

    See the podcast namespace, tag ``locked``.

    :raises FeedLocked: the feed is locked and its owner is somebody else.
    """
    owner = job.feed.locked_owner.strip().lower()
    if job.feed.locked and (not owner or owner != job.credentials.email.strip().lower()):
        raise FeedLocked("the feed says podcast:locked", url=job.feed.display_url, where="podcast:locked")
