"""``airflow dags test``, in an Airflow that nothing else runs in: a live scheduler would take its tasks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from likepion_provider.cli.local import airflow_environment, free_port, sandbox_connections
from tests.integration.conftest import DAGS, SandboxApi

pytestmark = pytest.mark.airflow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return airflow_environment(tmp_path_factory.mktemp("quiet-airflow"), DAGS, free_port())


def airflow(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("airflow")), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def database(environment: dict[str, str]) -> None:
    for arguments in (("db", "migrate"), ("dags", "reserialize")):
        done = airflow(environment, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(("conf", "delivered"), [("", 2), ('{"limit": 1, "batch_size": 1}', 1)])
def test_the_dag_runs_with_and_without_conf(
    environment: dict[str, str], sandbox: Callable[..., SandboxApi], conf: str, delivered: int
) -> None:
    # Worlds of their own: one journal would take the same ids for the same accounts.
    world = sandbox("--world", "built", "--accounts", "2", "--posts", "1", "--target", "2", "--seed", str(delivered))
    options = ["--conf", conf] if conf else []
    here = environment | sandbox_connections(world.addresses)
    done = airflow(here, "dags", "test", "likepion_podcast_secondary", *options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert len(world.rows()["accounts"]) == delivered
