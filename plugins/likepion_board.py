"""The board, for a deployment that loads plugins from a folder; where the package's entry point does, this is silent."""

from importlib.metadata import entry_points

if not any(each.value.startswith("likepion_provider.") for each in entry_points(group="airflow.plugins")):
    from likepion_provider.board.plugin import LikepionBoardPlugin as LikepionBoardPlugin
