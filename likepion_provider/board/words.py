"""An account's state, what happened last and what to do, in plain words of the reader's language."""

from __future__ import annotations

from datetime import datetime

from likepion_provider.board.questions import AccountRow, UnknownRow
from likepion_provider.errors import OutcomeUnknown
from likepion_provider.journal.links import REFUSED_REMEDY
from likepion_provider.models import ImportState, Standing
from likepion_provider.steps.importing import ImportOptions
from likepion_provider.words import number, shown, t, tn


def state_of(row: AccountRow) -> str:
    """One short sentence."""
    if row.standing is Standing.RETIRED:
        return tn(
            "Retired: its post has not run for two weeks; {stored} of {count} link reported",
            "Retired: its post has not run for two weeks; {stored} of {count} links reported",
            row.links,
            stored=number(row.stored),
        )
    if row.standing is Standing.UNKNOWN:
        return tn("The answer for {count} link was lost", "The answer for {count} links was lost", row.parked)
    if _was_refused(row):
        return tn("The manager refused {count} link", "The manager refused {count} links", row.refused)
    if row.standing is Standing.DELIVERED:
        return tn("Delivered, {count} link", "Delivered, {count} links", row.stored)
    if row.state is ImportState.LISTED:
        return tn(
            "Listed; {stored} of {count} link reported",
            "Listed; {stored} of {count} links reported",
            row.links,
            stored=number(row.stored),
        )
    if row.set_aside:
        return t("Set aside by {who}; only a run by its group, domain or id tries it", who=row.set_aside)
    if is_set_aside(row):
        return tn(
            "Set aside after {count} failure; only a run by its group, domain or id tries it",
            "Set aside after {count} failures; only a run by its group, domain or id tries it",
            row.failures,
        )
    if row.state is ImportState.NEW and not row.feed_ready:
        return t("The primary site has not set link_rss yet")
    return _stage_of(row.state)


def _stage_of(state: ImportState) -> str:
    return {
        ImportState.NEW: t("Taken up, not begun yet"),
        ImportState.SUBMITTING: t("The feed is being handed to the platform"),
        ImportState.SUBMITTED: t("The platform has the feed and works on it"),
        ImportState.IN_REVIEW: t("The platform does not list every episode yet"),
        ImportState.NEEDS_VERIFICATION: t("A person must act on the platform"),
        ImportState.LOCKED: t("The feed is locked by its owner"),
        ImportState.FAILED: t("The import failed"),
    }[state]


def next_try_of(row: AccountRow, now: datetime) -> datetime | None:
    """When a run tries an account again that did not get through lately; None where nothing holds runs back.

    :param now: aware.
    """
    holds = row.not_before is not None and row.not_before > now and not is_set_aside(row)
    return row.not_before if holds else None


def trouble_of(row: AccountRow) -> tuple[str, str]:
    """The last trouble and its remedy; both empty where there was none."""
    if row.standing is Standing.RETIRED:
        return state_of(row), t("Nothing to do: should its post run again, the account goes on where it stopped.")
    if row.standing is Standing.UNKNOWN:
        return state_of(row), shown(OutcomeUnknown.remedy)
    if _was_refused(row):
        return shown(row.refusal) or t("it gave no reason"), shown(REFUSED_REMEDY)
    return shown(row.message), shown(row.remedy)


def seen_again(row: UnknownRow) -> str:
    """A later pull's word on a parked link."""
    if row.pulled_at and row.sent_at and row.pulled_at > row.sent_at:
        return t("The manager handed the account out again after the send: it had no link of this post then")
    return t("The account was not handed out again since the send")


def is_set_aside(row: AccountRow) -> bool:
    """Whether no run tries it by itself, because of its failures or because a person said so."""
    return bool(row.set_aside) or row.failures >= ImportOptions.max_failures


def _was_refused(row: AccountRow) -> bool:
    return row.refused > 0 and row.state is ImportState.LISTED
