"""What the models share: odd answers, and what may be wrong, or left open, by the manager's rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import select

from likepion_provider.journal import Journal
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import link
from likepion_provider.models import LinkState, PostAccount
from likepion_provider.sandbox.manager import StoredRow

_OPEN = (LinkState.UNKNOWN.value, LinkState.SENDING.value)
_SENDABLE = (LinkState.PREPARED.value, LinkState.REFUSED.value)

#: Inserts that store a part, or all, or nothing, and whose answers do not say so plainly.
ODD_INSERTS: tuple[dict[str, Any], ...] = (
    {"store": (0,), "fields": {"success": False}},
    {"store": (0, 2), "status": 422, "fields": {"success": False}},
    {"store": (), "status": 422, "fields": {"success": False}},
    {"store": (1,), "status": 500},
    {"store": (0,), "absent": ("results",)},
    {"store": (1,), "entries": ("no_link_index", "reversed")},
    {"store": (1, 2), "entries": ("fewer",)},
    {"store": (0,), "entries": ("contradicted",)},
    {"store": (0, 1), "entries": ("another_account",)},
    {"store": (0, 1), "entries": ("all_false",)},
    {"entries": ("all_false",)},
    {"entries": ("host_case",), "fields": {"success": False}},
)


def reported_twice(stored: Iterable[StoredRow]) -> list[tuple[str, str, str]]:
    """Episodes of an account that are in more than one row; a URL's query says nothing of which episode it is."""
    episodes = Counter((row.request_id, row.account_id, row.link_post.partition("?")[0]) for row in stored)
    return [episode for episode, count in episodes.items() if count > 1]


def reported_for_another_post(stored: Iterable[StoredRow]) -> list[StoredRow]:
    """Rows whose page belongs to another account's import, or to another post's: see ``platform_pages()``."""
    return [row for row in stored if f"/{row.account_id}/{row.request_id[-1]}/" not in row.link_post]


def sendable_again(journal: Journal, stored: Collection[StoredRow], others: Collection[str]) -> list[str]:
    """URLs that the manager has and that the journal would send.

    :param others: the accounts that another worker delivered, of whose rows the journal cannot know.
    """
    has = {(row.request_id, row.account_id, row.link_post) for row in stored}
    links = [row for rows in _by_key(journal).values() for row in rows]
    wrong = [each for each in links if each.state in _SENDABLE and each.account_id not in others]
    return [each.url for each in wrong if (each.request_id, each.account_id, each.url) in has]


def left_open(journal: Journal, stored: Collection[StoredRow]) -> list[PostAccount]:
    """Accounts with unknown outcomes that runs without trouble should have settled.

    Without a row at the manager, an account is handed out again, and that settles it. With rows, its absence speaks
    for one insert, if that was the only one and nothing is left to be sent.
    """
    under_way = {each.key for each in journal.submissions.get(_by_key(journal)).values() if each.state.is_under_way}
    served = {PostAccount(row.request_id, row.account_id) for row in stored}
    found = []
    for key, rows in _by_key(journal).items():
        sent = [row for row in rows if row.sends]
        one_insert = len({row.send_id for row in sent}) == 1 and all(
            row.sends == 1 and row.state in _OPEN for row in sent
        )
        is_whole = key not in under_way and not any(row.state in _SENDABLE for row in rows)
        if any(row.state in _OPEN for row in rows) and (key not in served or (one_insert and is_whole)):
            found.append(key)
    return found


def _by_key(journal: Journal) -> dict[PostAccount, list[Any]]:
    found: defaultdict[PostAccount, list[Any]] = defaultdict(list)
    with journal.database.reading() as connection:
        for row in connection.execute(select(link).where(of_manager(link))):
            found[PostAccount(row.request_id, row.account_id)].append(row)
    return found
