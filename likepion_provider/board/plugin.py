"""The board as an Airflow plugin; by the entry point ``airflow.plugins``, or by a file in the plugins folder."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowPlugin, conf

from likepion_provider.board import URL_PREFIX


class LazyApp:
    """The web app, imported by its first request: plugins load in every process of Airflow, this runs in one."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request (ASGI)."""
        if self._app is None:
            from likepion_provider.board.api import create_app

            self._app = create_app()
        await self._app(scope, receive, send)


def _below(prefix: str) -> str:
    """The board's path where Airflow itself is served below one."""
    base_url: str = conf.get("api", "base_url", fallback="")
    return urlsplit(base_url).path.rstrip("/") + prefix


class LikepionBoardPlugin(AirflowPlugin):
    """A page in the navigation, and what serves it."""

    name = "likepion_board"
    fastapi_apps = [{"app": LazyApp(), "url_prefix": URL_PREFIX, "name": "Likepion board"}]
    external_views = [
        {
            "name": "Likepion",
            "href": _below(f"{URL_PREFIX}/"),
            "destination": "nav",
            "url_route": "likepion",
            "nav_top_level": True,
        }
    ]
