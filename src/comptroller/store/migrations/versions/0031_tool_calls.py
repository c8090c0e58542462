"""Calls to tools: which one, what asked for it; and the bytes of their results in balances.

Revision ID: 0031
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("tool", "arguments_digest", "cause"):
        op.add_column("calls", sa.Column(name, sa.Text(), nullable=True))
    op.create_index("calls_tool", "calls", ["tool", "at_ns"], sqlite_where=sa.text("tool IS NOT NULL"))
    bytes_posted = sa.Column("result_bytes", sa.BigInteger(), nullable=False, server_default=sa.text("0"))
    op.add_column("balances", bytes_posted)


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
