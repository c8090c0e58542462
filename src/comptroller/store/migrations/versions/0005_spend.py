"""Sums that reports read, filled from the calls that are there.

Revision ID: 0005
"""

from __future__ import annotations

import sqlite3
from hashlib import blake2b
from typing import cast

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_DIMENSIONS = ("organization", "team", "owner", "environment", "kind", "identity", "provider", "model", "model_class")
_SUMS = (
    "calls",
    "refused",
    "overruns",
    "input_tokens",
    "output_tokens",
    "charge_nanos",
    "presumed_nanos",
    "posted_tokens",
    "posted_calls",
)

# Grouped by the names themselves first, so that a digest is made for each sum and not for each call.
_FILL_RECENT = """
    INSERT INTO spend_recent
    SELECT
        start_ns,
        spend_key(organization, team, owner, environment, kind, identity, provider, model, model_class),
        session, calls, refused, overruns, input_tokens, output_tokens, charge_nanos, presumed_nanos,
        posted_tokens, posted_calls
    FROM (
        SELECT
            at_ns / 900000000000 * 900000000000 AS start_ns,
            session, organization, team, owner, environment, kind, identity,
            coalesce(provider, '') AS provider,
            CASE WHEN coalesce(charge_nanos, 0) != 0 OR coalesce(charge_tokens, 0) != 0
                THEN coalesce(model, '') ELSE '' END AS model,
            coalesce(model_class, '') AS model_class,
            sum(state != 'refused') AS calls,
            sum(state = 'refused') AS refused,
            sum(coalesce(overrun, 0)) AS overruns,
            sum(coalesce(input_tokens, 0)) AS input_tokens,
            sum(coalesce(output_tokens, 0)) AS output_tokens,
            sum(coalesce(charge_nanos, 0) * (state != 'presumed' OR corrected > 0)) AS charge_nanos,
            sum(coalesce(charge_nanos, 0) * (state = 'presumed' AND corrected = 0)) AS presumed_nanos,
            sum(coalesce(charge_tokens, 0)) AS posted_tokens,
            sum(coalesce(charge_calls, 0)) AS posted_calls
        FROM calls
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
    )
"""
_FILL_DAILY = """
    INSERT INTO spend_daily
    SELECT
        start_ns / 86400000000000 * 86400000000000, "key", sum(calls), sum(refused), sum(overruns),
        sum(input_tokens), sum(output_tokens), sum(charge_nanos), sum(presumed_nanos),
        sum(posted_tokens), sum(posted_calls)
    FROM spend_recent
    GROUP BY 1, 2
"""
_FILL_KEYS = "INSERT INTO spend_keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def upgrade() -> None:
    _create()
    connection = cast("sqlite3.Connection", op.get_bind().connection.driver_connection)
    keys: dict[bytes, tuple[str, ...]] = {}

    def spend_key(*dimensions: str) -> bytes:
        # As store/rollups.py makes them, and written out here: what a migration did never changes.
        key = blake2b(msgspec.json.encode(dimensions), digest_size=16).digest()
        keys[key] = dimensions
        return key

    connection.create_function("spend_key", len(_DIMENSIONS), spend_key)
    op.execute(_FILL_RECENT)
    op.execute(_FILL_DAILY)
    connection.executemany(_FILL_KEYS, [(key, *names) for key, names in keys.items()])
    connection.create_function("spend_key", len(_DIMENSIONS), None)


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")


def _create() -> None:
    op.create_table(
        "spend_keys",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in _DIMENSIONS),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "spend_recent",
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _SUMS),
        sa.PrimaryKeyConstraint("start_ns", "key", "session"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "spend_daily",
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _SUMS),
        sa.PrimaryKeyConstraint("start_ns", "key"),
        sqlite_with_rowid=False,
    )
