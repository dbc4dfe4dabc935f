"""The two READMEs say the same to a user's shell, and name every outcome."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from likepion_provider.models import Outcome

ROOT = Path(__file__).parents[2]
ENGLISH, VIETNAMESE = (ROOT / name for name in ("README.md", "README.vi.md"))
#: The sections that both have.
SECTIONS = {
    "Try it": "Chạy thử",
    "Use it": "Cài đặt và connection",
    "By group, by hand, by the clock": "Theo group, bằng tay, theo lịch",
}


def commands(readme: Path, section: str) -> list[str]:
    text = readme.read_text(encoding="utf-8").split(f"## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize(("english", "vietnamese"), SECTIONS.items())
def test_the_commands_are_the_same(english: str, vietnamese: str) -> None:
    assert commands(ENGLISH, english)
    assert commands(ENGLISH, english) == commands(VIETNAMESE, vietnamese)


@pytest.mark.parametrize("readme", [ENGLISH, VIETNAMESE], ids=["en", "vi"])
def test_every_outcome_is_explained(readme: Path) -> None:
    explained = set(re.findall(r"^\| `(\w+)` \|", readme.read_text(encoding="utf-8"), re.MULTILINE))
    # What a report never ends with: links that wait for insert_links.
    assert {outcome.value for outcome in Outcome if outcome is not Outcome.COLLECTED} <= explained
