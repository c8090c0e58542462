"""Tools inside model calls: which a request offers, by the digest of their definitions, and which its answer calls.

Revision ID: 0030
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("calls", sa.Column("tools_digest", sa.Text(), nullable=True))
    op.add_column("calls", sa.Column("called", sa.Text(), nullable=True))
    op.create_table(
        "tool_sets",
        sa.Column("digest", sa.Text(), primary_key=True),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("names", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
    )
    op.create_index("tool_sets_at", "tool_sets", ["at_ns", "digest"])


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
