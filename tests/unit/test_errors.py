"""The tree of errors."""

from __future__ import annotations

import inspect
import pickle

import pytest

from likepion_provider import errors
from likepion_provider.errors import LikepionError

CLASSES = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, LikepionError)]
ARGUMENTS = {
    "Rejected": {"status": 400, "server_message": "no"},
    "NotAuthorised": {"status": 401},
    "FeedInvalid": {"url": "https://feeds.example", "where": "item 3"},
    "FeedLocked": {"url": "https://feeds.example"},
    "PlatformChanged": {"platform": "p", "url": "https://site.example", "field": "id"},
}


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    drawn = errors.__doc__.split("LikepionError\n", 1)[1].split("\n\n")[0] if errors.__doc__ else ""
    names = [line.split()[0] for line in drawn.splitlines() if line.strip()]
    assert sorted(names) == sorted(each.__name__ for each in CLASSES if each is not LikepionError)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_pickles_and_gives_one_line_of_advice(kind: type[LikepionError]) -> None:
    error = kind("something. ", **ARGUMENTS.get(kind.__name__, {}))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert vars(again) == vars(error)
    assert str(again) == str(error)
    assert "\n" not in error.advice
    assert error.advice.endswith((".", ")"))
    assert error.remedy
