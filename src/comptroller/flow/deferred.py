"""Deferred work: a call whose provider goes on after its answer, from that answer to its one settlement.

Its hold stays open, over restarts too. What is needed to see its end is on disk before the caller learns what the work
is called (`note_deferral`); a gateway that dies before that presumes the call as any other. From then on it does not
matter whether this process took the hold or an earlier one: both have the same `Work`, made of what is on disk. The
poller (poller.py) asks for it, and a report that a caller asked for counts as much: whoever sees the end first settles.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.budget.scope import Facts
from comptroller.core.budget.settlement import Phase, settlement
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.pricing.deferral import Charged, Deferral, DeferredEnd, Ended
from comptroller.core.refusal import Refusal
from comptroller.core.work.session import Session
from comptroller.core.work.stop import Acting, StopKey, stop_keys
from comptroller.core.work.stored import StoredObject
from comptroller.flow.attempt import Attempt
from comptroller.flow.chain import known_identity, recorded
from comptroller.flow.dialect import Deferring, Lasting
from comptroller.flow.findings import report
from comptroller.flow.gate import Gate
from comptroller.flow.incoming import AT_ONCE_BYTES
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.objects import made_besides, tell
from comptroller.flow.outcome import Outcome
from comptroller.flow.record import record_hold
from comptroller.flow.records import Deferred, Finding, Held, ObjectChanged, Settled
from comptroller.flow.runs import Pulse
from comptroller.flow.settle import counterfactual, doubt_of, overrun_events


class Work:
    """One piece of deferred work that is not settled."""

    def __init__(
        self,
        gate: Gate,
        held: Held,
        deferral: Deferral,
        facts: Facts,
        keys: Sequence[StopKey],
        pulses: Sequence[Pulse],
    ) -> None:
        self.held = held
        self.deferral = deferral
        self.facts = facts
        self.stop_keys = keys
        self.over = False
        self.stopped = False  # it is to be cancelled, or was
        self.said: Refusal | None = None  # why
        self.cancel_sent = False
        self.next_ns = 0  # when it is asked for
        self.asked = 0  # how often the provider said that it goes on
        self.failed = 0  # how often in a row it said nothing of use
        self.gone_since_ns: int | None = None  # since when it has said that there is no such thing
        self._gate = gate
        self._pulses = pulses
        for pulse in pulses:  # what is paid for is at work: its sessions are not idle
            pulse.live += 1

    @property
    def call_id(self) -> str:
        return self.held.facts.call_id

    @property
    def hold_id(self) -> str:
        return self.held.attempt_id

    @property
    def session(self) -> str:
        return self.held.facts.session

    @property
    def object_id(self) -> str:
        return self.deferral.object_id

    @property
    def deferring(self) -> Deferring | None:
        """How its provider is asked; None if no dialect of this program does it."""
        return self._gate.deferring.get(self.held.facts.dialect)

    def stop(self, said: Refusal | None) -> None:
        """Have it cancelled at the provider, as soon as that can be reached."""
        if not self.stopped:
            self.stopped, self.said = True, said
            self.soon()

    def soon(self) -> None:
        """Ask for it now."""
        self.next_ns = 0
        self._gate.wake_poller()

    def end(self) -> None:
        """It is settled."""
        self.over = True
        now_ns = self._gate.clock.now_ns()
        for pulse in self._pulses:
            pulse.at_ns = now_ns
            pulse.live -= 1


async def note_deferral(gate: Gate, attempt: Attempt) -> None:
    """Write down what the call will wait for, before the caller learns of it.

    Where that cannot be written, or the provider names nothing that can be asked for, the call ends with its answer.
    """
    reading, kept, reservation = attempt.reading, attempt.kept, attempt.reservation
    if attempt.deferral is not None or kept is None or not kept.identity:
        return
    deferring = gate.deferring.get(attempt.dialect.name)
    if deferring is None or not isinstance(reading, Lasting) or not reading.pending:
        return
    asked, sent_as, now_ns = reservation.asked, reservation.decision.sent_as, gate.clock.now_ns()
    deferral = Deferral(
        object_id=kept.id,
        sent_as=sent_as,
        since_ns=now_ns,
        gives_up_at_ns=now_ns + deferring.lasts_s * NANOS_PER_SECOND,
        terms={sent_as: reservation.terms},
        bounded=reservation.bounded and not asked.fees,
        fees=bool(asked.fees),
        sized=not (asked.fees or asked.shortened),
        instead=reservation.terms_instead,
    )
    try:
        await gate.journal.commit(Deferred(reservation.attempt_id, deferral))
    except LedgerUnavailableError as error:
        gate.warn("ledger_unavailable", {"comptroller.call.id": reservation.call_id, "message": str(error)})
    else:
        attempt.deferral = deferral


def defer(gate: Gate, attempt: Attempt, deferral: Deferral) -> None:
    """The attempt has ended and the work goes on: its hold waits for the end of that. Does not wait."""
    reservation = attempt.reservation
    caller = reservation.caller
    held = msgspec.structs.replace(record_hold(gate, reservation), deferral=deferral)
    work = Work(gate, held, deferral, reservation.scope_facts, caller.stop_keys, caller.pulses)
    deferring = work.deferring
    if deferring is not None:
        work.next_ns = gate.clock.now_ns() + int(deferring.first_poll_s * NANOS_PER_SECOND)
    gate.live.defer(work)
    gate.inputs.keep(caller.session.id, reservation.input_taken)
    if attempt.outcome == "stopped":
        work.stop(attempt.line.said)
    gate.wake_poller()


def go_on(gate: Gate, held: Held, lineage: Sequence[Session]) -> None:
    """After a start: what an earlier process deferred. `lineage`: its session, that one's parent, ..., as on record."""
    if held.deferral is None:
        raise ValueError("the hold is of no deferred work")
    facts, now_ns = recorded(held.facts, lineage), gate.clock.now_ns()
    gate.tree.put_back(held.attempt_id, facts, held.windows, held.amounts, now_ns)
    members = [known_identity(gate.registry, each.identity) for each in lineage]
    keys = stop_keys(
        [
            Acting(each.id, of.id, of.owner, of.team, each.tenant, each.opened_with or ())
            for each, of in zip(lineage, members, strict=True)
        ]
    )
    pulses = [gate.runs.pulse(each.id, now_ns) for each in lineage if each.id in gate.sessions]
    work = Work(gate, held, held.deferral, facts, keys, pulses)
    gate.live.defer(work)
    provider, model = held.facts.provider or "", held.facts.model or ""
    if any(stop.matches_call(keys, provider, model) for stop in gate.stops.in_force) or _was_ended(lineage):
        work.stop(None)


