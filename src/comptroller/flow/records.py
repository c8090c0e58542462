"""What the story writes down: one event per step that changes money or says no.

Events are appended to the journal in order and folded into tables behind the scenes. An attempt has
exactly one `Held` and, sooner or later, exactly one `Settled`, with any number of `Joined` and `Extended`, and at most
one `Deferred`, between them; a call without an attempt has one `Refused`.
Instants are nanoseconds since the epoch; amounts are nano-USD, tokens, calls.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from comptroller.core.approval.ticket import Ticket
from comptroller.core.budget.hold import Amounts, HoldEnd, WindowKey
from comptroller.core.effect import Effect
from comptroller.core.pricing.deferral import Deferral
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.core.tool.called import CalledTool
from comptroller.core.tool.pin import Pin
from comptroller.core.work.stored import StoredObject


class Registered(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An identity as the registry had it. '' is what nobody knows."""

    identity: str
    kind: str = ""
    owner: str = ""
    team: str = ""
    environment: str = ""


class CallFacts(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Who called for what, by signed facts and the registry as it was at that moment."""

    call_id: str
    at_ns: int
    dialect: str
    identity: str
    kind: str
    owner: str
    team: str
    environment: str
    organization: str
    session: str
    chain: tuple[str, ...]
    registry_version: int
    model: str | None = None  # that is called: as asked, unless a policy routed the call
    provider: str | None = None
    model_class: str | None = None
    price_version: str | None = None
    stream: bool = False
    body_bytes: int = 0
    body_digest: str | None = None  # keyed digest; the body itself is never stored
    policy_version: str | None = None
    policies: tuple[str, ...] = ()  # the policies that determined the decision
    asked_model: str | None = None  # as the caller named it, where the call went to `model`
    routed_by: str | None = None  # what led it there: a policy by its id, `route:NAME`, or `budget:NAME SHARE`
    client_address: str | None = None  # where the caller was, as far as it is known
    client_session: str | None = None  # what the caller's program calls its session; feeds no limit
    above: tuple[Registered, ...] = ()  # the other identities of the chain, each once
    billed_team: str | None = None  # who pays, where that is not `team`
    effects: tuple[Effect, ...] = ()  # what controls did to it short of refusing it
    tools_digest: str | None = None  # keyed, of the definitions of tools in a model request; see ToolsOffered
    tool: str | None = None  # that is called, by its full name; then there is no model
    arguments_digest: str | None = None  # keyed digest of what it is called with
    cause: str | None = None  # the call to a model whose answer asked for it


class Ruling(msgspec.Struct, frozen=True, gc=False):
    """What the policies said of a call, as far as records keep it."""

    policies: tuple[str, ...]  # determining ones
    routed_by: str | None = None


class Held(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="held"):
    """A hold was taken on every window named here. Nothing goes upstream before this is on disk."""

    attempt_id: str
    facts: CallFacts
    epoch: int
    amounts: Amounts
    windows: tuple[WindowKey, ...]
    input_tokens_bound: int
    output_limit: int  # per choice, as written into the request
    asked_output_limit: int | None
    choices: int
    factor_bp: int
    shadowed: tuple[str, ...] = ()  # shadow budgets that would have refused
    deferral: Deferral | None = None  # folded in from `Deferred`: what its charge waits for


class Settled(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="settled"):
    """A hold ended, once. `windows` are all that it was drawn on, joined ones included."""

    attempt_id: str
    call_id: str
    at_ns: int
    end: HoldEnd
    posted: Amounts
    windows: tuple[WindowKey, ...]
    outcome: str  # completed, client_gone, provider_refused, ... (flow/outcome.py)
    detail: str
    status: int | None  # what the provider answered
    usage: Usage | None
    served_model: str | None
    service_tier: str | None
    priced: bool  # False: no price was known and no money budget asked for one
    overrun: bool
    first_byte_ns: int | None  # after the hold
    duration_ns: int
    counterfactual_nanos: int | None = (
        None  # the same usage on the model that it would have gone to, had no rule led it
    )
    called: tuple[CalledTool, ...] = ()  # the tools that the model's answer calls


class Joined(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="joined"):
    """An open hold was drawn on windows of budgets that came after it."""

    attempt_id: str
    windows: tuple[WindowKey, ...]


class Extended(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="extended"):
    """An open hold holds so much more from here on, on all windows that it is drawn on; below zero: so much less.

    What a stream may go on with counts only once this is on disk. What it gives back is for others once this is queued:
    whatever they take is behind it.
    """

    attempt_id: str
    more: Amounts


class Deferred(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="deferred"):
    """The provider goes on after its answer: the hold stays open, over restarts too, until the end of that is seen.

    On disk before the caller learns what the work is called.
    """

    attempt_id: str
    deferral: Deferral


class Refused(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="refused"):
    """A call of a known identity that was refused before anything was held."""

    facts: CallFacts
    refusal: Refusal


class Corrected(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="corrected"):
    """An adjusting row: the charge of a settled call, all attempts together, is now `charge_nanos`."""

    call_id: str
    at_ns: int
    actor: str
    reason: str
    delta_nanos: int
    charge_nanos: int
    windows: tuple[WindowKey, ...]
    attempt: int | None = None  # whose charge it was, of several; they count from 1


class BoundChanged(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="bound"):
    """The standing of a (provider, model, dialect) changed: an overrun, or a person resumed it."""

    at_ns: int
    actor: str  # "gateway", or who resumed it
    reason: str
    provider: str
    model: str
    dialect: str
    overruns: int
    factor_bp: int
    quarantined: bool
    last_overrun_ns: int = 0


class Finding(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="finding"):
    """Something a person should look at, with its evidence."""

    at_ns: int
    code: str  # overrun, usage_missing, tier_unpriced, ...
    call_id: str | None
    subject: str
    sentence: str


class Change(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="change"):
    """Who changed what outside of calls: a mint, a stop, an apply. `before` and `after` are JSON or empty."""

    at_ns: int
    actor: str
    verb: str
    noun: str
    key: str
    reason: str = ""
    before: str = ""
    after: str = ""
    version: int = 0


class ObjectChanged(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="object"):
    """What is known of an object at a provider from here on: it was made, has its size, or is deleted."""

    at_ns: int
    object: StoredObject


class Noticed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="noticed"):
    """Something that people are to be told. It is delivered as these bytes, however often it is tried."""

    id: str
    at_ns: int
    name: str  # of its kind
    subject: str
    body: bytes
    receivers: tuple[str, ...]
    once: str = ""  # the key under which it is told only once
    until_ns: int | None = None  # when that key may be forgotten


class NoticeTried(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="notice_tried"):
    """What became of a notice at a receiver. `waiting`: it is tried again at `next_at_ns`."""

    id: str
    receiver: str
    at_ns: int
    state: Literal["delivered", "waiting", "failed"]
    tries: int = 0
    since_ns: int = 0  # from when it counts for how long it is tried
    next_at_ns: int = 0
    error: str = ""


class TicketChanged(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="ticket"):
    """A ticket as it stands from here on: a call has asked for an approval, or does not ask any more."""

    at_ns: int
    ticket: Ticket


class ToolsOffered(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="tools"):
    """The tools that requests offer under this digest of their definitions; said once, and then once a day."""

    at_ns: int
    digest: str
    names: tuple[str, ...]  # the first of them
    count: int  # of all


class PinChanged(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="pin"):
    """How a tool of an MCP server stands from here on: it was described otherwise, or somebody decided about that."""

    at_ns: int
    actor: str  # "gateway", or who decided
    pin: Pin
    text: str = ""  # of the definition that its server shows; '': it has a fault, or is on record


Event = (
    Held
    | Settled
    | Joined
    | Refused
    | Corrected
    | BoundChanged
    | Finding
    | Change
    | Extended
    | ObjectChanged
    | Deferred
    | Noticed
    | NoticeTried
    | TicketChanged
    | ToolsOffered
    | PinChanged
)
