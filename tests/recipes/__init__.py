"""Recipes that tests run: files of their own, beside that of docs/guides/recipes.md."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
