"""A worker that shares the manager with us and nothing else, and keeps the rules of the manager's page.

It works an account only while its claim holds, inserts the account's episodes once, and leaves the account alone
afterwards, also where the answer was lost, until a pull hands it out again. Every step is small: a request that is
sent, one that arrives, an answer that is heard. So a model can put steps of ours between any two of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from likepion_provider.sandbox.contract import TTL_MIN, ErrorAnswer
from likepion_provider.sandbox.manager import Event, SandboxManager
from tests.fakes import DOMAIN

#: What the page says of a claim.
TTL = timedelta(minutes=TTL_MIN)
#: No request begins in the last minute of a claim.
MARGIN = timedelta(seconds=60)
#: A request that has not arrived by then never does, and an answer is no longer waited for.
PATIENCE = timedelta(seconds=50)
#: How often a step of a random walk is drawn, against 1 for trouble.
ORDINARY = 8


#: What the stranger does with an answer; the first argument is when it asked.
_Hear = Callable[[datetime, Any], None]


class TrueTime(Protocol):
    """The time at the manager, or a clock that agrees with it."""

    def now(self) -> datetime:
        """Aware UTC."""
        ...


def platform_pages(account_id: str, request_id: str, *, episodes: int = 3) -> list[str]:
    """The pages that :class:`tests.fakes.ScriptedPlatform` lists, which we find as well."""
    return [f"https://{DOMAIN}/{account_id}/{request_id[-1]}/g{number}" for number in range(episodes)]


@dataclasses.dataclass
class Hold:
    """An account that was the stranger's by the manager's rules.

    :param since: the place of its pull in the manager's events.
    :param until: when the claim lapses; aware UTC.
    :param ended: the place of the insert that ended it; None: there was none.
    """

    account_id: str
    since: int
    until: datetime
    ended: int | None = None

    def covers(self, place: int, event: Event) -> bool:
        """Whether the account was held when the event happened.

        :param place: the event's place in the manager's events.
        """
        in_order = self.since < place and (self.ended is None or place < self.ended)
        return in_order and event.at < self.until and self.account_id in event.account_ids


@dataclasses.dataclass
class _Task:
    """An account as the stranger knows it."""

    request_id: str
    expires_at: datetime
    urls: Sequence[str] = ()


@dataclasses.dataclass
class _Message:
    """A request on its way; ``answer`` is set once the manager has worked it."""

    sent_at: datetime
    work: Callable[[], Any]
    hear: _Hear
    #: Whether it may arrive although its sender has given up. A claim must not: it would steal.
    may_be_late: bool
    has_arrived: bool = False
    answer: Any = None


class Stranger:
    """The worker; :meth:`step` does one step at random, the other methods do a named one.

    :param manager: the manager that it shares with us.
    :param clock: agrees with the manager's; the manager's own by default.
    :param name: its name in the manager's events.
    :param limit: how many accounts it pulls at most.
    :param pages: the URLs that it finds for ``(account_id, request_id)``.
    :param margin: see :data:`MARGIN`; less breaks the rules.
    """

    def __init__(
        self,
        manager: SandboxManager,
        clock: TrueTime | None = None,
        *,
        name: str = "stranger",
        limit: int = 2,
        pages: Callable[[str, str], Sequence[str]] = platform_pages,
        margin: timedelta = MARGIN,
    ) -> None:
        self.manager = manager
        self.clock: TrueTime = clock or manager.clock
        self.name = name
        self.limit = limit
        #: Every account that it held, by the manager's rules, whatever it knew of it.
        self.holds: list[Hold] = []
        #: The ``(request_id, account_id)`` of its inserts that arrived.
        self.served: set[tuple[str, str]] = set()
        self._pages = pages
        self._margin = margin
        self._tasks: dict[str, _Task] = {}
        self._message: _Message | None = None
        self._late: list[_Message] = []

    # For checkers

    def held(self) -> list[str]:
        """The accounts that it may work now, as far as it knows."""
        now = self.clock.now()
        self._tasks = {
            account_id: task for account_id, task in self._tasks.items() if task.expires_at - now > self._margin
        }
        return sorted(self._tasks)

    def disturbances(self) -> list[Event]:
        """What other workers did to its accounts while it held them."""
        return [
            event
            for place, event in enumerate(self.manager.events)
            if event.worker != self.name and any(hold.covers(place, event) for hold in self.holds)
        ]

    # Steps

    def step(self, rng: random.Random) -> str:
        """One step that is possible now.

        :return: its name.
        """
        steps = list(self.possible())
        weights = [1 if step.__name__ in ("lose", "die") else ORDINARY for step, _ in steps]
        step, arguments = rng.choices(steps, weights)[0]
        step(*arguments)
        return step.__name__

    def possible(self) -> Iterator[tuple[Callable[..., None], tuple[str, ...]]]:
        """The steps that are possible now, each with its arguments; never none."""
        yield self.die, ()
        if any(self._is_on_the_way(each) for each in self._late):
            yield self.arrive_late, ()
        if self._message is not None:
            yield self.lose, ()
            if self._message.has_arrived:
                yield self.hear, ()
            elif self._is_on_the_way(self._message):
                yield self.arrive, ()
            return
        yield self.pull, ()
        if held := self.held():
            yield self.renew, ()
        for account_id in held:
            yield (self.insert if self._tasks[account_id].urls else self.find), (account_id,)

    def pull(self) -> None:
        """Ask for accounts.

        :raises ValueError: its last request is still on its way.
        """
        self._send(self._serve_pull, self._hear_pull)

    def find(self, account_id: str) -> None:
        """Import into a held account and find its episodes' pages.

        :raises ValueError: it does not hold the account.
        """
        task = self._held_task(account_id)
        task.urls = self._pages(account_id, task.request_id)

    def renew(self) -> None:
        """Ask for longer claims on what it holds.

        :raises ValueError: its last request is still on its way.
        """
        account_ids = self.held()
        self._send(functools.partial(self._serve_claim, account_ids), self._hear_claim, may_be_late=False)

    def insert(self, account_id: str) -> None:
        """Report a held account, whose episodes are found. From here on the account is left alone.

        :raises ValueError: it does not hold the account, or its last request is still on its way.
        """
        task = self._held_task(account_id)
        work = functools.partial(self._serve_insert, account_id, task.request_id, ",".join(task.urls))
        self._send(work, lambda _sent_at, _answer: None)
        del self._tasks[account_id]

    def arrive(self) -> None:
        """Let the request reach the manager, once and in time."""
        if self._message is not None and not self._message.has_arrived and self._is_on_the_way(self._message):
            self._work(self._message)

    def hear(self) -> None:
        """Let the answer come back; one that took too long is not heard."""
        message, self._message = self._message, None
        if message is not None and message.has_arrived and self._is_on_the_way(message):
            message.hear(message.sent_at, message.answer)

    def lose(self) -> None:
        """Give up on the answer; the request may still arrive."""
        message, self._message = self._message, None
        if message is not None and message.may_be_late and not message.has_arrived:
            self._late.append(message)

    def die(self) -> None:
        """End, and begin again without a memory. A request on its way arrives or does not."""
        if self._message is not None and not self._message.has_arrived:
            self._late.append(self._message)
        self._message = None
        self._tasks = {}

    def arrive_late(self) -> None:
        """Let a request that nobody waits for reach the manager."""
        self._late = [each for each in self._late if self._is_on_the_way(each)]
        if self._late:
            self._work(self._late.pop(0))

    def _held_task(self, account_id: str) -> _Task:
        if account_id not in self.held():
            raise ValueError(f"{self.name} does not hold {account_id}")
        return self._tasks[account_id]

    # Messages

    def _send(self, work: Callable[[], Any], hear: _Hear, *, may_be_late: bool = True) -> None:
        if self._message is not None:
            raise ValueError(f"{self.name} still waits for an answer")
        self._message = _Message(self.clock.now(), work, hear, may_be_late)

    def _is_on_the_way(self, message: _Message) -> bool:
        return self.clock.now() - message.sent_at <= PATIENCE

    def _work(self, message: _Message) -> None:
        message.has_arrived = True
        try:
            message.answer = message.work()
        except ErrorAnswer:
            message.answer = None

    def _serve_pull(self) -> Any:
        now = self.manager.clock.now()
        try:
            return self.manager.pull(self.limit, worker=self.name)
        finally:
            place = len(self.manager.events) - 1
            self.holds += [Hold(each, place, now + TTL) for each in self.manager.events[place].account_ids]

    def _serve_claim(self, account_ids: Sequence[str]) -> Any:
        now = self.manager.clock.now()
        for hold in self._live(account_ids):
            hold.until = now + TTL
        return self.manager.claim(account_ids, worker=self.name)

    def _serve_insert(self, account_id: str, request_id: str, link_post: str) -> Any:
        for hold in self._live([account_id]):
            hold.ended = len(self.manager.events)
        self.served.add((request_id, account_id))
        item = {"request_id": request_id, "account_id": account_id, "link_post": link_post}
        return self.manager.insert(item, worker=self.name)

    def _live(self, account_ids: Sequence[str]) -> list[Hold]:
        now = self.manager.clock.now()
        mine = [each for each in self.holds if each.account_id in account_ids]
        return [each for each in mine if each.ended is None and each.until > now]

    def _hear_pull(self, sent_at: datetime, rows: Any) -> None:
        for row in rows if isinstance(rows, list) else ():
            account_id, request_id = (
                (row.get("account_id"), row.get("request_id")) if isinstance(row, dict) else ("", "")
            )
            # It is strict, and leaves every odd row alone.
            if account_id in self.manager.accounts and request_id in self.manager.posts:
                self._tasks[account_id] = _Task(request_id, sent_at + TTL)

    def _hear_claim(self, sent_at: datetime, answer: Any) -> None:
        claimed, ttl_min = (answer or {}).get("claimed"), (answer or {}).get("ttl_min")
        if isinstance(ttl_min, int) and not isinstance(ttl_min, bool) and isinstance(claimed, list):
            for account_id in self._tasks.keys() & {each for each in claimed if isinstance(each, str)}:
                self._tasks[account_id].expires_at = sent_at + min(TTL, timedelta(minutes=max(0, ttl_min)))
