"""The main job in a real Airflow, told as its users would."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from likepion_provider.redact import redact
from likepion_provider.sandbox.world import troubled_world
from tests.integration.conftest import Airflow, SandboxApi, wait_for

pytestmark = pytest.mark.airflow

#: The id of no account and of no group.
NOBODY = "00000000-0000-4000-8000-000000000000"
SandboxFactory = Callable[..., SandboxApi]


def test_every_account_is_delivered_once_and_a_second_run_ends_at_once(
    airflow: Airflow, sandbox: SandboxFactory
) -> None:
    world = sandbox("--world", "built", "--accounts", "9", "--posts", "3", "--target", "4")
    airflow.use(world)
    run_id, state = airflow.run()
    assert state == "success"
    rows = world.rows()
    assert len(rows["accounts"]) == 9
    assert set(rows["accounts"].values()) == {4}
    assert rows["duplicates"] == []
    names = {
        row["rendered_map_index"] for (task, _), row in airflow.tasks(run_id).items() if task.endswith("import_rss")
    }
    assert all(re.fullmatch(r"group \w{8}, 3 accounts", name) for name in names), names

    sent = world.inserts()
    again, state = airflow.run()
    assert state == "success"
    assert {task: row["state"] for (task, _), row in airflow.tasks(again).items()} == {
        "pull_tasks": "success",
        "claim_accounts": "skipped",
        "import_batch.wait_for_link_rss": "skipped",
        "import_batch.import_rss": "skipped",
        "import_batch.insert_links": "skipped",
        "import_batch.ask_person": "skipped",
        "import_batch.import_assisted": "skipped",
        "import_batch.insert_assisted": "skipped",
        "report": "skipped",
    }
    body = {"dry_run": False, "dag_run_id": run_id, "task_ids": ["import_batch.insert_links"], "only_failed": False}
    airflow.call("POST", "/api/v2/dags/likepion_podcast_secondary/clearTaskInstances", body)
    assert airflow.finish(run_id) == "success"
    assert airflow.tasks(run_id)["import_batch.insert_links", 0]["try_number"] == 2
    assert world.inserts() == sent
    assert world.rows()["count"] == rows["count"]


def test_failures_are_each_accounts_own_and_no_secret_is_left_anywhere(
    airflow: Airflow, sandbox: SandboxFactory
) -> None:
    world = sandbox("--world", "troubled")
    airflow.use(world)
    known = troubled_world()
    run_id = airflow.start()
    wait_for(lambda: states(airflow, run_id, "import_batch.wait_for_link_rss").count("deferred") == 1)
    post = known.posts[2]
    feed_url = world.addresses["feeds_url"] + post.podcast.path()
    world.call("PATCH", f"/sandbox/posts/{post.request_id}", {"link_rss": feed_url})
    assert airflow.finish(run_id) == "failed"

    assert len(world.rows()["accounts"]) == 4, "two good siblings and the two that waited for their feed"
    assert world.rows()["duplicates"] == []
    unasked = ("ask_person", "assisted")
    states_of = {task: row["state"] for (task, _), row in airflow.tasks(run_id).items() if not task.endswith(unasked)}
    assert states_of.pop("report") == "failed"
    assert set(states_of.values()) == {"success"}
    log = airflow.log(run_id, "report")
    for words in (
        "does not accept the credentials of pod0002@tide.example",
        "Correct the account's password",
        "no importer serves the domain 'nobody.example'",
        "Install an importer",
        "podcast:locked",
        "Ask the podcast's owner",
        "3 accounts need attention",
    ):
        assert words in log, words

    secrets = [*known.credentials(), world.addresses["api_key"], "canary-session-"]
    assert len(secrets) > 40
    found = {(path, secret) for path in airflow.home.rglob("*") if path.is_file() for secret in leaks(path, secrets)}
    assert not found


def test_a_feed_that_is_not_set_in_time_leaves_the_run_green_and_a_later_run_delivers(
    airflow: Airflow, sandbox: SandboxFactory
) -> None:
    world = sandbox("--world", "built", "--accounts", "2", "--posts", "1", "--waiting-posts", "1")
    airflow.use(world)
    run_id, state = airflow.run("small_wait")
    assert state == "success", airflow.tasks(run_id, "small_wait")
    assert airflow.tasks(run_id, "small_wait")["wait", 0]["state"] == "skipped"
    assert world.rows()["count"] == 0

    request_id = world.state()["posts"][0]["request_id"]
    feed_url = world.addresses["feeds_url"] + first_feed(world)
    world.call("PATCH", f"/sandbox/posts/{request_id}", {"link_rss": feed_url})
    world.call("POST", "/sandbox/clock", {"advance_s": 901})
    _, state = airflow.run("small_wait")
    assert state == "success"
    assert sorted(world.rows()["accounts"].values()) == [5, 5]


def test_named_accounts_alone_are_worked_without_a_pull_where_a_claim_of_ours_holds(
    airflow: Airflow, sandbox: SandboxFactory
) -> None:
    world = sandbox("--world", "built", "--accounts", "3", "--posts", "1")
    airflow.use(world)
    one, two, _ = (each["account_id"] for each in world.state()["accounts"])
    worked = []
    for account_id in (one, two):
        worked.append(account_id)
        assert airflow.run(account_ids=[account_id])[1] == "success"
        assert sorted(world.rows()["accounts"]) == sorted(worked)
        # The first run's pull brings the second account beside.
        assert [event["kind"] for event in world.call("GET", "/sandbox/log")["events"]].count("pull") == 1


def test_dry_run_sends_and_imports_nothing(airflow: Airflow, sandbox: SandboxFactory) -> None:
    world = sandbox("--world", "built", "--accounts", "2", "--posts", "1")
    airflow.use(world)
    run_id, state = airflow.run(dry_run=True)
    assert state == "success"
    assert world.rows()["count"] == 0
    assert "would import the feed and report 5 URLs" in airflow.log(run_id, "report")


def test_wrong_key_unknown_account_and_missing_connection_say_what_to_do(
    airflow: Airflow, sandbox: SandboxFactory
) -> None:
    world = sandbox("--world", "built", "--accounts", "1", "--posts", "1")
    airflow.use(world)
    # What is no whole id is looked up in the journal; a whole one that it has never seen, at the manager.
    run_id, state = airflow.run(account_ids=["no-such-account"])
    assert state == "failed"
    assert "'no-such-account' fits no account of the journal" in airflow.log(run_id, "pull_tasks")
    run_id, state = airflow.run(account_ids=[NOBODY])
    assert state == "failed"
    assert f"account '{NOBODY}' cannot be read" in airflow.log(run_id, "pull_tasks")
    assert "Check account_ids against the manager" in airflow.log(run_id, "pull_tasks")

    run_id, state = airflow.run(group_id="no-such-group")
    assert state == "failed"
    assert "'no-such-group' fits no group of the journal" in airflow.log(run_id, "pull_tasks")
    run_id, state = airflow.run(group_id=NOBODY)
    assert state == "failed"
    assert f"the journal has never seen group '{NOBODY}'" in airflow.log(run_id, "pull_tasks")

    airflow.connect("likepion_default", "likepion", world.addresses["manager_url"], "wrong-key-of-a-test")
    run_id, state = airflow.run()
    assert state == "failed"
    assert "Put the manager's API key into the password field" in airflow.log(run_id, "pull_tasks")
    assert airflow.tasks(run_id)["pull_tasks", -1]["try_number"] == 1, "a wrong key is not tried again"

    airflow.call("DELETE", "/api/v2/connections/likepion_default")
    run_id, state = airflow.run()
    assert state == "failed"
    assert "there is no Airflow connection 'likepion_default'" in airflow.log(run_id, "pull_tasks")


@pytest.mark.parametrize("limit", [0, 1001, "many"])
def test_a_limit_out_of_bounds_is_refused_by_the_form(airflow: Airflow, limit: object) -> None:
    with pytest.raises(httpx.HTTPStatusError) as error:
        airflow.start(limit=limit)
    assert error.value.response.status_code == 400
    assert "limit" in error.value.response.text


@pytest.mark.parametrize(
    ("operator", "links"),
    [
        ("PullSecondaryTasksOperator", 0),
        ("ClaimAccountsOperator", 0),
        ("LinkRssSensor", 0),
        ("ImportRssOperator", 0),
        ("InsertLinksOperator", 10),
        ("LikepionReportOperator", 0),
    ],
)
def test_the_example_in_each_docstring_is_a_dag_that_works(
    airflow: Airflow, sandbox: SandboxFactory, operator: str, links: int
) -> None:
    """Nothing is reported before an insert; what an import found is in the journal, whatever DAG it ran in."""
    world = sandbox("--world", "built", "--accounts", "2", "--posts", "1")
    airflow.use(world)
    run_id, state = airflow.run(f"example_{operator}")
    assert state == "success", airflow.tasks(run_id, f"example_{operator}")
    assert {row["state"] for row in airflow.tasks(run_id, f"example_{operator}").values()} == {"success"}
    assert [event["kind"] for event in world.call("GET", "/sandbox/log")["events"]].count("pull") == 1
    assert world.rows()["count"] == links


def test_a_feed_that_is_gone_is_named_with_its_remedy(airflow: Airflow, sandbox: SandboxFactory) -> None:
    world = sandbox("--world", "built", "--accounts", "2", "--posts", "1", "--waiting-posts", "1")
    airflow.use(world)
    request_id = world.state()["posts"][0]["request_id"]
    gone = world.addresses["feeds_url"] + "/no-such-feed.xml"
    world.call("PATCH", f"/sandbox/posts/{request_id}", {"link_rss": gone})
    run_id, state = airflow.run()
    assert state == "failed"
    log = airflow.log(run_id, "report")
    assert gone not in log
    assert redact(gone) in log
    assert "404" in log
    assert "Correct the post's feed address at the primary site" in log


def test_airflow_knows_the_provider_and_the_dags_import(airflow: Airflow) -> None:
    assert "No data found" in airflow.shell("dags", "list-import-errors").stdout
    assert "likepion_provider.hooks.likepion.LikepionHook" in airflow.shell("providers", "hooks").stdout
    assert "airflow-provider-likepion" in airflow.shell("providers", "list").stdout
    assert "likepion_provider.triggers.likepion" in airflow.shell("providers", "triggers").stdout


def test_the_connections_test_button_does_not_touch_the_queue(airflow: Airflow, sandbox: SandboxFactory) -> None:
    world = sandbox("--world", "built", "--accounts", "1", "--posts", "1")
    body = {"connection_id": "probe", "conn_type": "likepion", "host": world.addresses["manager_url"]}
    answer = airflow.call("POST", "/api/v2/connections/test", body | {"password": world.addresses["api_key"]})
    assert answer["status"] is True, answer
    answer = airflow.call("POST", "/api/v2/connections/test", body | {"password": "wrong-key-of-a-test"})
    assert answer["status"] is False
    assert "API key" in answer["message"]
    assert world.call("GET", "/sandbox/log")["events"] == []


def states(airflow: Airflow, run_id: str, task_id: str) -> list[str]:
    return [row["state"] for (task, _), row in airflow.tasks(run_id).items() if task == task_id]


def leaks(path: Path, secrets: list[str]) -> list[str]:
    content = path.read_bytes()
    return [secret for secret in secrets if secret.encode() in content]


def first_feed(world: SandboxApi) -> str:
    """The path of the feed of a built world's first post."""
    from likepion_provider.sandbox.world import build_world

    return build_world(accounts=2, posts=1, waiting_posts=1).posts[0].podcast.path()
