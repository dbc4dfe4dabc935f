"""A real Airflow (scheduler, API server, DAG processor, triggerer) on SQLite, started once, and sandboxes for it."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from likepion_provider import DAG_ID
from likepion_provider.cli.local import (
    AirflowApi,
    airflow_environment,
    free_port,
    sandbox_process,
    standalone,
)
from likepion_provider.journal import Journal, open_journal

DAGS = Path(__file__).parents[2] / "dags"
RUN_TIMEOUT_S = 240.0
DAG_BY_HAND = "likepion_by_hand"
DAG_IMPATIENT = "likepion_impatient"
DAG_SECOND, SECOND_CONN_ID = "likepion_second", "likepion_second"
#: A backfill needs a schedule; a DAG that is switched on runs once, and then not while tests do.
A_YEAR = str(365 * 24 * 60)
#: A DAG of its own for the example in each docstring, and one that waits in a worker.
SMALL_DAGS = """
import inspect
import textwrap
from airflow.sdk import DAG
from likepion_provider.operators.likepion import *
from likepion_provider.operators.report import LikepionReportOperator
from likepion_provider.sensors.likepion import LinkRssSensor

for each in (
    PullSecondaryTasksOperator,
    ClaimAccountsOperator,
    LinkRssSensor,
    ImportRssOperator,
    InsertLinksOperator,
    LikepionReportOperator,
):
    example = inspect.getdoc(each).split(".. code-block:: python")[1].split(":param")[0]
    with DAG(f"example_{each.__name__}", schedule=None) as dag:
        exec(textwrap.dedent(example))
    globals()[dag.dag_id] = dag

with DAG("small_wait", schedule=None):
    pull = PullSecondaryTasksOperator(task_id="pull_tasks", limit=100)
    claim = ClaimAccountsOperator(task_id="claim_accounts", tasks=pull.output)
    wait = LinkRssSensor.partial(task_id="wait", deferrable=False, poke_interval=0.5, timeout=3).expand(
        batch=claim.output
    )
    imported = ImportRssOperator.partial(task_id="import_rss").expand(batch=claim.output)
    wait >> imported >> InsertLinksOperator.partial(task_id="insert_links").expand(batch=claim.output)
