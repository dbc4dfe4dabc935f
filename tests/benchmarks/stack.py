"""A real headless Airflow for measurements: scheduler, API server, DAG processor and triggerer, each a process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from cryptography.fernet import Fernet

from likepion_provider.cli.local import AIRFLOW_PARTS, AirflowApi, airflow_environment, free_port, process, start_warm
from tests.postgres import postgres, server_binaries

ROOT = Path(__file__).parents[2]
RUN_TIMEOUT_S = 900.0
BYTECODE = Path(tempfile.gettempdir()) / f"likepion-bench-bytecode-{sys.version_info.minor}"
#: SQLite answers "database is locked" beyond 8; PostgreSQL takes as many as two cores can use: 16 were slower.
PARALLELISM = {"sqlite": 8, "postgres": 12}


class Stack(AirflowApi):
    """The running Airflow, and what it costs."""

    def __init__(self, url: str, home: Path, environment: Mapping[str, str]) -> None:
        super().__init__(url, home)
        self.home = home
        self.environment = dict(environment)
        self.components: list[int] = []

    def cpu_s(self) -> float:
        """CPU that the components and all they ever started have used."""
        return sum(map(_cpu_s, self.components))

    def start(self, dag_id: str, **conf: Any) -> str:
        self.call("PATCH", f"/api/v2/dags/{dag_id}?update_mask=is_paused", {"is_paused": False})
        run = self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})
        return str(run["dag_run_id"])

    def finish(self, dag_id: str, run_id: str) -> str:
        """Wait for the end of a run, asking seldom enough not to be a load."""
        deadline_s = time.monotonic() + RUN_TIMEOUT_S
        while time.monotonic() < deadline_s:
            state = str(self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])
            if state in ("success", "failed"):
                return state
            time.sleep(2)
        raise TimeoutError(f"{run_id} did not end within {RUN_TIMEOUT_S:.0f} s")

    def instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """All task instances of a run."""
        rows: list[dict[str, Any]] = []
        while True:
            path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=100&offset={len(rows)}"
            page = self.call("GET", path)
            rows += page["task_instances"]
            if len(rows) >= page["total_entries"] or not page["task_instances"]:
                return rows

    def wait_for_dag(self, dag_id: str) -> None:
        """Until the DAG processor has read it."""
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            with contextlib.suppress(Exception):
                self.call("GET", f"/api/v2/dags/{dag_id}")
                return
            time.sleep(0.5)
        raise TimeoutError(f"the DAG processor did not find {dag_id}")


def moment(text: str) -> datetime:
    """A time of the API."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


@contextlib.contextmanager
def airflow(database: str, *, preload: bool = True, dags: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """A fresh Airflow with the DAG of ``dags/``.

    :param database: ``sqlite`` or ``postgres``.
    :param preload: tasks start warm.
    :param dags: more DAG files, by name.
    """
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="likepion-bench-")))
        folder = home / "dags"
        shutil.copytree(ROOT / "dags", folder, ignore=shutil.ignore_patterns("__pycache__"))
        for name, text in (dags or {}).items():
            (folder / name).write_text(text, encoding="utf-8")
        if preload:
            start_warm(home)
        port = free_port()
        environment = airflow_environment(home, folder, port) | _settings(stack, database)
        command = [str(Path(sys.executable).with_name("airflow"))]
        subprocess.run([*command, "db", "migrate"], env=environment, check=True, capture_output=True, timeout=300)
        running = Stack(f"http://127.0.0.1:{port}", home, environment)
        log = stack.enter_context((home / "airflow.log").open("w"))
        for name, options in AIRFLOW_PARTS.items():
            started = stack.enter_context(process([*command, name, *options], env=environment, stdout=log, stderr=log))
            running.components.append(started.pid)
        running.wait_until_ready()
        for path in folder.glob("*.py"):
            running.wait_for_dag(path.stem)
        yield running


def _settings(stack: contextlib.ExitStack, database: str) -> dict[str, str]:
    ours = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        # A deployment has its bytecode; here it goes to a folder of its own, even if the caller wants none written.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(BYTECODE),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(PARALLELISM[database]),
        "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
        "AIRFLOW__API_AUTH__JWT_SECRET": Fernet.generate_key().decode(),
    }
    if database == "postgres":
        binaries = server_binaries()
        if binaries is None:
            raise RuntimeError("PostgreSQL's server is not installed")
        url = stack.enter_context(postgres(binaries)).format(database="postgres")
        parts = urlsplit(url)
        journal = {"conn_type": "postgres", "host": parts.hostname, "port": parts.port, "login": parts.username}
        ours["AIRFLOW_CONN_LIKEPION_JOURNAL"] = json.dumps(journal | {"schema": "postgres"})
        ours["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = url
        ours["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC"] = url
    return ours


def _cpu_s(pid: int) -> float:
    root, total = psutil.Process(pid), 0.0
    for each in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
