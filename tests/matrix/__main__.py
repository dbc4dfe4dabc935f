"""``python -m tests.matrix [--quick] [AIRFLOW[:PYTHON] ...]``: the package on several Airflows and Pythons.

Airflow is installed with what there was on the day it was published, as its constraints of that day have it; then the
wheel is put beside it, as a user does. Ends with status 0 only if every pair passes. A Python that is not installed is
named, and left out.
"""

from __future__ import annotations

import argparse
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
#: Versions of Airflow with the day after each was published: the lowest that pyproject.toml allows, the newest of each
#: minor version and the first of the current one; and whatever the registry has as the newest.
AIRFLOWS = {
    "3.1.0": "2025-09-27",
    "3.1.8": "2026-03-13",
    "3.2.2": "2026-05-31",
    "3.3.0": "2026-07-08",
    "newest": "",
}
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
#: Runs of the DAG without a scheduler, and the board in a real Airflow.
RUN = "tests/integration/test_dags_test.py"
BOARD = ("tests/browser/test_board.py", "-k", "an_admin")
DAG = "likepion_provider.example_dags.likepion_podcast_secondary"
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
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("pairs", nargs="*", metavar="AIRFLOW[:PYTHON]", help="all by default; the oldest Python")
    parser.add_argument("--quick", action="store_true", help="unit tests of operators and DAG, and a few runs")
    args = parser.parse_args()
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="likepion-matrix-") as folder:
        wheel = built(Path(folder))
        for airflow, python in pairs(args.pairs):
            own = Path(folder) / f"{airflow}-{python}"
            verdicts.append(try_pair(own, wheel, airflow, python, quick=args.quick))
            shutil.rmtree(own, ignore_errors=True)
            print(verdicts[-1], flush=True)
            if verdicts[-1].failed:
                print(verdicts[-1].failed, flush=True)
    print(f"\n{'AIRFLOW':<10}{'PYTHON':<8}", *verdicts, sep="\n")
    return 1 if any(each.failed for each in verdicts) or not verdicts else 0


def built(folder: Path) -> str:
    """The wheel of this checkout."""
    done = run(sys.executable, "-m", "build", "--wheel", "--installer", "uv", "--outdir", str(folder))
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return str(next(folder.glob("*.whl")))


def pairs(named: list[str]) -> Iterator[tuple[str, str]]:
    """The pairs to try: those that are named, or each Airflow on the oldest and the newest Python that is installed."""
    there = [python for python in PYTHONS if interpreter(python)]
    for each in named:
        airflow, _, python = each.partition(":")
        yield airflow, python or there[0]
    if named:
        return
    for python in PYTHONS:
        if python not in there:
            print(f"SKIPPED: Python {python} is not installed", flush=True)
    for airflow in AIRFLOWS:
        yield from ((airflow, python) for python in dict.fromkeys((there[0], there[-1])))


def interpreter(version: str) -> str:
    """A Python of this version, on the path or pyenv's; empty where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(f"python{version}") or "", *map(str, pyenv.glob(f"versions/{version}.*/bin/python"))]
    look = "import sys; print('%d.%d' % sys.version_info[:2])"
    return next((each for each in found if each and run(each, "-c", look).stdout.strip() == version), "")


def try_pair(folder: Path, wheel: str, airflow: str, python: str, *, quick: bool) -> Verdict:
    """Install a pair into an environment of its own, and test it."""
    began_s = time.monotonic()
    own = str(folder / "bin/python")
    exact = "apache-airflow>=3.3,<4" if airflow == "newest" else f"apache-airflow=={airflow}"
    day = AIRFLOWS.get(airflow, "")
    install = (UV, "pip", "install", "--python", own)
    # anyio's plugin wants an option of its own where pytest-asyncio is there; older Airflows have it.
    test = (own, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:anyio")
    steps = {
        "environment": (UV, "venv", "--quiet", "--python", interpreter(python), str(folder)),
        "Airflow": (*install, exact, *(("--exclude-newer", day) if day else ())),
        "the wheel": (*install, exact, wheel),
        "its DAG": (own, "-c", f"import os; os.chdir({str(folder)!r}); import {DAG}"),
        "what tests need": (*install, exact, "--group", "dev"),
        "unit tests": (*test, "-n", "2", "--dist", "loadfile", "tests/unit/airflow" if quick else "tests/unit"),
        "runs": (*test, RUN, *(("-k", "not twenty") if quick else ())),
        # Airflow 3.1.0 keeps its session in its page, where no plugin's app finds it.
        "the board": () if quick or airflow == "3.1.0" else (*test, *BOARD),
    }
    said = []
    for name, command in filter(lambda step: step[1], steps.items()):
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
