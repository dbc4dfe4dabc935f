"""``airflow dags test``, in an Airflow that nothing else runs in: a live scheduler would take its tasks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from likepion_provider.cli.local import airflow_environment, free_port, sandbox_connections
from tests.integration.conftest import DAGS, SandboxApi

pytestmark = pytest.mark.airflow

#: Runs in one process, as people do in a shell or a notebook.
TIMES = 20
#: A run takes some seconds; one that hangs says where.
PROGRAM = """
import faulthandler, importlib.util, json, sys

times, path = int(sys.argv[1]), sys.argv[2]
spec = importlib.util.spec_from_file_location("likepion_dags", path)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
states = []
for _ in range(times):
    faulthandler.dump_traceback_later(60, exit=True)
    states.append(str(module.secondary.test(run_conf={"limit": 1}).state))
    faulthandler.cancel_dump_traceback_later()
print("STATES", json.dumps(states), file=sys.__stdout__)
"""


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


@pytest.mark.usefixtures("database")
def test_twenty_runs_in_one_process_come_to_their_end(
    environment: dict[str, str], sandbox: Callable[..., SandboxApi]
) -> None:
    world = sandbox("--world", "built", "--accounts", str(TIMES), "--posts", "2", "--target", "1", "--seed", "3")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(TIMES), str(DAGS / "likepion_podcast_secondary.py")],
        env=environment | sandbox_connections(world.addresses),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    (line,) = [each for each in done.stdout.splitlines() if each.startswith("STATES ")]
    assert json.loads(line.removeprefix("STATES ")) == ["success"] * TIMES
    rows = world.rows()
    assert (len(rows["accounts"]), rows["duplicates"]) == (TIMES, [])
