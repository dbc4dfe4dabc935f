"""Each rule of the claims is needed: without it, the model finds that an account is stolen or a link is sent wrongly.

``python -m tests.faults --only rules`` looks from another place.
"""

from __future__ import annotations

import pytest

from tests.faults.rules import REMOVALS, Removal, broken_by

#: A change of the code changes the walks; among so many, another one shows it.
WALKS = 40


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.__name__)
def test_without_the_rule_a_promise_breaks(removal: Removal) -> None:
    first = REMOVALS[removal]
    assert broken_by(removal, range(first, first + WALKS)), "the rule is not needed, or the model does not see why"


def test_with_all_rules_the_same_stories_end_well() -> None:
    assert not broken_by(None, sorted(set(REMOVALS.values())))
