"""The first schema.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _journal_and_holds()
    _records()
    _control()


def downgrade() -> None:
    raise NotImplementedError("a store is not migrated back: restore the backup that was made before the migration")


def _journal_and_holds() -> None:
    op.create_table(
        "meta",
        _text("key"),
        _big("value"),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "journal",
        _integer("seq"),
        _big("at_ns"),
        _big("epoch"),
        _blob("body"),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "holds",
        _text("attempt_id"),
        _text("call_id"),
        _big("at_ns"),
        _blob("body"),
        sa.PrimaryKeyConstraint("attempt_id"),
    )
    op.create_table(
        "balances",
        _text("budget"),
        _text("instance"),
        _big("start_ns"),
        _big("usd"),
        _big("tokens"),
        _big("calls"),
        sa.PrimaryKeyConstraint("budget", "instance", "start_ns"),
        sqlite_with_rowid=False,
    )
    op.create_index("balances_start", "balances", ["start_ns"])


def _records() -> None:
    op.create_table(
        "calls",
        _text("id"),
        _big("at_ns"),
        _text("dialect"),
        _text("identity"),
        _text("kind"),
        _text("owner"),
        _text("team"),
        _text("environment"),
        _text("organization"),
        _text("session"),
        _text("chain"),
        _big("registry_version"),
        _text("model", nullable=True),
        _text("provider", nullable=True),
        _text("model_class", nullable=True),
        _text("price_version", nullable=True),
        _integer("stream"),
        _big("body_bytes"),
        _text("body_digest", nullable=True),
        _text("state"),
        _text("refusal_code", nullable=True),
        _text("refusal", nullable=True),
        _big("epoch", nullable=True),
        _integer("attempts"),
        _big("held_nanos", nullable=True),
        _big("held_tokens", nullable=True),
        _big("held_calls", nullable=True),
        _big("input_tokens_bound", nullable=True),
        _big("output_limit", nullable=True),
        _big("asked_output_limit", nullable=True),
        _big("choices", nullable=True),
        _big("factor_bp", nullable=True),
        _text("shadowed", nullable=True),
        _big("settled_at_ns", nullable=True),
        _text("outcome", nullable=True),
        _text("detail", nullable=True),
        _integer("status", nullable=True),
        _big("charge_nanos", nullable=True),
        _big("charge_tokens", nullable=True),
        _big("charge_calls", nullable=True),
        _big("input_tokens", nullable=True),
        _big("cached_tokens", nullable=True),
        _big("cache_write_tokens", nullable=True),
        _big("audio_input_tokens", nullable=True),
        _big("output_tokens", nullable=True),
        _big("reasoning_tokens", nullable=True),
        _big("audio_output_tokens", nullable=True),
        _text("served_model", nullable=True),
        _text("service_tier", nullable=True),
        _integer("priced", nullable=True),
        _integer("overrun", nullable=True),
        _big("first_byte_ns", nullable=True),
        _big("duration_ns", nullable=True),
        _blob("windows", nullable=True),
        _integer("corrected"),
        _big("original_charge_nanos", nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("calls_at", "calls", ["at_ns"])
    op.create_index("calls_identity_at", "calls", ["identity", "at_ns"])
    op.create_index("calls_refused", "calls", ["at_ns"], sqlite_where=sa.text("state = 'refused'"))
    op.create_index("calls_session", "calls", ["session"])
    op.create_index("calls_unusual", "calls", ["outcome", "at_ns"], sqlite_where=sa.text("outcome != 'completed'"))
    op.create_table(
        "findings",
        _integer("id"),
        _big("at_ns"),
        _text("code"),
        _text("call_id", nullable=True),
        _text("subject"),
        _text("sentence"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("findings_call", "findings", ["call_id"])
    op.create_table(
        "events",
        _integer("id"),
        _big("at_ns"),
        _text("actor"),
        _text("verb"),
        _text("noun"),
        _text("key"),
        _text("reason"),
        _text("before"),
        _text("after"),
        _big("version"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("events_noun_key", "events", ["noun", "key"])
    op.create_table(
        "bounds",
        _text("provider"),
        _text("model"),
        _text("dialect"),
        _big("overruns"),
        _big("factor_bp"),
        _integer("quarantined"),
        _big("last_overrun_ns"),
        sa.PrimaryKeyConstraint("provider", "model", "dialect"),
    )


def _control() -> None:
    op.create_table(
        "sessions",
        _text("id"),
        _text("identity"),
        _text("credential"),
        _big("opened_at_ns"),
        _big("expires_at_ns"),
        _text("minted_by"),
        _big("ended_at_ns", nullable=True),
        _text("ended_by", nullable=True),
        _text("ended_reason", nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("sessions_expires", "sessions", ["expires_at_ns"])
    op.create_index("sessions_identity", "sessions", ["identity", "opened_at_ns"])
    op.create_table(
        "registry_entries",
        _text("kind"),
        _text("key"),
        _text("body"),
        _integer("disabled"),
        _big("version"),
        sa.PrimaryKeyConstraint("kind", "key"),
    )
    op.create_table(
        "registry_versions",
        _integer("version"),
        _big("at_ns"),
        _text("actor"),
        _text("document"),
        sa.PrimaryKeyConstraint("version"),
    )


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _big(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _integer(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=nullable)


def _blob(name: str, *, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=nullable)
