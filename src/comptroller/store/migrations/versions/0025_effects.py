"""What controls did to a call short of refusing it.

Revision ID: 0025
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("calls", sa.Column("effects", sa.Text(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
