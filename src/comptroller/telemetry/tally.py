"""The tally: what happened to calls since the start, in plain integers, for whoever scrapes.

It is told of every call on the call's own path, so it looks up one account by the call's labels and adds.
All labels have few values: they come from the registry, the settings and this code, never from a caller,
and `most` bounds how many sets of them there can be whatever the registry holds.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import compress
from operator import attrgetter

from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.flow.attempt import Attempt
from comptroller.flow.door import CallerRequest
from comptroller.flow.records import CallFacts, Settled
from comptroller.flow.reservation import Reservation
from comptroller.telemetry.capped import OTHER, Capped
from comptroller.telemetry.histogram import Histogram

ADMISSION_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
FIRST_BYTE_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
CALL_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
WRITE_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
LAG_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

_OURS = frozenset({401, 402, 403, 429})
_SUFFIX = "_tokens"
_FIELDS = tuple(name for name in Usage.__struct_fields__ if name.endswith(_SUFFIX))
METERS = (*(name.removesuffix(_SUFFIX) for name in _FIELDS), "presumed")
_counts = attrgetter(*_FIELDS)


# Labels in the order in which families.py names them. A model is the registry's entry, which may be a pattern: names
# come from callers. Team and environment of a refusal are empty as long as nobody knows whose request it is.
CallLabels = tuple[str, str, str, str, str]  # team, environment, provider, model, dialect
RefusalLabels = tuple[str, str, str]  # team, environment, dialect
ModelLabels = tuple[str, str]  # provider, model
EffectLabels = tuple[str, str]  # kind, rule


class Durations:
    """How long calls to one model took."""

    __slots__ = ("call", "first_byte")

    def __init__(self) -> None:
        self.first_byte = Histogram(FIRST_BYTE_S)
        self.call = Histogram(CALL_S)


class Count:
    """A number that grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Account:
    """What came of all calls with the same labels."""

    __slots__ = ("answers", "calls", "charge_nanos", "durations", "overruns", "presumed_nanos", "tokens")

    def __init__(self, durations: Durations) -> None:
        self.durations = durations
        self.calls: defaultdict[tuple[str, str], int] = defaultdict(int)  # by outcome and end of the hold
        self.answers: defaultdict[str, int] = defaultdict(int)  # by class of the provider's status
        self.tokens: defaultdict[str, int] = defaultdict(int)  # by meter
        self.charge_nanos = 0
        self.presumed_nanos = 0
        self.overruns = 0


class Tally:
    """Implements flow.observer.Observer."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.admission = Histogram(ADMISSION_S)
        self.durations: Capped[ModelLabels, Durations] = Capped(most, lambda _: Durations(), _fold_model)
        self.accounts: Capped[CallLabels, Account] = Capped(most, self._open, _fold_call)
        self.refusals: Capped[RefusalLabels, defaultdict[str, int]] = Capped(
            most, lambda _: defaultdict(int), _fold_refusal
        )
        self.failovers: defaultdict[tuple[str, str, str], int] = defaultdict(int)  # from, to, outcome
        self.effects: Capped[EffectLabels, Count] = Capped(most, lambda _: Count(), lambda _: (OTHER, OTHER))
        self.written = Histogram(WRITE_S)
        self.written_events = 0
        self.loop_lag = Histogram(LAG_S)

    def settled(self, request: CallerRequest, attempt: Attempt, settled: Settled) -> None:
        reservation = attempt.reservation
        facts, decision = reservation.facts, reservation.decision
        account = self._account(facts, decision.model.pattern)
        _count(account, settled)
        durable_ns = attempt.durable_ns
        if facts.effects:
            self._effects(facts)
        if durable_ns is not None:
            # Later attempts waited for others, and so did a call that waited for its turn.
            if not reservation.tried and not any(each.kind == "queued" for each in facts.effects):
                self.admission.observe(reservation.taken_at_ns - request.received_ns + durable_ns)
            if settled.first_byte_ns is not None:
                account.durations.first_byte.observe(settled.first_byte_ns - durable_ns)
        account.durations.call.observe(reservation.taken_at_ns - request.received_ns + settled.duration_ns)

    def ended(self, facts: CallFacts, entry: str, settled: Settled) -> None:
        """How long it took says nothing of how long calls take."""
        _count(self._account(facts, entry), settled)

    def _account(self, facts: CallFacts, pattern: str) -> Account:
        return self.accounts[facts.team, facts.environment, facts.provider or "", pattern, facts.dialect]

    def failed_over(self, attempt: Attempt, another: Reservation) -> None:
        labels = (attempt.reservation.decision.provider.name, another.decision.provider.name, attempt.outcome)
        self.failovers[labels] += 1

    def refused(
        self, request: CallerRequest, dialect: str, call_id: str, refusal: Refusal, facts: CallFacts | None
    ) -> None:
        team, environment = (facts.team, facts.environment) if facts is not None else ("", "")
        self.refusals[team, environment, dialect][refusal.code] += 1
        if facts is not None and facts.effects:
            self._effects(facts)

    def _effects(self, facts: CallFacts) -> None:
        for each in facts.effects:
            self.effects[each.kind, each.rule].value += 1

    def wrote(self, duration_ns: int, events: int) -> None:
        """A batch went to the journal. Called on the writer's thread, and nowhere else."""
        self.written.observe(duration_ns)
        self.written_events += events

    def _open(self, labels: CallLabels) -> Account:
        _, _, provider, model, _ = labels
        return Account(self.durations[provider, model])


def _count(account: Account, settled: Settled) -> None:
    account.calls[settled.outcome, settled.end] += 1
    account.answers[status_class(settled.status)] += 1
    account.charge_nanos += settled.posted.usd
    account.overruns += settled.overrun
    if settled.end == "presumed":
        account.presumed_nanos += settled.posted.usd
    usage = settled.usage
    if usage is not None:
        counts = _counts(usage)
        for meter, count in compress(zip(METERS, counts, strict=False), counts):  # most of them are zero
            account.tokens[meter] += count
    elif settled.posted.tokens:
        account.tokens["presumed"] += settled.posted.tokens


def status_class(status: int | None) -> str:
    """Few values for what a provider answered. Those about our own account and its rate stand by themselves."""
    if status is None:
        return "none"
    return str(status) if status in _OURS else f"{status // 100}xx"


def _fold_call(labels: CallLabels) -> CallLabels:
    return OTHER, OTHER, OTHER, OTHER, labels[-1]


def _fold_refusal(labels: RefusalLabels) -> RefusalLabels:
    return OTHER, OTHER, labels[-1]


def _fold_model(labels: ModelLabels) -> ModelLabels:
    del labels
    return OTHER, OTHER
