"""The board: a page in Airflow's navigation that shows where every account stands and takes a person's answers."""

from __future__ import annotations

#: The DAG whose readers may see the board and whose editors may settle unknown outcomes.
DAG_ID = "likepion_podcast_secondary"
#: Where the web app is mounted; Airflow's own page around it is ``/plugin/likepion``.
URL_PREFIX = "/likepion"
