"""What the manager did not give, nobody takes: the claim rule and odd answers in a real Airflow, beside a stranger."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
import requests

from likepion_provider import DAG_ID
from likepion_provider.journal import Journal, Link
from likepion_provider.manager.protocol import CLAIM_TTL_S
from likepion_provider.models import LinkState, PostAccount
from likepion_provider.sandbox.contract import API
from likepion_provider.sandbox.world import build_world
from tests.faults.kills import put_back
from tests.integration.conftest import DAG_IMPATIENT, Airflow, SandboxApi, wait_for

pytestmark = pytest.mark.airflow

SandboxFactory = Callable[..., SandboxApi]
INSERT = "import_batch.insert_links"
#: Names the worker in the sandbox's log; ours has no name.
STRANGER = "stranger"
#: More than two inserts may hold.
EPISODES = 410


class Stranger:
    """A worker that shares the manager with us, and nothing else."""

    def __init__(self, world: SandboxApi) -> None:
        self._url = world.addresses["manager_url"] + API
        self._headers = {"X-API-Key": world.addresses["api_key"], "X-Sandbox-Worker": STRANGER}

    def pull(self, limit: int) -> list[dict[str, Any]]:
        params: dict[str, str | int] = {"type": "secondary", "limit": limit}
        tasks: list[dict[str, Any]] = self._read(
            requests.get(f"{self._url}/links", params=params, headers=self._headers, timeout=30)
        )["data"]
        return tasks

    def deliver(self, task: dict[str, Any], *urls: str) -> None:
        item = {"request_id": task["request_id"], "account_id": task["account_id"], "link_post": ",".join(urls)}
        self._read(requests.post(f"{self._url}/links/insert", json=item, headers=self._headers, timeout=30))

    def _read(self, answer: requests.Response) -> dict[str, Any]:
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body


def events(world: SandboxApi) -> list[dict[str, Any]]:
    """What our runs did at the manager: never to an account that somebody else held, no insert without a claim."""
    ours = [event for event in world.call("GET", "/sandbox/log")["events"] if event["worker"] != STRANGER]
    assert not [event for event in ours if event["foreign"] or (event["kind"] == "insert" and event["unclaimed"])]
    return ours


def pulls(world: SandboxApi) -> list[list[str]]:
    """The accounts of each of our pulls."""
    return [event["account_ids"] for event in events(world) if event["kind"] == "pull"]


def delivered(world: SandboxApi, request_id: str = "") -> dict[str, int]:
    """Links by account; none of them twice."""
    rows = world.call("GET", f"/sandbox/rows?request_id={request_id}")
    assert rows["duplicates"] == []
    counts: dict[str, int] = rows["accounts"]
    return counts


def account_ids(world: SandboxApi, group_id: str = "") -> list[str]:
    return [each["account_id"] for each in world.state()["accounts"] if group_id in ("", each["group_id"])]


def let_claims_lapse(airflow: Airflow, world: SandboxApi) -> None:
    """More than a claim's length passes, for the manager and for the journal."""
    world.call("POST", "/sandbox/clock", {"advance_s": CLAIM_TTL_S + 1})
    put_back(airflow.journal(world), CLAIM_TTL_S + 1)


def settle(journal: Journal, link: Link, *, is_there: bool) -> None:
    """A person has looked."""
    journal.settling.settle(link.id, is_there=is_there, who="a person", note="", at=datetime.now(timezone.utc))


def test_what_a_stranger_works_stays_the_strangers_and_what_came_beside_is_delivered(
    airflow: Airflow, sandbox: SandboxFactory
) -> None:
    world = sandbox("--world", "built", "--accounts", "6", "--posts", "3", "--target", "2")
    airflow.use(world)
    assert airflow.run(dry_run=True)[1] == "success"
    let_claims_lapse(airflow, world)
    stranger = Stranger(world)
    (theirs,) = stranger.pull(1)
    since = len(events(world))
    refusal = f"{theirs['username']}@{theirs['domain']}, the manager did not hand it out"

    run_id, state = airflow.run(group_id=theirs["group_id"])
    assert state == "success"
    (sibling,) = set(account_ids(world, theirs["group_id"])) - {theirs["account_id"]}
    assert delivered(world) == {sibling: 2}
    assert refusal in airflow.log(run_id, "pull_tasks")
    assert refusal.replace(",", f" ({theirs['account_id']}),") in airflow.log(run_id, "report")
    beside = set(account_ids(world)) - {sibling, theirs["account_id"]}
    assert set(pulls(world)[-1]) == {sibling, *beside}

    run_id, state = airflow.run(account_ids=[theirs["account_id"]])
    assert state == "success"
    path = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/pull_tasks/xcomEntries/not_taken"
    assert theirs["account_id"] in str(airflow.call("GET", path)["value"])
    assert refusal.replace(",", f" ({theirs['account_id']}),") in airflow.log(run_id, "report")
    assert airflow.tasks(run_id)["claim_accounts", -1]["state"] == "skipped"
    assert delivered(world) == {sibling: 2}

    assert airflow.run()[1] == "success"
    assert delivered(world) == dict.fromkeys([sibling, *beside], 2)
    assert pulls(world)[-2:] == [[], []], "what came beside was adopted, and nothing else was free"
    assert not [event for event in events(world)[since:] if theirs["account_id"] in event["account_ids"]]
    stranger.deliver(theirs, "https://stranger.example/1", "https://stranger.example/2")
    assert set(delivered(world)) == set(account_ids(world))


