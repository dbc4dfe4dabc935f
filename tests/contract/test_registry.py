"""Importers are found, by folder and by entry point, and trouble with one is its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from likepion_provider.errors import NoImporter
from likepion_provider.platforms import Job, Platform, Progress, Registry, registry
from tests.contract.test_entry_points import MODULE, install


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """What ``pip install`` leaves of a package of somebody's own."""
    install(tmp_path, "my_site", MODULE, "my_site:MySite")
    install(tmp_path, "broken", MODULE, "broken:Missing")
    return tmp_path


def likepion(package: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    import os

    here = {**os.environ, "AIRFLOW_HOME": str(package or "")} | ({"PYTHONPATH": str(package)} if package else {})
    command = [sys.executable, "-m", "likepion_provider.cli", *arguments]
    return subprocess.run(command, env=here, capture_output=True, text=True, timeout=60, check=False)


def test_a_package_of_ones_own_serves_its_domain_without_a_change_here(package: Path) -> None:
    done = likepion(package, "platforms", "check", "my-site.example")
    assert done.returncode == 0, done.stderr
    assert "my-site.example is served by my_site (My site)" in done.stdout
    done = likepion(package, "platforms", "list")
    assert done.returncode == 1
    assert "broken: broken: cannot be imported: AttributeError" in done.stderr
    assert "sandbox_site" in done.stdout, "the rest works"


def test_a_domain_that_nobody_serves_is_one_line_and_status_1(tmp_path: Path) -> None:
    done = likepion(tmp_path, "platforms", "check", "nobody.example")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("no importer")
    assert len(done.stderr.splitlines()) == 1


def make(name: str, *domains: str) -> type[Platform]:
    class Made(Platform):
        async def submit(self, job: Job) -> Progress:
            raise NotImplementedError

        async def collect(self, job: Job) -> Progress:
            raise NotImplementedError

    Made.name, Made.title, Made.domains = name, name, domains
    return Made


def test_two_claimants_of_a_domain_serve_it_neither_of_them() -> None:
    found = Registry()
    found.add("one", make("one", "shared.example", "one.example"))
    found.add("two", make("two", "SHARED.example"))
    with pytest.raises(NoImporter, match="claimed by one and two"):
        found.for_domain("shared.example")
    assert found.for_domain("one.example").name == "one"
    assert found.for_domain("shared.example", chosen="two").name == "two", "a connection may choose"
    assert dict(found.broken) == {"shared.example": "claimed by one and two"}


def test_a_name_is_taken_once_and_what_is_no_importer_is_named() -> None:
    found = Registry()
    found.add("one", make("one"))
    found.add("again", make("one"))
    found.add("nothing", int)  # type: ignore[arg-type]
    assert set(found.broken) == {"again", "nothing"}
    with pytest.raises(NoImporter, match="'gone', which is not installed"):
        found.for_domain("a.example", chosen="gone")


def test_every_importer_here_works_and_every_domain_has_one_owner() -> None:
    assert dict(registry().broken) == {}
    for platform in registry().platforms.values():
        for domain in platform.domains:
            assert registry().for_domain(domain) is platform
            assert registry().for_domain(f"www.{domain}") is platform
