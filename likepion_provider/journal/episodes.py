"""One link per episode, and one per URL: what becomes of an account's links once its episodes are listed anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from likepion_provider.models import LinkState, PostAccount


class Page(NamedTuple):
    """An episode's URL, and the hash that it is compared by."""

    sha256: str
    url: str


class Known(NamedTuple):
    """A link that is there."""

    id: int
    request_id: str
    account_id: str
    episode: str
    url_sha256: str
    url: str
    state: LinkState

    @property
    def key(self) -> PostAccount:
        """The post and the account that it is for."""
        return PostAccount(self.request_id, self.account_id)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to do with an account's links.

    :param new: episodes to put, by the hash of their guid.
    :param moved: links that take another URL.
    :param gone: links to drop: their URL is another episode's by now, or their episode may be stored elsewhere.
    :param elsewhere: how many episodes are left out since they may be stored for the account under another post.
    """

    new: dict[str, Page]
    moved: list[tuple[Known, Page]]
    gone: list[Known]
    elsewhere: int


def plan(key: PostAccount, known: Sequence[Known], listed: Iterable[tuple[str, Page]]) -> Plan:
    """Give each listed episode one link, and each URL.

    A link that may be stored keeps its episode and its URL from all others. One that is not follows the listing.

    :param known: the account's links for the post, or for all its posts where each counts once for all.
    :param listed: the hash of each episode's guid, and its page; where two claim the same, the first has it.
    """
    sent = [link for link in known if link.state.may_be_stored]
    done, taken = {link.episode for link in sent}, {link.url_sha256 for link in sent}
    there = [link for link in sent if link.key != key]
    done_there, taken_there = {link.episode for link in there}, {link.url_sha256 for link in there}
    seen: set[str] = set()
    elsewhere: set[str] = set()
    pages: dict[str, Page] = {}
    for episode, page in listed:
        seen.add(episode)
        if episode in done or page.sha256 in taken:
            if episode in done_there or page.sha256 in taken_there:
                elsewhere.add(episode)
        else:
            done.add(episode)
            taken.add(page.sha256)
            pages[episode] = page
    new, moved, gone = pages.copy(), [], []
    claimed = {page.sha256 for page in pages.values()}
    for link in known:
        if link.state.may_be_stored:
            continue
        wanted = new.pop(link.episode, None) if link.key == key else None
        if wanted is None:
            if link.episode in seen or link.url_sha256 in claimed:
                gone.append(link)
        elif wanted.sha256 != link.url_sha256:
            moved.append((link, wanted))
    return Plan(new, moved, gone, len(elsewhere))
