"""The contract of an importer: one file a platform, nothing of the manager, the journal or Airflow in it."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import urlsplit

from likepion_provider.errors import FeedLocked, NeedsVerification, PlatformError
from likepion_provider.models import Credentials, Feed, ImportState, SecondaryTask
from likepion_provider.web.http import PlatformHttp


@dataclasses.dataclass(frozen=True)
class PlatformSettings:
    """What the Airflow connection ``likepion_platform_<name>`` says; all empty where there is none.

    :param base_url: where the platform is; empty uses the importer's own :attr:`Platform.base_url`.
    :param password: the connection's password; an API key for platforms that want one.
    """

    base_url: str = ""
    login: str = ""
    password: str = dataclasses.field(default="", repr=False)
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)


@dataclasses.dataclass(frozen=True)
class Job:
    """What an importer is handed for one account: import this feed there, or list what is there of it."""

    task: SecondaryTask
    credentials: Credentials = dataclasses.field(repr=False)
    feed: Feed
    settings: PlatformSettings
    http: PlatformHttp = dataclasses.field(repr=False)
    #: The platform's own name for the show, as an earlier answer gave it; empty at first.
    reference: str = ""


@dataclasses.dataclass(frozen=True)
class ListedEpisode:
    """An episode as a platform lists it; ``url`` is its public page, the rest serves to match it to the feed."""

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
    """

    state: ImportState
    reference: str = ""
    episodes: tuple[ListedEpisode, ...] = ()
    cookie: str = dataclasses.field(default="", repr=False)
    message: str = ""


class Platform(abc.ABC):
    """An importer.

    Subclasses set the class attributes and write the two methods. Errors: raise
    :class:`~likepion_provider.errors.LoginRefused`, :class:`~likepion_provider.errors.NeedsVerification`,
    :class:`~likepion_provider.errors.PlatformChanged` or plain
    :class:`~likepion_provider.errors.PlatformError` for what does not pass by itself; what :class:`PlatformHttp`
    raises for trouble that passes goes through.
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

    def refuse_login_elsewhere(self, job: Job, url: str) -> None:
        """Give an account's password to the site itself only.

        :param url: where the login form is, after redirects, or where it would be sent.
        :raises PlatformError: it is on another host, or went from https to http.
        """
        site, there = urlsplit(job.http.base_url), urlsplit(url)
        if there.hostname != site.hostname or (site.scheme, there.scheme) == ("https", "http"):
            raise PlatformError(
                f"{self.title} sends logins of {job.task.domain} to {there.scheme}://{there.netloc}",
                platform=self.name,
                remedy="If that is the site, put its address into the host of the domain's Airflow connection.",
            )

    def address(self, task: SecondaryTask, settings: PlatformSettings) -> str:
        """Where the platform is: as its connection says, else its own address, else the account's domain by https."""
        return settings.base_url or self.base_url or f"https://{task.domain}"

    @abc.abstractmethod
    async def submit(self, job: Job) -> Progress:
        """Hand the feed to the platform. That it is there already is success.

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

    async def sign_in(self, job: Job) -> None:
        """Prove that the account, or the connection's key, opens the platform; nothing is changed there.

        By looking for the feed, as far as that takes a login.

        :raises PlatformError: it does not.
        :raises Transient: passing trouble.
        """
        await self.collect(job)

    def refused_key(self) -> PlatformError:
        """The error for a key that the platform does not take, or that the connection lacks."""
        connection = f"likepion_platform_{self.name}"
        return PlatformError(
            f"{self.title} needs a key that it accepts in the Airflow connection {connection}",
            platform=self.name,
            remedy=f"Put into {connection}: {self.needs_connection}.",
        )


class ByHand(Platform):
    """An importer of a platform that only a person can hand a feed; it collects as soon as the show is there."""

    @abc.abstractmethod
    def instructions(self, job: Job) -> str:
        """What the person has to do, step by step. It is shown, so :func:`shown_url` goes in, never the feed's URL."""

    async def submit(self, job: Job) -> Progress:
        """Look whether the person has done it.

        :raises NeedsVerification: not yet, or the platform has not taken it up.
        """
        seen = await self.collect(job)
        if seen.state is ImportState.NEW:
            message = f"{self.title} does not list the feed, and takes it from a person only"
            raise NeedsVerification(message, platform=self.name, remedy=self.instructions(job))
        return seen


def shown_url(feed: Feed) -> str:
    """The feed's URL where it holds no secret; else empty."""
    return feed.url if feed.display_url == feed.url else ""


def refuse_locked(job: Job) -> None:
    """Honour ``podcast:locked``: only the owner's own address may import a locked feed.

    See the podcast namespace, tag ``locked``.

    :raises FeedLocked: the feed is locked and its owner is somebody else.
    """
    owner = job.feed.locked_owner.strip().lower()
    if job.feed.locked and (not owner or owner != job.credentials.email.strip().lower()):
        raise FeedLocked("the feed says podcast:locked", url=job.feed.display_url, where="podcast:locked")
