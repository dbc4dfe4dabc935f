"""Warm starts: what Airflow's components find imported, each in a process of its own as Airflow begins it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from likepion_provider.cli.local import start_warm
from likepion_provider.preload import WARM, WARM_FOR_DAG_FILES

#: ``import airflow`` reads the settings, before the component that the command line names begins.
PROGRAM = """
import json, os, sys, threading
import airflow
held = []
for fd in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
    if os.path.lexists(f"/proc/self/fd/{fd}"):
        held.append(os.readlink(f"/proc/self/fd/{fd}"))
threads = [each.name for each in threading.enumerate()]
print(json.dumps({"loaded": sorted(sys.modules), "threads": threads, "held": held}))
"""


def begin(component: str, home: Path) -> dict[str, Any]:
    start_warm(home)
    environment = os.environ | {"AIRFLOW_HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, component]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("component", ["scheduler", "celery", "dag-processor"])
def test_what_forks_has_everything_imported_and_nothing_open(component: str, tmp_path: Path) -> None:
    told = begin(component, tmp_path)
    assert set(WARM) - set(told["loaded"]) == set()
    parses = component == "dag-processor"
    assert set(WARM_FOR_DAG_FILES).issubset(told["loaded"]) == parses
    assert "likepion_provider.platforms.importers.pocketcasts" in told["loaded"]
    assert told["threads"] == ["MainThread"]
    assert [each for each in told["held"] if each.startswith("socket:") or ".db" in each] == []


def test_what_does_not_fork_is_left_as_it_is(tmp_path: Path) -> None:
    loaded = begin("api-server", tmp_path)["loaded"]
    assert "likepion_provider.preload" in loaded
    assert not {"feedparser", "likepion_provider.operators.likepion"} & set(loaded)
