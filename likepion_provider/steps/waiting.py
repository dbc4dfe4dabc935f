"""Waits until a post's ``link_rss`` is set, and keeps the accounts' claims meanwhile: many posts at little cost.

The manager has no call that reads several accounts without claiming them, so a post costs one request an interval,
however many wait for it; a run's claims are renewed in bulk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

from likepion_provider.aio import Gate, Shared, all_of, beside
from likepion_provider.clock import SYSTEM_CLOCK, Clock
from likepion_provider.errors import LikepionError, NotAuthorised, Rejected
from likepion_provider.journal import Journal
from likepion_provider.journal.database import Database
from likepion_provider.manager.client import READS, Manager, ManagerAddress, ManagerClient
from likepion_provider.models import Account, PostAccount, SecondaryTask
from likepion_provider.steps.keeper import Keeper

log = logging.getLogger(__name__)

#: How long all polls of a post may fail before its wait is given up, in seconds. A restart of the manager fits in.
GIVE_UP_AFTER_S = 300.0
#: The least time between two polls, in seconds: where very many posts wait, each is asked for less often.
PACE_S = 1 / 30
#: Polls leave in groups of as many as that makes of this, in seconds.
BURST_S = 0.5
#: Where posts wait together: how long after the first feed was set the others' are waited for, in seconds. What is not
#: set by then is left to the next run, which waits on.
TOGETHER_S = 30.0

_Post = list[SecondaryTask]


class Waits:
    """All waits for feeds of one manager, in one event loop.

    They only poll and renew, so another process may do the same at the same time. Where renewing fails, claims lapse,
    and their waits end.
    """

    def __init__(self, manager: Manager, journal: Journal, clock: Clock) -> None:
        self._manager = manager
        self._journal = journal
        self._clock = clock
        self._keepers: Shared[str, _Kept] = Shared(self._kept_scope, _Kept.stop)
        #: How many waits keep each of a scope's accounts.
        self._waited_for: Counter[tuple[str, PostAccount]] = Counter()
        self._polls: Shared[str, _Poll] = Shared(self._poll, _Poll.stop)
        self._gate = Gate(READS, clock=clock, apart_s=PACE_S, together_s=BURST_S, max_pause_s=GIVE_UP_AFTER_S)

    async def any_feed_set(
        self, *, scope: str, tasks: Sequence[SecondaryTask], poke_interval_s: float, timeout_s: float
    ) -> bool:
        """Poll the posts until the feeds of all are set, or :data:`TOGETHER_S` after the first was.

        What fails for one post only ends that one's wait.

        :param scope: the run that holds the claims.
        :param tasks: at least one.
        :param poke_interval_s: between polls of a post; at least 0.1.
        :param timeout_s: from now on; then the accounts are let go.
        :return: whether any feed is set. False: the time is up, other posts run, or no claim is left.
        :raises NotAuthorised: the manager refuses the key.
        :raises LikepionError: the manager failed for :data:`GIVE_UP_AFTER_S`, or refused to speak of any of the posts.
        """
        ends_s = self._clock.boot_s() + timeout_s
        posts: dict[str, _Post] = {}
        for task in tasks:
            posts.setdefault(task.request_id, []).append(task)
        async with self._keeping(scope, [task.key for task in tasks]) as keeper:
            any_set = await self._any(lambda post: self._is_set(keeper, post, poke_interval_s, ends_s), posts.values())
        if not any_set:
            await self._journal.commit(self._journal.claims.let_go, scope, [task.account_id for task in tasks])
        return any_set

    async def _any(self, is_set: Callable[[_Post], Awaitable[bool]], posts: Iterable[_Post]) -> bool:
        """Whether any feed is set, once all are or those of the others have had their time."""
        first = asyncio.Event()

        async def waited(post: _Post) -> bool | LikepionError:
            try:
                if found := await is_set(post):
                    first.set()
            except NotAuthorised:
                raise
            except LikepionError as error:
                log.warning("Post %s: %s", post[0].request_id, error.advice)
                return error
            return found

        async def time_of_others() -> None:
            await first.wait()
            await self._clock.sleep(TOGETHER_S)

        every, enough = asyncio.ensure_future(all_of(map(waited, posts))), asyncio.ensure_future(time_of_others())
        try:
            await asyncio.wait([every, enough], return_when=asyncio.FIRST_COMPLETED)
            if not every.done():
                return True
            ended = every.result()
        finally:
            every.cancel()
            enough.cancel()
            await asyncio.gather(every, enough, return_exceptions=True)
        failures = [each for each in ended if isinstance(each, LikepionError)]
        if len(failures) == len(ended):
            raise failures[0]
        return True in ended

    async def _is_set(self, keeper: Keeper, post: _Post, poke_interval_s: float, ends_s: float) -> bool:
        """Poll one post until its feed is set; False where the time is up, another post runs or no claim is left."""
        first, keys = post[0], [task.key for task in post]
        async with self._polls.use(first.request_id) as poll:
            while keeper.any_left(keys):
                account = await poll.account(first, poke_interval_s)
                if account and account.task.request_id != first.request_id:
                    log.warning(
                        "Post %s is not its group's newest: the next pull tells how it stands", first.request_id
                    )
                    return False
                if account and account.task.feed_ready:
                    return True
                pause_s = poll.pause_s(poke_interval_s)
                if self._clock.boot_s() + pause_s > ends_s:
                    log.warning("link_rss was not set in time")
                    return False
                await self._clock.sleep(pause_s)
        return False

    @contextlib.asynccontextmanager
    async def _keeping(self, scope: str, keys: Sequence[PostAccount]) -> AsyncIterator[Keeper]:
        """Have the scope's keeper renew these accounts, until the last wait that wants it has ended."""
        async with self._keepers.use(scope) as kept, beside(kept.ended()):
            self._waited_for.update((scope, key) for key in keys)
            try:
                await kept.keeper.resume(keys)
                yield kept.keeper
            finally:
                for key in keys:
                    self._waited_for[scope, key] -= 1
                    if not self._waited_for[scope, key]:
                        del self._waited_for[scope, key]
                        kept.keeper.done(key)

    def _kept_scope(self, scope: str) -> _Kept:
        return _Kept(Keeper(self._manager, self._journal, self._clock, scope, holder=None))

    def _poll(self, _: str) -> _Poll:
        return _Poll(self._manager, self._clock, self._gate)


