"""Stored objects by their kind: a start reads the files and batches without looking through all responses.

Revision ID: 0024
"""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("objects_kind", "objects", ["kind", "created_at_ns", "id"])


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
