"""Old findings, and old calls whose charge was presumed, are found without looking through the others.

Revision ID: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("findings_at", "findings", ["at_ns"])
    op.create_index("calls_presumed", "calls", ["at_ns"], sqlite_where=sa.text("state = 'presumed'"))


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
