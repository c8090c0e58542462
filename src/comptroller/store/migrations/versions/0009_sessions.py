"""What a session is for, what bounds it, and whose child it is.

Revision ID: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for unit in ("thinking_tokens", "tool_calls"):
        op.add_column("balances", sa.Column(unit, sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.add_column("sessions", sa.Column("parent", sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("root", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("sessions", sa.Column("depth", sa.Integer(), nullable=False, server_default=sa.text("0")))
    for name in ("child", "subject", "tenant", "task_type", "task", "workflow", "profile"):
        op.add_column("sessions", sa.Column(name, sa.Text(), nullable=True))
    op.add_column("sessions", sa.Column("bounds", sa.Text(), nullable=False, server_default=sa.text("'{}'")))
    for name in ("models", "tools", "outcome"):
        op.add_column("sessions", sa.Column(name, sa.Text(), nullable=True))
    op.create_index("sessions_root", "sessions", ["root"], sqlite_where=sa.text("root != ''"))


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
