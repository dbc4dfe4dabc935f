"""The DAG of the connection ``likepion_default``. What it does, and how to use it, is in Airflow with the DAG.

A second manager is one more such line, with a ``dag_id`` and a connection of its own:

    staging = likepion_dag("likepion_staging", likepion_conn_id="likepion_staging")
"""

from __future__ import annotations

# Airflow reads only files that have its name and "dag" in them.
from likepion_provider.dag import likepion_dag

secondary = likepion_dag()