class _Kept:
    """A keeper that renews."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self._renewing = asyncio.create_task(keeper.keep())

    async def ended(self) -> None:
        """Return, or raise, as soon as it renews no more."""
        await asyncio.shield(self._renewing)

    async def stop(self) -> None:
        self._renewing.cancel()
        await asyncio.gather(self._renewing, return_exceptions=True)


class _Poll:
    """The newest answer about one post, for all that wait for it."""

    def __init__(self, manager: Manager, clock: Clock, gate: Gate) -> None:
        self._manager = manager
        self._clock = clock
        self._gate = gate
        self._asked_s = 0.0
        self._asked_for = ""
        self._failing_since_s: float | None = None
        self._asking: asyncio.Task[Account | None] | None = None

    async def account(self, task: SecondaryTask, max_age_s: float) -> Account | None:
        """An account of the post, asked for no longer ago than ``max_age_s``; None where the manager failed.

        :raises LikepionError: it failed for good, or for too long.
        """
        if not self._is_fresh(max_age_s):
            self._ask(task)
        asked_for = self._asked_for
        try:
            return await self._answer()
        except NotAuthorised:
            raise
        except Rejected:
            if asked_for == task.account_id:
                raise
            # That another account is gone says nothing of this one.
            self._ask(task)
            return await self._answer()

    def _is_fresh(self, max_age_s: float) -> bool:
        if self._asking is None:
            return False
        return not self._asking.done() or self._clock.boot_s() < self._asked_s + max_age_s

    def _ask(self, task: SecondaryTask) -> None:
        self._asked_for = task.account_id
        self._asking = asyncio.create_task(self._exchange(task.account_id))

    async def _answer(self) -> Account | None:
        # A wait that is cancelled leaves the answer to the others.
        return await asyncio.shield(self._asking) if self._asking else None

    def pause_s(self, interval_s: float) -> float:
        """Until the post is to be asked for again; one moment for all that wait with the same interval."""
        return max(0.1, self._asked_s + interval_s - self._clock.boot_s(), self._gate.closed_for_s)

    async def _exchange(self, account_id: str) -> Account | None:
        try:
            async with self._gate.passage():
                self._asked_s = self._clock.boot_s()
                account = await self._manager.account(account_id)
        except LikepionError as error:
            if isinstance(error, Rejected) or self._out_of_patience():
                raise
            log.warning("%s", error)
            self._gate.close_for(error.retry_after_s or 0.0)
            return None
        self._failing_since_s = None
        return account

    def _out_of_patience(self) -> bool:
        now_s = self._clock.boot_s()
        if self._failing_since_s is None:
            self._failing_since_s = now_s
        return now_s - self._failing_since_s >= GIVE_UP_AFTER_S

    async def stop(self) -> None:
        if self._asking:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)


#: By event loop, manager and journal.
_Key = tuple[asyncio.AbstractEventLoop, ManagerAddress, Database]


def _open(key: _Key) -> tuple[ManagerClient, Waits]:
    _, address, database = key
    client = ManagerClient(address)
    client.open()
    return client, Waits(client, Journal(database), SYSTEM_CLOCK)


async def _close(opened: tuple[ManagerClient, Waits]) -> None:
    await opened[0].close()


_shared: Shared[_Key, tuple[ManagerClient, Waits]] = Shared(_open, _close)


@contextlib.asynccontextmanager
async def shared_waits(address: ManagerAddress, journal: Journal) -> AsyncIterator[Waits]:
    """The event loop's one :class:`Waits` for a manager, open while somebody uses it.

    :raises NotAuthorised: the address has no API key that could be sent.
    :raises BadRequest: the address is not one of http or https.
    """
    async with _shared.use((asyncio.get_running_loop(), address, journal.database)) as (_, waits):
        yield waits
