"""``likepion platforms new``: what it writes passes everything as it stands, and fails where a rule is broken."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from likepion_provider.testing import hostile, rules

#: A slip in the importer that was written, and the rule that it breaks.
SLIPS = {
    "collecting_changes_nothing": ("return Progress(ImportState.NEW)", "return await self.add(job)"),
    "names_refused_credentials": ("raise self.refused_login(job)", 'raise self.failed("said no")'),
    "reads_no_more_than_wanted": ("if enough(job, found):", "if not found:"),
    "shows_no_secret": (
        "raise self.refused_login(job)",
        "__import__('logging').getLogger('mine').info(job.credentials.app_password)",
    ),
    "resumes_without_reference": ("job.reference or await self._find(job)", "job.reference"),
}


def run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    here = {**os.environ, "AIRFLOW_HOME": str(folder / "airflow"), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-m", *map(str, command)]
    return subprocess.run(words, cwd=folder, env=here, capture_output=True, text=True, timeout=300, check=False)


def new(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run("likepion_provider.cli", "platforms", "new", *arguments, folder=folder)


def play(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The package's own tests, as a user runs them: with no plug-in but pytest's own."""
    return run("pytest", "-q", "-rf", "-p", "no:cacheprovider", "-p", "no:asyncio", *arguments, folder=package)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    done = new(tmp_path, "my_site", "--domain", "my-site.example")
    assert done.returncode == 0, done.stderr
    assert "cd likepion-my-site" in done.stdout
    return tmp_path / "likepion-my-site"


def test_the_guide_has_the_tests_that_are_written(package: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs/guides/add-a-platform.md").read_text(encoding="utf-8")
    (shown,) = [each.split("```")[0].strip() for each in guide.split("```python\n")[1:]]
    assert shown in (package / "tests/test_contract.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("domains", [(), ("my-site.example",), ("www.a.example", "b.example", "a.example")])
def test_what_is_written_passes_everything_as_it_stands(tmp_path: Path, domains: tuple[str, ...]) -> None:
    done = new(tmp_path, "my_site", "--folder", "mine", *(("--domain", *domains) if domains else ()))
    assert done.returncode == 0, done.stderr
    mine = tmp_path / "mine"
    for command in (("ruff", "check"), ("ruff", "format", "--check"), ("mypy", "--no-incremental")):
        checked = run(*command, folder=mine)
        assert checked.returncode == 0, checked.stdout
    played = play(mine)
    assert played.returncode == 0, played.stdout
    passed, skipped = re.findall(r"(\d+) (?:passed|skipped)", played.stdout)
    assert int(passed) + int(skipped) == len(rules.RULES) + len(hostile.RULES)
    assert int(skipped) == 4, "only what the switches of the server say"


@pytest.mark.parametrize("rule", SLIPS)
def test_a_rule_that_is_broken_is_red(package: Path, rule: str) -> None:
    path = package / "src" / "likepion_my_site" / "importer.py"
    before, after = SLIPS[rule]
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1
    path.write_text(text.replace(before, after), encoding="utf-8")
    played = play(package, "-k", rule)
    assert f"FAILED tests/test_contract.py::test_contract[{rule}]" in played.stdout, played.stdout


def test_what_is_written_is_found_by_its_entry_point(package: Path) -> None:
    info = package / "src" / "likepion_my_site-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: likepion-my-site\nVersion: 0.1.0\n")
    project = (package / "pyproject.toml").read_text(encoding="utf-8")
    (point,) = re.findall(r'^\[project\.entry-points\."(.+)"\]\n(\w+) = "(.+)"$', project, re.MULTILINE)
    (info / "entry_points.txt").write_text(f"[{point[0]}]\n{point[1]} = {point[2]}\n")
    command = (
        "import sys; sys.path.insert(0, 'src'); from likepion_provider.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    look = [sys.executable, "-c", command, "platforms", "check", "my-site.example"]
    done = subprocess.run(look, cwd=package, capture_output=True, text=True, timeout=60, check=False)
    assert "my-site.example is served by my_site (My site)" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("MySite",), "cannot be an importer's name"),
        (("class",), "cannot be an importer's name"),
        (("fyyd",), "an importer has the name fyyd already"),
        (("my_site", "--domain", "https://a.example"), "is no domain"),
        (("my_site", "--domain", "www.fyyd.de"), "fyyd.de is served by fyyd already"),
        (("my_site", "--folder", "."), "is there already"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = new(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [each.name for each in tmp_path.iterdir()] in ([], ["airflow"])
