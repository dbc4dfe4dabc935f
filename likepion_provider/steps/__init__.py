"""The steps of a run in plain asyncio, without Airflow: the operators hand in what they know."""
