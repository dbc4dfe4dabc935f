"""What is said of accounts that a task has no claim on: nothing may touch them, and most have been served."""

from __future__ import annotations

from collections.abc import Sequence

from likepion_provider.clock import Moment
from likepion_provider.errors import LeaseLost
from likepion_provider.journal import Journal
from likepion_provider.models import LinkState, Outcome, PostAccount, SecondaryTask
from likepion_provider.steps.reports import AccountReport, failed


def unclaimed(
    journal: Journal, scope: str, tasks: Sequence[SecondaryTask], now: Moment
) -> dict[PostAccount, AccountReport]:
    """The reports of such accounts: what is delivered stays delivered, of the rest it says why. Blocks."""
    keys = [task.key for task in tasks]
    states = journal.links.states(keys)
    known = journal.submissions.get(keys)
    reasons = journal.claims.reasons(scope, keys, now)
    reports = {}
    for task in tasks:
        if set(states[task.key]) == {LinkState.STORED}:
            grows = task.key in known and known[task.key].state.is_under_way
            message = "a later run looks for more of its episodes" if grows else ""
            report = AccountReport(task, Outcome.DELIVERED, states[task.key].total(), message=message)
        else:
            report = failed(task, LeaseLost(f"account {task.account_id} cannot be worked: {reasons[task.key]}"))
        reports[task.key] = report
    return reports