"""


class SandboxApi:
    """A running sandbox, by its admin interface."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self.addresses = addresses
        #: Its port alone may be that of a sandbox which has ended.
        self.name = uuid.uuid4().hex

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(method, self.addresses["manager_url"] + path, json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def rows(self) -> dict[str, Any]:
        """What the manager has stored."""
        rows: dict[str, Any] = self.call("GET", "/sandbox/rows")
        return rows

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.call("GET", "/sandbox/state")
        return state

    def inserts(self) -> int:
        """How many inserts reached the manager."""
        return sum(event["kind"] == "insert" for event in self.call("GET", "/sandbox/log")["events"])


class Airflow(AirflowApi):
    """The running Airflow."""

    def __init__(self, url: str, home: Path, environment: dict[str, str]) -> None:
        super().__init__(url, home)
        self.home = home
        self.environment = environment

    def connect(self, conn_id: str, conn_type: str, host: str, password: str = "", **extra: Any) -> None:
        """Put a connection, whether it is there or not."""
        with contextlib.suppress(httpx.HTTPStatusError):
            self.call("DELETE", f"/api/v2/connections/{conn_id}")
        body = {"connection_id": conn_id, "conn_type": conn_type, "host": host, "extra": json.dumps(extra)}
        self.call("POST", "/api/v2/connections", body | ({"password": password} if password else {}))

    def use(self, sandbox: SandboxApi, **extra: Any) -> None:
        """Point every connection at a sandbox, with a journal of its own."""
        addresses = sandbox.addresses
        extra = {"allow_private_feeds": True} | extra
        self.connect("likepion_default", "likepion", addresses["manager_url"], addresses["api_key"], **extra)
        self.connect("likepion_platform_sandbox_site", "http", addresses["site_url"])
        self.connect("likepion_journal", "sqlite", str(self.journal_path(sandbox)))
        # Runs would take the new journal for a lost one.
        with contextlib.suppress(httpx.HTTPStatusError):
            self.call("DELETE", "/api/v2/variables/likepion_journal_mark")

    def journal(self, sandbox: SandboxApi) -> Journal:
        """The journal that belongs to a sandbox."""
        return open_journal(f"sqlite:///{self.journal_path(sandbox)}", sandbox.addresses["manager_url"])

    def journal_path(self, sandbox: SandboxApi) -> Path:
        return self.home / f"journal-{sandbox.name}.db"

    def start(self, dag_id: str = "likepion_podcast_secondary", **conf: Any) -> str:
        run = self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})
        return str(run["dag_run_id"])

    def finish(self, run_id: str, dag_id: str = "likepion_podcast_secondary") -> str:
        """Wait for a run's end.

        :return: its state.
        """
        deadline_s = time.monotonic() + RUN_TIMEOUT_S
        while time.monotonic() < deadline_s:
            state = self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"]
            if state in ("success", "failed"):
                return str(state)
            time.sleep(0.3)
        raise AssertionError(f"{run_id} did not end within {RUN_TIMEOUT_S} s: {self.tasks(run_id, dag_id)}")

    def run(self, dag_id: str = "likepion_podcast_secondary", **conf: Any) -> tuple[str, str]:
        run_id = self.start(dag_id, **conf)
        return run_id, self.finish(run_id, dag_id)

    def tasks(self, run_id: str, dag_id: str = "likepion_podcast_secondary") -> dict[tuple[str, int], dict[str, Any]]:
        rows = self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=100")
        return {(row["task_id"], row["map_index"]): row for row in rows["task_instances"]}

    def log(self, run_id: str, task_id: str, map_index: int = -1, dag_id: str = "likepion_podcast_secondary") -> str:
        """A task's newest log, as one text."""
        tries = self.tasks(run_id, dag_id)[task_id, map_index]["try_number"]
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{tries}"
        return json.dumps(self.call("GET", f"{path}?map_index={map_index}&full_content=true"))

    def shell(self, *arguments: str, program: str = "airflow") -> subprocess.CompletedProcess[str]:
        """The ``airflow`` command, or ours."""
        command = [str(Path(sys.executable).with_name(program)), *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=240, check=False)


def wait_for(condition: Callable[[], object], timeout_s: float = 120) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to that"
        time.sleep(0.3)


#: The DAG under another name without a schedule, which a partition key needs; one that asks a person only briefly and
#: tries a task again at once; and one of another manager.
VARIANTS = f"""
from datetime import timedelta

from likepion_provider.dag import likepion_dag  # for airflow
from likepion_provider.hooks.compat import by_hand

told = likepion_dag({DAG_BY_HAND!r}, schedule=by_hand())
impatient = likepion_dag(
    {DAG_IMPATIENT!r}, schedule=by_hand(), default_args={{"retry_delay": timedelta(seconds=1)}}
)
impatient.get_task("import_batch.ask_person").response_timeout = timedelta(seconds=2)
second = likepion_dag({DAG_SECOND!r}, likepion_conn_id={SECOND_CONN_ID!r}, schedule=None)
"""


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    dags.mkdir(parents=True)
    for path in DAGS.glob("*.py"):
        shutil.copy(path, dags)
    (dags / "variants.py").write_text(VARIANTS, encoding="utf-8")
    (dags / "small.py").write_text(SMALL_DAGS, encoding="utf-8")
    port = free_port()
    environment = airflow_environment(home, dags, port) | {
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__LIKEPION__SCHEDULE_MINUTES": A_YEAR,
    }
    with standalone(home, environment):
        api = Airflow(f"http://127.0.0.1:{port}", home, environment)
        api.wait_until_ready()
        wait_for(lambda: api.call("GET", "/api/v2/dags?dag_id_pattern=small_wait")["dags"])
        wait_for(lambda: api.call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns?run_type=scheduled&state=failed")["dag_runs"])
        yield api


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Callable[..., SandboxApi]]:
    """Starts sandboxes: ``sandbox("--world", "troubled")``."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments: SandboxApi(stack.enter_context(sandbox_process(tmp_path, *arguments)))
