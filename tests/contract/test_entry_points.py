"""Importers in packages of somebody else's: one that is broken is named, and the rest works."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from likepion_provider import platforms

MODULE = """
from likepion_provider.models import ImportState
from likepion_provider.platforms import Platform, Progress

class MySite(Platform):
    name = "my_site"
    title = "My site"
    domains = ("my-site.example",)
    base_url = "https://my-site.example"

    async def submit(self, job):
        return Progress(ImportState.SUBMITTED)

    async def collect(self, job):
        return Progress(ImportState.NEW)
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages of somebody else's."""
    monkeypatch.syspath_prepend(tmp_path)
    platforms.registry.cache_clear()
    before = set(sys.modules)
    yield tmp_path
    platforms.registry.cache_clear()
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def install(folder: Path, name: str, source: str, target: str) -> None:
    """What a package manager leaves behind of a little package with an entry point."""
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{platforms.ENTRY_POINTS}]\n{name} = {target}\n")
    importlib.invalidate_caches()


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("raise SystemError('bad day')", "bad_site:MySite", "SystemError: bad day"),
        ("import a_module_that_is_not_there", "bad_site:MySite", "ModuleNotFoundError"),
        ("", "bad_site:MySite", "AttributeError"),
        ("def (", "bad_site:MySite", "SyntaxError"),
        ("MySite = 5", "bad_site:MySite", "is not a complete Platform"),
    ],
)
def test_a_broken_package_is_named_and_the_rest_works(elsewhere: Path, source: str, target: str, reason: str) -> None:
    install(elsewhere, "bad_site", source, target)
    install(elsewhere, "my_site", MODULE, "my_site:MySite")
    found = platforms.registry()
    assert reason in found.broken["bad_site"]
    assert found.for_domain("my-site.example").name == "my_site"
    assert "sandbox_site" in found.platforms
