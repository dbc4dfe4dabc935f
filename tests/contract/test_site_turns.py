"""A site that keeps one state for all its users is worked by one account at a time, on every database."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from likepion_provider.clock import SYSTEM_CLOCK, Moment
from likepion_provider.errors import LeaseLost
from likepion_provider.journal import Journal, open_journal
from likepion_provider.manager.lease import Lease
from likepion_provider.models import PostAccount
from tests import MANAGER
from tests.clocks import VirtualClock

SITE = "blog.example"
OURS, THEIRS = PostAccount("post", "ours"), PostAccount("post", "theirs")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def hold(journal: Journal, key: PostAccount, now: Moment, holder: str = "holder") -> None:
    journal.claims.grant(f"run of {holder}", {key: Lease.granted(now)})
    journal.claims.take_over(f"run of {holder}", holder, [key], now)


def test_an_account_keeps_its_turn_until_it_frees_it(journal: Journal, clock: VirtualClock) -> None:
    now = Moment.read(clock)
    for key in (OURS, THEIRS):
        hold(journal, key, now)
    assert journal.sites.take(SITE, OURS, "holder", now)
    assert journal.sites.take(SITE, OURS, "holder", now), "to keep it"
    assert not journal.sites.take(SITE, THEIRS, "holder", now), "of the same task too"
    assert journal.sites.take("other.example", THEIRS, "holder", now)
    journal.sites.require(SITE, OURS, "holder")
    with pytest.raises(LeaseLost):
        journal.sites.require(SITE, THEIRS, "holder")
    journal.sites.free(SITE, THEIRS, "holder")
    assert not journal.sites.take(SITE, THEIRS, "holder", now), "nobody frees another's"
    journal.sites.free(SITE, OURS, "holder")
    assert journal.sites.take(SITE, THEIRS, "holder", now)
    with pytest.raises(LeaseLost):
        journal.sites.require(SITE, OURS, "holder")


def test_a_turn_lasts_as_long_as_its_claim(journal: Journal, clock: VirtualClock) -> None:
    now = Moment.read(clock)
    hold(journal, OURS, now)
    assert journal.sites.take(SITE, OURS, "holder", now)
    clock.advance(300)
    journal.claims.extend("run of holder", [OURS.account_id], Lease.granted(Moment.read(clock)))
    clock.advance(899)
    now = Moment.read(clock)
    hold(journal, THEIRS, now)
    assert not journal.sites.take(SITE, THEIRS, "holder", now), "its last write may still be on its way"
    clock.advance(1)
    assert journal.sites.take(SITE, THEIRS, "holder", Moment.read(clock)), "it died, and nobody renewed it"


@pytest.mark.parametrize("end", ["let go", "taken over", "insert begun", "handed out again"])
def test_a_turn_ends_with_its_claim(journal: Journal, clock: VirtualClock, end: str) -> None:
    now = Moment.read(clock)
    for key in (OURS, THEIRS):
        hold(journal, key, now)
    assert journal.sites.take(SITE, OURS, "holder", now)
    if end == "let go":
        journal.claims.let_go("run of holder", [OURS.account_id])
    elif end == "taken over":
        journal.claims.take_over("run of holder", "a retry", [OURS], now)
        assert journal.sites.take(SITE, OURS, "a retry", now), "it goes on at once"
        journal.sites.free(SITE, OURS, "holder")
        assert not journal.sites.take(SITE, THEIRS, "holder", now), "the attempt before frees nothing of it"
        journal.sites.free(SITE, OURS, "a retry")
    elif end == "insert begun":
        journal.submissions.note([], "run of holder", now.at)
        journal.links.prepare(OURS, [("guid", "https://blog.example/1")], now.at)
        journal.links.begin_send(OURS, "holder", journal.links.to_send([OURS])[OURS], now)
    else:
        journal.claims.grant("another run", {OURS: Lease.granted(now)})
    assert journal.sites.take(SITE, THEIRS, "holder", now)


def test_nobody_takes_a_turn_without_a_claim(journal: Journal, clock: VirtualClock) -> None:
    with pytest.raises(LeaseLost):
        journal.sites.take(SITE, OURS, "holder", Moment.read(clock))


def test_two_managers_share_a_site(journal: Journal, journal_url: str, clock: VirtualClock) -> None:
    other = open_journal(journal_url, "https://other.example/api")
    now = Moment.read(clock)
    for each in (journal, other):
        hold(each, OURS, now)
    assert journal.sites.take(SITE, OURS, "holder", now)
    assert not other.sites.take(SITE, OURS, "holder", now), "an account of the same id is another's"
    journal.sites.free(SITE, OURS, "holder")
    assert other.sites.take(SITE, OURS, "holder", now)


def test_one_of_many_threads_has_the_turn(journal: Journal, clock: VirtualClock) -> None:
    now = Moment.read(clock)
    keys = [PostAccount("post", f"account-{number}") for number in range(16)]
    for key in keys:
        hold(journal, key, now, f"holder of {key.account_id}")
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda key: journal.sites.take(SITE, key, f"holder of {key.account_id}", now), keys))
    assert sum(taken) == 1


#: Takes the turn as often as it can, and is alone for as long as it has it: a file says so.
_WORKER = """
import os, sys, time
from likepion_provider.clock import SYSTEM_CLOCK, Moment
from likepion_provider.journal import open_journal
from likepion_provider.models import PostAccount
url, manager, account, folder = sys.argv[1:]
journal, key, path = open_journal(url, manager), PostAccount("post", account), os.path.join(folder, "turn")
turns, ends = 0, time.monotonic() + 30
while turns < 20 and time.monotonic() < ends:
    if not journal.sites.take("blog.example", key, account, Moment.read(SYSTEM_CLOCK)):
        time.sleep(0.001)
        continue
    os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    time.sleep(0.002)
    os.unlink(path)
    journal.sites.free("blog.example", key, account)
    turns += 1
print(turns)
"""


def test_two_processes_are_never_at_a_site_together(journal: Journal, journal_url: str, tmp_path: object) -> None:
    now = Moment.read(SYSTEM_CLOCK)
    names = ["first", "second"]
    for name in names:
        hold(journal, PostAccount("post", name), now, name)
    command = [sys.executable, "-c", _WORKER, journal_url, MANAGER]
    workers = [
        subprocess.Popen([*command, name, str(tmp_path)], stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE)
        for name in names
    ]
    for worker in workers:
        said, failure = worker.communicate(timeout=90)
        assert (said.strip(), worker.returncode) == ("20", 0), failure
