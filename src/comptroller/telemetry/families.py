"""Every metric of ours: its name, its kind, its labels, and what it says. docs/observability.md is held against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True)
class Family:
    """One metric, by the name that it is asked for. Base units; a counter ends with `_total`."""

    name: str
    kind: Kind
    says: str
    labels: tuple[str, ...] = ()


_CALL = ("team", "environment", "provider", "model", "dialect")
_MODEL = ("provider", "model")

CALLS = Family(
    "comptroller_calls_total",
    "counter",
    "Attempts that took a hold, by how they ended and what became of the hold: one for each call, and its failovers.",
    (*_CALL, "outcome", "end"),
)
REFUSALS = Family(
    "comptroller_refusals_total",
    "counter",
    "Requests that were refused, by code: before anything was held, or before another attempt was.",
    ("team", "environment", "dialect", "code"),
)
TOKENS = Family(
    "comptroller_tokens_total",
    "counter",
    "Tokens by meter: input and output are totals and the others are parts of them; presumed is what nobody reported.",
    (*_CALL, "meter"),
)
CHARGE = Family(
    "comptroller_charge_usd_total",
    "counter",
    "What calls were charged when they were settled, presumed charges included; later corrections are not.",
    _CALL,
)
PRESUMED = Family(
    "comptroller_presumed_usd_total",
    "counter",
    "The part of the charge that was presumed, because nobody knows what was billed.",
    _CALL,
)
OVERRUNS = Family(
    "comptroller_overruns_total", "counter", "Calls that were billed above their hold: an upper bound was wrong.", _CALL
)
ANSWERS = Family(
    "comptroller_provider_answers_total",
    "counter",
    "Attempts by the class of the status that the provider answered with; none: it did not answer.",
    ("provider", "status"),
)
FAILOVERS = Family(
    "comptroller_failovers_total",
    "counter",
    "Attempts that came to nothing and were followed by another, by provider, the next one, and how they ended.",
    ("provider", "next", "outcome"),
)
ASIDE = Family(
    "comptroller_provider_aside",
    "gauge",
    "1 while calls go to other providers first, because this one failed or told us to wait; else 0.",
    ("provider",),
)
EFFECTS = Family(
    "comptroller_effects_total",
    "counter",
    "What controls did to calls short of refusing them, by what and by which rule; shadowed: would have refused.",
    ("kind", "rule"),
)
RATE_LEFT = Family(
    "comptroller_rate_remaining_ratio",
    "gauge",
    "What a rate would let through at this instant, as a share of its burst; of its instances the one with the least.",
    ("rate", "unit", "mode"),
)
WAITING = Family("comptroller_rate_waiting", "gauge", "Calls that wait for their turn, by the rate.", ("rate",))
ADMISSION = Family(
    "comptroller_admission_seconds",
    "histogram",
    "From the last byte of a request to its hold on disk: what the gateway adds before anything is sent.",
)
FIRST_BYTE = Family(
    "comptroller_provider_first_byte_seconds",
    "histogram",
    "From the hold on disk to the head of the provider's answer, connecting included.",
    _MODEL,
)
CALL = Family(
    "comptroller_call_seconds",
    "histogram",
    "From the last byte of a request to its settlement, for calls that took a hold.",
    _MODEL,
)
IN_FLIGHT = Family("comptroller_calls_in_flight", "gauge", "Calls between their hold and their settlement.", ("kind",))
HOLDS = Family("comptroller_holds_open", "gauge", "Holds that are open.")
HELD = Family("comptroller_held_usd", "gauge", "What open holds hold in all.")
REMAINING = Family(
    "comptroller_budget_remaining_ratio",
    "gauge",
    "What is left of a budget, held amounts taken off, as a share of its limit; of its windows the one with the least.",
    ("budget", "unit", "window", "mode"),
)
QUARANTINED = Family("comptroller_models_quarantined", "gauge", "Models that were stopped because of overruns.")
STOPS = Family("comptroller_stops", "gauge", "Stops in force, by what they stop.", ("scope",))
PENDING = Family(
    "comptroller_approvals_pending", "gauge", "Tickets that nobody has answered, by the role that is asked.", ("role",)
)
GRANTS = Family("comptroller_grants", "gauge", "Grants in force.")
QUEUED = Family("comptroller_journal_queued", "gauge", "Events and jobs that wait for the journal's writer.")
UNWRITTEN = Family(
    "comptroller_journal_unwritten", "gauge", "Settlements and other events that must reach the disk and have not yet."
)
UNFOLDED = Family("comptroller_journal_unfolded", "gauge", "Events on disk that the books do not show yet.")
DROPPED = Family(
    "comptroller_journal_dropped_total", "counter", "Records of refusals that were dropped, because too many waited."
)
EVENTS = Family("comptroller_journal_events_total", "counter", "Events written to the journal.")
WRITE = Family(
    "comptroller_journal_write_seconds", "histogram", "One batch of events written and made durable: a group commit."
)
STORE_OK = Family("comptroller_store_ok", "gauge", "1 if the last try to write to the store went well, else 0.")
READY = Family("comptroller_ready", "gauge", "1 if new calls are taken, else 0: what /readyz says.")
CONNECTIONS = Family(
    "comptroller_provider_connections", "gauge", "Connections to providers: in an exchange, or kept idle.", ("state",)
)
CONNECTS = Family("comptroller_provider_connects_total", "counter", "Connections to providers that were begun.")
LAG = Family(
    "comptroller_event_loop_lag_seconds",
    "histogram",
    "How late the event loop came to what was due, four times a second.",
)
LOG_LINES = Family("comptroller_log_events_total", "counter", "Log lines by event.", ("event",))
NOTICES = Family(
    "comptroller_notices_total",
    "counter",
    "Notices by receiver and what became of them: delivered, failed (given up), dropped (too many waited).",
    ("receiver", "outcome"),
)
NOTICES_WAITING = Family("comptroller_notices_waiting", "gauge", "Notices that wait for a receiver.", ("receiver",))
NOTICES_OLDEST = Family(
    "comptroller_notices_oldest_seconds",
    "gauge",
    "For how long the oldest notice has been waiting for a receiver; 0 if none waits.",
    ("receiver",),
)
NOTICES_DEAD = Family(
    "comptroller_notices_dead", "gauge", "Notices that were given up and not sent again since.", ("receiver",)
)
BUILD = Family("comptroller_build_info", "gauge", "The version of the program; always 1.", ("version",))
REGISTRY = Family("comptroller_registry_version", "gauge", "The version of the registry in force.")
INSTALLED = Family(
    "comptroller_registry_info",
    "gauge",
    "The policies and the price book in force, by their versions; always 1.",
    ("policies", "prices"),
)

FAMILIES = (
    CALLS, REFUSALS, TOKENS, CHARGE, PRESUMED, OVERRUNS, ANSWERS, FAILOVERS, EFFECTS,
    ADMISSION, FIRST_BYTE, CALL,
    IN_FLIGHT, HOLDS, HELD, REMAINING, RATE_LEFT, WAITING, QUARANTINED, STOPS, PENDING, GRANTS, ASIDE,
    QUEUED, UNWRITTEN, UNFOLDED, DROPPED, EVENTS, WRITE, STORE_OK,
    NOTICES, NOTICES_WAITING, NOTICES_OLDEST, NOTICES_DEAD,
    READY, CONNECTIONS, CONNECTS, LAG, LOG_LINES,
    BUILD, REGISTRY, INSTALLED,
)  # fmt: skip
