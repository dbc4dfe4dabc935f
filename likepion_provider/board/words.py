"""An account's state, what happened last and what to do, in plain words."""

from __future__ import annotations

from datetime import datetime

from likepion_provider.board.questions import AccountRow, UnknownRow
from likepion_provider.errors import OutcomeUnknown
from likepion_provider.journal.links import REFUSED_REMEDY
from likepion_provider.models import ImportState, Standing
from likepion_provider.plurals import counted
from likepion_provider.steps.importing import ImportOptions

#: Of a task whose ``link_rss`` is empty.
NO_FEED = "The primary site has not set link_rss yet"
_IMPORT = {
    ImportState.NEW: "Taken up, not begun yet",
    ImportState.SUBMITTING: "The feed is being handed to the platform",
    ImportState.SUBMITTED: "The platform has the feed and works on it",
    ImportState.IN_REVIEW: "The platform does not list every episode yet",
    ImportState.NEEDS_VERIFICATION: "A person must act on the platform",
    ImportState.LOCKED: "The feed is locked by its owner",
    ImportState.FAILED: "The import failed",
}


def state_of(row: AccountRow) -> str:
    """One short sentence."""
    if row.standing is Standing.RETIRED:
        return f"Retired: its post has not run for two weeks; {row.stored} of {counted(row.links, 'link')} reported"
    if row.standing is Standing.UNKNOWN:
        return f"The answer for {counted(row.parked, 'link')} was lost"
    if _was_refused(row):
        return f"The manager refused {counted(row.refused, 'link')}"
    if row.standing is Standing.DELIVERED:
        return f"Delivered, {counted(row.stored, 'link')}"
    if row.state is ImportState.LISTED:
        return f"Listed; {row.stored} of {counted(row.links, 'link')} reported"
    if row.set_aside:
        return f"Set aside by {row.set_aside}; only a run by its group, domain or id tries it"
    if is_set_aside(row):
        return f"Set aside after {row.failures} failures; only a run by its group, domain or id tries it"
    if row.state is ImportState.NEW and not row.feed_ready:
        return NO_FEED
    return _IMPORT[row.state]


def next_try_of(row: AccountRow, now: datetime) -> datetime | None:
    """When a run tries an account again that did not get through lately; None where nothing holds runs back.

    :param now: aware.
    """
    holds = row.not_before is not None and row.not_before > now and not is_set_aside(row)
    return row.not_before if holds else None


def trouble_of(row: AccountRow) -> tuple[str, str]:
    """The last trouble and its remedy; both empty where there was none."""
    if row.standing is Standing.RETIRED:
        return state_of(row), "Nothing to do: should its post run again, the account goes on where it stopped."
    if row.standing is Standing.UNKNOWN:
        return state_of(row), OutcomeUnknown.remedy
    if _was_refused(row):
        return row.refusal or "it gave no reason", REFUSED_REMEDY
    return row.message, row.remedy


def seen_again(row: UnknownRow) -> str:
    """A later pull's word on a parked link."""
    if row.pulled_at and row.sent_at and row.pulled_at > row.sent_at:
        return "The manager handed the account out again after the send: it had no link of this post then"
    return "The account was not handed out again since the send"


def is_set_aside(row: AccountRow) -> bool:
    """Whether no run tries it by itself, because of its failures or because a person said so."""
    return bool(row.set_aside) or row.failures >= ImportOptions.max_failures


def _was_refused(row: AccountRow) -> bool:
    return row.refused > 0 and row.state is ImportState.LISTED
