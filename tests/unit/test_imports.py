"""What a DAG file pays for importing this package."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PRELUDE = """
import json, sys
import airflow.sdk
from airflow.sdk import BaseOperator, BaseSensorOperator, Context, Param, dag, task_group
from airflow.providers.common.compat.sdk import conf
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.triggers.base import BaseTrigger
before = set(sys.modules)
"""
#: Needed only once something is sent, read or looked up.
HEAVY = {
    "aiohttp",
    "requests",
    "feedparser",
    "likepion_provider.feed",
    "alembic",
    "airflow.providers.http.hooks.http",
    "cryptography.fernet",
    "likepion_provider.platforms.importers.sandbox_site",
    "playwright",
    "psycopg",
    "pyotp",
    "sqlalchemy.dialects.postgresql.psycopg",
}


def added_by(module: str, prelude: str = PRELUDE) -> set[str]:
    """The modules that come with another one."""
    program = prelude + f"import {module}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
    return set(json.loads(answer.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "module",
    [
        "likepion_provider.operators.likepion",
        "likepion_provider.operators.report",
        "likepion_provider.sensors.likepion",
    ],
)
def test_what_a_dag_imports_is_light(module: str) -> None:
    loaded = added_by(module)
    assert module in loaded
    assert loaded & HEAVY == set()


def test_the_hook_adds_nothing_heavy_to_the_one_it_is_built_on() -> None:
    prelude = PRELUDE.replace("before =", "import airflow.providers.http.hooks.http\nbefore =")
    loaded = added_by("likepion_provider.hooks.likepion", prelude)
    assert "likepion_provider.steps.once" in loaded
    assert loaded & HEAVY == set()
