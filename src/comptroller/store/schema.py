"""The tables, as SQLAlchemy Core sees them. Every change here needs a migration (migrations/versions).

Instants are nanoseconds since the epoch; money is nano-USD; booleans are 0 and 1. All integers are 64-bit.
The journal is the truth until a batch is folded; then the other tables are, and the batch is gone.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text, text

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),  # epoch, folded_seq, last_ns, registry_version, gap_from_ns, gap_until_ns
    Column("value", BigInteger, nullable=False),
)

journal = Table(
    "journal",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),  # the greatest instant in the batch
    Column("epoch", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),  # MessagePack of a list of events
)

UNUSUAL = text("outcome != 'completed'")
REFUSED = text("state = 'refused'")
PRESUMED = text("state = 'presumed'")
LET_THROUGH = text("tool IS NOT NULL AND state != 'refused'")
"""Conditions of partial indexes of what is rare and asked for: SQLite uses them for a query with the same words."""

SPEND_DIMENSIONS = (
    "organization",
    "team",
    "owner",
    "environment",
    "kind",
    "identity",
    "provider",
    "model",
    "model_class",
    "above",
    "billed_team",
    "tool",
)
SPEND_SUMS = (
    "calls",  # that went past their hold and have ended
    "refused",
    "overruns",
    "input_tokens",
    "output_tokens",
    "charge_nanos",  # exact
    "presumed_nanos",  # posted without knowing what was billed; not part of charge_nanos
    "posted_tokens",  # as budgets in tokens and calls count them
    "posted_calls",
    "posted_tool_calls",
    "posted_result_bytes",
)

CALLED_BY = ("dialect", "identity", "kind", "owner", "team", "environment", "organization", "session")
METERS = (
    "input_tokens", "cached_tokens", "cache_write_tokens", "audio_input_tokens", "output_tokens", "reasoning_tokens",
    "audio_output_tokens",
)  # fmt: skip

calls = Table(
    "calls",  # what has ended: settled or refused. An open call stands in `holds` alone.
    metadata,
    Column("id", Text, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    *(Column(name, Text, nullable=False) for name in CALLED_BY),
    Column("chain", Text, nullable=False),  # JSON list
    Column("registry_version", BigInteger, nullable=False),
    Column("model", Text),
    Column("provider", Text),
    Column("model_class", Text),
    Column("price_version", Text),
    Column("stream", Integer, nullable=False),
    Column("body_bytes", BigInteger, nullable=False),
    Column("body_digest", Text),
    Column("state", Text, nullable=False),  # posted, presumed, voided, refused
    Column("refusal_code", Text),
    Column("refusal", Text),  # JSON
    Column("epoch", BigInteger),
    Column("attempts", Integer, nullable=False),
    Column("held_nanos", BigInteger),
    Column("held_tokens", BigInteger),
    Column("held_calls", BigInteger),
    Column("input_tokens_bound", BigInteger),
    Column("output_limit", BigInteger),
    Column("asked_output_limit", BigInteger),
    Column("choices", BigInteger),
    Column("factor_bp", BigInteger),
    Column("shadowed", Text),  # JSON list; NULL: none
    Column("settled_at_ns", BigInteger),
    Column("outcome", Text),
    Column("detail", Text),
    Column("status", Integer),
    Column("charge_nanos", BigInteger),
    Column("charge_tokens", BigInteger),
    Column("charge_calls", BigInteger),
    *(Column(name, BigInteger) for name in METERS),
    Column("served_model", Text),
    Column("service_tier", Text),
    Column("priced", Integer),
    Column("overrun", Integer),
    Column("first_byte_ns", BigInteger),
    Column("duration_ns", BigInteger),
    Column("windows", LargeBinary),  # MessagePack of the windows it was settled in, for corrections
    Column("corrected", Integer, nullable=False),
    Column("original_charge_nanos", BigInteger),  # before the first correction
    Column("policy_version", Text),
    Column("policies", Text),  # JSON list of the determining ones; NULL: none
    Column("asked_model", Text),  # where the call went to another one, `model`
    Column("routed_by", Text),  # what led it there
    Column("other_meters", Text),  # JSON object: usage that has no column of its own; NULL: none
    Column("client_address", Text),  # where the caller was, as far as it is known
    Column("client_session", Text),  # what the caller's program calls its session
    Column("above", Text),  # JSON list: the other identities of its chain, as they were registered; NULL: none
    Column("billed_team", Text),  # who pays; NULL: its own team
    Column("tried", LargeBinary),  # MessagePack of all attempts, where there were several (attempts.py)
    Column("effects", Text),  # JSON list of [kind, rule, detail]; NULL: none
    Column("counterfactual_nanos", BigInteger),  # of a routed call: its usage on the model it would have gone to
    Column("tools_digest", Text),  # of the definitions of tools in a model request: see `tool_sets`; NULL: none
    Column("called", Text),  # JSON list of [name, arguments digest]: the tools that the answer calls; NULL: none
    Column("tool", Text),  # by its full name; NULL: a call to a model
    Column("arguments_digest", Text),  # keyed
    Column("cause", Text),  # the call to a model whose answer asked for it
    Column("charge_tool_calls", BigInteger),
    Column("charge_result_bytes", BigInteger),
    Index("calls_at", "at_ns"),
    Index("calls_identity_at", "identity", "at_ns"),
    Index("calls_session", "session"),
    Index("calls_unusual", "outcome", "at_ns", sqlite_where=UNUSUAL),
    Index("calls_refused", "at_ns", sqlite_where=REFUSED),
    Index("calls_presumed", "at_ns", sqlite_where=PRESUMED),
    Index("calls_routed", "at_ns", sqlite_where=text("routed_by IS NOT NULL")),
    Index("calls_session_tool", "session", "tool", sqlite_where=LET_THROUGH),
    Index("calls_tool", "tool", "at_ns", sqlite_where=text("tool IS NOT NULL")),
)

holds = Table(
    "holds",  # the open ones only: small, so that a start reads it whole and never looks through `calls`
    metadata,
    Column("attempt_id", Text, primary_key=True),
    Column("call_id", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),  # MessagePack of its event, joined windows included
)

balances = Table(
    "balances",  # what is posted, in every unit: which one a budget counts is not the journal's to know
    metadata,
    Column("budget", Text, primary_key=True),
    Column("instance", Text, primary_key=True),
    Column("start_ns", BigInteger, primary_key=True),
    Column("usd", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("thinking_tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("tool_calls", BigInteger, nullable=False, server_default=text("0")),
    Column("result_bytes", BigInteger, nullable=False, server_default=text("0")),
    Index("balances_budget_start", "budget", "start_ns"),  # the current windows, however many came before
    sqlite_with_rowid=False,
)

spend_keys = Table(
    "spend_keys",  # whose spend: what a call is counted under, said once
    metadata,
    Column("id", LargeBinary, primary_key=True),  # a digest of the rest (rollups.py)
    *(Column(name, Text, nullable=False) for name in SPEND_DIMENSIONS[:-3]),  # '' for what a call does not have
    *(Column(name, Text, nullable=False, server_default=text("''")) for name in SPEND_DIMENSIONS[-3:]),
    sqlite_with_rowid=False,
)

spend_recent = Table(
    "spend_recent",  # what calls came to, by the quarter of an hour and the session in which they were made
    metadata,
    Column("start_ns", BigInteger, primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("session", Text, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in SPEND_SUMS[:-2]),
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in SPEND_SUMS[-2:]),
    sqlite_with_rowid=False,
)

spend_daily = Table(
    "spend_daily",  # the same by day in UTC, and without sessions: never pruned
    metadata,
    Column("start_ns", BigInteger, primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in SPEND_SUMS[:-2]),
    *(Column(name, BigInteger, nullable=False, server_default=text("0")) for name in SPEND_SUMS[-2:]),
    sqlite_with_rowid=False,
)

bounds = Table(
    "bounds",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("dialect", Text, primary_key=True),
    Column("overruns", BigInteger, nullable=False),
    Column("factor_bp", BigInteger, nullable=False),
    Column("quarantined", Integer, nullable=False),
    Column("last_overrun_ns", BigInteger, nullable=False),
)

findings = Table(
    "findings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("code", Text, nullable=False),
    Column("call_id", Text),
    Column("subject", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Index("findings_call", "call_id"),
    Index("findings_at", "at_ns"),
)

events = Table(
    "events",  # append-only: one row for every change that somebody made
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("noun", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("before", Text, nullable=False),  # JSON or empty
    Column("after", Text, nullable=False),  # JSON or empty
    Column("version", BigInteger, nullable=False),
    Index("events_noun_key", "noun", "key"),
    sqlite_autoincrement=True,
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("identity", Text, nullable=False),
    Column("credential", Text, nullable=False),
    Column("opened_at_ns", BigInteger, nullable=False),
    Column("expires_at_ns", BigInteger, nullable=False),
    Column("minted_by", Text, nullable=False),
    Column("ended_at_ns", BigInteger),
    Column("ended_by", Text),
    Column("ended_reason", Text),
    Column("parent", Text),
    Column("root", Text, nullable=False, server_default=text("''")),  # '': itself
    Column("depth", Integer, nullable=False, server_default=text("0")),
    Column("child", Text),  # the name of an ephemeral child
    Column("subject", Text),
    Column("tenant", Text),
    Column("task_type", Text),
    Column("task", Text),
    Column("workflow", Text),
    Column("profile", Text),
    Column("bounds", Text, nullable=False, server_default=text("'{}'")),  # JSON object; what it lacks is unbounded
    Column("models", Text),  # JSON list of patterns; NULL: all that its identity may use
    Column("tools", Text),  # the same
    Column("outcome", Text),
    Column("opened_with", Text),  # JSON list of ids of credentials
    Column("operators_only", Integer, nullable=False, server_default=text("0")),
    Column("reserved", Text),  # JSON object: what was set aside for it; NULL: nothing
    Index("sessions_root", "root", sqlite_where=text("root != ''")),
    Index("sessions_expires", "expires_at_ns"),
    Index("sessions_identity", "identity", "opened_at_ns"),
)

IN_FORCE = text("lifted_at_ns IS NULL")

stops = Table(
    "stops",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("value", Text, nullable=False),  # '' for everything
    Column("kind", Text, nullable=False),  # suspend, quarantine
    Column("at_ns", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("lifted_at_ns", BigInteger),  # NULL: in force
    Column("lifted_by", Text),
    Column("lifted_reason", Text),
    # One of a kind at a time, and what is in force is found among all that ever was.
    Index("stops_in_force", "scope", "value", unique=True, sqlite_where=IN_FORCE),
)

admins = Table(
    "admins",
    metadata,
    Column("name", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("digest", LargeBinary),  # of a credential of 256 random bits; NULL: it has none
    Column("issuer", Text),
    Column("subject", Text),
    Column("made_at_ns", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("issued_at_ns", BigInteger, nullable=False),
    Column("expires_at_ns", BigInteger),  # NULL: never
    Column("disabled_at_ns", BigInteger),
    Column("disabled_by", Text),
    Column("disabled_reason", Text),
)

secrets = Table(
    "secrets",  # of identities, to show at /oauth/token; few, and only their digests
    metadata,
    Column("id", Text, primary_key=True),
    Column("identity", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("created_at_ns", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at_ns", BigInteger, nullable=False),
    Column("revoked_at_ns", BigInteger),
    Column("revoked_by", Text),
    Column("revoked_reason", Text),
)

break_glass = Table(
    "break_glass",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("value", Text, nullable=False),  # '' for everything
    Column("limit_nanos", BigInteger, nullable=False),
    Column("lasts_s", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("asked_at_ns", BigInteger, nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("confirmed_at_ns", BigInteger),
    Column("confirmed_by", Text),
    Column("ends_at_ns", BigInteger),
    Column("ended_at_ns", BigInteger),  # on record: by somebody before its time, or by itself
    Column("ended_by", Text),
)

identity_requests = Table(
    "identity_requests",
    metadata,
    Column("id", Text, primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text),  # that is wished for
    Column("asked_at_ns", BigInteger, nullable=False),
    Column("decided_at_ns", BigInteger),  # NULL: it is open
    Column("decided_by", Text),
    Column("decided_reason", Text),
    Column("identity", Text),  # that it was approved as
    Column("team", Text),
    # One of a principal at a time; an id begins with its instant.
    Index("identity_requests_open", "issuer", "subject", unique=True, sqlite_where=text("decided_at_ns IS NULL")),
    Index("identity_requests_of", "issuer", "subject", "id"),
    Index("identity_requests_identity", "identity", sqlite_where=text("identity IS NOT NULL")),
)

registry_entries = Table(
    "registry_entries",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body", Text, nullable=False),  # JSON
    Column("disabled", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),  # of the registry, when the entry last changed
)

registry_versions = Table(
    "registry_versions",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("document", Text, nullable=False),  # JSON: what was applied, as it was given
)