def _was_ended(lineage: Sequence[Session]) -> bool:
    """Whether somebody stopped a session of the chain: its time alone ends no deferred work."""
    return any(each.ended_at_ns is not None and each.outcome != "idle" for each in lineage)


def heard(gate: Gate, attempt: Attempt) -> None:
    """A caller asked for an object: what the provider said of it counts as if the poller had asked. Does not wait."""
    use = attempt.reservation.request.asked.stored
    if use is None or len(use.named) != 1 or use.named[0].param is not None:
        return
    work = working_on(gate, use.named[0].id)
    if work is None or attempt.outcome != "completed":
        return
    deferring = work.deferring
    report = None
    if attempt.answer_body is not None and deferring is not None and len(attempt.answer_body) <= AT_ONCE_BYTES:
        report = deferring.read_report(attempt.answer_body, work.deferral.terms)
    if isinstance(report, Ended):
        _keep_files(gate, work, report)  # the caller may ask for them before we have read them
    if isinstance(report, Ended) and not report.results:
        charged = Charged(work.deferral.terms)
        for line in report.lines:
            charged.add(line)
        settle_deferred(gate, work, report, charged)
    else:
        work.soon()


def working_on(gate: Gate, object_id: str) -> Work | None:
    """What is still done under this id."""
    return next((each for each in gate.live.deferred if each.object_id == object_id and isinstance(each, Work)), None)


def is_worked_on(gate: Gate, made: StoredObject) -> bool:
    """Whether deferred work is to be seen to its end by this object, or by another that came of it."""
    return any(each.call_id == made.call_id for each in gate.live.deferred)


def settle_deferred(gate: Gate, work: Work, ended: Ended, charged: Charged) -> None:
    """The end was seen: charge what was used, once. Does not wait."""
    held = gate.tree.holds[work.hold_id].amounts
    provider = gate.providers.get(work.held.facts.provider or "")
    exact = None
    if charged.lines < ended.answered:
        charged.doubt = charged.doubt or ("usage_missing", "")
    if charged.lines and charged.doubt is None:
        usage = charged.usage
        if usage is not None:
            exact = Amounts(charged.nanos, usage.total_tokens, charged.lines, usage.reasoning_tokens)
    # What failed and has lines all the same was answered in part.
    answered = charged.lines > 0 or charged.doubt is not None
    phase: Phase = "failed" if ended.outcome == "provider_error" and not answered else "answering"
    done = settlement(phase, held, exact=exact, seen=None, bills_errors=provider is None or provider.bills_errors)
    posted = done.posted.most(Amounts(usd=charged.nanos)) if done.end == "presumed" else done.posted
    overrun = work.deferral.bounded and done.end == "posted" and posted.exceeds(held)
    doubts: list[Finding] = []
    if done.end == "presumed":
        doubt = charged.doubt or ("usage_missing", "")
        facts = work.held.facts
        doubts.append(doubt_of(gate.clock.now_ns(), work.call_id, facts.provider or "", facts.model or "", doubt))
    settled = _settled(gate, work, _outcome(work, ended.outcome), _detail(work, ended), posted, charged, ended)
    instead, usage = work.deferral.instead, charged.usage
    unrouted = None if instead is None or charged.lines != 1 else counterfactual(instead, usage, done.end)
    ended_as = {"end": done.end, "overrun": overrun, "counterfactual_nanos": unrouted}
    _end(gate, work, msgspec.structs.replace(settled, **ended_as), doubts)
    if overrun:
        said = f"Billed {posted.usd} nano-USD and {posted.tokens} tokens over a hold of {held.usd} and {held.tokens}; "
        for event in overrun_events(gate, work.held.facts, held, posted, work.held.factor_bp, said):
            report(gate, event, work.held.facts)
    _size(gate, work, charged, ended)
    _told(gate, work, ended.told)
    _keep_files(gate, work, ended)


