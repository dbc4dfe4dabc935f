"""``likepion demo``: the sandbox, a real ``airflow standalone`` and the DAG, in one folder that is removed again."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests

from likepion_provider.errors import BadRequest, Transient

DAG_ID = "likepion_podcast_secondary"
#: Airflow on a fresh SQLite is healthy after about 25 s; a slow machine gets ten times that.
START_TIMEOUT_S = 240.0
RUN_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    parser.add_argument("--once", action="store_true", help="end after the run; status 0 only if all was delivered")
    parser.add_argument("--dags", type=Path, default=Path("dags"), help="the folder with the DAG (dags)")
    parser.add_argument("--port", type=int, default=0, help="of Airflow's UI (any free one)")
    parser.add_argument("--latency-s", default="0.2", help="the site's answers come this late (0.2)")


def run(args: argparse.Namespace) -> int:
    """Run the demo.

    :return: 0 if every account was delivered and no URL was stored twice, else 1.
    :raises BadRequest: the DAG's folder is not there.
    :raises Transient: Airflow or the run did not come up in time.
    """
    dags = args.dags.resolve()
    if not (dags / f"{DAG_ID}.py").exists():
        raise BadRequest(f"{dags} has no {DAG_ID}.py", remedy="Run it in a checkout, or name the folder with --dags.")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with contextlib.ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="demo-", dir=_scratch())))
            return _show(stack, home, dags, args)
    except KeyboardInterrupt:
        print("\nStopped; nothing is left behind.")
        return 130 if args.once else 0


def _show(stack: contextlib.ExitStack, home: Path, dags: Path, args: argparse.Namespace) -> int:
    port = args.port or _free_port()
    sandbox = stack.enter_context(_sandbox(home, args.latency_s))
    print(f"Sandbox   manager {sandbox['manager_url']}  site {sandbox['site_url']}", flush=True)
    print(f"Airflow   starting, log in {home}/airflow.log", flush=True)
    stack.enter_context(_airflow(home, dags, port, sandbox))
    airflow = AirflowApi(f"http://127.0.0.1:{port}", home)
    airflow.wait_until_ready()
    print(f"Airflow   {airflow.url}  user admin  password {airflow.password}", flush=True)
    began_s = time.monotonic()
    run_id = airflow.trigger({})
    state = _follow(airflow, run_id)
    print(f"Run       {run_id}: {state} after {time.monotonic() - began_s:.1f} s\n", flush=True)
    delivered = _print_table(sandbox)
    if not args.once:
        print("\nThe sandbox and Airflow keep running. Ctrl-C ends them.", flush=True)
        while True:
            time.sleep(3600)
    return 0 if state == "success" and delivered else 1


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _scratch() -> Path:
    folder = Path(".demo").resolve()
    folder.mkdir(exist_ok=True)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def _process(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process group of our own, ended to the last process."""
    process = subprocess.Popen(command, start_new_session=True, text=True, **options)  # noqa: S603 - our own words
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            if _ended(process):
                break
        process.wait()


