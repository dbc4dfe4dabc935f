"""Warm starts: the scheduler and the workers import once what every task would import again.

Put it on Airflow's ``PYTHONPATH``, e.g. into ``$AIRFLOW_HOME/config/``. Airflow imports it when a component starts, and
tasks are forked from there. Costs a component a few seconds of its start and about 60 MB that its tasks share.
"""

from __future__ import annotations

import importlib
import sys

#: Components that fork tasks; the others start quicker without.
FORKING = {"scheduler", "standalone", "celery", "triggerer", "dag-processor"}
WARM = (
    "airflow.sdk.execution_time.task_runner",
    "airflow.sdk.execution_time.supervisor",
    "likepion_provider.operators.likepion",
    "likepion_provider.operators.report",
    "likepion_provider.sensors.likepion",
    "likepion_provider.worker",
    "likepion_provider.platforms.http",
    "likepion_provider.feed.fetch",
    "feedparser",
    "pyotp",
    "aiohttp",
    "cryptography.fernet",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
)

if FORKING.intersection(sys.argv[1:3]):
    for name in WARM:
        importlib.import_module(name)
