"""Look: does this call take the same step as the calls before it? Warn, slow, refuse; then its session is quarantined.

Nothing is held while a call is slowed. What is counted is steps that were answered, once they are (`begin_step`,
`end_step`): looking counts nothing, and a call that is refused, by this or by anything else, was no step.
"""

from __future__ import annotations

import asyncio
from hashlib import blake2b

import msgspec

from comptroller.core.detection.loop_answer import Loop, Stage, judge, refused
from comptroller.core.detection.loop_rule import UNSAID, LoopRule
from comptroller.core.detection.loops import fingerprint
from comptroller.core.effect import Effect
from comptroller.flow.attempt import Attempt
from comptroller.flow.caller import Caller
from comptroller.flow.dialect import Outlined
from comptroller.flow.door import CallerRequest
from comptroller.flow.gate import Gate
from comptroller.flow.incoming import IncomingCall, outlined
from comptroller.flow.permit import Denied
from comptroller.flow.records import Finding
from comptroller.flow.settle import Receipt
from comptroller.flow.trails import Sentence, Taken

_DONE: dict[Stage, str] = {"warn": "warned", "slow": "slowed", "refuse": "refused"}
_ANSWERED_BELOW = 300  # status
_ALONE_MESSAGES = 2  # a system prompt and a question


async def look_for_loops(gate: Gate, call: IncomingCall) -> IncomingCall | Denied:
    """The call with the step that it takes, after a while if that is to be slowed; or why it is no step forward."""
    rule = call.caller.loop_rule
    if rule.mode == "off" or call.asked.free or not isinstance(call.request, Outlined):
        return call
    session = call.caller.session
    trail = gate.trails.trail(session.id)
    if rule is UNSAID and trail.told:
        return call  # there is nothing more to be said about this session
    outline = await outlined(call)
    alone = outline.messages <= _ALONE_MESSAGES
    size_bytes = len(call.body) if alone else 0  # other parts of one long text would be as long only by chance
    mark = fingerprint(outline.step, rule, other=_beside_text(call), size_bytes=size_bytes)
    if mark is None:
        return call
    rally = None
    if rule.ping_pong is not None and (session.depth or gate.runs.in_tree(session.top) > 1):
        rally = gate.trails.rally(session.top)
    taken = Taken(trail, rally, f"{session.identity} {session.depth}", mark)
    found = judge(trail, rally, taken.actor, mark, rule)
    call = msgspec.structs.replace(call, step=taken)
    return call if found is None else await _answer(gate, call, taken, found, rule)


def _beside_text(call: IncomingCall) -> bytes:
    """A digest of all of a request that holds images, sound or documents: in a step they are what matters."""
    asked = call.asked
    if not (asked.images or asked.audio_input or asked.unbounded):
        return b""
    return blake2b(call.body, digest_size=8).digest()


def begin_step(call: IncomingCall) -> None:
    """An attempt begins."""
    if call.step is not None:
        call.step.begin()


def end_step(call: IncomingCall, attempt: Attempt, receipt: Receipt | None) -> None:
    """It is over. `receipt`: None where deferred work goes on."""
    if call.step is None:
        return
    usage = receipt.usage if receipt is not None else None
    call.step.end(
        call.id,
        answered=attempt.status is not None and attempt.status < _ANSWERED_BELOW,
        charge_nanos=receipt.settlement.posted.usd if receipt is not None else 0,
        output_tokens=usage.output_tokens if usage is not None else 0,
    )


async def _answer(gate: Gate, call: IncomingCall, taken: Taken, found: Loop, rule: LoopRule) -> IncomingCall | Denied:
    first = found.sign.signal not in taken.trail.told
    if first:
        taken.trail.told.add(found.sign.signal)
        _tell(gate, call, found, rule)
    if rule.mode == "shadow":
        said = first or rule is not UNSAID
        return _with(call, Effect("shadowed", rule.name, f"{found.detail}: {found.stage}")) if said else call
    match found.stage:
        case "refuse":
            refused(taken.trail, taken.rally, found)
            if rule.quarantine_after is not None and taken.trail.tries == rule.quarantine_after + 1:
                reason = f"{found.sentence} It was refused {rule.quarantine_after} times, and came again"
                gate.trails.sentences.put_nowait(Sentence(call.caller.session.id, f"loops {rule.name}", reason))
            return Denied(call.caller, found.refusal(rule))
        case "slow":
            call = _with(call, Effect("slowed", rule.name, f"{found.detail}, {rule.slow_ms} ms"))
            await _pause(call.sender, rule.slow_ms / 1_000)
            return call
        case "warn":
            return _with(call, Effect("warned", rule.name, found.detail))


def _with(call: IncomingCall, effect: Effect) -> IncomingCall:
    return msgspec.structs.replace(call, effects=(*call.effects, effect))


async def _pause(sender: CallerRequest, seconds: float) -> None:
    """Wait, but for nobody: a caller who has left is seen to where its hold would be taken."""
    gone = asyncio.Event()
    sender.watch(gone.set)
    try:
        async with asyncio.timeout(seconds):
            await gone.wait()
    except TimeoutError:
        pass
    finally:
        sender.unwatch()


def _tell(gate: Gate, call: IncomingCall, found: Loop, rule: LoopRule) -> None:
    """Put it on record, and tell whoever wants to know: once, as long as the loop goes on."""
    caller, now_ns = call.caller, gate.clock.now_ns()
    done = f"{'It was' if rule.mode == 'hard' else 'It would be'} {_DONE[found.stage]} by the rule {rule.name}"
    samples = f" Calls of it: {', '.join(found.samples)}." if found.samples else ""
    sentence = f"{' of '.join(caller.names)}: {found.sentence} {done} ({found.sign.signal}).{samples}"
    gate.journal.append(Finding(now_ns, "loop", call.id, caller.session.id, sentence))
    if gate.notices.heard:
        data = {
            "rule": rule.name, "mode": rule.mode, "signal": found.sign.signal, "times": found.times,
            "stage": found.stage, "sentence": found.sentence, "call": call.id, "calls": list(found.samples),
        }  # fmt: skip
        gate.notices.emit("session.loop", caller.session.id, data, _about(caller))


def _about(caller: Caller) -> dict[str, str]:
    of = caller.identity
    return {
        "identity": of.id, "team": of.team, "owner": of.owner, "environment": of.environment,
        "session": caller.session.id,
    }  # fmt: skip
