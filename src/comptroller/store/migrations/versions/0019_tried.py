"""Calls that were tried at several providers, one after the other.

Revision ID: 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("calls", sa.Column("tried", sa.LargeBinary()))


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
