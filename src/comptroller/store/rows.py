"""The row of a call, and how events become one.

`CallRow` has the columns of its table in their order (schema.py; a test compares them). Values are as the
database keeps them: lists as JSON, windows as MessagePack.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Literal

import msgspec
from msgspec.structs import astuple

from comptroller.core.budget.hold import Amounts, HoldEnd, WindowKey
from comptroller.core.pricing.usage import COUNTS, Usage
from comptroller.core.refusal import Refusal
from comptroller.flow.records import CallFacts, Corrected, Held, Settled
from comptroller.store import attempts
from comptroller.store.attempts import Attempt
from comptroller.store.called import pack_called
from comptroller.store.packed import pack_above, pack_effects

CallState = Literal["open", "posted", "presumed", "voided", "refused"]
"""`open` is never stored: it is how a call reads while a hold of it stands in `holds`."""

NUMBER_MOST = 2**62 - 1
"""The largest number kept. Two of them add up without leaving 64 bits; beyond those SQL counts in floats."""


class CallRow(msgspec.Struct, gc=False):
    """One call: its facts, its latest attempt, and the sum of what all of its attempts cost.

    `state` is that of all of them: presumed if a part of the charge is. `tried`: each of several (attempts.py).
    """

    id: str
    at_ns: int
    dialect: str
    identity: str
    kind: str
    owner: str
    team: str
    environment: str
    organization: str
    session: str
    chain: str
    registry_version: int
    model: str | None
    provider: str | None
    model_class: str | None
    price_version: str | None
    stream: bool
    body_bytes: int
    body_digest: str | None
    state: CallState
    refusal_code: str | None = None
    refusal: str | None = None
    epoch: int | None = None
    attempts: int = 0
    held_nanos: int | None = None
    held_tokens: int | None = None
    held_calls: int | None = None
    input_tokens_bound: int | None = None
    output_limit: int | None = None
    asked_output_limit: int | None = None
    choices: int | None = None
    factor_bp: int | None = None
    shadowed: str | None = None
    settled_at_ns: int | None = None
    outcome: str | None = None
    detail: str | None = None
    status: int | None = None
    charge_nanos: int | None = None
    charge_tokens: int | None = None
    charge_calls: int | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_output_tokens: int | None = None
    served_model: str | None = None
    service_tier: str | None = None
    priced: bool | None = None
    overrun: bool | None = None
    first_byte_ns: int | None = None
    duration_ns: int | None = None
    windows: bytes | None = None
    corrected: int = 0
    original_charge_nanos: int | None = None
    policy_version: str | None = None
    policies: str | None = None
    asked_model: str | None = None
    routed_by: str | None = None
    other_meters: str | None = None
    client_address: str | None = None
    client_session: str | None = None
    above: str | None = None
    billed_team: str | None = None
    tried: bytes | None = None
    effects: str | None = None
    counterfactual_nanos: int | None = None
    tools_digest: str | None = None
    called: str | None = None
    tool: str | None = None
    arguments_digest: str | None = None
    cause: str | None = None
    charge_tool_calls: int | None = None
    charge_result_bytes: int | None = None


# Rare ones share a column.
_OTHER_METERS = tuple(name for name in COUNTS if name not in CallRow.__struct_fields__)

_counts: Callable[[Usage], tuple[int, ...]] = attrgetter(*COUNTS)
_other_counts: Callable[[Usage], tuple[int, ...]] = attrgetter(*_OTHER_METERS)
_windows = msgspec.msgpack.Decoder(tuple[WindowKey, ...])
_names = msgspec.json.Decoder(tuple[str, ...])
_meters = msgspec.json.Decoder(dict[str, int])


def pack_windows(windows: tuple[WindowKey, ...]) -> bytes:
    return msgspec.msgpack.encode(windows)


def unpack_windows(packed: bytes | None) -> tuple[WindowKey, ...]:
    return () if packed is None else _windows.decode(packed)


def pack_names(names: tuple[str, ...]) -> str:
    return msgspec.json.encode(names).decode()


def unpack_names(packed: str | None) -> tuple[str, ...]:
    return () if packed is None else _names.decode(packed)


def unpack_meters(packed: str | None) -> dict[str, int]:
    return {} if packed is None else _meters.decode(packed)


def fit(number: int) -> int:
    """The number, or the nearest that the tables can keep and add up."""
    return max(-NUMBER_MOST, min(NUMBER_MOST, number))


def fit_amounts(amounts: Amounts) -> Amounts:
    return Amounts(*map(fit, astuple(amounts)))


def fit_held(event: Held) -> Held:
    """The event with numbers that the tables can keep: nearly always itself."""
    amounts, asked = event.amounts, event.asked_output_limit
    bounds = (event.input_tokens_bound, event.output_limit, asked or 0, event.choices, event.factor_bp)
    if max(*astuple(amounts), *bounds) <= NUMBER_MOST:
        return event
    return msgspec.structs.replace(
        event,
        amounts=fit_amounts(amounts),
        input_tokens_bound=fit(event.input_tokens_bound),
        output_limit=fit(event.output_limit),
        asked_output_limit=None if asked is None else fit(asked),
        choices=fit(event.choices),
        factor_bp=fit(event.factor_bp),
    )


def fit_settled(event: Settled) -> Settled:
    """The event with numbers that the tables can keep: a provider may report any number."""
    posted, usage = event.posted, event.usage
    counted = (0,) if usage is None else _counts(usage)
    instead = event.counterfactual_nanos
    numbers = (*astuple(posted), event.status or 0, instead or 0, *counted)
    if max(numbers) <= NUMBER_MOST and min(numbers) >= -NUMBER_MOST:
        return event
    return msgspec.structs.replace(
        event,
        posted=fit_amounts(posted),
        status=None if event.status is None else fit(event.status),
        usage=None if usage is None else _fit_usage(usage),
        counterfactual_nanos=None if instead is None else fit(instead),
    )


def called(facts: CallFacts, state: CallState) -> CallRow:
    """The row of a call of which nothing but the facts is known."""
    return CallRow(
        id=facts.call_id,
        at_ns=facts.at_ns,
        dialect=facts.dialect,
        identity=facts.identity,
        kind=facts.kind,
        owner=facts.owner,
        team=facts.team,
        environment=facts.environment,
        organization=facts.organization,
        session=facts.session,
        chain=pack_names(facts.chain),
        registry_version=facts.registry_version,
        model=facts.model,
        provider=facts.provider,
        model_class=facts.model_class,
        price_version=facts.price_version,
        stream=facts.stream,
        body_bytes=facts.body_bytes,
        body_digest=facts.body_digest,
        state=state,
        policy_version=facts.policy_version,
        policies=pack_names(facts.policies) if facts.policies else None,
        asked_model=facts.asked_model,
        routed_by=facts.routed_by,
        client_address=facts.client_address,
        client_session=facts.client_session,
        above=pack_above(facts.above),
        billed_team=facts.billed_team,
        effects=pack_effects(facts.effects),
        tools_digest=facts.tools_digest,
        tool=facts.tool,
        arguments_digest=facts.arguments_digest,
        cause=facts.cause,
    )


def hold(row: CallRow, event: Held) -> None:
    """One more attempt of the call took its hold. What earlier attempts cost stays."""
    facts, amounts = event.facts, event.amounts
    if row.tried is None and row.settled_at_ns is not None:
        row.tried = attempts.pack([_only_attempt(row)])
    row.state = "open"
    row.epoch = event.epoch
    row.attempts += 1
    row.model, row.provider, row.model_class = facts.model, facts.provider, facts.model_class
    row.price_version = facts.price_version
    row.policy_version, row.asked_model, row.routed_by = facts.policy_version, facts.asked_model, facts.routed_by
    row.policies = pack_names(facts.policies) if facts.policies else None
    row.effects, row.tools_digest = pack_effects(facts.effects), facts.tools_digest
    row.held_nanos, row.held_tokens, row.held_calls = amounts.usd, amounts.tokens, amounts.calls
    row.input_tokens_bound = event.input_tokens_bound
    row.output_limit = event.output_limit
    row.asked_output_limit = event.asked_output_limit
    row.choices = event.choices
    row.factor_bp = event.factor_bp
    row.shadowed = pack_names(event.shadowed) if event.shadowed else row.shadowed


def refuse(row: CallRow, refusal: Refusal) -> None:
    """The call was refused. If attempts of it were held before, their money stays."""
    row.refusal_code = refusal.code
    row.refusal = msgspec.json.encode(refusal).decode()


def settle(row: CallRow, event: Settled, windows: bytes) -> None:
    """The call's attempt ended. `windows`: the event's, packed."""
    row.windows = _settled_in(row, event, windows)
    row.state = event.end
    if row.tried is not None:
        tried = (*attempts.unpack(row.tried), _attempt(row, event, windows))
        row.tried, row.state = attempts.pack(tried), attempts.end_of(tried)
    row.settled_at_ns = event.at_ns
    row.outcome, row.detail, row.status = event.outcome, event.detail, event.status
    row.charge_nanos = _plus(row.charge_nanos, event.posted.usd)
    row.charge_tokens = _plus(row.charge_tokens, event.posted.tokens)
    row.charge_calls = _plus(row.charge_calls, event.posted.calls)
    row.charge_tool_calls = _plus(row.charge_tool_calls, event.posted.tool_calls)
    row.charge_result_bytes = _plus(row.charge_result_bytes, event.posted.result_bytes)
    row.served_model = event.served_model
    row.service_tier = event.service_tier
    row.priced = event.priced
    row.overrun = event.overrun or bool(row.overrun)
    row.first_byte_ns = event.first_byte_ns
    row.duration_ns = event.duration_ns
    row.called = pack_called(event.called)
    if event.counterfactual_nanos is not None:
        row.counterfactual_nanos = _plus(row.counterfactual_nanos, event.counterfactual_nanos)
    _count_usage(row, event)


def ended(held: Held, event: Settled, windows: bytes) -> CallRow:
    """The row of a call with one attempt: as `called`, `hold` and `settle` make it, at a third of their cost.

    Nearly every call is one; a test holds the two ways against each other.
    """
    facts, amounts, posted, usage = held.facts, held.amounts, event.posted, event.usage
    row = CallRow(
        facts.call_id, facts.at_ns, facts.dialect, facts.identity, facts.kind, facts.owner, facts.team,
        facts.environment, facts.organization, facts.session, pack_names(facts.chain), facts.registry_version,
        facts.model, facts.provider, facts.model_class, facts.price_version, facts.stream, facts.body_bytes,
        facts.body_digest, event.end,
        epoch=held.epoch, attempts=1, held_nanos=amounts.usd, held_tokens=amounts.tokens, held_calls=amounts.calls,
        input_tokens_bound=held.input_tokens_bound, output_limit=held.output_limit,
        asked_output_limit=held.asked_output_limit, choices=held.choices, factor_bp=held.factor_bp,
        shadowed=pack_names(held.shadowed) if held.shadowed else None,
        settled_at_ns=event.at_ns, outcome=event.outcome, detail=event.detail, status=event.status,
        charge_nanos=posted.usd, charge_tokens=posted.tokens, charge_calls=posted.calls,
        served_model=event.served_model, service_tier=event.service_tier, priced=event.priced, overrun=event.overrun,
        first_byte_ns=event.first_byte_ns, duration_ns=event.duration_ns, windows=windows,
        policy_version=facts.policy_version, policies=pack_names(facts.policies) if facts.policies else None,
        asked_model=facts.asked_model, routed_by=facts.routed_by, client_address=facts.client_address,
        client_session=facts.client_session, above=pack_above(facts.above), billed_team=facts.billed_team,
        effects=pack_effects(facts.effects), counterfactual_nanos=event.counterfactual_nanos,
        tools_digest=facts.tools_digest, called=pack_called(event.called),
        tool=facts.tool, arguments_digest=facts.arguments_digest, cause=facts.cause,
        charge_tool_calls=posted.tool_calls, charge_result_bytes=posted.result_bytes,
    )  # fmt: skip
    if usage is not None:
        row.input_tokens, row.output_tokens = usage.input_tokens, usage.output_tokens
        row.cached_tokens, row.cache_write_tokens = usage.cached_tokens, usage.cache_write_tokens
        row.audio_input_tokens, row.audio_output_tokens = usage.audio_input_tokens, usage.audio_output_tokens
        row.reasoning_tokens = usage.reasoning_tokens
        row.other_meters = _add_meters(None, usage)
    return row


def unheld(event: Settled) -> CallRow:
    """The row of a call of which nothing is known but that it was settled."""
    return CallRow(
        id=event.call_id, at_ns=event.at_ns, dialect="", identity="", kind="", owner="", team="", environment="",
        organization="", session="", chain=pack_names(()), registry_version=0, model=None, provider=None,
        model_class=None, price_version=None, stream=False, body_bytes=0, body_digest=None, state="refused",
    )  # fmt: skip


def correct(row: CallRow, event: Corrected) -> None:
    """The call's charge is now another, and so is that of the attempt that it was for."""
    if row.original_charge_nanos is None:
        row.original_charge_nanos = row.charge_nanos
    before, row.charge_nanos = row.charge_nanos or 0, fit(event.charge_nanos)
    row.corrected += 1
    if row.tried is not None:
        tried = attempts.corrected(attempts.unpack(row.tried), event.attempt, row.charge_nanos - before)
        row.tried = attempts.pack(tried)


