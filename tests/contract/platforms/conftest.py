"""No test waits as long as an importer does for a site."""

from __future__ import annotations

import pytest

from likepion_provider.platforms.importers.gpodder import Gpodder


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gpodder, "first_look_s", (0.01, 0.01))
