"""The package as users get it: a wheel in an environment that has nothing of ours beside it but Airflow."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

import likepion_provider
from likepion_provider.cli.local import airflow_environment, free_port, sandbox_connections
from tests.integration.conftest import SandboxApi

pytestmark = pytest.mark.airflow

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).with_name("uv"))

#: Loads every entry point of the distribution, and asks Airflow for the form of the connection.
LOOK = """
from importlib.metadata import distribution
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
points = distribution("airflow-provider-likepion").entry_points
print("entry points", sorted(each.name for each in points if each.load()))
form = next(each for each in HookMetaService.hook_meta_data() if each.connection_type == "likepion")
print("form", sorted(form.extra_fields), form.standard_fields.password.title)
"""


@dataclasses.dataclass(frozen=True)
class Installed:
    """The wheel's environment."""

    wheel: Path
    binaries: Path
    variables: dict[str, str]

    def run(self, program: str, *arguments: str, **variables: str) -> str:
        done = subprocess.run(
            [str(self.binaries / program), *arguments],
            env=self.variables | variables,
            cwd=self.binaries,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    python = folder / "venv/bin/python"
    tool(UV, "venv", "--python", sys.executable, str(folder / "venv"))
    reach = tool(UV, "pip", "install", "--python", str(python), "hatchling")
    if reach.returncode:
        pytest.skip(f"no package registry is in reach: {reach.stderr.strip().splitlines()[-1]}")
    built = tool(sys.executable, "-m", "build", "--installer", "uv", "--outdir", str(folder / "dist"))
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    (wheel,) = (folder / "dist").glob("*.whl")
    same = f"apache-airflow=={version('apache-airflow')}"
    put = tool(
        UV, "pip", "install", "--python", str(python), "-c", str(ROOT / "constraints.txt"), f"{wheel}[testing]", same
    )
    assert put.returncode == 0, put.stderr
    (site,) = (folder / "venv/lib").glob("python3*/site-packages")
    dags = site / "likepion_provider/example_dags"
    variables = airflow_environment(folder / "home", dags, free_port())
    variables.pop("PYTHONPATH", None)
    variables["PATH"] = f"{python.parent}{os.pathsep}{variables['PATH']}"
    return Installed(wheel, python.parent, variables)


def test_twine_finds_nothing_wrong(installed: Installed) -> None:
    checked = tool(sys.executable, "-m", "twine", "check", "--strict", *map(str, installed.wheel.parent.iterdir()))
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("PASSED") == 2


def test_the_wheel_holds_the_package_and_the_dag_and_no_test(installed: Installed) -> None:
    names = tool(sys.executable, "-m", "zipfile", "-l", str(installed.wheel)).stdout
    assert "likepion_provider/example_dags/likepion_podcast_secondary.py" in names
    assert "likepion_provider/journal/migrations/versions/0001_first.py" in names
    assert "likepion_provider/cli/new_platform/package/pyproject.toml.template" in names
    assert "likepion_provider/py.typed" in names
    assert not any(line.startswith("tests/") for line in names.splitlines())


def test_the_readmes_way_to_the_dag_leads_to_it(installed: Installed) -> None:
    words = re.search(r'cp "\$\(python -c \'(.+)\'\)"', (ROOT / "README.md").read_text(encoding="utf-8"))
    assert words
    folder = Path(installed.run("python", "-c", words[1]).strip())
    assert (folder / "likepion_podcast_secondary.py").is_file()


def test_airflow_finds_everything_in_it(installed: Installed) -> None:
    info = installed.run("airflow", "providers", "get", "airflow-provider-likepion", "--output", "json")
    assert likepion_provider.__version__ in info
    assert "likepion_provider.hooks.likepion.LikepionHook" in installed.run("airflow", "providers", "hooks")
    assert "likepion_provider.triggers.likepion" in installed.run("airflow", "providers", "triggers")
    seen = installed.run("python", "-c", LOOK)
    assert "entry points ['likepion', 'likepion_board', 'provider_info']" in seen
    assert "form ['allow_private_feeds', 'timeout_s'] API key" in seen


def test_its_command_and_importers_are_there(installed: Installed) -> None:
    assert installed.run("likepion", "--version").strip() == likepion_provider.__version__
    files = {each.stem for each in (ROOT / "likepion_provider/platforms/importers").glob("*.py")}
    importers = files - {"__init__"}
    listed = {line.split()[0] for line in installed.run("likepion", "platforms", "list").splitlines()}
    assert listed == importers


def test_an_importer_of_ones_own_is_written_and_tested_with_it(installed: Installed, tmp_path: Path) -> None:
    package = tmp_path / "mine"
    installed.run("likepion", "platforms", "new", "my_site", "--domain", "my-site.example", "--folder", str(package))
    play = ("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(package), str(package))
    assert re.search(r"\d\d passed, 4 skipped", installed.run(*play))
    importer = package / "src/likepion_my_site/importer.py"
    importer.write_text(importer.read_text().replace("job.reference or await self._find(job)", "job.reference"))
    with pytest.raises(AssertionError, match=r"FAILED .*test_contract\[resumes_without_reference\]"):
        installed.run(*play)


def test_the_dag_in_it_runs(installed: Installed, sandbox: Callable[..., SandboxApi]) -> None:
    world = sandbox("--world", "built", "--accounts", "2", "--posts", "1", "--target", "2")
    installed.run("airflow", "db", "migrate")
    installed.run("airflow", "dags", "reserialize")
    installed.run("airflow", "dags", "test", "likepion_podcast_secondary", **sandbox_connections(world.addresses))
    rows = world.rows()
    assert sorted(rows["accounts"].values()) == [2, 2]
    assert rows["duplicates"] == []
