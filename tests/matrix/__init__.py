"""The oldest and the newest Airflow on every Python that is installed: ``make matrix``."""
