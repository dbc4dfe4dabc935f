"""Recipes that tests run: files of their own, beside README.md's."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