def _only_attempt(row: CallRow) -> Attempt:
    """The one attempt that a call had so far."""
    end: HoldEnd = "voided" if row.state == "open" or row.state == "refused" else row.state  # noqa: PLR1714 - for types
    return Attempt(
        row.provider, row.model, row.model_class, end, row.outcome or "", row.detail or "", row.status,
        row.held_nanos or 0, row.charge_nanos or 0, row.charge_tokens or 0, row.charge_calls or 0,
        row.settled_at_ns or 0, row.first_byte_ns, row.duration_ns, row.windows or pack_windows(()), row.corrected,
        row.charge_tool_calls or 0, row.charge_result_bytes or 0,
    )  # fmt: skip


def _attempt(row: CallRow, event: Settled, windows: bytes) -> Attempt:
    """The attempt that this event ends, with what the row says of its hold."""
    posted = event.posted
    return Attempt(
        row.provider, row.model, row.model_class, event.end, event.outcome, event.detail, event.status,
        row.held_nanos or 0, posted.usd, posted.tokens, posted.calls,
        event.at_ns, event.first_byte_ns, event.duration_ns, windows, 0, posted.tool_calls, posted.result_bytes,
    )  # fmt: skip


def _settled_in(row: CallRow, event: Settled, windows: bytes) -> bytes:
    """All windows that hold a part of the call's charge."""
    if not (row.charge_nanos or row.charge_tokens or row.charge_calls or row.charge_tool_calls):
        return windows
    return pack_windows(tuple(dict.fromkeys((*unpack_windows(row.windows), *event.windows))))


