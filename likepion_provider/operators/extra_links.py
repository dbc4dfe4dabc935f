"""Links from a task into the board, to its post's feed and to the platform's show; they are kept in XCom, in clear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from airflow.providers.common.compat.sdk import BaseOperatorLink, TaskInstanceKey, conf

from likepion_provider import DAG_ID

#: Airflow's own page around the board; the rest is the board's path inside of it.
BOARD_PAGE = "/plugin/likepion/likepion/"


def board_path(dag_id: str, run_id: str, map_index: int | None = None) -> str:
    """The board's path, filtered to what a run worked.

    :param map_index: of a mapped task: only its batch; None or -1 for all of the run.
    """
    # The board shows the manager of the DAG that comes with the package, unless another one is named.
    query: dict[str, Any] = {} if dag_id == DAG_ID else {"dag_id": dag_id}
    query["run_id"] = run_id
    if map_index is not None and map_index >= 0:
        query["map_index"] = map_index
    return f"{BOARD_PAGE}?{urlencode(query)}"


def board_url(dag_id: str, run_id: str) -> str:
    """The same as an address for a message; empty where ``[api] base_url`` does not say where Airflow is."""
    return _base_url() + board_path(dag_id, run_id) if _base_url() else ""


def _base_url() -> str:
    return str(conf.get("api", "base_url", fallback="") or "").rstrip("/")


class LikepionBoardLink(BaseOperatorLink):
    """The board, filtered to what this task worked."""

    name = "Board"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The run's accounts; a mapped task's are those of its batch. Below the path that Airflow is served at."""
        return urlsplit(_base_url()).path + board_path(ti_key.dag_id, ti_key.run_id, ti_key.map_index)


class LikepionFeedLink(BaseOperatorLink):
    """The feed of the batch's post, redacted."""

    name = "Feed"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The first feed that the task read; empty where it read none."""
        return _first(getattr(operator, "feed_urls", ()))


class LikepionShowLink(BaseOperatorLink):
    """An episode of the batch at its platform."""

    name = "Episode"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The first page that was found; empty where none was."""
        return _first(getattr(operator, "episode_urls", ()))


def _first(urls: Sequence[str]) -> str:
    return next(iter(urls), "")
