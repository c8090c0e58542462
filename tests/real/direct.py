"""The self-check of the oracle: the SDK straight at the model server, what it was told against the counters."""

from __future__ import annotations

from tests.real.caller import Answer, Caller
from tests.real.model import ModelServer
from tests.real.phases import PHASES, Phase
from tests.real.report import Report
from tests.real.tokens import Tokens, total

IDLE_S = 60.0


def told(answer: Answer) -> Tokens:
    """What the model server told the caller about this call: usage, or its timings where no usage was asked for."""
    return answer.usage or answer.timings or Tokens()


def compare(report: Report, phase: Phase, answers: list[Answer], counted: Tokens) -> None:
    """One phase: exact for completed calls, a lower bound where the caller left."""
    ours = total(told(answer) for answer in answers)
    if phase.exact:
        report.compare(phase.name, "input tokens", ours.input, "==", counted.input)
        report.compare(phase.name, "of these cached", ours.cached, "==", counted.cached)
        report.compare(phase.name, "output tokens", ours.output, "==", counted.output)
    else:
        seen = sum(answer.pieces for answer in answers)
        report.compare(phase.name, "pieces of text seen, output tokens", seen, "<=", counted.output)
    for answer in answers:
        if answer.usage and answer.timings:
            report.compare(phase.name, "usage, timings", str(answer.usage), "==", str(answer.timings))


def run(report: Report, model: ModelServer) -> None:
    """All phases."""
    caller = Caller(model.base_url, model.key)
    for phase in PHASES:
        before = model.counted()
        answers = phase.drive(caller)
        model.wait_idle(IDLE_S)
        compare(report, phase, answers, model.counted() - before)
