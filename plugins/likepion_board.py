"""The board for deployments that load plugins from a folder; silent where the package's entry point brings it."""

from importlib.metadata import entry_points

if not any(each.value.startswith("likepion_provider.") for each in entry_points(group="airflow.plugins")):
    from likepion_provider.board.plugin import LikepionBoardPlugin as LikepionBoardPlugin
