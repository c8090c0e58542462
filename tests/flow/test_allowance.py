"""What may I spend right now? Whatever the state, the answer is what the next call hears."""

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comptroller.control import registry
from comptroller.control.allowance import PlanSent, describe
from comptroller.control.tokens import mint
from comptroller.core.budget.bounds import Bound
from comptroller.core.budget.hold import Amounts
from comptroller.core.budget.tree import Hold
from comptroller.core.rate.limits import Came
from comptroller.core.refusal import Refusal
from comptroller.core.work.bounds import Bounds
from comptroller.flow.admit import admit
from comptroller.flow.caller import Caller
from comptroller.flow.identify import identify
from comptroller.flow.incoming import IncomingCall
from comptroller.flow.pace import Pacer
from comptroller.flow.permit import Denied
from comptroller.flow.reservation import Reservation
from comptroller.wire.head import Head
from comptroller.wire.planned import PLANNED, PlannedApi
from tests.control.house import SANDBOX, House, document, opened
from tests.harness.configuration import budget, model

SEEDS = range(25)
STATES = 400  # of each: ten thousand in all

SIZES = ("large", "small", "reasoner")
MODELS = (*(f"sandbox-{size}" for size in SIZES), "nobody-has-it")
POLICIES = (
    "",
    '@id("calls") permit (principal, action, resource);',
    '@id("calls") permit (principal, action, resource);'
    '@id("dear") @reason("over a cent") forbid (principal, action == Action::"model.call", resource)'
    " when { context.estimate_nanos > 10000000 };",
    '@id("calls") permit (principal, action, resource);'
    '@id("long") @remedy("cap_input:500") forbid (principal, action == Action::"model.call", resource)'
    " when { context.input_tokens > 200 };",
    '@id("calls") permit (principal, action, resource);'
    '@id("small") @remedy("route:sandbox-small")'
    'forbid (principal, action == Action::"model.call", resource == Model::"sandbox-large");',
    '@id("calls") permit (principal, action, resource);'
    '@id("ask") @remedy("approval:finops") forbid (principal, action == Action::"model.call", resource)'
    " when { context.output_limit > 700 };",
    '@id("calls") permit (principal, action, resource);'
    '@id("near") forbid (principal, action == Action::"model.call", resource) when { context.budget_left_bp < 4000 };',
)


class Still:
    """A clock that goes on only when it is told to: between a question and the call nothing else happens."""

    def __init__(self, now_ns: int) -> None:
        self.passed_ns = now_ns
        self.now_ns = self.expiry_ns = self.steady_ns = lambda: self.passed_ns

    def new_id(self, prefix: str) -> str:
        self.passed_ns += 1
        return f"{prefix}_{self.passed_ns}"


class Asking:
    """A call that has come in, as far as an admission looks at it."""

    address = None
    session_hint = None

    def __init__(self, *, full: bool) -> None:
        self.prefers_full_hold = full


