"""The package as users get it: a wheel in an environment that has nothing of ours beside it but Airflow."""

from __future__ import annotations

import dataclasses
import hashlib
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


def build(folder: Path) -> Path:
    """Make wheel and sdist of the checkout in a folder."""
    built = tool(sys.executable, "-m", "build", "--installer", "uv", "--outdir", str(folder))
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    python = folder / "venv/bin/python"
    # With pip, which the guide calls.
    tool(UV, "venv", "--seed", "--python", sys.executable, str(folder / "venv"))
    reach = tool(UV, "pip", "install", "--python", str(python), "hatchling")
    if reach.returncode:
        pytest.skip(f"no package registry is in reach: {reach.stderr.strip().splitlines()[-1]}")
    (wheel,) = build(folder / "dist").glob("*.whl")
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


def test_a_second_build_is_the_same_to_the_byte(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digests(folder: Path) -> dict[str, str]:
        return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.iterdir()}

    first = digests(installed.wheel.parent)
    assert sorted(name.rsplit(".", 1)[1] for name in first) == ["gz", "whl"]
    assert digests(build(tmp_path / "again")) == first
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    one, other = digests(build(tmp_path / "one")), digests(build(tmp_path / "other"))
    assert one == other
    assert one != first


def test_the_readmes_way_to_install_it_as_it_stands_there(installed: Installed, tmp_path: Path) -> None:
    """README.md has the same block as docs/guides/install.md."""
    block, *_ = blocks("docs/guides/install.md", "bash")
    assert block in blocks("README.md", "bash")
    home = {"AIRFLOW_HOME": str(tmp_path), "API_KEY": "a$key", "PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
    database = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db"}
    installed.run("airflow", "db", "migrate", **home, **database)
    done = subprocess.run(
        ["bash", "-euc", block],
        env=installed.variables | home | database,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert (tmp_path / "dags/likepion_podcast_secondary.py").is_file()
    assert "likepion" in installed.run("airflow", "connections", "get", "likepion_default", **home, **database)


def test_the_guides_way_to_the_dag_of_a_wheel_leads_to_it(installed: Installed) -> None:
    words = re.search(r'cp "\$\(python -c \'(.+)\'\)"', (ROOT / "docs/guides/install.md").read_text(encoding="utf-8"))
    assert words
    folder = Path(installed.run("python", "-c", words[1]).strip())
    assert (folder / "likepion_podcast_secondary.py").is_file()


#: What people write beside the DAG of README.md; it has to be refused where it makes no sense.
MINE = """
from likepion_provider.dag import likepion_dag
from likepion_provider.hooks import LikepionHook
from likepion_provider.operators import ImportRssOperator
from likepion_provider.triggers import LinkRssTrigger

staging = likepion_dag("staging", likepion_conn_id="staging")
stored: list[bool | None] = [each.stored for each in LikepionHook("staging", once=True).insert_items([])[0]]
ImportRssOperator(task_id="one", batch={}, likepion_conn_id="staging", options={"max_failures": 5})
ImportRssOperator(task_id="two", batch={}, options={"max_failure": 5})
ImportRssOperator(task_id="three", batch={}, likepion_conn_id=3)
"""


def test_a_dag_of_ones_own_is_checked_against_the_types_of_the_wheel(installed: Installed, tmp_path: Path) -> None:
    def check(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        python = str(installed.binaries / "python")
        strict = (sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "--config-file", os.devnull)
        done = subprocess.run([*strict, name], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
        return done.stdout + done.stderr

    (dag,) = blocks("README.md", "python")
    assert "Success: no issues found" in check("readme.py", dag)
    lines = MINE.splitlines()
    wrong = [number for number, line in enumerate(lines, 1) if '"two"' in line or '"three"' in line]
    assert re.findall(r"^mine.py:(\d+): error", check("mine.py", MINE), re.MULTILINE) == [*map(str, wrong)]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [each.split("```")[0] for each in text.split(f"```{language}\n")[1:]]


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
