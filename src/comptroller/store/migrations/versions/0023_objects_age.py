"""Stored objects by their age, deleted ones too: what is of no use to anybody goes.

Revision ID: 0023
"""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("objects_age", "objects", ["created_at_ns", "id"])
    op.drop_index("objects_created", "objects")


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")
