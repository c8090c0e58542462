"""Calls and sums know what was posted for calls to tools, and sums which tool it was.

Revision ID: 0032
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("charge_tool_calls", "charge_result_bytes"):
        op.add_column("calls", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("spend_keys", sa.Column("tool", sa.Text(), nullable=False, server_default=sa.text("''")))
    for table in ("spend_recent", "spend_daily"):
        for name in ("posted_tool_calls", "posted_result_bytes"):
            op.add_column(table, sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
