"""What a shell is told when somebody presses Tab after ``likepion``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("likepion jour", ["journal"]),
        ("likepion journal sett", ["settle", "settling"]),
        ("likepion journal list --state ", ["prepared", "sending", "stored", "refused", "unknown"]),
    ],
)
def test_commands_options_and_states_are_completed(tmp_path: Path, typed: str, offered: list[str]) -> None:
    told = tmp_path / "told"
    # As the function does that register-python-argcomplete prints.
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(told),
        "COMP_LINE": typed,
        "COMP_POINT": str(len(typed)),
    }
    command = [sys.executable, "-m", "likepion_provider.cli"]
    subprocess.run(command, env=os.environ | asked, check=True, timeout=120)
    assert told.read_text(encoding="utf-8").split("\n") == offered
    assert list(tmp_path.iterdir()) == [told], "to ask makes nothing"
