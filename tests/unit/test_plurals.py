"""Numbers with their nouns."""

from __future__ import annotations

import pytest

from likepion_provider.plurals import counted


@pytest.mark.parametrize(
    ("number", "nouns", "words"),
    [
        (0, ("account",), "0 accounts"),
        (1, ("account",), "1 account"),
        (2, ("account",), "2 accounts"),
        (1, ("batch", "batches"), "1 batch"),
        (3, ("batch", "batches"), "3 batches"),
    ],
)
def test_one_is_told_from_several(number: int, nouns: tuple[str, ...], words: str) -> None:
    assert counted(number, *nouns) == words
