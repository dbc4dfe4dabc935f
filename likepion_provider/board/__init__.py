"""The board: a page in Airflow's navigation that shows where every account stands and takes a person's answers."""

from __future__ import annotations

#: Where the web app is mounted; Airflow's own page around it is ``/plugin/likepion``.
URL_PREFIX = "/likepion"
