"""Warm starts: importing this imports once, before the fork, what every task would import again.

To be imported by ``airflow_local_settings.py``, e.g. in ``$AIRFLOW_HOME/config/``: Airflow reads that when a component
starts, and tasks are forked from there. Nothing here opens a connection or starts a thread, which would not survive it.
"""

from __future__ import annotations

import contextlib
import importlib
import sys

#: Components that fork tasks or DAG files; the others start quicker without.
FORKING = {"scheduler", "celery", "dag-processor"}
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
    "likepion_provider.operators.assist",
    "likepion_provider.operators.likepion",
    "likepion_provider.operators.report",
    "likepion_provider.sensors.likepion",
    "aiohttp",
    "cryptography.fernet",
    "cryptography.hazmat.primitives.kdf.hkdf",
    "jinja2.ext",
    "likepion_provider.web.fetch",
    "likepion_provider.feed.read",
    "packaging.requirements",
    "pyotp",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
)
#: What every task of a DAG file is compared with, to find the DAGs that it depends on.
WARM_FOR_DAG_FILES = (
    "airflow.providers.standard.operators.empty",
    "airflow.providers.standard.operators.trigger_dagrun",
    "airflow.providers.standard.sensors.external_task",
)


def preload(component: str) -> None:
    """Import all of it, and the importers.

    :param component: the subcommand of ``airflow`` that begins.
    """
    for name in (*WARM, *(WARM_FOR_DAG_FILES if component == "dag-processor" else ())):
        # What another version of Airflow does not have makes a task slower, not the scheduler fail.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with contextlib.suppress(ImportError):
        from likepion_provider.platforms import registry

        registry()


for component in FORKING.intersection(sys.argv[1:2]):
    preload(component)
