"""What every importer must do, and a server a platform that answers as the real one does."""

from __future__ import annotations

import importlib
from types import ModuleType


def module_of(name: str) -> ModuleType:
    """The server's module of an importer."""
    path = f"{__package__}.{name}"
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise AssertionError(f"the importer {name} has no server to be tested with: write {path}") from None
