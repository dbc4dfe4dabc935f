"""What a module may import, wherever in it the import stands."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow import __version__
from packaging.version import Version

ROOT = Path(__file__).parents[2]
INTERNALS = ROOT / "likepion_provider" / "hooks" / "internals.py"
COMPAT = INTERNALS.with_name("compat.py")
MODULES = sorted(path for folder in ("likepion_provider", "dags", "plugins") for path in (ROOT / folder).rglob("*.py"))

#: What Airflow promises to keep: the Task SDK, providers, and what triggers and plugins are made of.
PUBLIC = ("airflow.sdk", "airflow.providers", "airflow.triggers.base", "airflow.plugins_manager")
#: Rooms that talk to the manager, to strangers, or play both.
TALK_HTTP = ("web", "manager", "sandbox", "testing", "wire.py")


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """The modules that a file imports, with the name that it takes from each; inside functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((each.name, "") for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            yield from ((node.module or "", each.name) for each in node.names)


def is_public(module: str, name: str) -> bool:
    parts = [*module.split("."), *filter(None, [name])]
    below = any(module == each or module.startswith(f"{each}.") for each in PUBLIC)
    return below and not any(part.startswith("_") for part in parts)


INSIDE = sorted({each for each in imports(INTERNALS) if each[0].startswith("airflow") and not is_public(*each)})


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_airflows_inside_is_named_in_one_module(path: Path) -> None:
    named = {each for each in imports(path) if each[0].split(".")[0] == "airflow" and not is_public(*each)}
    assert path == INTERNALS or named == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_that_move_between_airflows_come_from_compat(path: Path) -> None:
    named = {module for module, _ in imports(path) if module == "airflow.sdk" or module.startswith("airflow.sdk.")}
    assert path in (INTERNALS, COMPAT) or named == set()


@pytest.mark.parametrize(("module", "name"), INSIDE)
def test_the_installed_airflow_has_every_name_of_its_inside(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


def test_the_masker_is_made_as_it_is_used() -> None:
    from airflow.sdk._shared.secrets_masker import _secrets_masker

    masker = _secrets_masker()
    assert isinstance(masker.patterns, set)
    assert all(callable(getattr(masker, each)) for each in ("_adaptations", "add_mask"))


@pytest.mark.skipif(
    Version(__version__) < Version("3.1.1"),
    reason="Airflow 3.1.0 has no such variable",
)
def test_airflow_still_reads_the_variable_that_names_the_servers_side() -> None:
    path = importlib.import_module("airflow.sdk.execution_time").__path__[0]
    assert any("_AIRFLOW_PROCESS_CONTEXT" in each.read_text(encoding="utf-8") for each in Path(path).rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_what_talks_http_imports_a_client_for_it(path: Path) -> None:
    room = path.relative_to(ROOT).parts[1]
    clients = {module for module, _ in imports(path) if module.split(".")[0] in ("aiohttp", "requests")}
    assert room in TALK_HTTP or clients == set()
