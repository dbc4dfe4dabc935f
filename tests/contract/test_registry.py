"""The registry: found by folder and by entry point; one owner a domain; what is broken is named and the rest works."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from likepion_provider import platforms
from likepion_provider.errors import NoImporter
from likepion_provider.models import ImportState
from likepion_provider.platforms import Job, Platform, Progress, Registry


class Good(Platform):
    name = "good"
    title = "Good"
    domains: ClassVar[tuple[str, ...]] = ("good.example",)

    async def submit(self, job: Job) -> Progress:
        return Progress(ImportState.SUBMITTED)

    async def collect(self, job: Job) -> Progress:
        return Progress(ImportState.NEW)


class Rival(Good):
    name = "rival"
    title = "Rival"


class Incomplete(Platform):
    name = "incomplete"
    title = "Incomplete"


def filled(*importers: type) -> Registry:
    registry = Registry()
    for each in importers:
        registry.add(each.__name__, each)
    return registry


def test_a_domain_finds_its_importer_however_it_is_written() -> None:
    registry = filled(Good)
    for domain in ("good.example", "GOOD.example", "www.good.example"):
        assert registry.for_domain(domain).name == "good"
    with pytest.raises(NoImporter, match="no importer serves the domain 'other.example'"):
        registry.for_domain("other.example")


def test_two_claimants_of_a_domain_are_both_refused_by_name_and_can_be_chosen() -> None:
    registry = filled(Good, Rival)
    with pytest.raises(NoImporter, match="claimed by good and rival"):
        registry.for_domain("good.example")
    assert registry.broken == {"good.example": "claimed by good and rival"}
    assert registry.for_domain("good.example", "rival").name == "rival"
    with pytest.raises(NoImporter, match="names 'gone', which is not installed"):
        registry.for_domain("good.example", "gone")


@pytest.mark.parametrize("importer", [Incomplete, int, Platform])
def test_what_is_no_importer_is_named_and_the_rest_works(importer: type) -> None:
    registry = filled(importer, Good)
    assert "is not a complete Platform" in registry.broken[importer.__name__]
    assert registry.for_domain("good.example").name == "good"


def test_a_name_is_taken_once() -> None:
    registry = filled(Good, type("Again", (Good,), {"domains": ("again.example",)}))
    assert registry.broken == {"Again": "its name 'good' is taken"}
    with pytest.raises(NoImporter):
        registry.for_domain("again.example")


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


def test_a_package_of_ones_own_serves_its_domain_without_a_change_here(elsewhere: Path) -> None:
    install(elsewhere, "my_site", MODULE, "my_site:MySite")
    found = platforms.registry()
    assert found.for_domain("my-site.example").title == "My site"
    assert not found.broken


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
