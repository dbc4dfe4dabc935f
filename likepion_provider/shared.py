"""What several coroutines of one event loop use at the same time: made by the first, closed by the last."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Shared(Generic[K, V]):
    """Values by key, each as long as somebody uses it.

    :param make: must not wait, so that nobody can come between the question and the answer.
    :param close: called once the last user has left; a new user gets a new value.
    """

    def __init__(self, make: Callable[[K], V], close: Callable[[V], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._values: dict[K, V] = {}
        self._users: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._values)

    @contextlib.asynccontextmanager
    async def use(self, key: K) -> AsyncIterator[V]:
        """The key's value, for as long as the body runs."""
        if key not in self._values:
            self._values[key] = self._make(key)
            self._users[key] = 0
        self._users[key] += 1
        try:
            yield self._values[key]
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                await self._close(self._values.pop(key))