def test_a_pending_post_does_not_keep_the_running_one_from_being_delivered(
    airflow: Airflow, sandbox: SandboxFactory
) -> None:
    world = sandbox("--world", "built", "--accounts", "2", "--posts", "1", "--target", "2")
    airflow.use(world)
    (running,) = world.state()["posts"]
    pending = {"group_id": running["group_id"], "target": 3, "status": "pending"}
    pending["request_id"] = world.call("POST", "/sandbox/posts", pending)["request_id"]
    both = account_ids(world)

    confs: list[dict[str, Any]] = [{"limit": 1}, {"group_id": running["group_id"]}]
    for conf in confs:
        run_id, state = airflow.run(**conf)
        assert state == "success"
        assert "lease_lost" not in airflow.log(run_id, "report")
    assert delivered(world) == dict.fromkeys(both, 2)
    assert delivered(world, pending["request_id"]) == {}

    feed_url = world.addresses["feeds_url"] + build_world(accounts=2, posts=1, target=2).posts[0].podcast.path()
    started = {"status": "running", "link_rss": feed_url}
    world.call("PATCH", f"/sandbox/posts/{pending['request_id']}", started)
    assert airflow.run()[1] == "success"
    assert set(pulls(world)[-1]) == set(both)
    assert delivered(world, pending["request_id"]) == dict.fromkeys(both, 3)
    assert delivered(world, running["request_id"]) == dict.fromkeys(both, 2)


def test_inserts_that_are_answered_oddly_lose_and_double_nothing(airflow: Airflow, sandbox: SandboxFactory) -> None:
    world = sandbox("--world", "built", "--accounts", "3", "--posts", "1", "--target", "4")
    airflow.use(world)
    journal, (post,) = airflow.journal(world), world.state()["posts"]
    for odd in (
        {"store": [0, 2], "fields": {"success": False, "message": "partly"}},
        {"store": [1], "status": 422, "fields": {"success": False}},
        {"store": [0, 1], "fields": {"inserted": 4, "failed": 0}},
    ):
        world.call("POST", "/sandbox/oddities", {"endpoint": "insert", **odd})

    run_id, state = airflow.run()
    assert state == "failed"
    assert sorted(delivered(world).values()) == [1, 2, 2]
    log = airflow.log(run_id, "report")
    for words in ("refused 2 of 4 links", "refused 3 of 4 links", "2 of 4 links: the answer to their insert was lost"):
        assert words in log, words
    keys = [PostAccount(post["request_id"], each) for each in account_ids(world)]
    known = Counter(link.state for key in keys for link in journal.links.of_key(key))
    assert known == {LinkState.STORED: 5, LinkState.REFUSED: 5, LinkState.UNKNOWN: 2}

    # As the report says: a person looks what became of the unknown ones, and runs the group.
    there = {(row["account_id"], row["link_post"]) for row in world.rows()["rows"]}
    for link in journal.links.listed(state=LinkState.UNKNOWN):
        assert (link.key.account_id, link.url) not in there
        settle(journal, link, is_there=False)
    assert airflow.run(group_id=post["group_id"])[1] == "success"
    assert delivered(world) == dict.fromkeys(account_ids(world), 4)


