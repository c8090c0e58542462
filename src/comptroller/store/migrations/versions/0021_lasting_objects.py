"""Objects that last: files and what else is listed.

Revision ID: 0021
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("objects", sa.Column("api", sa.Text(), nullable=False, server_default=sa.text("'openai'")))
    op.add_column("objects", sa.Column("size_bytes", sa.BigInteger(), nullable=True))
    op.add_column("objects", sa.Column("expires_at_ns", sa.BigInteger(), nullable=True))
    op.add_column("objects", sa.Column("told", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("objects", sa.Column("bounds", sa.Text(), nullable=False, server_default=sa.text("''")))


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
