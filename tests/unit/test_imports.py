"""What a DAG file pays for importing this package."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PRELUDE = """
import json, sys
import airflow.sdk
from airflow.sdk import BaseAsyncOperator, BaseOperator, BaseSensorOperator, Context, Param, dag, task_group
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException
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


@pytest.mark.parametrize(
    "module",
    [
        "likepion_provider.operators.likepion",
        "likepion_provider.operators.report",
        "likepion_provider.sensors.likepion",
    ],
)
def test_what_a_dag_imports_is_light(module: str) -> None:
    program = PRELUDE + f"import {module}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
    loaded = set(json.loads(answer.stdout.splitlines()[-1]))
    assert module in loaded
    assert loaded & HEAVY == set()
