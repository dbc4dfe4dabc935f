"""A sandbox and an Airflow of their own on this machine, for the demo and for tests; ended to the last process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx

from likepion_provider import DAG_ID
from likepion_provider.errors import Transient

#: Airflow on a fresh SQLite is healthy after about 25 s; a slow machine gets ten times that.
START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 20.0
#: Between tries of a write to Airflow: on SQLite, its parts keep each other waiting until one is told "database is
#: locked", which is a 500.
LOCKED_WAITS_S = (1.0, 2.0, 4.0, 8.0)
#: Said of a task instance that the scheduler has not looked at; the API has no word for it.
NO_STATE = "not yet scheduled"
#: What ``airflow standalone`` starts, with its options: without the servers of logs, which listen on every address,
#: and no option of Airflow 3.3 says otherwise. On one machine the API server reads the files.
AIRFLOW_PARTS: Mapping[str, Sequence[str]] = {
    "api-server": (),
    "scheduler": ("--skip-serve-logs",),
    "dag-processor": (),
    "triggerer": ("--skip-serve-logs",),
}


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def process(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process group of our own, for as long as the body runs.

    :param options: of :class:`subprocess.Popen`.
    """
    started = subprocess.Popen(command, start_new_session=True, text=True, **options)  # noqa: S603 - our own words
    try:
        yield started
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, number)
            if _ended(started):
                break
        started.wait()
        if started.stdout:
            started.stdout.close()


