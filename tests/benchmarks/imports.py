"""What a DAG file pays for importing this package."""

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
from airflow.sdk import BaseOperator, BaseSensorOperator, Context
from airflow.providers.common.compat.sdk import conf
from airflow.triggers.base import BaseTrigger
began_s = time.process_time()
import likepion_provider.operators.likepion
print(time.process_time() - began_s)
"""


def main(*, quick: bool) -> None:
    """Print the figures; CPU time, the least of several, since the machine may be shared."""
    _run(_IMPORT)
    import_ms = min(float(_run(_IMPORT)) for _ in range(3 if quick else TRIES)) * 1000
    row("import of the operators beyond Airflow's own", f"{import_ms:.0f} ms of CPU", "under 50 ms", met=import_ms < 50)


def _run(program: str) -> str:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(BYTECODE)}
    environment |= {"PYTHONPATH": str(ROOT), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout.splitlines()[-1]


if __name__ == "__main__":
    main(quick=False)
