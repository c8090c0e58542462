"""Refusals: every expected no, as a value with a stable code, one sentence and a way on.

The table below is the whole list; documentation and tests read it. Statuses are those of model routes
(DESIGN section 6): 402 is the one status at which real clients stop and show our text.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.core.allowance import Limit

RETRY_AFTER_MOST_S = 60
"""Clients wait no longer whatever they are told; beyond it the true time is `resets_at`."""


class Kind(msgspec.Struct, frozen=True):
    """What every refusal of one code has in common."""

    status: int
    title: str
    transient: bool = False  # waiting alone can mend it


REFUSALS: Mapping[str, Kind] = {
    # in order of precedence: the first that applies is the one a caller sees
    "route_unknown": Kind(404, "no such route on this gateway"),
    "method_not_allowed": Kind(405, "this route takes another method"),
    "upgrade_refused": Kind(426, "no WebSocket is opened here"),
    "credential_missing": Kind(401, "no credential in any slot"),
    "credential_invalid": Kind(401, "the credential is not one of ours, or two different ones were sent"),
    "credential_expired": Kind(401, "the credential is past its expiry"),
    "session_ended": Kind(402, "the session of this credential was ended, or has run for as long as it may"),
    "credential_suspended": Kind(402, "this credential is suspended"),
    "session_suspended": Kind(402, "the session, or one that started it, is suspended"),
    "identity_suspended": Kind(402, "the identity, its owner, its team, its subject or its tenant is suspended"),
    "gateway_suspended": Kind(402, "everything is suspended"),
    "identity_unknown": Kind(402, "the identity is not in the registry, or is disabled there"),
    "identity_expired": Kind(402, "the identity is past its expiry date and its grace"),
    "owner_missing": Kind(402, "nobody answers for this identity any more"),
    "body_too_large": Kind(413, "the request body is over the gateway's limit"),
    "body_timeout": Kind(408, "the request body did not arrive in time", transient=True),
    "gateway_busy": Kind(503, "the gateway holds as many request bodies as it may", transient=True),
    "request_invalid": Kind(400, "the request is not valid for this route"),
    "object_unknown": Kind(402, "the request names something stored at a provider that no record says is the caller's"),
    "object_not_found": Kind(404, "nothing of the caller's is stored under this id"),
    "object_busy": Kind(409, "the provider still works on what the request would delete", transient=True),
    "provider_ambiguous": Kind(400, "several providers could keep what this request makes, and it names none"),
    "unsupported": Kind(402, "this gateway does not carry what the request asks for"),
    "model_unknown": Kind(404, "no registry entry serves this model"),
    "model_forbidden": Kind(402, "the session of this credential, or one above it, may not use this model"),
    "model_suspended": Kind(402, "this model, or whatever would serve it, is suspended"),
    "server_unknown": Kind(404, "no MCP server of this name is set up here"),
    "tool_unknown": Kind(404, "no registry entry has this tool, or its server has never listed it"),
    "tool_forbidden": Kind(402, "a session of the chain may not use this tool, or may not offer it to a model"),
    "tool_changed": Kind(402, "the definition of this tool is not the one that was approved"),
    "arguments_forbidden": Kind(402, "the arguments of this tool call are not what a rule allows"),
    "result_too_large": Kind(402, "the result of this tool call has more bytes than its entry allows"),
    "provider_unavailable": Kind(402, "no provider serves this model for the caller's environment"),
    "upstream_unavailable": Kind(503, "nobody who serves this model has answered for a while", transient=True),
    "model_quarantined": Kind(402, "this model was billed above its bound repeatedly; a person must resume it"),
    "price_unknown": Kind(402, "a price that this request can lead to is missing"),
    "estimate_unbounded": Kind(402, "nothing bounds what this request may cost"),
    "policy_forbidden": Kind(402, "a policy forbids this call"),
    "no_permit": Kind(402, "no policy permits this call"),
    "approval_required": Kind(402, "a person has to approve this call"),
    "context_too_large": Kind(413, "the request has more input than a policy or a context cap allows"),
    "retry_limited": Kind(
        429, "too many of the caller's calls are retries after errors of the provider", transient=True
    ),
    "loop_detected": Kind(402, "the session takes the same step again and again"),
    "session_limit": Kind(402, "a bound of the session, or of one above it, has too little left for this request"),
    "budget_exhausted": Kind(402, "a budget has too little left for this request"),
    "rate_unsatisfiable": Kind(402, "the request is larger than a rate ever lets through at once"),
    "rate_limited": Kind(429, "a rate lets the request through later", transient=True),
    "ledger_unavailable": Kind(503, "the gateway cannot write its journal", transient=True),
    "draining": Kind(503, "the gateway is shutting down", transient=True),
    "provider_credential_rejected": Kind(503, "the provider refused the gateway's own credential"),
    "upstream_failed": Kind(502, "the provider could not be reached or broke off", transient=True),
    "upstream_timeout": Kind(504, "the provider did not answer in time", transient=True),
    "internal_error": Kind(500, "a fault of the gateway; the call was stopped and charged as presumed"),
}


class ApprovalAsked(msgspec.Struct, frozen=True, gc=False):
    """Who could turn a no into a yes, and where to see what became of that."""

    ticket: str
    role: str
    state: str
    poll: str  # the path of our caller API
    expires_at: str  # RFC 3339: until then the role may answer


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """One no. Amounts are filled in only where the caller may see them; `hint` says what to do."""

    code: str
    sentence: str
    hint: str
    limit: str | None = None  # the budget or bound that binds
    unit: str | None = None  # usd, tokens, calls, thinking_tokens or tool_calls; of a context cap also what it counts
    remaining: str | None = None  # in `unit`: decimal USD or a whole number
    needed: str | None = None
    resets_at: str | None = None  # RFC 3339
    retry_after_s: int | None = None
    largest_output_tokens: int | None = None  # what would fit now
    param: str | None = None  # the field of the request that is wrong
    policies: tuple[str, ...] | None = None  # the ids of the policies that say no
    approval: ApprovalAsked | None = None
    allowance: tuple[Limit, ...] | None = None  # what the caller may still do; in the answer, not on record

    @property
    def kind(self) -> Kind:
        return REFUSALS[self.code]

    @property
    def status(self) -> int:
        return self.kind.status

    @property
    def message(self) -> str:
        """What a person reads: the sentence, then what to do."""
        return f"{self.sentence} {self.hint}".strip()
