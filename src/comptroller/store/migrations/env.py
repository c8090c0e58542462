"""What Alembic runs to migrate: on the connection that it is handed, in the transaction that is open there."""

from __future__ import annotations

from alembic import context

from comptroller.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
