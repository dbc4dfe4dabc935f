"""Each rule is needed: without it, the model finds that an account is stolen, or a link or an import is sent wrongly.

``python -m tests.faults --only rules`` looks from another place.
"""

from __future__ import annotations

import pytest

from tests.faults.restores import RESTORE_REMOVALS, RestoreWalk
from tests.faults.rules import REMOVALS, Removal, broken_by
from tests.faults.walk import Walk

#: A change of the code changes the walks; among so many, another one shows it.
WALKS = 40


CASES = [
    *(
        (walk, removal, first)
        for walk, all_ in ((Walk, REMOVALS), (RestoreWalk, RESTORE_REMOVALS))
        for removal, first in all_.items()
    )
]


@pytest.mark.parametrize(("walk", "removal", "first"), CASES, ids=lambda each: getattr(each, "__name__", ""))
def test_without_the_rule_a_promise_breaks(walk: type[Walk], removal: Removal, first: int) -> None:
    assert broken_by(removal, range(first, first + WALKS), walk), "it is not needed, or the model does not see why"


@pytest.mark.parametrize(("walk", "removals"), [(Walk, REMOVALS), (RestoreWalk, RESTORE_REMOVALS)])
def test_with_all_rules_the_same_stories_end_well(walk: type[Walk], removals: dict[Removal, int]) -> None:
    assert not broken_by(None, sorted(set(removals.values())), walk)
