"""Schema versions of the journal, applied by Alembic."""
