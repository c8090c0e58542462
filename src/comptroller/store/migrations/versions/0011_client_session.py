"""What the caller's program calls its session.

Revision ID: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("calls", sa.Column("client_session", sa.Text(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
