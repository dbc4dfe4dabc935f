"""The values that travel between the layers: frozen, without behaviour that needs anything else.

What has a ``to_public`` method may be stored and shown (XCom, journal, logs). :class:`Credentials` has none on purpose.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from typing import Any


@dataclasses.dataclass(frozen=True)
class SecondaryTask:
    """One account to work for one post: what may be shown of the manager's virtual task.

    Field names are the manager API's own. ``link_rss`` is left out on purpose: a feed URL can hold a private token.
    """

    account_id: str
    #: The post; empty where the account's group has no running post.
    request_id: str
    group_id: str
    #: The secondary platform, e.g. ``anchor.fm``; lower case.
    domain: str
    website: str = ""
    username: str = ""
    #: Number of episodes wanted; 0 where no post runs.
    target: int = 0
    accounts_remaining: int = 0
    #: Whether the primary site had set ``link_rss`` when the task was read.
    feed_ready: bool = False

    @property
    def label(self) -> str:
        """A short name for people: the user name where there is one, else the start of the account id."""
        return f"{self.username or self.account_id[:8]}@{self.domain}"

    @property
    def key(self) -> PostAccount:
        """What the journal files this task under."""
        return PostAccount(self.request_id, self.account_id)

    def to_public(self) -> dict[str, Any]:
        """A JSON-ready copy for XCom."""
        return dataclasses.asdict(self)

    @classmethod
    def from_public(cls, fields: dict[str, Any]) -> SecondaryTask:
        """Undo :meth:`to_public`; unknown keys are ignored, so that versions can be mixed during an upgrade."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in fields.items() if name in names})


@dataclasses.dataclass(frozen=True, order=True)
class PostAccount:
    """The journal's key: an account as far as one post is concerned."""

    request_id: str
    account_id: str


@dataclasses.dataclass(frozen=True, repr=False)
class Credentials:
    """An account's secrets. In memory only: no field appears in ``repr``, nothing serialises it.

    ``twofa`` is a base32 TOTP secret; ``cookie`` is a ``Cookie`` header's value.
    """

    email: str = ""
    username: str = ""
    password: str = ""
    pass_mail: str = ""
    twofa: str = ""
    app_password: str = ""
    cookie: str = ""

    def secrets(self) -> Iterator[str]:
        """Every non-empty value that must never be shown: all but ``email`` and ``username``."""
        return filter(None, (getattr(self, name) for name in _SECRETS))

    def __repr__(self) -> str:
        present = [field.name for field in dataclasses.fields(self) if getattr(self, field.name)]
        return f"Credentials({', '.join(present)})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("credentials stay in memory; they cannot be pickled")


#: Every field that is not named here is a secret, a new one too.
_SECRETS = tuple(each.name for each in dataclasses.fields(Credentials) if each.name not in ("email", "username"))


@dataclasses.dataclass(frozen=True)
class Account:
    """A task together with its secrets and its feed's URL, as the manager hands them out. In memory only."""

    task: SecondaryTask
    credentials: Credentials
    link_rss: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True)
class Enclosure:
    """An episode's media file."""

    url: str


@dataclasses.dataclass(frozen=True)
class Episode:
    """One item of a feed."""

    #: RSS ``guid``; where it is missing, the enclosure's URL and the title.
    guid: str
    title: str
    enclosure: Enclosure | None
    #: Aware UTC; None where the feed's date is missing or cannot be read.
    published_at: datetime | None = None


@dataclasses.dataclass(frozen=True)
class Feed:
    """A podcast's feed, cut to the newest episodes that were asked for.

    ``url`` is the address in memory that importers submit; show :attr:`display_url` instead.
    """

    url: str = dataclasses.field(repr=False)
    display_url: str
    title: str
    #: Those with a file, newest first; an undated one stands beside its neighbour in the feed.
    episodes: tuple[Episode, ...]
    #: ``podcast:locked``; the owner's address beside it, empty where none is named.
    locked: bool = False
    locked_owner: str = ""
    new_feed_url: str = dataclasses.field(default="", repr=False)
    author: str = ""
    #: Where the host says the feed has moved for good (301, 308); empty where it has not.
    moved_to: str = dataclasses.field(default="", repr=False)
    #: False where newer episodes may be missing: the feed was not read to its end.
    newest_certain: bool = True
    #: Items that could not be taken, and why the reading stopped, in words.
    left_out: tuple[str, ...] = ()


def writable(text: str) -> str:
    """The text without what JSON allows but UTF-8 or PostgreSQL does not: lone surrogates and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "")


class ImportState(str, Enum):
    """Where an account's import stands on its platform."""

    NEW = "new"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    IN_REVIEW = "in_review"
    LISTED = "listed"
    NEEDS_VERIFICATION = "needs_verification"
    LOCKED = "locked"
    FAILED = "failed"

    @property
    def is_under_way(self) -> bool:
        """Begun, and neither listed as a whole nor ended otherwise; a task may have died before it could say so."""
        return self in (ImportState.SUBMITTING, ImportState.SUBMITTED, ImportState.IN_REVIEW)


class Standing(str, Enum):
    """Where an account stands as a whole, for people; the journal's database derives it from what is filed."""

    #: Every link found is stored at the manager.
    DELIVERED = "delivered"
    #: It goes on by itself.
    WAITING = "waiting"
    #: A person must act on the platform.
    NEEDS_PERSON = "needs_person"
    #: Failed for good, or the manager refused links.
    FAILED = "failed"
    #: Links are parked: an insert's answer was lost.
    UNKNOWN = "unknown"
    #: Its post has not run for two weeks: what was left of it is asked for no more.
    RETIRED = "retired"


class LinkState(str, Enum):
    """Where one episode's URL stands on its way to the manager."""

    PREPARED = "prepared"
    SENDING = "sending"
    STORED = "stored"
    REFUSED = "refused"
    UNKNOWN = "unknown"

    @property
    def may_be_stored(self) -> bool:
        """Whether the manager has it, or may have it."""
        return self not in (LinkState.PREPARED, LinkState.REFUSED)


class Outcome(str, Enum):
    """How an account came out of a run, for the report."""

    #: Every link found is stored at the manager.
    DELIVERED = "delivered"
    #: Links are in the journal and wait for ``insert_links``.
    COLLECTED = "collected"
    #: Let go for now: the feed is not set, the platform still works, or there was passing trouble.
    WAITING = "waiting"
    #: A person must act on the platform.
    NEEDS_PERSON = "needs_person"
    #: The account's, the feed's or the importer's permanent failure.
    FAILED = "failed"
    #: Failed for good too often; not tried until a person runs it by group, domain or id.
    SET_ASIDE = "set_aside"
    #: Did not get through lately; a later run tries again by itself, a run by group, domain or id at once.
    BACKING_OFF = "backing_off"
    #: An insert's answer was lost; the links are parked until that is settled.
    UNKNOWN = "unknown"
    #: Claim lapsed or taken over; somebody else goes on.
    LEASE_LOST = "lease_lost"
    #: A person has cleared its task, which has no claim on it any more: it has to be run anew.
    NOT_RUN = "not_run"

    @property
    def needs_attention(self) -> bool:
        """Whether a run with this outcome ends red."""
        return self in (Outcome.NEEDS_PERSON, Outcome.FAILED, Outcome.UNKNOWN, Outcome.NOT_RUN)
