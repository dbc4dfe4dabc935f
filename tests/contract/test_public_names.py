"""What importers of other people rest on: a name that goes breaks packages that nobody here sees.

A name may be added to these. One that is taken away or changed needs a word in ``CHANGELOG.md``.
"""

from __future__ import annotations

import inspect

import pytest

from likepion_provider import errors, models, platforms, testing
from likepion_provider.testing import server

NAMES = {
    platforms: "ByHand Job JsonRow ListedEpisode LooksFirst Page Platform PlatformHttp PlatformSettings Progress"
    " Rereads TableRow bare_url basic_auth by_title enough is_the_feeds match paged plain quoted read_date"
    " refuse_locked registry same_feed shown_url address_for_person totp_code",
    testing: "CANARY PlatformServer Rule ServerEpisode contract",
    errors: "BadRequest FeedInvalid FeedLocked LikepionError LoginRefused NeedsVerification NoImporter PlatformChanged"
    " PlatformError Transient VisitTooLarge VisitTooLong",
    models: "Credentials Enclosure Episode Feed ImportState SecondaryTask",
    platforms.Platform: "address base_url collect domains failed max_concurrency name needs needs_connection"
    " one_at_a_time poll_s refresh refuse_login_elsewhere refused_key refused_login rereads sign_in submit title",
    platforms.PlatformHttp: "cookie follow get is_own post request",
    platforms.Page: "changed expect field html inputs json redirects_to row rows text",
    platforms.JsonRow: "date field rows text",
    server.PlatformServer: "app authenticates by_hand count_page domain expected feed look look_pause_s page_size"
    " page_url refuses_locked required routes rss searched take_in there",
}
#: The parameters of what importers make, in their order.
MADE = {
    platforms.Job: "task credentials feed settings http reference",
    platforms.ListedEpisode: "url guid title enclosure_url published_at",
    platforms.Progress: "state reference episodes cookie message",
    platforms.Rereads: "on_request by_itself by_person",
    platforms.PlatformSettings: "base_url login password extra",
    models.Credentials: "email username password pass_mail twofa app_password cookie",
    models.Episode: "guid title enclosure published_at",
    errors.NeedsVerification: "message platform remedy",
    errors.Transient: "message retry_after_s remedy",
}


def _name(value: object) -> str:
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize("owner", NAMES, ids=_name)
def test_no_name_is_taken_away(owner: object) -> None:
    there = {*dir(owner), *getattr(owner, "__annotations__", {})}
    assert {*NAMES[owner].split()} - there == set(), "say it in CHANGELOG.md, under Changed or Removed"


@pytest.mark.parametrize("made", MADE, ids=_name)
def test_what_importers_make_takes_what_it_took(made: type) -> None:
    taken = [*inspect.signature(made).parameters]
    assert taken[: len(MADE[made].split())] == MADE[made].split(), "say it in CHANGELOG.md, under Changed"
