"""``python -m tests.newcomer``: README's commands alone, from a clone to a delivered run in an Airflow of one's own.

The environment is as bare as a new machine's: a home that is empty, no cache, nothing of this checkout's environment.
The manager is a sandbox. Prints how long each step took; ends with status 0 only if everything was delivered.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import requests

from likepion_provider import DAG_ID
from likepion_provider.cli.local import sandbox_connections, sandbox_process

ROOT = Path(__file__).parents[2]
ACCOUNTS, TARGET = 24, 5
TIMEOUT_S = 1800
#: Variables that a machine keeps: its language, and where packages come from.
KEPT = ("LANG", "PIP_", "UV_", "SSL_CERT_")


def main() -> int:
    """Walk the path.

    :return: the exit status.
    """
    with tempfile.TemporaryDirectory(prefix="likepion-newcomer-") as temporary:
        folder = Path(temporary)
        clone, own = folder / "airflow-provider-likepion", folder / "own"
        python = str(Path(shutil.which("python3") or sys.executable).resolve().parent)
        bare = {name: value for name, value in os.environ.items() if name.startswith(KEPT) and "CACHE" not in name}
        bare |= {"HOME": str(folder / "home"), "PATH": f"{python}:/usr/local/bin:/usr/bin:/bin"}
        Path(bare["HOME"]).mkdir()

        step("clone", f"git clone --quiet {ROOT} {clone}", folder, bare)
        demo = "\n".join(_blocks(clone, "make demo"))
        assert demo.startswith("make demo ")
        step("make demo ONCE=1", "make demo ONCE=1", clone, bare)

        home = bare | {"AIRFLOW_HOME": str(folder / "airflow"), "API_KEY": "a-key-of-a-test"}
        home["PATH"] = f"{own / 'bin'}:{home['PATH']}"
        airflow = (
            f"python3 -m venv {own} && pip install --quiet apache-airflow -c constraints.txt && airflow db migrate"
        )
        step("an Airflow of one's own", f"{airflow} && airflow db migrate", clone, home)
        step("Install it", "\n".join(_blocks(clone, "pip install .")), clone, home)
        return _run(folder, home)


def step(name: str, command: str, folder: Path, variables: Mapping[str, str]) -> None:
    """Run what a person would, and say how long it took.

    :raises SystemExit: it failed.
    """
    began_s = time.monotonic()
    done = subprocess.run(
        ["bash", "-euc", command],
        cwd=folder,
        env=dict(variables),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    print(f"{name:<28}{time.monotonic() - began_s:6.0f} s", flush=True)
    if done.returncode:
        sys.exit(f"{command}\nended with status {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def _run(folder: Path, variables: Mapping[str, str]) -> int:
    """A run against a sandbox, which stands in for the manager."""
    shape = ("--world", "built", "--accounts", str(ACCOUNTS), "--target", str(TARGET))
    with sandbox_process(folder, *shape) as addresses:
        connections = sandbox_connections(addresses)
        step("a run", f"airflow dags test {DAG_ID}", folder, variables | connections)
        rows = requests.get(f"{addresses['manager_url']}/sandbox/rows", timeout=30).json()
    print(f"{rows['count']} of {ACCOUNTS * TARGET} links, {len(rows['duplicates'])} stored twice")
    return int(rows["count"] != ACCOUNTS * TARGET or bool(rows["duplicates"]))


def _blocks(clone: Path, begins: str) -> list[str]:
    """README's block of commands that begins so."""
    found = re.findall(r"```bash\n(.*?)```", (clone / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return [block for block in found if block.startswith(begins)]


if __name__ == "__main__":
    sys.exit(main())
