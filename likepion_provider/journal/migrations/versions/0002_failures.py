"""Reports to the manager that an account failed for good."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add their table."""
    op.create_table(
        "likepion_failure",
        sa.Column("request_id", sa.String(64), primary_key=True),
        sa.Column("account_id", sa.String(64), primary_key=True),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("send_id", sa.String(64), nullable=False, server_default=""),
        sa.Column("sent_at", _TIME),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
    )


def downgrade() -> None:
    """Refuse: see 0001.

    :raises NotImplementedError: always.
    """
    raise NotImplementedError("the journal is never dropped: it is what keeps a report from being sent twice")
