"""Which tools each session has used, without looking at its calls.

Revision ID: 0033
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    let_through = sa.text("tool IS NOT NULL AND state != 'refused'")
    op.create_index("calls_session_tool", "calls", ["session", "tool"], sqlite_where=let_through)


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
