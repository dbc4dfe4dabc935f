"""What becomes of the claims where one rule is taken away: each removal patches the code as a careless change might."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterable
from typing import Any
from unittest import mock

from sqlalchemy import Connection, select

from likepion_provider.clock import Moment
from likepion_provider.journal import claims, links, settling
from likepion_provider.journal.claims import HANDED_OVER, Claim, Claims, Reserved
from likepion_provider.journal.keys import among, key_columns, read_keys
from likepion_provider.journal.owner import of_manager
from likepion_provider.journal.schema import claim, link
from likepion_provider.journal.tally import state_within_key
from likepion_provider.manager.client import ManagerClient
from likepion_provider.manager.lease import Lease
from likepion_provider.models import Account, LinkState, PostAccount
from tests.faults.walk import Walk

Removal = Callable[[], contextlib.AbstractContextManager[Any]]


def _without_spent(kind: type, name: str) -> contextlib.AbstractContextManager[Any]:
    """While a method runs, no claim counts as ended by an insert."""
    method = getattr(kind, name)

    def careless(*args: Any, **kwargs: Any) -> Any:
        with mock.patch.object(Claim, "is_spent", new=False):
            return method(*args, **kwargs)

    return mock.patch.object(kind, name, careless)


def reserve_ignores_that_an_insert_began() -> contextlib.AbstractContextManager[Any]:
    """Rule (a) without its second half."""
    return _without_spent(Claims, "reserve")


def reserve_counts_what_is_presumed() -> contextlib.AbstractContextManager[Any]:
    """Rule (b) for links that are stored by inference."""

    def served(connection: Connection, keys: Collection[PostAccount]) -> set[PostAccount]:
        stored = state_within_key(link) == LinkState.STORED
        queries = [select(*key_columns(link)).where(part, stored) for part in among(link, keys)]
        return {key for query in queries for key in read_keys(connection, query)}

    patches = contextlib.ExitStack()
    patches.enter_context(mock.patch.object(claims, "_served", served))
    # Else there is nothing left of what is presumed that would be worth a claim.
    patches.enter_context(mock.patch.object(settling, "_has_more_to_come", return_value=set()))
    return patches


def choice_claims_what_it_likes() -> contextlib.AbstractContextManager[Any]:
    """No rule at all, but that our own runs keep out of each other's way."""
    reserve = Claims.reserve

    def careless(self: Claims, scope: str, keys: Any, lease: Lease, now: Moment, **kwargs: Any) -> Reserved:
        busy = reserve(self, scope, keys, lease, now, **kwargs).busy
        free = {key: lease for key in keys if key not in busy}
        self.grant(scope, free)
        return Reserved(free, busy)

    return mock.patch.object(Claims, "reserve", careless)


def keeper_renews_what_an_insert_ended() -> contextlib.AbstractContextManager[Any]:
    """A renewal looks at the lease alone."""
    live = Claims.live

    def careless(*args: Any, **kwargs: Any) -> dict[str, Claim]:
        return {name: row._replace(insert_id="") for name, row in live(*args, **kwargs).items()}

    return mock.patch.object(Claims, "live", careless)


def delivery_goes_on_after_a_part_that_stored_nothing() -> contextlib.AbstractContextManager[Any]:
    """The next part is claimed whatever became of the one before."""
    return mock.patch.object(Claims, "served", lambda _self, keys: set(keys))


def insert_leaves_its_claim() -> contextlib.AbstractContextManager[Any]:
    """The beginning of an insert is not noted."""
    return mock.patch.object(links, "spend")


def the_managers_newest_post_is_taken_for_the_pulls() -> contextlib.AbstractContextManager[Any]:
    """Whatever an answer about an account says is said of the running post."""
    account = ManagerClient.account

    async def careless(self: ManagerClient, account_id: str) -> Account:
        answer = await account(self, account_id)
        return dataclasses.replace(answer, task=dataclasses.replace(answer.task, request_id="post-0"))

    return mock.patch.object(ManagerClient, "account", careless)


def adopted_claims_are_not_marked() -> contextlib.AbstractContextManager[Any]:
    """What was handed over stays there for the next run, too."""

    def careless(self: Claims, _: str, most: int, now: Moment, run_id: str = "") -> list[PostAccount]:
        with self._database.reading() as connection:
            columns = [claim.c[name] for name in Claim._fields]
            handed_over = select(*columns).where(of_manager(claim), claim.c.scope == HANDED_OVER)
            rows = map(Claim._make, connection.execute(handed_over))
            return [row.key for row in rows if row.lease.holds(now)][:most]

    return mock.patch.object(Claims, "adopt", careless)


#: Each with the number of the first walk that it breaks.
REMOVALS: dict[Removal, int] = {
    reserve_ignores_that_an_insert_began: 41,
    reserve_counts_what_is_presumed: 0,
    choice_claims_what_it_likes: 0,
    keeper_renews_what_an_insert_ended: 0,
    delivery_goes_on_after_a_part_that_stored_nothing: 229,
    insert_leaves_its_claim: 0,
    the_managers_newest_post_is_taken_for_the_pulls: 1,
    adopted_claims_are_not_marked: 1,
}


def broken_by(removal: Removal | None, numbers: Iterable[int], walk: type[Walk] = Walk) -> str:
    """Play walks until one breaks a promise.

    :param removal: None plays by all rules.
    :param walk: the kind of them.
    :return: the walk's number and what broke; empty where each ended well.
    """
    for number in numbers:
        with removal() if removal else contextlib.nullcontext():
            try:
                walk(number).play()
            except AssertionError as error:
                return f"walk {number}: {error}"
    return ""
