"""Methods of the tables that work one account, and many accounts in no more statements.

What a batch of accounts writes at the same moment comes to the database together: see
:mod:`~likepion_provider.journal.commit`. A round trip for each account's statement would be most of what that costs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from likepion_provider.errors import LeaseLost
from likepion_provider.models import PostAccount

P = ParamSpec("P")
T = TypeVar("T")


class Call(Protocol):
    """What the method is told of one account; a NamedTuple, whose fields are the method's parameters."""

    @property
    def key(self) -> PostAccount:
        """Whose it is."""


C = TypeVar("C", bound=Call)


@dataclasses.dataclass(frozen=True)
class OfTable(Generic[P, C, T]):
    """Such a method of one table. Called as any method, it works one account."""

    call: Callable[P, C]
    _work: Callable[[Any, Sequence[C]], list[T | LeaseLost]]
    _table: Any

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Work one account."""
        (outcome,) = self.all([self.call(*args, **kwargs)])
        if isinstance(outcome, LeaseLost):
            raise outcome
        return outcome

    def call_of(self, operation: partial[T]) -> C:
        """What an operation of this method tells of its account."""
        return self.call(*operation.args, **operation.keywords)

    def all(self, calls: Sequence[C]) -> list[T | LeaseLost]:
        """Work many accounts, in one transaction.

        :param calls: of no account two.
        :return: for each call the result, or why its account may not be written.
        """
        return self._work(self._table, calls)


class Bulk(Generic[P, C, T]):
    """A method that is written for many accounts.

    :param call: what it is told of each.
    """

    def __init__(self, call: Callable[P, C], work: Callable[[Any, Sequence[C]], list[T | LeaseLost]]) -> None:
        self._call = call
        self._work = work
        self.__doc__ = work.__doc__

    def __get__(self, table: Any, _: type[Any] | None = None) -> OfTable[P, C, T]:
        """The method of one table."""
        return OfTable(self._call, self._work, table)


def bulk(
    call: Callable[P, C],
) -> Callable[[Callable[[Any, Sequence[C]], list[T | LeaseLost]]], Bulk[P, C, T]]:
    """Make a method for one account of one for many.

    :param call: makes what the method is told of each account; its parameters become the method's.
    """
    return lambda work: Bulk(call, work)
