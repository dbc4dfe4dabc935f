"""The content of a sandbox: groups, posts, accounts and podcasts, the same for the same seed.

Every secret begins with (or, for a base32 TOTP secret, ``CANARY``) ``canary``, so that one search of logs, tables and
pages finds a leak; :meth:`World.credentials` names them all.
"""

from __future__ import annotations

import base64
import dataclasses
import random
import uuid
from collections.abc import Iterator, Sequence

from likepion_provider.models import Credentials
from likepion_provider.sandbox.feeds import Feeds, Podcast
from likepion_provider.sandbox.manager import SandboxManager
from likepion_provider.sandbox.site import Site, SiteAccount

#: The platforms of the built-in worlds; the sandbox's site serves any other domain too.
DOMAINS = ("tide.example", "harbor.example", "lantern.example")
_TITLES = ("Tide Tables", "Harbor Lights", "Lantern Stories")


@dataclasses.dataclass(frozen=True)
class WorldPost:
    """A post and the podcast whose feed the primary sets, or will set, for it."""

    request_id: str
    group_id: str
    target: int
    podcast: Podcast
    #: Whether the feed is set from the start.
    feed_ready: bool = True
    #: The manager hands out accounts for it only while it is ``running``.
    status: str = "running"


@dataclasses.dataclass(frozen=True)
class WorldAccount:
    """An account as the manager knows it."""

    account_id: str
    group_id: str
    domain: str
    credentials: Credentials
    #: The password that its platform accepts; differs from ``credentials`` where the manager's is out of date.
    site_password: str = dataclasses.field(repr=False)
    #: Whether its platform lets it in without a person.
    verified: bool = True