def presume(gate: Gate, work: Work, why: str) -> None:
    """Its end will not be seen any more: the whole hold is charged, and a person is told. Does not wait."""
    held = gate.tree.holds[work.hold_id].amounts
    charged = Charged(work.deferral.terms)
    settled = _settled(gate, work, "unseen", why, held, charged, None)
    facts = work.held.facts
    sentence = (
        f"What {facts.provider} did under {work.object_id} after its answer was not seen to end: {why}. "
        "The whole hold is charged as presumed; correct it when the bill is known."
    )
    finding = Finding(gate.clock.now_ns(), "deferred_unseen", work.call_id, facts.model or "", sentence)
    _end(gate, work, settled, [finding])


def _settled(
    gate: Gate, work: Work, outcome: Outcome, detail: str, posted: Amounts, charged: Charged, ended: Ended | None
) -> Settled:
    """Presumed, unless who calls says better."""
    held, now_ns = work.held, gate.clock.now_ns()
    provider = gate.providers.get(held.facts.provider or "")
    served = ended.served_model if ended is not None else None
    tier = charged.tier
    if provider is not None:
        detail = provider.mask.name(detail) or ""
        served, tier = provider.mask.name(served), provider.mask.name(tier)
    usage = charged.usage
    return Settled(
        attempt_id=work.hold_id,
        call_id=work.call_id,
        at_ns=now_ns,
        end="presumed",
        posted=posted,
        windows=_windows(gate, work),
        outcome=outcome,
        detail=detail,
        status=200,
        usage=None if usage is None else msgspec.structs.replace(usage, service_tier=tier),
        served_model=served,
        service_tier=tier,
        priced=charged.priced and not work.deferral.fees,
        overrun=False,
        first_byte_ns=None,
        duration_ns=max(0, now_ns - held.facts.at_ns),
    )


def _windows(gate: Gate, work: Work) -> tuple[WindowKey, ...]:
    """All rows that it draws on: those of its hold, of which some may not be current any more, and what joined."""
    drawn = gate.tree.holds[work.hold_id].draw.keys
    return tuple(dict.fromkeys((*work.held.windows, *drawn)))


def _end(gate: Gate, work: Work, settled: Settled, findings: Sequence[Finding]) -> None:
    gate.tree.settle(work.hold_id, settled.posted)
    gate.live.seen(work)
    work.end()
    gate.journal.append(settled)
    for finding in findings:
        report(gate, finding, work.held.facts)
    model = gate.registry.model(work.held.facts.model or "")
    gate.observer.ended(work.held.facts, model.pattern if model is not None else "", settled)


def _outcome(work: Work, ended: DeferredEnd) -> Outcome:
    return "stopped" if ended == "cancelled" and work.stopped else ended


def _detail(work: Work, ended: Ended) -> str:
    if ended.outcome == "cancelled" and work.said is not None:
        return work.said.sentence
    return ended.detail


def _told(gate: Gate, work: Work, told: str) -> None:
    """Lists show that it has ended."""
    made = gate.objects.get(work.object_id)
    if made is not None and made.call_id == work.call_id:
        tell(gate, made, told)


def _keep_files(gate: Gate, work: Work, ended: Ended) -> None:
    """What came of it is its maker's."""
    made = gate.objects.get(work.object_id)
    if made is not None and made.identity and made.call_id == work.call_id:
        made_besides(gate, made, ended.files)


def _size(gate: Gate, work: Work, charged: Charged, ended: Ended) -> None:
    """Requests may go on from it: its size is known now."""
    made, usage = gate.objects.get(work.object_id), charged.usage
    if made is None or usage is None or not work.deferral.sized or made.call_id != work.call_id:
        return
    sized = msgspec.structs.replace(made, tokens=usage.total_tokens, items=ended.items)
    if gate.objects.change(sized):
        gate.journal.append(ObjectChanged(gate.clock.now_ns(), sized))
