"""``python -m tests.matrix [AIRFLOW:PYTHON ...]``: unit tests and a run of the DAG, an environment a pair.

Ends with status 0 only if every pair passes. A Python that is not installed is named, and left out.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).with_name("uv"))
#: The lowest version that pyproject.toml allows; and whatever the registry has as the newest.
AIRFLOWS = ("3.3.0", "newest")
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
SMOKE = "tests/integration/test_dags_test.py"
TIMEOUT_S = 1800


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How one pair came out.

    :param airflow: the version that was installed.
    :param failed: the end of what the step that failed said; empty where all passed.
    """

    airflow: str
    python: str
    steps: str
    seconds: float
    failed: str = ""

    def __str__(self) -> str:
        outcome = "FAILED" if self.failed else "passed"
        return f"{self.airflow:<10}{self.python:<8}{outcome:<8}{self.seconds:5.0f} s  {self.steps}"


def main() -> int:
    """Run the pairs and print the table.

    :return: the exit status.
    """
    verdicts = []
    for airflow, python in pairs(sys.argv[1:]):
        with tempfile.TemporaryDirectory(prefix="likepion-matrix-") as folder:
            verdicts.append(try_pair(Path(folder), airflow, python))
        print(verdicts[-1], flush=True)
        if verdicts[-1].failed:
            print(verdicts[-1].failed, flush=True)
    print(f"\n{'AIRFLOW':<10}{'PYTHON':<8}", *verdicts, sep="\n")
    return 1 if any(each.failed for each in verdicts) or not verdicts else 0


def pairs(named: list[str]) -> Iterator[tuple[str, str]]:
    """The pairs to try: those that are named, or all."""
    if named:
        yield from (tuple(each.split(":", 1)) for each in named)  # type: ignore[misc]
        return
    for python in PYTHONS:
        if not interpreter(python):
            print(f"SKIPPED: Python {python} is not installed", flush=True)
            continue
        yield from ((airflow, python) for airflow in AIRFLOWS)


def interpreter(version: str) -> str:
    """A Python of this version, on the path or pyenv's; empty where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(f"python{version}") or "", *map(str, pyenv.glob(f"versions/{version}.*/bin/python"))]
    look = "import sys; print('%d.%d' % sys.version_info[:2])"
    return next((each for each in found if each and run(each, "-c", look).stdout.strip() == version), "")


def try_pair(folder: Path, airflow: str, python: str) -> Verdict:
    """Install a pair into an environment of its own, and test it."""
    began_s = time.monotonic()
    own = str(folder / "bin/python")
    wanted = "apache-airflow>=3.3,<4" if airflow == "newest" else f"apache-airflow=={airflow}"
    steps = {
        "environment": (UV, "venv", "--quiet", "--python", interpreter(python), str(folder)),
        "install": (UV, "pip", "install", "--python", own, "-e", ".", "--group", "dev", wanted),
        "unit tests": (own, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit"),
        "smoke": (own, "-m", "pytest", "-q", "-p", "no:cacheprovider", SMOKE),
    }
    said = []
    for name, command in steps.items():
        done = run(*command)
        if done.returncode:
            return Verdict(airflow, python, name, time.monotonic() - began_s, (done.stdout + done.stderr)[-4000:])
        if "pytest" in command:
            said.append(done.stdout.strip().splitlines()[-1].strip("= "))
    installed = run(own, "-c", "import airflow; print(airflow.__version__)").stdout.strip()
    return Verdict(installed, python, "; ".join(said), time.monotonic() - began_s)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


if __name__ == "__main__":
    sys.exit(main())