def _ended(started: subprocess.Popen[str]) -> bool:
    """Whether the whole group is gone, after some patience."""
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline_s:
        started.poll()
        try:
            os.killpg(started.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@contextlib.contextmanager
def sandbox_process(home: Path, *arguments: str) -> Iterator[dict[str, str]]:
    """``likepion sandbox`` with some arguments.

    :param home: gets its log.
    :return: its addresses.
    :raises Transient: it did not start.
    """
    command = [sys.executable, "-m", "likepion_provider.cli", "sandbox", "--json", *arguments]
    with (
        (home / "sandbox.log").open("w") as errors,
        process(command, stdout=subprocess.PIPE, stderr=errors) as started,
    ):
        line = started.stdout.readline() if started.stdout else ""
        if not line:
            raise Transient(f"the sandbox did not start: see {home}/sandbox.log")
        addresses: dict[str, str] = json.loads(line)
        yield addresses


def start_warm(home: Path) -> None:
    """Let the tasks of an Airflow find what they import already there: see :mod:`likepion_provider.preload`.

    :param home: its ``AIRFLOW_HOME``.
    """
    (home / "config").mkdir(parents=True, exist_ok=True)
    settings = home / "config" / "airflow_local_settings.py"
    settings.write_text("import likepion_provider.preload\n", encoding="utf-8")


@contextlib.contextmanager
def standalone(home: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """All parts of an Airflow, warm; they listen on loopback only.

    :param home: gets its log.
    :param environment: see :func:`airflow_environment`.
    """
    start_warm(home)
    parts = "".join(f"airflow {' '.join((name, *options))} & " for name, options in AIRFLOW_PARTS.items())
    command = ["sh", "-c", f"airflow db migrate && {{ {parts}wait; }}"]
    with (home / "airflow.log").open("w") as log, process(command, env=environment, stdout=log, stderr=log):
        yield


def airflow_environment(home: Path, dags: Path, port: int) -> dict[str, str]:
    """What makes an Airflow of its own: nothing outside ``home``, no DAG but those of one folder.

    :param port: of the API server and its UI.
    """
    ours = {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__DAGS_FOLDER": dags,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        # A DAG that is switched on begins a run, which would take the accounts of the run that is followed.
        "AIRFLOW__LIKEPION__SCHEDULE_MINUTES": "0",
        # More, and SQLite answers "database is locked".
        "AIRFLOW__CORE__PARALLELISM": "8",
        # A supervisor that misses its task's end sees it at the next heartbeat, 5 s later, and holds a slot until then.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        # A scheduler that found nothing to do sleeps so long: with 1, a run of five steps loses 5 s.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return kept | {name: str(value) for name, value in ours.items()}


def sandbox_connections(sandbox: Mapping[str, str]) -> dict[str, str]:
    """The environment that points Airflow's connections at a sandbox.

    :param sandbox: the addresses that ``likepion sandbox --json`` prints.
    """
    manager = {
        "conn_type": "likepion",
        "host": sandbox["manager_url"],
        "password": sandbox["api_key"],
        "extra": {"allow_private_feeds": True},
    }
    site = {"conn_type": "http", "host": sandbox["site_url"]}
    return {
        "AIRFLOW_CONN_LIKEPION_DEFAULT": json.dumps(manager),
        "AIRFLOW_CONN_LIKEPION_PLATFORM_SANDBOX_SITE": json.dumps(site),
    }


class AirflowApi:
    """The public REST API of an Airflow with its simple users.

    :param url: of the API server.
    :param home: its ``AIRFLOW_HOME``, where it writes the admin's password.
    """

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self._home = home
        self._client = httpx.Client(base_url=url, timeout=30, trust_env=False)
        weakref.finalize(self, self._client.close)

    @property
    def password(self) -> str:
        """The admin's."""
        path = self._home / "simple_auth_manager_passwords.json.generated"
        password: str = json.loads(path.read_text(encoding="utf-8"))["admin"]
        return password

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request.

        :raises httpx.HTTPError: no answer, or an error's.
        """
        answer = self._client.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def wait_until_ready(self) -> None:
        """Wait for scheduler, API and the parsed DAG, and sign in.

        :raises Transient: they did not come up within :data:`START_TIMEOUT_S`.
        """
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            with contextlib.suppress(httpx.HTTPError, OSError, ValueError, KeyError):
                self._sign_in()
                health = self.call("GET", "/api/v2/monitor/health")
                parts = ("scheduler", "triggerer", "dag_processor")
                if all((health.get(part) or {}).get("status") == "healthy" for part in parts):
                    self.call("GET", f"/api/v2/dags/{DAG_ID}")
                    return
            time.sleep(0.5)
        raise Transient(f"Airflow was not ready after {START_TIMEOUT_S:.0f} s: see {self._home}/airflow.log")

    def _sign_in(self) -> None:
        token = self.call("POST", "/auth/token", {"username": "admin", "password": self.password})
        self._client.headers["Authorization"] = f"Bearer {token['access_token']}"

    def _unpause(self) -> None:
        path = f"/api/v2/dags/{DAG_ID}?update_mask=is_paused"
        self._write("PATCH", path, {"is_paused": False}).raise_for_status()

    def _write(self, method: str, path: str, body: Any) -> httpx.Response:
        """One request that does no harm twice, sent again where the database was locked."""
        for wait_s in LOCKED_WAITS_S:
            answer = self._client.request(method, path, json=body)
            if answer.status_code < 500:
                break
            time.sleep(wait_s)
        return answer

    def switch_on(self) -> str:
        """Switch the DAG on, whose schedule then begins a run.

        :return: the run's id.
        :raises Transient: it did not begin within :data:`START_TIMEOUT_S`.
        """
        self._unpause()
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            # A machine that is busy answers late: the next question is as good.
            with contextlib.suppress(httpx.TransportError):
                if runs := self.call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns?run_type=scheduled")["dag_runs"]:
                    return str(runs[0]["dag_run_id"])
            time.sleep(0.2)
        raise Transient(f"the schedule began no run within {START_TIMEOUT_S:.0f} s: see {self._home}/airflow.log")

    def trigger(self, conf: Mapping[str, Any]) -> str:
        """Start a run by hand.

        :return: the run's id.
        """
        self._unpause()
        run_id = f"manual__{datetime.now(timezone.utc).isoformat()}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)}
        answer = self._write("POST", f"/api/v2/dags/{DAG_ID}/dagRuns", body)
        # 409: an earlier try has begun it.
        if answer.status_code != 409:
            answer.raise_for_status()
        return run_id

    def state(self, run_id: str) -> str:
        """A run's state."""
        return str(self.call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}")["state"])

    def task_states(self, run_id: str) -> Counter[str]:
        """How many task instances are in each state."""
        rows = self.call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances?limit=100")
        return Counter(str(row["state"] or NO_STATE) for row in rows["task_instances"])

    def summary(self, run_id: str) -> dict[str, Any]:
        """What a run's report tells a notifier, see :func:`likepion_provider.operators.report.summarise`."""
        entry = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/report/xcomEntries/summary"
        summary: dict[str, Any] = self.call("GET", entry)["value"]
        return summary

    def add_connections(self, environment: Mapping[str, str]) -> None:
        """Put connections that an environment names where people see them; the environment's are still those in use.

        :param environment: as :func:`sandbox_connections` makes it.
        """
        for name, text in environment.items():
            fields = json.loads(text)
            connection_id = name.removeprefix("AIRFLOW_CONN_").lower()
            extra = json.dumps(fields.get("extra") or {})
            self.call("POST", "/api/v2/connections", {**fields, "connection_id": connection_id, "extra": extra})
