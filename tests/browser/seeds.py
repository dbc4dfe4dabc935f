"""A journal as it looks after some weeks of work, for screenshots."""

from __future__ import annotations

import hashlib
import random
from datetime import datetime, timedelta, timezone

from likepion_provider.clock import Moment
from likepion_provider.journal import Journal, TaskName
from likepion_provider.manager.lease import Lease
from likepion_provider.manager.protocol import Record
from likepion_provider.models import ImportState, PostAccount, SecondaryTask

DOMAINS = ("pocketcasts.com", "listennotes.com", "podcastindex.org", "gpodder.net", "spotify.com", "fyyd.de")
SHOWS = ("harbour", "nightshift", "fieldnotes", "slowradio", "atlas", "kitchen", "orbit", "paperboat", "lowtide")
TROUBLES = (
    (
        ImportState.FAILED,
        "the platform does not accept the credentials",
        "Correct the account's password in the manager.",
    ),
    (ImportState.NEEDS_VERIFICATION, "Spotify mailed a code", "Enter the code from the account's mail at Spotify."),
    (ImportState.LOCKED, "the feed says podcast:locked", "Ask the podcast's owner to unlock the feed at its host."),
)


def fill(journal: Journal, dag_id: str, run_id: str) -> None:
    """Some hundred accounts over four weeks, the last of them worked by a run that is there."""
    dice = random.Random(7)
    now = datetime.now(timezone.utc)
    for number in range(420):
        at = now - timedelta(days=28 * (1 - number / 420) ** 1.3, seconds=dice.randrange(60))
        group = hashlib.sha256(f"group {number // 36}".encode()).hexdigest()[:12]
        show = f"{SHOWS[number % len(SHOWS)]}.{number:03}"
        task = SecondaryTask(f"acc-{number:05}", f"post-{group}", group, dice.choice(DOMAINS), username=show, target=12)
        _live(journal, dice, task, at, TaskName(dag_id, run_id, "import_batch.import_rss", number % 8))


def _live(journal: Journal, dice: random.Random, task: SecondaryTask, at: datetime, worker: TaskName) -> None:
    key, now = task.key, Moment(at, "seed", 0.0)
    journal.submissions.note([task], worker.run_id, at, pulled=True)
    journal.claims.grant("seed", {key: Lease.granted(now)})
    journal.claims.take_over("seed", "seed", [key], now)
    journal.submissions.worked_by([key], worker)
    journal.submissions.begin(key, "seed", now)
    fate = dice.random()
    if fate < 0.06:
        state, message, remedy = dice.choice(TROUBLES)
        journal.submissions.record(key, "seed", now, state=state, message=message, remedy=remedy, permanent=True)
    elif fate < 0.16:
        waiting = f"{task.domain} lists 7 of 12 episodes so far"
        journal.submissions.record(key, "seed", now, state=ImportState.IN_REVIEW, message=waiting)
    else:
        _deliver(journal, key, task.domain, now, None if fate > 0.99 else True)
    if datetime.now(timezone.utc) - at > timedelta(minutes=10) or dice.random() < 0.5:
        journal.claims.let_go("seed", [key.account_id])


def _deliver(journal: Journal, key: PostAccount, domain: str, now: Moment, stored: bool | None) -> None:
    urls = [f"https://{domain}/{key.account_id}/episodes/{n}" for n in range(1 if stored is None else 12)]
    journal.links.prepare(key, [(url, url) for url in urls], now.at)
    journal.submissions.record(key, "seed", now, state=ImportState.LISTED)
    sending = journal.links.begin_send(key, "seed", urls, now)
    words = "" if stored else "the manager's answer was lost: ReadTimeout"
    journal.links.end_send(key, sending, [Record(url, stored, words) for url in urls], now.at)
