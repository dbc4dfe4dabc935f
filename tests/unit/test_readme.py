"""The English and the Vietnamese pages say the same to a user's shell, and the reference names all that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from likepion_provider import get_provider_info
from likepion_provider.dag import likepion_dag
from likepion_provider.models import Outcome
from likepion_provider.platforms import registry

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
#: A Vietnamese page, and the English ones that have its commands.
PAIRS = {
    DOCS / "vi" / "glossary.md": (DOCS / "glossary.md",),
    ROOT / "README.vi.md": [ROOT / "README.md"],
    DOCS / "vi/tutorial.md": [DOCS / "tutorial.md"],
    DOCS / "vi/install.md": [DOCS / "guides/install.md", DOCS / "guides/tuning.md"],
    DOCS / "vi/runs.md": [DOCS / "guides/runs.md"],
    DOCS / "vi/red.md": [DOCS / "guides/red.md"],
    DOCS / "vi/backup.md": [DOCS / "guides/backup.md"],
}
#: 8 KB each: what a stranger reads first.
FRONT_BYTES = 8192


def blocks(page: Path) -> list[str]:
    return re.findall(r"```(?:bash|python)\n.*?```", page.read_text(encoding="utf-8"), re.DOTALL)


def first_cells(page: str) -> set[str]:
    """What the tables of a page name in their first column."""
    rows = re.findall(r"^\|([^|]+)\|", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_vietnamese_page_has_a_counterpart() -> None:
    assert {*(DOCS / "vi").glob("*.md")} < PAIRS.keys()


@pytest.mark.parametrize("vietnamese", PAIRS, ids=lambda page: page.name)
def test_the_commands_are_the_same(vietnamese: Path) -> None:
    assert blocks(vietnamese) == [block for english in PAIRS[vietnamese] for block in blocks(english)]


def test_the_readmes_lead_to_the_same_pages() -> None:
    def led(page: str) -> set[str]:
        text = (ROOT / page).read_text(encoding="utf-8").replace("docs/vi/", "docs/guides/")
        return {*re.findall(r"\]\(([^):#]+)", text)} - {"README.md", "README.vi.md"}

    english = {each.replace("docs/tutorial.md", "docs/guides/tutorial.md") for each in led("README.md")}
    assert english == led("README.vi.md")


@pytest.mark.parametrize("page", ["README.md", "README.vi.md"])
def test_the_front_page_is_short(page: str) -> None:
    assert (ROOT / page).stat().st_size <= FRONT_BYTES


@pytest.mark.parametrize("page", ["guides/red.md", "vi/red.md"])
def test_every_outcome_is_explained(page: str) -> None:
    # What a report never ends with: links that wait for insert_links.
    assert {outcome.value for outcome in Outcome if outcome is not Outcome.COLLECTED} <= first_cells(page)


def test_every_parameter_of_a_run_is_explained() -> None:
    assert first_cells("reference/params.md") == {*likepion_dag("documented").params}


def test_every_option_is_explained() -> None:
    options = get_provider_info()["config"]["likepion"]["options"]
    assert {*options} <= first_cells("reference/configuration.md")
    rows = (DOCS / "reference/configuration.md").read_text(encoding="utf-8")
    for name, option in options.items():
        assert f"| `{name}` | " in rows
        if option["default"]:
            assert re.search(rf"^\| `{name}` \| `?{option['default']}`? \|", rows, re.MULTILINE), name


def test_every_metric_is_named() -> None:
    page = " ".join((DOCS / "reference/metrics.md").read_text(encoding="utf-8").split())
    code = (ROOT / "likepion_provider/hooks/metrics.py").read_text(encoding="utf-8")
    names = {*re.findall(r'"likepion\.(\w+\.\w+)"', code), "accounts.imported", "accounts.inserted"}
    assert {name for name in names if f".{name.split('.')[1]}`" not in page} == set()


def test_every_importer_is_in_the_table() -> None:
    assert {*registry().platforms} <= first_cells("reference/platforms.md")
