"""Links from a task into the board, to its post's feed and to the platform's show; they are kept in XCom, in clear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from airflow.providers.common.compat.sdk import BaseOperatorLink, TaskInstanceKey

from likepion_provider import DAG_ID

#: Airflow's own page around the board; the rest is the board's path inside of it.
BOARD_PAGE = "/plugin/likepion/likepion/"


class LikepionBoardLink(BaseOperatorLink):
    """The board, filtered to what this task worked."""

    name = "Board"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """The run's accounts; a mapped task's are those of its batch."""
        # The board shows the manager of the DAG that comes with the package, unless another one is named.
        query: dict[str, Any] = {} if ti_key.dag_id == DAG_ID else {"dag_id": ti_key.dag_id}
        query["run_id"] = ti_key.run_id
        if (ti_key.map_index if ti_key.map_index is not None else -1) >= 0:
            query["map_index"] = ti_key.map_index
        return f"{BOARD_PAGE}?{urlencode(query)}"


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
