"""Alembic's entry: runs on the connection that the journal hands over."""

from __future__ import annotations

from alembic import context

from likepion_provider.journal.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="likepion_journal_version",
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