class World:
    """Groups, posts, accounts and podcasts before they are put into the servers.

    :param seed: of every id and secret.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self.groups: list[str] = []
        self.posts: list[WorldPost] = []
        self.accounts: list[WorldAccount] = []

    def add_group(self) -> str:
        """Add a group.

        :return: its id.
        """
        self.groups.append(self._uuid())
        return self.groups[-1]

    def add_post(
        self,
        group_id: str,
        *,
        target: int = 5,
        episodes: int = 5,
        title: str = "",
        locked: bool = False,
        private: bool = True,
        feed_ready: bool = True,
        status: str = "running",
    ) -> WorldPost:
        """Add a post with a podcast of its own.

        :param group_id: the group it belongs to.
        :param target: number of episodes wanted.
        :param episodes: number of episodes in the feed.
        :param title: the podcast's; empty: made up.
        :param locked: whether the feed says ``podcast:locked``.
        :param private: whether the feed's URL carries a token, which is a secret.
        :param feed_ready: whether ``link_rss`` is set from the start.
        :param status: see :class:`WorldPost`.
        """
        number = len(self.posts) + 1
        token = f"canary-feed-{number:04d}-{self._hex()}" if private else ""
        podcast = Podcast(f"podcast-{number}", title or f"Podcast {number}", episodes, token, locked)
        post = WorldPost(self._uuid(), group_id, target, podcast, feed_ready, status)
        self.posts.append(post)
        return post

    def add_account(
        self, group_id: str, domain: str, *, wrong_password: bool = False, verified: bool = True
    ) -> WorldAccount:
        """Add an account with credentials of its own.

        :param group_id: the group it belongs to.
        :param domain: its platform.
        :param wrong_password: whether the platform refuses the password that the manager knows.
        :param verified: whether the platform lets the account in without a person.
        """
        number = len(self.accounts) + 1
        mark = f"{number:04d}-{self._hex()}"
        credentials = Credentials(
            email=f"pod{number:04d}@{domain}",
            username=f"pod{number:04d}",
            password=f"canary-password-{mark}",
            pass_mail=f"canary pass mail {mark}",
            twofa="CANARY" + base64.b32encode(self._rng.randbytes(20)).decode()[:26],
            app_password=f"canary-app-password-{mark}",
            cookie=f"session=canary-cookie-{mark}",
        )
        site_password = f"canary-changed-{mark}" if wrong_password else credentials.password
        account = WorldAccount(self._uuid(), group_id, domain, credentials, site_password, verified)
        self.accounts.append(account)
        return account

    def credentials(self) -> Iterator[str]:
        """Every secret string: credentials, cookies and their bare values, and the tokens of feeds."""
        for account in self.accounts:
            yield from account.credentials.secrets()
            yield account.credentials.cookie.partition("=")[2]
            if account.site_password != account.credentials.password:
                yield account.site_password
        for post in self.posts:
            if post.podcast.token:
                yield post.podcast.token

    def fill(self, manager: SandboxManager, site: Site, feeds: Feeds, *, feeds_url: str) -> None:
        """Put everything into the servers' states.

        :param manager: gets groups, posts and accounts.
        :param site: gets the accounts.
        :param feeds: gets the podcasts.
        :param feeds_url: where ``feeds`` is reached; the feeds' addresses begin with it.
        """
        for group_id in self.groups:
            manager.add_group(group_id)
        for post in self.posts:
            feeds.add(post.podcast)
            link_rss = feeds_url + post.podcast.path() if post.feed_ready else ""
            manager.add_post(
                post.group_id,
                target=post.target,
                link_rss=link_rss,
                status=post.status,
                request_id=post.request_id,
            )
        for account in self.accounts:
            put_account(account, manager, site)

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _hex(self) -> str:
        return f"{self._rng.getrandbits(48):012x}"


def put_account(account: WorldAccount, manager: SandboxManager, site: Site) -> None:
    """Make an account known at the manager and on its platform.

    :param account: which one; its group must be at the manager.
    :param manager: gets its credentials.
    :param site: gets what signs it in.
    """
    known = account.credentials
    manager.add_account(account.group_id, account.domain, dataclasses.asdict(known), account_id=account.account_id)
    site.add_account(
        SiteAccount(
            account.domain,
            known.username,
            known.email,
            account.site_password,
            twofa=known.twofa,
            verified=account.verified,
        )
    )


def demo_world(seed: int = 0) -> World:
    """3 groups with a post each, 24 accounts on 3 domains; in each group two domains have several accounts.

    The podcasts have more, as many and fewer episodes than wanted, and one fills more than a page.

    :param seed: of every id and secret.
    """
    world = World(seed)
    for title, target, episodes in zip(_TITLES, (22, 5, 10), (25, 5, 3), strict=True):
        group_id = world.add_group()
        world.add_post(group_id, title=title, target=target, episodes=episodes)
        for number in range(8):
            world.add_account(group_id, DOMAINS[number % len(DOMAINS)])
    return world


def walkthrough_world(seed: int = 0) -> World:
    """The demo's world, and a post that is ``pending``, for whose three accounts somebody is needed once it runs.

    The manager has one password wrong; one account's platform asks its owner; and one is well, for a lost answer to
    strike.

    :param seed: of every id and secret.
    """
    world = demo_world(seed)
    group_id = world.add_group()
    world.add_post(group_id, title="Rough Weather", target=3, episodes=3, status="pending")
    world.add_account(group_id, DOMAINS[0], wrong_password=True)
    world.add_account(group_id, DOMAINS[1], verified=False)
    world.add_account(group_id, DOMAINS[2])
    return world


def troubled_world(seed: int = 0, *, unserved_domain: str = "nobody.example") -> World:
    """A world where some accounts fail among siblings that are well.

    Group 1: two good accounts, one whose password the manager has wrong, one on a domain that no importer serves.
    Group 2: a locked feed, one account. Group 3: a feed that is not set yet, two accounts.

    :param seed: of every id and secret.
    :param unserved_domain: the domain without importer.
    """
    world = World(seed)
    first, second, third = (world.add_group() for _ in range(3))
    world.add_post(first, title=_TITLES[0])
    world.add_post(second, title=_TITLES[1], locked=True)
    world.add_post(third, title=_TITLES[2], feed_ready=False)
    world.add_account(first, DOMAINS[0])
    world.add_account(first, DOMAINS[0], wrong_password=True)
    world.add_account(first, DOMAINS[1])
    world.add_account(first, unserved_domain)
    world.add_account(second, DOMAINS[1])
    world.add_account(third, DOMAINS[1])
    world.add_account(third, DOMAINS[2])
    return world


def build_world(
    *,
    accounts: int = 24,
    posts: int = 3,
    domains: Sequence[str] = DOMAINS,
    episodes: int = 5,
    target: int = 5,
    waiting_posts: int = 0,
    seed: int = 0,
) -> World:
    """Any number of accounts, dealt out evenly to posts (one per group) and domains.

    :param accounts: how many in all.
    :param posts: how many groups, each with one post; 1 or more.
    :param domains: the platforms, dealt out in turn within each group.
    :param episodes: number of episodes in each feed.
    :param target: number of episodes wanted by each post.
    :param waiting_posts: how many of the posts, the last ones, have no feed yet.
    :param seed: of every id and secret.
    :raises ValueError: no post or no domain.
    """
    if posts < 1 or not domains:
        raise ValueError("a world needs a post and a domain")
    world = World(seed)
    for number in range(posts):
        group_id = world.add_group()
        world.add_post(group_id, target=target, episodes=episodes, feed_ready=number < posts - waiting_posts)
    for number in range(accounts):
        world.add_account(world.groups[number % posts], domains[number // posts % len(domains)])
    return world