@pytest.mark.parametrize("seed", SEEDS)
async def test_it_is_what_the_next_call_hears(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    wanted = _registry(dice)
    async with opened(tmp_path, **wanted) as house:
        house.gate.providers = {"sandbox": _provider(dice)}
        policies = dice.choice(POLICIES)
        if policies:
            await registry.apply(house.office, document(**wanted), "test", policies={"all.cedar": policies})
        callers = [await _caller(house, dice, name) for name in ("agent/ant", "agent/bee")]
        clock: Any = Still(house.gate.clock.now_ns())
        house.gate.clock, house.gate.pace = clock, Pacer(clock, house.gate.registry.rates)
        said: set[str] = set()
        for number in range(STATES):
            _stir(house, dice)
            said.add(_agrees(house, dice, dice.choice(callers), number))
        assert len(said) > 1, "every state had the same answer, so nothing was tried"


def _agrees(house: House, dice: random.Random, caller: Caller, number: int) -> str:
    """Ask, then do; returns what was said."""
    gate = house.gate
    api, name = dice.choice(PLANNED), dice.choice(MODELS)
    output = dice.choice((1, 50, 500, 1_024, 3_000, 100_000))
    call = _call(api, caller, name, "x" * dice.choice((1, 100, 1_000, 20_000)), output, number, dice)
    sent = PlanSent(name, call.asked.text_tokens, output, call.asked.stream, api.dialect.name)
    before = _picture(house)
    planned = describe(gate, caller, sent).planned
    assert _picture(house) == before, "a question changed something"
    assert planned is not None
    admitted = admit(gate, call)
    if isinstance(admitted, Denied):
        assert planned.refusal == admitted.refusal
        answer = admitted.refusal.code
    else:
        decision = admitted.decision
        assert planned.refusal is None, planned
        assert (planned.served_model, planned.provider) == (decision.name, decision.provider.name)
        assert planned.output_limit == admitted.output_limit
        answer = "allowed" if planned.binds is None else "lowered"
        _settle(house, admitted, admitted.hold.amounts if dice.random() < 0.5 else Amounts())
    _fits(house, api, caller, call)
    return answer


def _fits(house: House, api: PlannedApi, caller: Caller, call: IncomingCall) -> None:
    """Settling may have changed what is left, so it is asked again; then one token more is too much."""
    gate = house.gate
    sent = PlanSent(call.asked.model, call.asked.text_tokens, None, call.asked.stream, api.dialect.name)
    now = describe(gate, caller, sent).planned
    assert now is not None
    largest = now.largest_output_tokens
    entry = gate.registry.model(call.asked.model)
    for limit in filter(None, (largest, largest + 1)):
        asked = api.asked(call.asked.model, call.asked.text_tokens, limit, stream=call.asked.stream)
        assert not isinstance(asked, Refusal)
        another = admit(gate, msgspec.structs.replace(call, id=f"{call.id}_{limit}", asked=asked))
        got = None if isinstance(another, Denied) else another.output_limit
        if not isinstance(another, Denied):
            _settle(house, another, Amounts())
        if limit == largest and largest > 0:
            assert got == largest
        elif limit > largest and entry is not None and limit <= entry.limits.max_output_tokens:
            assert got is None or got <= largest


def _settle(house: House, reservation: Reservation, posted: Amounts) -> None:
    house.gate.tree.settle(reservation.attempt_id, posted)
    if reservation.share is not None:
        house.gate.pace.end(reservation.share.taken, Came(posted.calls, posted.tokens))


def _call(
    api: PlannedApi, caller: Caller, name: str, text: str, output: int, number: int, dice: random.Random
) -> IncomingCall:
    stream = dice.random() < 0.5
    bodies: dict[str, Any] = {
        "openai_chat": {"messages": [{"role": "user", "content": text}], "max_completion_tokens": output},
        "openai_responses": {"input": text, "max_output_tokens": output, "store": False},
        "anthropic_messages": {"messages": [{"role": "user", "content": text}], "max_tokens": output},
        "gemini": {"contents": [{"parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": output}},
    }
    body = bodies[api.dialect.name]
    if api.dialect.name != "gemini":
        body |= {"model": name, "stream": stream}
    whole = json.dumps(body).encode()
    dialect = api.streaming if stream else api.dialect
    read = dialect.read_request(whole, Head(named=name, query=b"alt=sse" if stream else b""))
    assert not isinstance(read, Refusal)
    asked = msgspec.structs.replace(read.asked, prompt=None)
    sender: Any = Asking(full=False)
    return IncomingCall(f"call_{number}", dialect, sender, caller, read, whole, asked)


def _registry(dice: random.Random) -> dict[str, Any]:
    """Some limits of every kind, and now and then a rule that leads calls elsewhere."""
    classes = dict(zip(SIZES, ("frontier", "small", "standard"), strict=True))
    models = {f"sandbox-{size}": model("sandbox", **{"class": classes[size]}) for size in SIZES}
    wanted: dict[str, Any] = {"budgets": _budgets(dice), "models": models}
    if dice.random() < 0.5:
        wanted["rates"] = [
            {
                "name": f"r{number}",
                "scope": {"organization": "acme"},
                "limit": dice.choice(
                    ("20 calls/second", "600 calls/minute", "60_000 tokens/minute", "3 calls at once")
                ),
                "per": dice.choice(("identity", "model", "session")),
                "mode": dice.choice(("hard", "hard", "shadow")),
            }
            for number in range(dice.randrange(1, 4))
        ]
    if dice.random() < 0.5:
        wanted["classes"] = {"order": ["small", "standard", "frontier"]}
        way = dice.choice(({"budget_below": "50%"}, {"input_tokens_under": 500}, {"input_tokens_over": 500}))
        wanted["routes"] = [{"name": "way", "scope": {"organization": "acme"}, "to": "small", "when": way}]
    return wanted


def _budgets(dice: random.Random) -> list[dict[str, Any]]:
    """A few, some of them tight, some hidden, some in shadow."""
    scopes: list[dict[str, Any]] = [
        {"organization": "acme"}, {"team": "red"}, {"identity": "agent/ant"}, {"model": "sandbox-large"},
        {"provider": "sandbox"}, {"model_class": "standard"}, {"environment": "testing"},
    ]  # fmt: skip
    limits = ("0.02 USD", "0.50 USD", "5.00 USD", "40_000 tokens", "3_000 tokens", "60 calls")
    return [
        budget(
            f"b{number}",
            dice.choice(limits),
            scope=dice.choice(scopes),
            window=dice.choice(("hour", "day", "lifetime")),
            mode=dice.choice(("hard", "hard", "hard", "shadow")),
            visible=dice.choice(("caller", "operator")),
            **({"per": dice.choice(("identity", "session"))} if dice.random() < 0.3 else {}),
        )
        for number in range(dice.randrange(1, 6))
    ]


def _provider(dice: random.Random) -> Any:
    seen = dice.random() < 0.5  # whether streams hold in slices
    return dataclasses.replace(
        SANDBOX, dialects=("openai", "anthropic", "gemini"), abort_stops_billing=seen, tail_tokens=8 if seen else None
    )


async def _caller(house: House, dice: random.Random, identity: str) -> Caller:
    minted = await mint(house.office, identity, None, "test")
    caller = identify(house.gate, [minted.credential])
    assert isinstance(caller, Caller)
    if dice.random() < 0.5:
        session = msgspec.structs.replace(caller.session, bounds=Bounds(usd_nanos=dice.choice((20_000_000, 10**9))))
        house.gate.change_session(session)
        caller = identify(house.gate, [minted.credential])
        assert isinstance(caller, Caller)
    return caller


def _stir(house: House, dice: random.Random) -> None:
    """Something happens: calls come and go, money is spent, a bound proves wrong, the process is told to stop."""
    gate = house.gate
    chance = dice.random()
    if chance < 0.5:
        windows = gate.tree.windows()
        if windows:
            window = dice.choice(windows)
            window.posted = dice.randrange(max(1, window.budget.limit + window.budget.limit // 5))
    elif chance < 0.6:
        open_holds = [hold for hold in gate.tree.holds.values() if isinstance(hold, Hold)]
        if open_holds:
            gate.tree.settle(dice.choice(open_holds).id, Amounts())
    elif chance < 0.64:
        clock: Any = gate.clock
        clock.passed_ns += dice.randrange(10**10)
    elif chance < 0.69:
        key = ("sandbox", dice.choice(MODELS), dice.choice(PLANNED).dialect.name)
        gate.bounds[key] = Bound(*key, factor_bp=dice.choice((10_000, 15_000)), quarantined=dice.random() < 0.2)
    gate.draining = dice.random() < 0.01


def _picture(house: House) -> Any:
    tree = house.gate.tree
    return (
        {window.key: (window.posted, window.held) for window in tree.windows() if window.posted or window.held},
        tuple(tree.holds),
        dict(house.gate.bounds),
        tuple(house.gate.sessions.values()),
    )