def _plus(sum_so_far: int | None, more: int) -> int:
    return more if sum_so_far is None else fit(sum_so_far + more)


def _fit_usage(usage: Usage) -> Usage:
    return msgspec.structs.replace(usage, **{name: fit(getattr(usage, name)) for name in COUNTS})


def _count_usage(row: CallRow, event: Settled) -> None:
    usage = event.usage
    if usage is None:
        return
    row.input_tokens = _plus(row.input_tokens, usage.input_tokens)
    row.cached_tokens = _plus(row.cached_tokens, usage.cached_tokens)
    row.cache_write_tokens = _plus(row.cache_write_tokens, usage.cache_write_tokens)
    row.audio_input_tokens = _plus(row.audio_input_tokens, usage.audio_input_tokens)
    row.output_tokens = _plus(row.output_tokens, usage.output_tokens)
    row.reasoning_tokens = _plus(row.reasoning_tokens, usage.reasoning_tokens)
    row.audio_output_tokens = _plus(row.audio_output_tokens, usage.audio_output_tokens)
    row.other_meters = _add_meters(row.other_meters, usage)


def _add_meters(so_far: str | None, usage: Usage) -> str | None:
    """The meters without a column of their own, where they count something."""
    if not any(_other_counts(usage)):
        return so_far
    counted = {name: count for name in _OTHER_METERS if (count := getattr(usage, name))}
    known = unpack_meters(so_far)
    return msgspec.json.encode({**known, **{name: _plus(known.get(name), n) for name, n in counted.items()}}).decode()
