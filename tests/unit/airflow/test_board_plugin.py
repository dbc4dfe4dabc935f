"""The board as Airflow loads it, and the links from tasks into it."""

from __future__ import annotations

import pkgutil
import re
import runpy
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowPlugin

import likepion_provider
from likepion_provider import DAG_ID
from likepion_provider.board.plugin import LikepionBoardPlugin
from likepion_provider.operators.extra_links import LikepionBoardLink, LikepionFeedLink, LikepionShowLink

ROOT = Path(__file__).parents[3]
ENTRY_POINT = EntryPoint("likepion_board", "likepion_provider.board.plugin:LikepionBoardPlugin", "airflow.plugins")


def plugins_of_the_folder() -> list[Any]:
    names = runpy.run_path(str(ROOT / "plugins" / "likepion_board.py"))
    return [each for each in names.values() if isinstance(each, type) and issubclass(each, AirflowPlugin)]


@pytest.mark.parametrize(("installed", "plugins"), [([], [LikepionBoardPlugin]), ([ENTRY_POINT], [])])
def test_the_plugin_is_loaded_once(
    installed: list[EntryPoint], plugins: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: installed)
    assert plugins_of_the_folder() == plugins


def test_the_package_brings_the_plugin_by_its_entry_point() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (value,) = re.findall(r'\[project\.entry-points\."airflow\.plugins"\]\nlikepion_board = "(.*)"', text)
    assert value == ENTRY_POINT.value
    assert ENTRY_POINT.load() is LikepionBoardPlugin


def test_a_process_that_serves_no_page_does_not_import_the_web_app() -> None:
    code = (
        "import sys\n"
        "from airflow.providers.common.compat.sdk import AirflowPlugin, conf\n"
        # Airflow 3.1's own plugins module imports it.
        "before = 'fastapi' in sys.modules\n"
        "import likepion_provider.board.plugin\n"
        "assert 'likepion_provider.board.api' not in sys.modules\n"
        "assert ('fastapi' in sys.modules) is before\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=ROOT, timeout=240)


def test_every_extra_link_can_be_imported() -> None:
    names = likepion_provider.get_provider_info()["extra-links"]
    assert {pkgutil.resolve_name(name) for name in names} == {LikepionBoardLink, LikepionFeedLink, LikepionShowLink}


@pytest.mark.parametrize(
    ("dag_id", "map_index", "query"),
    [
        (DAG_ID, -1, "run_id=manual__1%2B00"),
        (DAG_ID, 3, "run_id=manual__1%2B00&map_index=3"),
        ("staging", 3, "dag_id=staging&run_id=manual__1%2B00&map_index=3"),
    ],
)
def test_the_link_into_the_board_names_the_dag_and_the_batch(dag_id: str, map_index: int, query: str) -> None:
    task = SimpleNamespace(dag_id=dag_id, run_id="manual__1+00", map_index=map_index)
    link = LikepionBoardLink().get_link(None, ti_key=task)  # type: ignore[arg-type]
    assert link == f"/plugin/likepion/likepion/?{query}"


def test_the_link_into_the_board_begins_with_the_path_that_airflow_is_served_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://a.example/airflow/")
    task = SimpleNamespace(dag_id=DAG_ID, run_id="r", map_index=-1)
    link = LikepionBoardLink().get_link(None, ti_key=task)  # type: ignore[arg-type]
    assert link == "/airflow/plugin/likepion/likepion/?run_id=r"


def test_a_task_that_saw_no_feed_has_no_link_to_it() -> None:
    key: Any = None
    assert LikepionFeedLink().get_link(SimpleNamespace(), ti_key=key) == ""
    assert LikepionFeedLink().get_link(SimpleNamespace(feed_urls=["https://a/…"]), ti_key=key) == "https://a/…"
    assert LikepionShowLink().get_link(SimpleNamespace(episode_urls=["https://b/1"]), ti_key=key) == "https://b/1"
