"""The language that Airflow's configuration asks for."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import conf

from likepion_provider.words import ENGLISH, fitting


def configured_language() -> str:
    """``[likepion] language``; English where it is not set, or where there are no words in it."""
    return fitting([conf.get("likepion", "language", fallback=ENGLISH)])
