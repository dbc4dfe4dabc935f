"""Counters through Airflow's own stats, StatsD or OpenTelemetry, as ``[metrics]`` in its configuration says."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from airflow.providers.common.compat.sdk import Stats

from likepion_provider.models import Outcome
from likepion_provider.steps.reports import AccountReport


def pulled(accounts: int) -> None:
    """Count accounts that a run took up."""
    Stats.incr("likepion.accounts.pulled", accounts)


def imported(reports: Iterable[AccountReport]) -> None:
    """Count what an import came to, and how long each domain's accounts took."""
    for report in reports:
        _outcome("imported", report)
        Stats.incr("likepion.links.new", report.new)
        # Found again on the platform, and in the journal already: not put a second time.
        Stats.incr("likepion.links.duplicates_avoided", report.found - report.new)
        if report.took_s:
            Stats.timing(
                "likepion.platform.duration", timedelta(seconds=report.took_s), tags={"domain": report.task.domain}
            )


def inserted(reports: Iterable[AccountReport]) -> None:
    """Count what an insert came to."""
    for report in reports:
        _outcome("inserted", report)


def renewed(claims: int) -> None:
    """Count claims that were renewed."""
    Stats.incr("likepion.claims.renewed", claims)


def _outcome(step: str, report: AccountReport) -> None:
    tags = {"domain": report.task.domain, "outcome": report.outcome.value}
    Stats.incr(f"likepion.accounts.{step}", tags=tags)
    if report.outcome is Outcome.LEASE_LOST:
        Stats.incr("likepion.claims.lapsed", tags={"domain": report.task.domain})
    if report.outcome is Outcome.UNKNOWN:
        Stats.incr("likepion.accounts.unknown", tags={"domain": report.task.domain})
