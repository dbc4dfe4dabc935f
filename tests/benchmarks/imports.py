"""What a DAG file costs: its imports beyond Airflow's own, and its parsing beside an empty DAG."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.benchmarks.report import row
from tests.benchmarks.stack import BYTECODE, ROOT

TRIES = 7
_IMPORT = """
import time
import airflow.sdk
from airflow.sdk import BaseAsyncOperator, BaseOperator, BaseSensorOperator, Context
from airflow.sdk.configuration import conf
from airflow.triggers.base import BaseTrigger
began_s = time.process_time()
import likepion_provider.operators.likepion
print(time.process_time() - began_s)
"""
#: The DAG processor forks a child a file, from a parent that has Airflow loaded: so does this, a file at a time.
_PARSE = """
import os, sys, time
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import Param, dag, task_group
if sys.argv[1] == "preloaded":
    import likepion_provider.operators.likepion, likepion_provider.operators.report, likepion_provider.sensors.likepion
DagBag(sys.argv[2])

def parse(path):
    reading, writing = os.pipe()
    if not os.fork():
        began_s = time.process_time()
        DagBag(path)
        os.write(writing, str(time.process_time() - began_s).encode())
        os._exit(0)
    os.close(writing)
    took_s = float(os.read(reading, 100))
    os.close(reading)
    os.wait()
    return took_s

def best(path):
    return min(parse(path) for _ in range(7))

print(best(sys.argv[3]) / best(sys.argv[2]), best(sys.argv[3]))
"""
_EMPTY = """
from airflow.sdk import dag

@dag(schedule=None)
def empty():
    pass

empty()
"""


def main(*, quick: bool) -> None:
    """Print the figures; CPU time, the least of several, since the machine may be shared."""
    _run(_IMPORT)
    import_ms = min(float(_run(_IMPORT)) for _ in range(3 if quick else TRIES)) * 1000
    row("import of the operators beyond Airflow's own", f"{import_ms:.0f} ms of CPU", "under 50 ms", met=import_ms < 50)
    empty = BYTECODE.parent / f"likepion-bench-empty-{os.getpid()}.py"
    empty.write_text(_EMPTY, encoding="utf-8")
    try:
        for how in ("cold", "preloaded"):
            ratio, took_s = map(
                float, _run(_PARSE, how, str(empty), str(ROOT / "dags" / "likepion_podcast_secondary.py")).split()
            )
            case = f"DAG parse, {how}, beside an empty DAG"
            row(case, f"{ratio:.2f} x ({took_s * 1000:.0f} ms of CPU)", "at most 1.3 x", met=ratio <= 1.3)
    finally:
        empty.unlink()


def _run(program: str, *arguments: str) -> str:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(BYTECODE)}
    environment |= {"PYTHONPATH": str(ROOT), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    command = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout.splitlines()[-1]


if __name__ == "__main__":
    main(quick=False)
