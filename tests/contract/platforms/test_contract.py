"""Every rule of the contract, over every importer of the registry; and every rule has been red."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from _pytest.outcomes import Failed

from likepion_provider.errors import LikepionError
from likepion_provider.platforms import Platform, importers, registry
from likepion_provider.testing import rules
from tests.recipes import FOLDER

from . import module_of
from .broken import BROKEN, server_of

#: Importers that play another contract.
ELSEWHERE: frozenset[str] = frozenset()


def _name(value: object) -> str:
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize("rule", rules.RULES, ids=_name)
@pytest.mark.parametrize("name", sorted(registry(FOLDER).platforms.keys() - ELSEWHERE))
async def test_rule(name: str, rule: rules.Rule) -> None:
    await rule(registry(FOLDER).platforms[name], module_of(name))


def test_nothing_is_broken_or_contested() -> None:
    assert dict(registry(FOLDER).broken) == {}


@pytest.mark.parametrize("path", sorted(Path(importers.__path__[0]).glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_an_importer_needs_no_more_than_a_strangers_could(path: Path) -> None:
    imports = [each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.ImportFrom)]
    ours = {each.module for each in imports if each.module and each.module.startswith("likepion_provider")}
    public = {"errors", "models", "platforms"}
    assert ours <= {f"likepion_provider.{name}" for name in public}


@pytest.mark.parametrize(("rule", "broken"), BROKEN, ids=_name)
async def test_rule_catches(rule: rules.Rule, broken: type[Platform]) -> None:
    with pytest.raises((AssertionError, Failed, LikepionError)):
        await rule(broken(), server_of(broken))


def test_every_rule_has_been_red() -> None:
    assert {rule for rule, _ in BROKEN} == set(rules.RULES)
