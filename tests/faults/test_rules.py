"""Each rule of the claims is needed: without it, the model finds that an account is stolen or a link is sent twice.

``python -m tests.faults --only rules`` looks for longer, and for each rule from another place.
"""

from __future__ import annotations

import pytest

from tests.faults.rules import REMOVALS, broken_by


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.__name__)
def test_without_the_rule_a_promise_breaks(removal: object) -> None:
    first = REMOVALS[removal]  # type: ignore[index]
    assert broken_by(removal, range(first, first + 3)), "the rule is not needed, or the model does not see it"  # type: ignore[arg-type]


def test_with_all_rules_the_same_stories_end_well() -> None:
    assert not broken_by(None, sorted(set(REMOVALS.values())))