def test_odd_rows_of_a_pull_are_named_and_the_others_delivered(airflow: Airflow, sandbox: SandboxFactory) -> None:
    world = sandbox("--world", "built", "--accounts", "5", "--posts", "1", "--target", "2")
    airflow.use(world)
    entries = ["no_request_id", "long_domain", "null", "target_huge"]
    world.call("POST", "/sandbox/oddities", {"endpoint": "pull", "entries": entries})
    run_id, state = airflow.run()
    assert state == "success"
    *odd, huge, plain = account_ids(world)
    assert delivered(world) == {huge: 5, plain: 2}, "without a usable target, every episode of the feed"
    for task_id in ("pull_tasks", "report"):
        log = airflow.log(run_id, task_id)
        for words in ("no request_id", "domain is no host name of at most 253 characters", "not an object"):
            assert words in log, (task_id, words)

    let_claims_lapse(airflow, world)
    assert airflow.run()[1] == "success"
    assert delivered(world) == dict.fromkeys(odd, 2) | {huge: 5, plain: 2}


def test_a_task_that_is_killed_between_two_parts_and_within_one_doubles_nothing(
    airflow: Airflow, sandbox: SandboxFactory
) -> None:
    size = ("--episodes", str(EPISODES), "--target", str(EPISODES))
    world = sandbox("--world", "built", "--accounts", "1", "--posts", "1", *size)
    airflow.use(world)
    (account_id,) = account_ids(world)

    # The run's second claim is the one between the first part and the second.
    assert killed_while(airflow, world, "claim") == "success"
    assert delivered(world) == {account_id: 200}

    # The next run sends the second part, and the third, whose answer nobody hears.
    assert killed_while(airflow, world, "insert") == "failed"
    assert delivered(world) == {account_id: EPISODES}
    sent = world.inserts()
    assert airflow.run()[1] == "success"
    assert world.inserts() == sent

    journal = airflow.journal(world)
    unknown = journal.links.listed(state=LinkState.UNKNOWN)
    assert len(unknown) == EPISODES - 400
    for link in unknown:
        settle(journal, link, is_there=True)
    assert airflow.run(account_ids=[account_id])[1] == "success"
    assert world.inserts() == sent
    assert delivered(world) == {account_id: EPISODES}


def killed_while(airflow: Airflow, world: SandboxApi, endpoint: str) -> str:
    """A run whose insert task is killed between its second request of a kind, which takes effect, and the answer.

    :return: the run's state, after the task was tried again.
    """
    before = sum(hit["count"] for hit in world.call("GET", "/sandbox/faults")["hits"])
    late = {"kind": "delay", "delay_s": 5, "after_effect": True}
    world.call("POST", "/sandbox/faults", {"endpoint": endpoint, "skip": 1, **late})
    run_id = airflow.start(DAG_IMPATIENT)
    wait_for(lambda: sum(hit["count"] for hit in world.call("GET", "/sandbox/faults")["hits"]) > before)
    os.kill(airflow.tasks(run_id, DAG_IMPATIENT)[INSERT, 0]["pid"], signal.SIGKILL)
    state = airflow.finish(run_id, DAG_IMPATIENT)
    assert airflow.tasks(run_id, DAG_IMPATIENT)[INSERT, 0]["try_number"] == 2
    return state


def test_a_runs_conf_takes_what_it_says_or_nothing(airflow: Airflow, sandbox: SandboxFactory) -> None:
    world = sandbox("--world", "built", "--accounts", "2", "--posts", "1", "--target", "2")
    airflow.use(world)
    known = build_world(accounts=2, posts=1, target=2)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"group": known.groups[0]}, "the run's conf has 'group', which is no parameter. There are account_ids, "),
        ({"account_ids": []}, "account_ids is empty. Name somebody, or leave it out to take whatever there is."),
    ]
    for conf, words in refused:
        run_id, state = airflow.run(**conf)
        assert state == "failed"
        assert words in airflow.log(run_id, "pull_tasks")
        assert airflow.tasks(run_id)["pull_tasks", -1]["try_number"] == 1, "it is not tried again"
    assert pulls(world) == []

    # A group whose id looks like a number, as does its beginning, with the platform's account of another.
    world.call("POST", "/sandbox/groups", {"group_id": "12345"})
    feed_url = world.addresses["feeds_url"] + known.posts[0].podcast.path()
    world.call("POST", "/sandbox/posts", {"group_id": "12345", "target": 2, "link_rss": feed_url})
    account = known.accounts[0]
    signs_in = {name: getattr(account.credentials, name) for name in ("username", "email", "password", "twofa")}
    new = world.call("POST", "/sandbox/accounts", {"group_id": "12345", "domain": account.domain, **signs_in})
    assert airflow.run(dry_run=True)[1] == "success", "the journal knows it now"
    assert airflow.run(group_id="1234")[1] == "success"
    assert delivered(world) == {new["account_id"]: 2}
