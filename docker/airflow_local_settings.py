"""Warm starts: the scheduler and the workers import once what every task would import again.

Put it on Airflow's ``PYTHONPATH``, e.g. into ``$AIRFLOW_HOME/config/``. Airflow imports it when a component starts, and
tasks are forked from there.
"""

from __future__ import annotations

import contextlib
import importlib
import sys

#: Components that fork tasks or DAG files; the others start quicker without.
FORKING = {"scheduler", "standalone", "celery", "dag-processor"}
WARM = (
    # What the runner of a task and a DAG file import of Airflow.
    "airflow.dag_processing.bundles.local",
    "airflow.sdk.definitions.connection",
    "airflow.sdk.definitions.decorators",
    "airflow.sdk.execution_time.cache",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.timetables.trigger",
    # What the steps import.
    "likepion_provider.operators.likepion",
    "likepion_provider.operators.report",
    "likepion_provider.sensors.likepion",
    "aiohttp",
    "cryptography.fernet",
    "cryptography.hazmat.primitives.kdf.hkdf",
    "feedparser",
    "likepion_provider.feed.fetch",
    "likepion_provider.feed.read",
    "packaging.requirements",
    "pyotp",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "xml.sax.expatreader",
)

if FORKING.intersection(sys.argv[1:2]):
    for name in WARM:
        # What another version of Airflow does not have makes a task slower, not the scheduler fail.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with contextlib.suppress(ImportError):
        from likepion_provider.platforms import registry

        registry()
