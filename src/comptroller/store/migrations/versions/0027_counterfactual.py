"""What a routed call would have cost on the model that it would have gone to, and finding routed calls.

Revision ID: 0027
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("calls", sa.Column("counterfactual_nanos", sa.BigInteger()))
    op.create_index("calls_routed", "calls", ["at_ns"], sqlite_where=sa.text("routed_by IS NOT NULL"))


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