def _ended(process: subprocess.Popen[str]) -> bool:
    """Whether the whole group is gone, after some patience."""
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline_s:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@contextlib.contextmanager
def _sandbox(home: Path, latency_s: str) -> Iterator[dict[str, str]]:
    command = [sys.executable, "-m", "likepion_provider.cli", "sandbox", "--json", "--latency-s", latency_s]
    with (
        (home / "sandbox.log").open("w") as errors,
        _process(command, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise Transient(f"the sandbox did not start: see {home}/sandbox.log")
        addresses: dict[str, str] = json.loads(line)
        yield addresses


@contextlib.contextmanager
def _airflow(home: Path, dags: Path, port: int, sandbox: Mapping[str, str]) -> Iterator[None]:
    environment = airflow_environment(home, dags, port, sandbox)
    command = [str(Path(sys.executable).with_name("airflow")), "standalone"]
    with (home / "airflow.log").open("w") as log, _process(command, env=environment, stdout=log, stderr=log):
        yield


def airflow_environment(home: Path, dags: Path, port: int, sandbox: Mapping[str, str]) -> dict[str, str]:
    """What makes an Airflow of its own: nothing outside ``home``, nothing but this package's DAG.

    :param port: of the API server and its UI.
    :param sandbox: the addresses that ``likepion sandbox --json`` prints.
    """
    manager = {
        "conn_type": "likepion",
        "host": sandbox["manager_url"],
        "password": sandbox["api_key"],
        "extra": {"allow_private_feeds": True},
    }
    site = {"conn_type": "http", "host": sandbox["site_url"]}
    ours = {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__DAGS_FOLDER": dags,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        # More, and SQLite answers "database is locked".
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": _free_port(),
        "AIRFLOW__TRIGGERER__LOG_SERVER_PORT": _free_port(),
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "AIRFLOW_CONN_LIKEPION_DEFAULT": json.dumps(manager),
        "AIRFLOW_CONN_LIKEPION_PLATFORM_SANDBOX_SITE": json.dumps(site),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return kept | {name: str(value) for name, value in ours.items()}


class AirflowApi:
    """The public REST API of an ``airflow standalone``.

    :param url: of the API server.
    :param home: its ``AIRFLOW_HOME``, where it writes the admin's password.
    """

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self._home = home
        self._session = requests.Session()
        self._session.trust_env = False

    @property
    def password(self) -> str:
        """The admin's."""
        path = self._home / "simple_auth_manager_passwords.json.generated"
        password: str = json.loads(path.read_text(encoding="utf-8"))["admin"]
        return password

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request.

        :raises requests.RequestException: no answer, or an error's.
        """
        answer = self._session.request(method, self.url + path, json=body, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def wait_until_ready(self) -> None:
        """Wait for scheduler, API and the parsed DAG, and sign in.

        :raises Transient: they did not come up within :data:`START_TIMEOUT_S`.
        """
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            with contextlib.suppress(requests.RequestException, OSError, ValueError, KeyError):
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
        self._session.headers["Authorization"] = f"Bearer {token['access_token']}"

    def trigger(self, conf: Mapping[str, Any]) -> str:
        """Start a run by hand; the schedule stays off.

        :return: the run's id.
        """
        self.call("PATCH", f"/api/v2/dags/{DAG_ID}?update_mask=is_paused", {"is_paused": False})
        run = self.call("POST", f"/api/v2/dags/{DAG_ID}/dagRuns", {"logical_date": None, "conf": dict(conf)})
        return str(run["dag_run_id"])

    def state(self, run_id: str) -> str:
        """A run's state."""
        return str(self.call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}")["state"])

    def task_states(self, run_id: str) -> Counter[str]:
        """How many task instances are in each state."""
        rows = self.call("GET", f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances?limit=100")
        return Counter(str(row["state"]) for row in rows["task_instances"])


def _follow(airflow: AirflowApi, run_id: str) -> str:
    deadline_s = time.monotonic() + RUN_TIMEOUT_S
    seen = ""
    while time.monotonic() < deadline_s:
        state = airflow.state(run_id)
        counts = ", ".join(f"{number} {name}" for name, number in sorted(airflow.task_states(run_id).items()))
        if counts != seen:
            print(f"Tasks     {counts}", flush=True)
            seen = counts
        if state in ("success", "failed"):
            return state
        time.sleep(0.5)
    raise Transient(f"the run did not end within {RUN_TIMEOUT_S:.0f} s")


def _print_table(sandbox: Mapping[str, str]) -> bool:
    """What the manager has, account by account.

    :return: whether every account has links and no URL is there twice.
    """
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"{sandbox['manager_url']}/sandbox/rows", timeout=30).json()
    stored = Counter(row["account_id"] for row in answer["rows"])
    print(f"{'GROUP':<10}{'ACCOUNT':<26}{'OUTCOME':<14}LINKS")
    for account in answer["accounts"]:
        links = stored[account["account_id"]]
        outcome = "delivered" if links else "not delivered"
        print(f"{account['group_id'][:8]:<10}{account['username'] + '@' + account['domain']:<26}{outcome:<14}{links}")
    twice = len(answer["duplicates"])
    accounts = len(answer["accounts"])
    print(f"\n{len(stored)} of {accounts} accounts delivered, {stored.total()} links, {twice} URLs stored twice.")
    return len(stored) == accounts and not twice
