"""Tickets that ask for an approval, and the grants that approvals give.

Revision ID: 0026
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tickets",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("open", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("tickets_open", "tickets", ["open", "id"])
    op.create_index("tickets_at", "tickets", ["at_ns", "id"])
    op.create_table(
        "grants",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("given_at_ns", sa.BigInteger(), nullable=False),
        sa.Column("over", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("grants_over", "grants", ["over", "id"])
    op.create_index("grants_at", "grants", ["given_at_ns", "id"])


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
