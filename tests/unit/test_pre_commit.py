"""Git's hooks run what ``make check`` runs, part by part."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_every_part_of_the_check_is_a_hook() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    parts = re.search(r"^check:((?: check-\w+)+) ##", makefile, re.MULTILINE)
    assert parts
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == [f"make {part}" for part in parts[1].split()]
    assert [hook["id"] for hook in repository["hooks"]] == parts[1].split()
