"""Waits until a post's ``link_rss`` is set, and keeps the accounts' claims meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from likepion_provider.errors import LikepionError, NotAuthorised, Rejected, Transient
from likepion_provider.journal import Journal
from likepion_provider.keeper import Claimer, Keeper
from likepion_provider.lease import Clock
from likepion_provider.models import Account, SecondaryTask

log = logging.getLogger(__name__)

#: Polls that may fail one after the other before the wait is given up.
MAX_FAILURES = 10


class Manager(Claimer, Protocol):
    """What of the manager a wait needs."""

    async def account(self, account_id: str) -> Account:
        """Read one account."""
        ...


async def feed_is_set(
    *,
    manager: Manager,
    journal: Journal,
    clock: Clock,
    scope: str,
    tasks: Sequence[SecondaryTask],
    poke_interval_s: float,
    timeout_s: float,
) -> bool:
    """Poll one account of the post; it polls and renews only, so two of these may run at once.

    :param tasks: at least one, all of the same post.
    :param poke_interval_s: between polls; at least 0.1.
    :param timeout_s: from now on; then the accounts are let go.
    :return: whether the feed is set. False: the time is up, another post runs, or no claim is left.
    :raises NotAuthorised: the manager refuses the key.
    :raises Transient: the manager failed :data:`MAX_FAILURES` times in a row.
    """
    keeper = Keeper(manager, journal, clock, scope, holder=None)
    await keeper.resume([task.key for task in tasks])
    give_up_s = clock.boot_s() + timeout_s
    failures = 0
    async with keeper.keeping():
        while keeper.any_left():
            pause_s = poke_interval_s
            try:
                account = await manager.account(tasks[0].account_id)
                failures = 0
            except NotAuthorised:
                raise
            except LikepionError as error:
                failures += 1
                if failures >= MAX_FAILURES or isinstance(error, Rejected):
                    raise
                log.warning("%s", error)
                pause_s = max(pause_s, (error.retry_after_s or 0) if isinstance(error, Transient) else 0)
            else:
                if account.task.request_id != tasks[0].request_id:
                    log.warning("Post %s no longer runs in its group", tasks[0].request_id)
                    break
                if account.task.feed_ready:
                    return True
            if clock.boot_s() + pause_s > give_up_s:
                log.warning("link_rss was not set within %.0f s", timeout_s)
                break
            await clock.sleep(pause_s)
    await journal.commit(journal.claims.let_go, scope, [task.account_id for task in tasks])
    return False
