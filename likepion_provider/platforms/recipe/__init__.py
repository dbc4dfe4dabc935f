"""Sites without code: a recipe is a YAML file that says how to sign in, submit a feed and list its episodes.

What it may hold is in ``shape.py``; docs/guides/recipes.md has a whole one. Needs the extra ``recipes``, with
``engine: browser`` also the extra ``browser`` and Chromium.
"""

from __future__ import annotations

from likepion_provider.platforms.recipe.file import BadRecipe, parse, read
from likepion_provider.platforms.recipe.run import ByRecipe, importer
from likepion_provider.platforms.recipe.shape import Recipe

__all__ = ["BadRecipe", "ByRecipe", "Recipe", "importer", "parse", "read"]
