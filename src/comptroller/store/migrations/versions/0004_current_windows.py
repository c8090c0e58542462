"""The current windows of a budget are found without looking through the past ones.

Revision ID: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("balances_budget_start", "balances", ["budget", "start_ns"])
    op.drop_index("balances_start", "balances")


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
