"""PostgreSQL, Redis and every process of a distributed Airflow, on loopback; each process with a home of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml
from sqlalchemy import create_engine, text

from likepion_provider.cli.local import (
    AIRFLOW_PARTS,
    DAG_ID,
    START_TIMEOUT_S,
    AirflowApi,
    airflow_environment,
    free_port,
    process,
    sandbox_connections,
)
from likepion_provider.errors import Transient
from tests.postgres import Server, postgres_server, server_binaries

ROOT = Path(__file__).parents[2]
AIRFLOW = str(Path(sys.executable).with_name("airflow"))
REDIS = "redis-server"
SIMPLE_AUTH_MANAGER = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
#: Batches that one worker imports side by side.
SLOTS = 4
#: A quiet machine needs a sixth of this.
RUN_TIMEOUT_S = 600.0
IMPORT, INSERT = "import_batch.import_rss", "import_batch.insert_links"

#: Task instances, as the API shows them.
Rows = list[dict[str, Any]]


def missing() -> str:
    """What this machine lacks for a cluster; empty where nothing."""
    if server_binaries() is None:
        return "PostgreSQL's server is not installed (Debian: apt-get install postgresql)"
    if shutil.which(REDIS) is None:
        return "Redis is not installed (Debian: apt-get install redis-server)"
    if importlib.util.find_spec("celery") is None:
        return "Celery is not installed (uv pip install --group cluster)"
    return ""


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis on 127.0.0.1 that keeps nothing.

    :param folder: gets its log.
    :return: its URL.
    """
    port = free_port()
    command = [REDIS, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    with (folder / "redis.log").open("w") as log, process(command, stdout=log, stderr=log):
        _wait_for_port(port)
        yield f"redis://127.0.0.1:{port}/0"


def _wait_for_port(port: int, timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.1)
        else:
            return


class Cluster(AirflowApi):
    """A distributed Airflow.

    :param folder: gets a home for each member.
    :param database: PostgreSQL, for the metadata and the journal.
    :param broker: Redis.
    :param sandbox: the addresses of the sandbox that the connections point at.
    """

    def __init__(self, folder: Path, database: Server, broker: str, sandbox: Mapping[str, str]) -> None:
        self._port = free_port()
        super().__init__(f"http://127.0.0.1:{self._port}", folder / "api-server")
        self._folder = folder
        self._database = database
        secrets = folder / "secrets"
        secrets.mkdir()
        self._shared = _settings(database.url, broker, secrets) | sandbox_connections(sandbox)
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Cluster:
        """Prepare the databases and start everything but the workers."""
        with contextlib.ExitStack() as stack:
            self._stack = stack
            self._prepare()
            for name, words in AIRFLOW_PARTS.items():
                self.start(name, name, *words)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End every process, all at once rather than one after the other."""
        for each in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGTERM)
        self._stack.close()

    def _prepare(self) -> None:
        engine = create_engine(self._database.url.format(database="postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for name in ("airflow", "journal"):
                connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        for words in (("db", "migrate"), ("pools", "set", "likepion", str(4 * SLOTS), "imports")):
            subprocess.run(
                [AIRFLOW, *words], env=self._environment("init"), check=True, capture_output=True, timeout=180
            )

    def start(self, name: str, *command: str) -> None:
        """Start a member with a home of its own."""
        log = self._stack.enter_context((self._folder / f"{name}.log").open("a"))
        options: dict[str, Any] = {"env": self._environment(name), "stdout": log, "stderr": log}
        self._running[name] = self._stack.enter_context(process([AIRFLOW, *command], **options))

    def start_worker(self, name: str) -> None:
        """Start a Celery worker; it takes tasks as soon as it is up."""
        self.start(name, "celery", "worker", "--skip-serve-logs", "--celery-hostname", name, "-c", str(SLOTS))

    def wait_until_worker_ready(self, name: str) -> None:
        """Wait until a worker takes tasks.

        :raises Transient: it does not.
        """
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while f"{name} ready" not in (self._folder / f"{name}.log").read_text(errors="replace"):
            if time.monotonic() > deadline_s:
                raise Transient(f"{name} was not ready after {START_TIMEOUT_S:.0f} s: see {self._folder}/{name}.log")
            time.sleep(0.3)

    def kill(self, name: str) -> None:
        """``kill -9`` of a member's whole process group; it is not started again."""
        os.killpg(self._running.pop(name).pid, signal.SIGKILL)

    def tasks(self, run_id: str) -> Rows:
        """Every task instance of a run."""
        answer = self.call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances?limit=100")
        rows: Rows = answer["task_instances"]
        return rows

    def follow(self, run_id: str, condition: Callable[[Rows], bool]) -> Rows:
        """Look until it is so, through restarts of the database; start again what they ended.

        :raises Transient: it did not come to that, or the run ended before.
        """
        deadline_s = time.monotonic() + RUN_TIMEOUT_S
        rows: Rows = []
        while time.monotonic() < deadline_s:
            self._revive()
            try:
                ended = self.state(run_id) in ("success", "failed")
                rows = self.tasks(run_id)
                if condition(rows):
                    return rows
                if ended:
                    break
            except httpx.HTTPError as error:
                print(f"cluster: the API does not answer: {type(error).__name__}", flush=True)
            time.sleep(0.3)
        seen = Counter((row["task_id"], row["state"]) for row in rows)
        raise Transient(f"{run_id} ended, or {RUN_TIMEOUT_S:.0f} s passed, before it came that far: {dict(seen)}")

    def finish(self, run_id: str) -> Rows:
        """:meth:`follow` a run to its end."""
        return self.follow(run_id, lambda _: self.state(run_id) in ("success", "failed"))

    def _revive(self) -> None:
        """Start again what ended by itself, as a container's ``restart: always`` does."""
        for name in [name for name, each in self._running.items() if each.poll() is not None]:
            if name not in AIRFLOW_PARTS:
                raise Transient(f"{name} ended by itself: see {self._folder}/{name}.log")
            print(f"cluster: {name} ended by itself and is started again", flush=True)
            self.start(name, name, *AIRFLOW_PARTS[name])

    def _environment(self, name: str) -> dict[str, str]:
        """A member's: the DAG and the preload settings are its own copies, as in an image."""
        home = self._folder / name
        if not home.exists():
            shutil.copytree(ROOT / "dags", home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
            (home / "config").mkdir()
            shutil.copy(ROOT / "docker/airflow_local_settings.py", home / "config")
        own = {"LIKEPION_MEMBER": name, "PYTHONPATH": str(ROOT)}
        told = airflow_environment(home, home / "dags", self._port) | self._shared | own
        kept_from_it = (
            () if name in {*AIRFLOW_PARTS, "init"} else _compose("x-server").keys() - _compose("x-airflow").keys()
        )
        return {key: value for key, value in told.items() if key not in kept_from_it}


def _settings(database: str, broker: str, secrets: Path) -> dict[str, str]:
    """What every member is told: what docker/compose.yaml tells it, at other addresses.

    :param secrets: a folder for what compose keeps in volumes.
    """
    airflow = database.format(database="airflow").replace("+psycopg", "+psycopg2")
    journal = database.format(database="journal").replace("+psycopg", "")
    own = {
        "metadata_url": airflow,
        "results_url": f"db+{airflow}",
        "broker_url": broker,
        "connections.json": json.dumps({"likepion_journal": journal}),
    }
    (secrets / "airflow").mkdir()
    for name, content in own.items():
        (secrets / "airflow" / name).write_text(content)
    command = [sys.executable, str(ROOT / "docker/make_secrets.py"), str(secrets), str(os.getgid())]
    subprocess.run(command, check=True, timeout=60)
    told = {name: text.replace("/opt/airflow/secrets", str(secrets)) for name, text in _compose("x-server").items()}
    told.pop("AIRFLOW__CORE__EXECUTION_API_SERVER_URL")
    return told | {
        # What the image brings and a machine without Docker need not have.
        "AIRFLOW__CORE__AUTH_MANAGER": SIMPLE_AUTH_MANAGER,
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "tests.cluster.member_name",
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "false",
        # The run that is followed is started by hand.
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "true",
        # Not more under way than there are slots: a task that waits in the broker too long counts as lost.
        "AIRFLOW__CORE__PARALLELISM": str(2 * SLOTS),
        # A dead worker is to be noticed within a short test.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "3",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "90",
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
    }


def _compose(member: str) -> dict[str, str]:
    """A member's environment in docker/compose.yaml, with the defaults of what it takes from the caller's."""
    told = yaml.safe_load((ROOT / "docker/compose.yaml").read_text(encoding="utf-8"))[member]["environment"]
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(text)) for name, text in told.items()}


@contextlib.contextmanager
def cluster(folder: Path, sandbox: Mapping[str, str]) -> Iterator[tuple[Cluster, Server]]:
    """PostgreSQL, Redis and a :class:`Cluster` without workers yet, ready to be told to run something."""
    binaries = server_binaries()
    if binaries is None:
        raise RuntimeError(missing())
    with (
        postgres_server(binaries) as database,
        redis(folder) as broker,
        Cluster(folder, database, broker, sandbox) as airflow,
    ):
        yield airflow, database
