"""What is told of a call, by name: the one place that maps our words to those of OpenTelemetry.

The GenAI conventions are in development and move; SCHEMA_URL says which ones these are. Whatever they have a name for
is told by that name, all else as `comptroller.*`. Nothing here is content, a credential, or text that only a caller
chose: the model of a refused request may be anything, so it is left to the books.
"""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.money import format_usd
from comptroller.core.refusal import Refusal
from comptroller.flow.attempt import Attempt
from comptroller.flow.door import CallerRequest
from comptroller.flow.records import CallFacts, Settled

SCHEMA_URL = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"
# What a dialect does, where the conventions have a word for it.
_OPERATIONS = {
    "openai_chat": "chat",
    "openai_responses": "chat",
    "openai_completions": "text_completion",
    "anthropic_messages": "chat",
    "gemini": "generate_content",
    "mcp": "execute_tool",
}
# Whose format the telemetry of a dialect has, by the first word of its name: not always who serves the model, which is
# comptroller.provider.
_FLAVOURS = {"gemini": "gcp.gemini"}

Value = str | int | float | bool


def operation(dialect: str) -> str:
    """What a call of this dialect does: in the words of the conventions, or those of its own name."""
    return _OPERATIONS.get(dialect) or dialect.partition("_")[2]


def of_client(request: CallerRequest) -> dict[str, Value]:
    """Of whoever sends a request, before anybody knows who that is."""
    return {} if request.address is None else {"client.address": request.address}


def of_settled(request: CallerRequest, attempt: Attempt, settled: Settled) -> dict[str, Value]:
    """Of a call that took a hold."""
    reservation = attempt.reservation
    decision, facts = reservation.decision, reservation.facts
    told = _of_facts(facts)
    if facts.tool is None:
        told["gen_ai.request.model"] = decision.name
        told["gen_ai.request.max_tokens"] = reservation.output_limit
    else:
        told["gen_ai.tool.name"] = facts.tool
    if facts.stream:
        told["gen_ai.request.stream"] = True
    if reservation.estimate.choices != 1:
        told["gen_ai.request.choice.count"] = reservation.estimate.choices
    told["server.address"] = decision.provider.origin.host
    told["server.port"] = decision.provider.origin.port
    told["comptroller.provider"] = decision.provider.name
    if reservation.tried:
        told["comptroller.attempt"] = len(reservation.tried) + 1
    _add_end(told, facts, settled)
    _add_durations(told, request, attempt, settled)
    return told


def of_ended(facts: CallFacts, settled: Settled) -> dict[str, Value]:
    """Of deferred work whose end was seen: its caller was answered long before."""
    told = _of_facts(facts)
    told["gen_ai.request.model"] = facts.model or ""
    told["comptroller.provider"] = facts.provider or ""
    told["comptroller.deferred"] = True
    _add_end(told, facts, settled)
    told["comptroller.duration_s"] = _seconds(settled.duration_ns)
    return told


def of_refused(dialect: str, call_id: str, refusal: Refusal, facts: CallFacts | None) -> dict[str, Value]:
    """Of a request that was refused before anything was held."""
    told: dict[str, Value] = {"comptroller.call.id": call_id, "comptroller.dialect": dialect}
    if facts is not None:
        told.update(_of_facts(facts))
    told["error.type"] = refusal.code
    if refusal.limit is not None:
        # Without the instance, which may be a name that the caller made up.
        told["comptroller.limit"] = refusal.limit.partition("[")[0]
    return told


def _of_facts(facts: CallFacts) -> dict[str, Value]:
    told: dict[str, Value] = {
        "comptroller.call.id": facts.call_id,
        **_of_dialect(facts.dialect),
        "gen_ai.conversation.id": facts.session,
        "comptroller.identity": facts.identity,
        "comptroller.team": facts.team,
        "comptroller.environment": facts.environment,
        "comptroller.session": facts.session,
    }
    if facts.kind == "agent":
        told["gen_ai.agent.id"] = facts.identity
    return told


def _of_dialect(dialect: str) -> Mapping[str, str]:
    family = dialect.partition("_")[0]
    return {
        "gen_ai.operation.name": operation(dialect),
        "gen_ai.provider.name": _FLAVOURS.get(family, family),
        "comptroller.dialect": dialect,
    }


def _add_end(told: dict[str, Value], facts: CallFacts, settled: Settled) -> None:
    told["comptroller.outcome"] = settled.outcome
    told["comptroller.end"] = settled.end
    told["comptroller.charge_usd"] = format_usd(settled.posted.usd)
    if settled.overrun:
        told["comptroller.overrun"] = True
    if facts.routed_by is not None:
        told["comptroller.routed_by"] = facts.routed_by
    if facts.effects:
        told["comptroller.effects"] = ", ".join(f"{each.kind} {each.rule}" for each in facts.effects)
    if settled.served_model is not None:
        told["gen_ai.response.model"] = settled.served_model
    if settled.status is not None:
        told["http.response.status_code"] = settled.status
    if settled.outcome != "completed":
        told["error.type"] = settled.outcome
    _add_usage(told, settled)


def _add_usage(told: dict[str, Value], settled: Settled) -> None:
    usage = settled.usage
    if usage is None:
        return
    told["gen_ai.usage.input_tokens"] = usage.input_tokens
    told["gen_ai.usage.output_tokens"] = usage.output_tokens
    if usage.cached_tokens:
        told["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
    if usage.cache_write_tokens:
        told["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_write_tokens
    if usage.reasoning_tokens:
        told["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens


def _add_durations(told: dict[str, Value], request: CallerRequest, attempt: Attempt, settled: Settled) -> None:
    before_ns = attempt.reservation.taken_at_ns - request.received_ns
    told["comptroller.duration_s"] = _seconds(before_ns + settled.duration_ns)
    if attempt.durable_ns is not None:
        told["comptroller.admission_s"] = _seconds(before_ns + attempt.durable_ns)
        if settled.first_byte_ns is not None:
            told["comptroller.first_byte_s"] = _seconds(settled.first_byte_ns - attempt.durable_ns)


def _seconds(duration_ns: int) -> float:
    return round(duration_ns / NANOS_PER_SECOND, 6)
