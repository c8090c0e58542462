"""What the policies said of a call.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("policy_version", "policies", "asked_model", "routed_by"):
        op.add_column("calls", sa.Column(name, sa.Text(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
