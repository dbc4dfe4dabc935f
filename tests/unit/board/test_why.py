"""What the board tells of how it came to this: reasons, times, trends, an account's history."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pendulum

from likepion_provider.board.questions import SORTS
from likepion_provider.journal import Journal
from likepion_provider.models import ImportState, SecondaryTask
from tests.unit.board.client import Client
from tests.unit.board.conftest import Story

Get = Callable[..., Any]


def later(story: Story, **time: float) -> None:
    story.now = dataclasses.replace(story.now, at=story.now.at + timedelta(**time))


def test_an_accounts_history_is_every_state_with_its_time_run_and_words(story: Story, get: Get) -> None:
    key = story.account("pod")
    story.journal.submissions.begin(key, "holder", story.now)
    later(story, minutes=1)
    story.fail(key, "the password is wrong")
    story.fail(key, "the password is wrong")
    later(story, minutes=1)
    story.send(key, True)
    rows = get("history", request_id=key.request_id, account_id="pod")["rows"]
    told = [(each["standing"], each["state"], each["message"], each["run_id"]) for each in rows]
    assert told == [
        ("delivered", "listed", "", "run-1"),
        ("waiting", "listed", "", "run-1"),
        ("failed", "failed", "the password is wrong", "run-1"),
        ("waiting", "submitting", "", "run-1"),
    ]
    times = [pendulum.parse(each["at"]) for each in rows]
    assert times[2] - times[3] == timedelta(minutes=1)


def test_a_history_is_bounded(story: Story, get: Get) -> None:
    keys = [story.account("pod"), story.account("other")]
    for number in range(40):
        for key in keys:
            story.fail(key, f"failure {number}")
    rows = get("history", request_id=keys[0].request_id, account_id="pod")["rows"]
    assert [each["message"] for each in rows] == [f"failure {number}" for number in range(39, 9, -1)]


def test_reasons_are_counted_by_platform(story: Story, get: Get) -> None:
    for number in range(3):
        story.fail(story.account(f"pod-{number}", domain="tide.example"), "the password is wrong")
    story.fail(story.account("far", domain="far.example"), "the password is wrong")
    story.fail(story.account("mail"), "a code was mailed", ImportState.NEEDS_VERIFICATION)
    story.account("fine")
    told = [(row["message"], row["domain"], row["standing"], row["accounts"]) for row in get("reasons")["rows"]]
    assert told == [
        ("the password is wrong", "tide.example", "failed", 3),
        ("a code was mailed", "tide.example", "needs_person", 1),
        ("the password is wrong", "far.example", "failed", 1),
    ]
    assert get("accounts", reason="the password is wrong")["total"] == 4
    assert get("accounts", reason="the password is wrong", domain="far.example")["total"] == 1
    assert get("accounts", reason="the password")["total"] == 0


def test_failures_are_counted_by_day_and_platform(story: Story, get: Get) -> None:
    key = story.account("pod")
    story.journal.submissions.begin(key, "holder", story.now)
    story.fail(key, "no")
    story.journal.submissions.begin(key, "holder", story.now)
    story.fail(key, "no")
    told = get("failed", days=7)
    today = datetime.now(timezone.utc).date()
    assert told["since"] == str(today - timedelta(days=6))
    assert told["rows"] == [{"day": f"{story.now.at:%Y-%m-%d}", "domain": "tide.example", "failures": 2}]


def test_time_to_delivery_is_told_in_steps(story: Story, get: Get) -> None:
    quick, slow = story.account("quick"), story.account("slow")
    later(story, seconds=100)
    story.send(quick, True)
    later(story, minutes=10)
    story.send(slow, True)
    told = get("times", days=7)
    assert told["steps_s"][:2] == [300, 900]
    assert [(row["domain"], row["step"], row["accounts"]) for row in told["rows"]] == [
        ("tide.example", 0, 1),
        ("tide.example", 1, 1),
    ]


def test_who_waits_longest_comes_first_and_says_for_what(story: Story, journal: Journal, get: Get) -> None:
    story.account("old")
    first = story.now.at
    later(story, hours=1)
    # Handed out again: it waits since the first time.
    story.account("old")
    ready = SecondaryTask("ready", "post-of-group-1", "group-1", "tide.example", feed_ready=True)
    journal.submissions.note([ready], "run-2", story.now.at)
    story.send(story.account("done"), True)
    rows = get("waiting")["rows"]
    assert [(row["account_id"], row["state"]) for row in rows] == [
        ("old", "The primary site has not set link_rss yet"),
        ("ready", "Taken up, not begun yet"),
    ]
    assert pendulum.parse(rows[0]["noted_at"]) == first


def test_accounts_are_sorted_by_any_column(story: Story, board: Client, get: Get) -> None:
    story.send(story.account("b", domain="b.example"), True)
    later(story, minutes=1)
    story.account("a", domain="a.example")
    for by in SORTS:
        up = [row["account_id"] for row in get("accounts", sort=by, descending=False)["rows"]]
        down = [row["account_id"] for row in get("accounts", sort=by, descending=True)["rows"]]
        assert sorted(up) == ["a", "b"], by
        assert up == down[::-1], by
    assert [row["account_id"] for row in get("accounts", sort="label", descending=False)["rows"]] == ["a", "b"]
    assert [row["account_id"] for row in get("accounts", sort="links")["rows"]] == ["b", "a"]
    assert board.get("/api/accounts?sort=search").status_code == 422
