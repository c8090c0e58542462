"""The story of a call in sentences, for a person who asks why it cost what it cost, or why it was refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from comptroller.control.budgets import BudgetRow
from comptroller.control.call_record import CallRecord
from comptroller.control.calls import is_presumed
from comptroller.control.corrections import CorrectionRow
from comptroller.control.findings import FindingRow
from comptroller.control.price_lines import PriceLine
from comptroller.control.tool_story import asked_tool, held_for_tool, lines_of_tool, result, tool_allowed
from comptroller.core.budget.budget import label
from comptroller.core.budget.hold import NOTHING, Amounts
from comptroller.core.ids import attempt_id
from comptroller.core.instant import NANOS_PER_SECOND, format_instant
from comptroller.core.money import format_usd
from comptroller.core.pricing.deferral import Deferral
from comptroller.core.pricing.estimate import FACTOR_ONE_BP
from comptroller.core.refusal import REFUSALS, Refusal
from comptroller.core.tool.called import CalledTool
from comptroller.core.work.delegation import say_chain
from comptroller.core.work.session import Session
from comptroller.flow.outcome import OUTCOMES
from comptroller.flow.records import CallFacts, ToolsOffered

_TOOLS_SAID = 12  # more than that nobody reads in a sentence
_CAPS = frozenset({"context_too_large", "rate_unsatisfiable"})  # what these allow is no more after a while


class Told(msgspec.Struct, frozen=True):
    """Everything that the story is told from."""

    record: CallRecord
    session: Session | None
    drawn: Sequence[str]  # the budgets it drew on
    binding: Sequence[BudgetRow]  # the one that refused it, as it stands now
    lines: Sequence[PriceLine]
    corrections: Sequence[CorrectionRow]  # oldest first
    findings: Sequence[FindingRow]


def tell(told: Told) -> list[str]:
    """One call from beginning to end."""
    if not told.record.facts.identity:
        return [*_nobody(told.record), *_charge(told), *_afterwards(told)]
    sentences = [*_who(told), *_what(told.record), *_offered(told.record.tools)]
    refusal = told.record.refusal
    if refusal is not None and not told.record.attempts:
        return [*sentences, *_refusal(told, refusal, "before anything was sent, and cost nothing")]
    sentences += [*_earlier(told.record), *_decision(told.record), *_hold(told), *_output_limit(told.record)]
    if told.record.deferral is not None:
        return [*sentences, _goes_on(told.record.deferral)]
    if told.record.state == "open":
        return [*sentences, "It is still in flight: its charge is not known yet, and the hold stands until it is."]
    if refusal is not None:
        more = _refusal(told, refusal, "when it was to be tried elsewhere")
        return [*sentences, *_answer(told.record), *_charge(told), *more, *_afterwards(told)]
    return [*sentences, *_answer(told.record), *_called(told.record), *_charge(told), *_afterwards(told)]


def _goes_on(deferral: Deferral) -> str:
    since, until = format_instant(deferral.since_ns), format_instant(deferral.gives_up_at_ns)
    return (
        f"The provider answered at {since} and goes on under {deferral.object_id}. The gateway asks for its end, and "
        f"the hold stands until that is seen; if it is not by {until}, the hold is charged as presumed."
    )


def _nobody(record: CallRecord) -> Iterator[str]:
    at = format_instant(record.facts.at_ns)
    yield f"Its end came to the books at {at}, and its hold never did: who made this call, and for what, is not known."


def _who(told: Told) -> Iterator[str]:
    facts = told.record.facts
    place = f" from {facts.client_address}" if facts.client_address else ""
    yield (
        f"At {format_instant(facts.at_ns)} the {facts.kind} {facts.identity} called{place} "
        f"(team {facts.team}, {facts.environment}); {facts.owner} answers for it."
    )
    session = told.session
    if session is None:
        yield f"It used a credential of session {facts.session}."
        return
    minted = "for itself" if session.minted_by == session.identity else f"by {session.minted_by}"
    yield (
        f"It used a credential of session {session.id}, minted {minted} at {format_instant(session.opened_at_ns)} "
        f"and good until {format_instant(session.expires_at_ns)}."
    )
    if len(facts.chain) > 1:
        yield f"It stands below others: {say_chain(facts.chain)}. The call was counted for each of them."
    if facts.client_session:
        yield f"The caller's program calls its session {facts.client_session!r}; nothing depends on that."
    if session.declared:
        yield f"The session is for {', '.join(f'{name} {value}' for name, value in session.declared)}."
    if session.ended_at_ns is not None:
        yield (
            f"The session was ended by {session.ended_by} at {format_instant(session.ended_at_ns)}: "
            f"{session.ended_reason}."
        )


def _what(record: CallRecord) -> Iterator[str]:
    facts = record.facts
    if facts.tool is not None:
        yield from asked_tool(record)
        return
    if facts.model is None:
        yield f"The request ({facts.dialect}) was not read so far as to know its model."
        return
    how = f"as {_batch(record)}" if _is_batch(facts) else "as a stream" if facts.stream else "as one answer"
    model = facts.asked_model or facts.model
    yield f"It asked for the model {model} {how} ({facts.dialect}), in a body of {facts.body_bytes} bytes."


def _offered(tools: ToolsOffered | None) -> Iterator[str]:
    if tools is not None and tools.count:
        shown = tools.names[:_TOOLS_SAID]
        more = f" and {tools.count - len(shown)} more" if tools.count > len(shown) else ""
        number = "a function" if tools.count == 1 else f"{tools.count} functions"
        yield f"It offered the model {number}: {_list(shown) if not more else ', '.join(shown)}{more}."


def _called(record: CallRecord) -> Iterator[str]:
    if record.called:
        names = [f"{name} ({count} times)" if count > 1 else name for name, count in _counted(record.called)]
        yield f"The model called {_list(names)}."


def _counted(called: Sequence[CalledTool]) -> Iterator[tuple[str, int]]:
    """Each name once, and how often it stands there."""
    yield from Counter(each.name or "a tool without a name" for each in called).items()


def _is_batch(facts: CallFacts) -> bool:
    """Whether it made a batch: the three dialects that do are named so, those that read one end in `_batch`."""
    return facts.dialect.endswith("_batches")


def _batch(record: CallRecord) -> str:
    """A line of a batch counts as a call, so the hold knows how many there are."""
    if record.held is None:
        return "a batch"
    return f"a batch of {record.held.calls} request{'' if record.held.calls == 1 else 's'}"


def _is_free(record: CallRecord) -> bool:
    """Whether providers take nothing for it: then it counts as no call."""
    return record.held is not None and record.held == NOTHING


def _earlier(record: CallRecord) -> Iterator[str]:
    """The attempts before the last one, or before the one in flight."""
    for number, each in enumerate(record.tried[: record.attempts - 1], 1):
        ending, held = _ending(each.outcome, each.detail), format_usd(each.held_nanos)
        cost = f"charged {format_usd(each.charge.usd)} USD{' as presumed' if each.presumed else ''}"
        yield (
            f"Attempt {number} held {held} USD and went to the provider {each.provider}: {ending}. "
            f"It was {cost if each.charge.usd or each.presumed else 'charged nothing'}."
        )
    if record.attempts > 1:
        yield f"Then it was tried once more, as attempt {record.attempts}, with a hold of its own:"


def _decision(record: CallRecord) -> Iterator[str]:
    facts = record.facts
    of_class = f", as a model of class {facts.model_class}" if facts.model_class else ""
    version = facts.registry_version
    chosen = f"Version {version} of the registry allowed it and chose the provider {facts.provider}{of_class}."
    yield chosen if facts.tool is None else tool_allowed(record)
    if facts.routed_by is not None:
        yield f"{_router(facts.routed_by)} routed it to {facts.model}."
    led = (facts.routed_by or "").partition(":")  # said already
    others = (each for each in facts.effects if each.kind != "routed" or each.rule not in {led[0], led[2]})
    yield from (f"It was {each}." for each in others)
    yield from _policies(facts)


def _router(rule: str) -> str:
    """What led a call to another model, as records name it."""
    kind, named, name = rule.partition(":")
    if not named:
        return f"The policy {rule}"
    return f"The route {name}" if kind == "route" else f"The budget step {name}"


def _policies(facts: CallFacts) -> Iterator[str]:
    if facts.policies:
        which = "the policy" if len(facts.policies) == 1 else "the policies"
        yield f"Of the policies, {which} {_list(facts.policies)} decided, in version {facts.policy_version} of the set."


def _hold(told: Told) -> Iterator[str]:
    record = told.record
    if record.held is None:
        return
    if _is_free(record):
        yield "Providers take nothing for such a call, so nothing was held."
        return
    bound = f" for at most {record.input_tokens_bound} input tokens{_and_output(record)}" if record.held.tokens else ""
    budgets = "the budget" if len(told.drawn) == 1 else "each of the budgets"
    where = f"on {budgets} {_list(told.drawn)}" if told.drawn else "on no budget, for none is about it"
    amounts = _amounts(record.held) if record.facts.tool is None else held_for_tool(record.held)
    yield f"Before anything was sent, {amounts} were held{bound}, {where}."
    if record.factor_bp is not None and record.factor_bp > FACTOR_ONE_BP:
        factor = f"{record.factor_bp / FACTOR_ONE_BP:.2f}"
        yield f"The bound was multiplied by {factor}, because this model was billed above its bound before."
    if record.shadowed:
        yield f"In shadow mode, and so without effect: it would not have fitted {_list(record.shadowed)}."


def _and_output(record: CallRecord) -> str:
    if not record.output_limit:
        return ""
    return " and the output limits of its requests" if _is_batch(record.facts) else " and the output limit"


def _output_limit(record: CallRecord) -> Iterator[str]:
    written, asked = record.output_limit, record.asked_output_limit
    if not written:  # embeddings and the like write no text, so there is nothing to limit
        return
    if _is_batch(record.facts):
        yield f"Each of its requests has an output limit of its own, of at most {written} tokens, written into it."
        return
    each = f" for each of its {record.choices} choices" if record.choices is not None and record.choices > 1 else ""
    if asked is None:
        yield f"It asked for no output limit; the gateway wrote {written} tokens into the request{each}."
    elif written < asked:
        yield (
            f"It asked for up to {asked} output tokens{each}; the gateway lowered that to {written}, "
            "the most that the model can do and its budgets could pay."
        )
    else:
        yield f"Its output limit of {asked} tokens{each} fitted, and was written into the request."


def _answer(record: CallRecord) -> Iterator[str]:
    yield f"How it ended: {_ending(record.outcome, record.detail)}."
    if record.status is not None:
        first = f", its first byte {_seconds(record.first_byte_ns)} after the hold" if record.first_byte_ns else ""
        whole = f"; the whole took {_seconds(record.duration_ns)}" if record.duration_ns is not None else ""
        yield f"The provider answered with HTTP {record.status}{first}{whole}."
    usage, served = record.usage, record.served_model
    if record.facts.tool is not None:
        yield from result(record)
        return
    if usage is None:
        return
    parts_in = _parts((("read from its cache", usage.cached_tokens), ("written to it", usage.cache_write_tokens)))
    parts_out = _parts((("of them reasoning", usage.reasoning_tokens),))
    by = f" by {served}" if served else ""
    tier = f", service tier {record.service_tier}" if record.service_tier not in {None, "default"} else ""
    reported = f"{usage.input_tokens} input tokens{parts_in} and {usage.output_tokens} output tokens{parts_out}"
    yield f"It reported {reported}{by}{tier}."


def _ending(outcome: str | None, detail: str | None) -> str:
    said = next((text for word, text in OUTCOMES.items() if word == outcome), outcome or "unknown")
    return f"{said} ({detail})" if detail else said


def _charge(told: Told) -> Iterator[str]:
    record = told.record
    if record.charge is None:
        return
    if record.tried:
        yield from _charges(record, told.lines)
        return
    amount = f"{format_usd(_settled_nanos(record))} USD"
    if record.state == "voided":
        counted = ", but it counts as a call" if record.charge.calls or record.charge.tool_calls else ""
        yield f"The hold was given back and nothing was charged{counted}."
    elif record.state == "presumed":
        yield f"It was charged {amount} as presumed: {_why_presumed(record)}"
    elif not record.priced:
        yield "No price was known and no budget in USD asked for one: nothing was charged, and its tokens were counted."
    elif _is_free(record) and not record.charge.usd:
        yield "It was charged nothing."
    else:
        of_tool = record.facts.tool is not None
        what = f"a call of this tool costs{lines_of_tool(told.lines)}" if of_tool else _usage_costs(told.lines)
        yield f"It was charged {amount}, exactly what {what}."
    if record.overrun:
        yield "That is more than was held: the provider billed above the upper bound. The truth was recorded."


def _charges(record: CallRecord, lines: Sequence[PriceLine]) -> Iterator[str]:
    """Of a call that had several attempts."""
    last = record.tried[-1]
    amount = f"{format_usd(last.charge.usd)} USD"
    if last.end == "voided":
        yield "Its hold was given back and nothing was charged for it."
    elif last.end == "presumed":
        yield f"It was charged {amount} as presumed: nobody knows what was billed."
    else:
        yield f"It was charged {amount}, exactly what {_usage_costs(lines)}."
    total = format_usd(sum(each.charge.usd for each in record.tried))
    yield f"All {len(record.tried)} attempts together were charged {total} USD."


def _why_presumed(record: CallRecord) -> str:
    held = record.held
    whole = held is not None and record.charge is not None and _settled_nanos(record) == held.usd
    much = "the whole hold" if whole else "the most that can have been billed until it was cut off"
    if record.usage is not None:
        return f"the usage is known, but not every part of it has a price, so {much} was posted."
    return f"no usage report came, so nobody knows what was billed, and {much} was posted."


def _unrouted(record: CallRecord) -> Iterator[str]:
    nanos = record.counterfactual_nanos
    if nanos is not None:
        rates = "at the prices of the model that it would have gone to unrouted"
        yield f"The same usage would have cost {format_usd(nanos)} USD {rates}."


def _afterwards(told: Told) -> Iterator[str]:
    yield from _unrouted(told.record)
    for row in told.corrections:
        change = f"from {row.before_usd} to {row.after_usd} USD"
        yield f"At {row.at} {row.actor} corrected the charge {change}: {row.reason}."
    for finding in told.findings:
        yield f"Finding {finding.code}: {finding.sentence}"
    if is_presumed(told.record):
        for name in _presumed(told.record):
            yield (
                "Once the provider's invoice says what it cost: "
                f'`comptroller correct {name} --charge USD --reason "..."`.'
            )


def _presumed(record: CallRecord) -> Iterator[str]:
    """What `correct` calls each charge that is presumed: the call, or those of its attempts that are."""
    call_id = record.facts.call_id
    if not record.tried:
        yield call_id
    for number, each in enumerate(record.tried, 1):
        if each.presumed:
            yield attempt_id(call_id, number)


def _refusal(told: Told, refusal: Refusal, when: str) -> Iterator[str]:
    kind = REFUSALS.get(refusal.code)
    status = f", HTTP {kind.status}" if kind is not None else ""
    yield f"It was refused ({refusal.code}{status}) {when}: {refusal.sentence}"
    yield from _policies(told.record.facts)
    if refusal.needed is not None and refusal.remaining is not None:
        unit = "USD" if refusal.unit == "usd" else refusal.unit
        had = f"allows {refusal.remaining}" if refusal.code in _CAPS else f"had {refusal.remaining} left"
        yield f"It needed {refusal.needed} {unit} and {refusal.limit} {had}."
    if refusal.largest_output_tokens:
        yield f"With an output limit of {refusal.largest_output_tokens} tokens it would have fitted."
    for row in told.binding:
        unit = "USD" if row.unit == "usd" else row.unit
        reset = f"resets at {row.resets_at}" if row.resets_at is not None else "never resets"
        yield (
            f"Now {label(row.name, row.instance)} has {row.remaining} {unit} left of {row.limit} "
            f"({row.posted} spent, {row.held} held) and {reset}."
        )
    if not told.binding and refusal.resets_at is not None:
        yield f"That limit resets at {refusal.resets_at}."
    if refusal.hint:
        yield f"What to do: {refusal.hint}"


def _settled_nanos(record: CallRecord) -> int:
    """What was charged at settlement, before any correction."""
    if record.original_charge_nanos is not None:
        return record.original_charge_nanos
    return record.charge.usd if record.charge is not None else 0


def _usage_costs(lines: Sequence[PriceLine]) -> str:
    said = [f"{line.tokens} {line.meter} at {line.usd_per_million}" for line in lines]
    return f"the reported usage costs{f' ({_list(said)} USD per million)' if said else ''}"


def _amounts(amounts: Amounts) -> str:
    calls = f"{amounts.calls} call{'' if amounts.calls == 1 else 's'}"
    return f"{format_usd(amounts.usd)} USD, {amounts.tokens} tokens and {calls}"


def _parts(parts: Sequence[tuple[str, int]]) -> str:
    said = [f"{count} {words}" for words, count in parts if count]
    return f" ({', '.join(said)})" if said else ""


def _list(words: Sequence[str]) -> str:
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else "".join(words)


def _seconds(duration_ns: int | None) -> str:
    milliseconds = (duration_ns or 0) // (NANOS_PER_SECOND // 1000)
    return f"{milliseconds} ms" if milliseconds < 10_000 else f"{milliseconds / 1000:.1f} s"
