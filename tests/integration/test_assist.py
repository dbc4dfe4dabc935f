"""A run that asks a person, in a real Airflow: answered in time, declined, and not answered at all."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from likepion_provider import DAG_ID
from likepion_provider.sandbox.world import World, build_world
from likepion_provider.testing.server import PlatformServer, ServerEpisode
from tests.contract.platforms.fyyd import FyydServer
from tests.integration.conftest import DAG_IMPATIENT, Airflow, SandboxApi, wait_for

pytestmark = pytest.mark.airflow

SandboxFactory = Callable[..., SandboxApi]
DOMAINS = ("tide.example", "fyyd.de")
ASK = "import_batch.ask_person"
#: Airflow fails an attempt that is answered before the process that asked has ended; nobody reads that fast.
READING_S = 5.0


@pytest.fixture
def fyyd() -> Iterator[PlatformServer]:
    """The API, which does not have the feed until ``already_there`` is set."""
    server, started, over = FyydServer(), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with server:
            started.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(30)
    yield server
    loop.call_soon_threadsafe(over.set)
    thread.join(30)
    loop.close()


@pytest.fixture
def world(airflow: Airflow, sandbox: SandboxFactory, fyyd: PlatformServer) -> SandboxApi:
    """Two accounts of one post: one that goes by itself, and one at fyyd."""
    sandboxed = sandbox("--world", "built", "--accounts", "2", "--posts", "1", "--domains", *DOMAINS)
    airflow.use(sandboxed)
    airflow.connect("likepion_platform_fyyd", "http", f"{fyyd.url}/0.2")
    podcast = known().posts[0].podcast
    origin = sandboxed.addresses["feeds_url"]
    fyyd.feed_url = origin + podcast.path()
    fyyd.listed = [
        ServerEpisode(podcast.guid(number), f"#{number}", f"{origin}/{number}", podcast.modified_at())
        for number in range(podcast.episodes, 0, -1)
    ]
    return sandboxed


def known() -> World:
    return build_world(accounts=2, posts=1, domains=DOMAINS)


def ask(airflow: Airflow, dag_id: str = DAG_ID) -> str:
    """A run that comes to ask, and has delivered the other account meanwhile."""
    run_id = airflow.start(dag_id, assist=True)
    wait_for(lambda: state_of(airflow, run_id, "insert_links", dag_id) == "success")
    return run_id


def state_of(airflow: Airflow, run_id: str, task: str, dag_id: str = DAG_ID) -> str | None:
    return next((row["state"] for (name, _), row in airflow.tasks(run_id, dag_id).items() if name.endswith(task)), None)


def details(run_id: str) -> str:
    return f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{ASK}/0/hitlDetails"


def answer(airflow: Airflow, run_id: str, option: str) -> str:
    """Answer as a person does, after reading.

    :return: the run's state at its end.
    """
    wait_for(lambda: state_of(airflow, run_id, "ask_person") == "awaiting_input")
    time.sleep(READING_S)
    airflow.call("PATCH", details(run_id), {"chosen_options": [option]})
    return airflow.finish(run_id)


def submission(airflow: Airflow, world: SandboxApi) -> Any:
    account_id = next(each["account_id"] for each in world.state()["accounts"] if each["domain"] == "fyyd.de")
    return airflow.journal(world).submissions.of_account(account_id)[0]


def test_what_a_person_has_done_is_collected_and_reported_in_the_same_run(
    airflow: Airflow, world: SandboxApi, fyyd: PlatformServer
) -> None:
    run_id = ask(airflow)
    assert list(world.rows()["accounts"].values()) == [5], "the other account is not held up"
    wait_for(lambda: state_of(airflow, run_id, "ask_person") == "awaiting_input")
    told = airflow.call("GET", details(run_id))
    assert told["subject"] == "1 account needs a person at fyyd.de"
    assert "Open https://fyyd.de/add-feed" in told["body"]
    assert told["options"] == ["It is done", "Not now"]
    assert told["defaults"] is None
    secrets = [*known().credentials(), world.addresses["api_key"]]
    assert not [secret for secret in secrets if secret in str(told)]

    fyyd.already_there = True
    assert answer(airflow, run_id, "It is done") == "success", airflow.tasks(run_id)
    assert list(world.rows()["accounts"].values()) == [5, 5]
    assert world.rows()["duplicates"] == []
    states = {task.removeprefix("import_batch."): row["state"] for (task, _), row in airflow.tasks(run_id).items()}
    assert states.pop("wait_for_link_rss") == "skipped", "every feed is set"
    assert set(states.values()) == {"success"}
    assert airflow.log(run_id, "report").count("delivered  5") == 2


def test_done_but_not_listed_yet_is_green_and_left_to_a_later_run(airflow: Airflow, world: SandboxApi) -> None:
    run_id = ask(airflow)
    assert answer(airflow, run_id, "It is done") == "success", airflow.tasks(run_id)
    assert list(world.rows()["accounts"].values()) == [5]
    assert "a person was asked in this run" in airflow.log(run_id, "report")


def test_unanswered_is_green_and_a_later_run_collects(
    airflow: Airflow, world: SandboxApi, fyyd: PlatformServer
) -> None:
    run_id = ask(airflow, DAG_IMPATIENT)
    assert airflow.finish(run_id, DAG_IMPATIENT) == "success", airflow.tasks(run_id, DAG_IMPATIENT)
    for task in ("ask_person", "import_assisted", "insert_assisted"):
        assert state_of(airflow, run_id, task, DAG_IMPATIENT) == "skipped", task
    assert "a person was asked in this run" in airflow.log(run_id, "report", dag_id=DAG_IMPATIENT)
    assert list(world.rows()["accounts"].values()) == [5]

    fyyd.already_there = True
    account_id = submission(airflow, world).key.account_id
    _, state = airflow.run(account_ids=[account_id])
    assert state == "success"
    assert list(world.rows()["accounts"].values()) == [5, 5]


def test_a_run_without_assist_asks_nobody_and_is_red(airflow: Airflow, world: SandboxApi) -> None:
    run_id, state = airflow.run()
    assert state == "failed"
    tasks = airflow.tasks(run_id)
    for task in ("ask_person", "import_assisted", "insert_assisted"):
        assert tasks[f"import_batch.{task}", -1]["state"] == "skipped", "before it was mapped: it costs nothing"
    assert "Open https://fyyd.de/add-feed" in airflow.log(run_id, "report")
    assert submission(airflow, world).setbacks == 1
