"""What holds for every test."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from likepion_provider.masking import known


@pytest.fixture(autouse=True)
def _no_secret_is_known() -> Iterator[None]:
    """Those of one test would be masked in the words of the next."""
    known.clear()
    yield
    known.clear()


@pytest.fixture
def own_heap() -> Iterator[None]:
    """Whose CPU is measured has the collector go through its own objects, not all that thousands of tests have left."""
    gc.freeze()
    yield
    gc.unfreeze()
