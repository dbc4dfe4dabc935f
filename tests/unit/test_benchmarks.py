"""Benchmarks are run by hand, so what would keep one from starting is looked for here."""

from __future__ import annotations

import importlib
import inspect

import pytest

from tests.benchmarks.__main__ import NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_can_be_started(name: str) -> None:
    main = importlib.import_module(f"tests.benchmarks.{name}").main
    assert inspect.signature(main).parameters["quick"].kind is inspect.Parameter.KEYWORD_ONLY
