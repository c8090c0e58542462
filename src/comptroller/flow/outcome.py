"""How an attempt ended, in one word each. Records, documentation and tests share this list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Outcome = Literal[
    "completed",
    "provider_refused",
    "provider_error",
    "provider_unreachable",
    "provider_cut",
    "provider_timeout",
    "provider_malformed",
    "client_gone",
    "client_slow",
    "capped",
    "stopped",
    "drained",
    "ledger_unavailable",
    "fault",
    "crashed",
    "cancelled",
    "expired",
    "unseen",
]

OUTCOMES: Mapping[Outcome, str] = {
    "completed": "the provider answered to the end",
    "provider_refused": "the provider answered with an error before any output",
    "provider_error": "the provider failed, before or in the middle of its answer",
    "provider_unreachable": "no connection to the provider; nothing was sent",
    "provider_cut": "the provider broke the connection off",
    "provider_timeout": "the provider was silent for too long, or took too long altogether",
    "provider_malformed": "the provider's answer is not valid for its dialect",
    "client_gone": "the caller hung up",
    "client_slow": "the caller read too slowly and was cut off",
    "capped": "the budget had no more for it, so it was ended as at an output limit",
    "stopped": "somebody stopped it, or ended its session, while it was in flight",
    "drained": "the gateway shut down and could not wait any longer",
    "ledger_unavailable": "the hold could not be written to disk; nothing was sent",
    "fault": "an error in the gateway itself",
    "crashed": "the gateway died with the call in flight; found at the next start",
    "cancelled": "deferred work was cancelled at the provider",
    "expired": "the provider ran out of time for deferred work",
    "unseen": "the end of deferred work could not be seen in time",
}
