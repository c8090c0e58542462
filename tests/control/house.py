"""An office with real parts: gate, store, keyring. Only calls are made by hand, verb by verb as flow/call.py does."""

import asyncio
import inspect
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from comptroller.control import registry
from comptroller.control.issuer_keys import IssuerKeys
from comptroller.control.office import Office, ProcessFacts
from comptroller.core.budget.hold import NOTHING, Amounts, WindowKey
from comptroller.core.budget.meter import LEDGER_KEY, ledger_key
from comptroller.core.budget.scope import Facts
from comptroller.core.budget.tree import BudgetTree, Hold
from comptroller.core.identity.admin import Admins
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.core.registry.build import build
from comptroller.core.registry.registry import Registry
from comptroller.core.work.stop import Acting, Stops, stop_keys
from comptroller.flow.caller import Caller
from comptroller.flow.gate import Gate, Limits, Provider
from comptroller.flow.journal import Journal, LedgerUnavailableError
from comptroller.flow.live import Line, LiveCall, LiveCalls
from comptroller.flow.mcp.pins import Pins
from comptroller.flow.records import CallFacts, Event, Held, Refused, Settled
from comptroller.flow.upstream import Origin, Timeouts
from comptroller.gateway.clock import SystemClock
from comptroller.gateway.egress import Egress
from comptroller.store.keyring import Keyring, open_keyring
from comptroller.store.lock import Holder
from comptroller.store.open import open_store
from comptroller.store.store import Store
from comptroller.telemetry.tally import Tally
from comptroller.wire.planned import PLANNED
from tests.harness import configuration
from tests.harness.toml import to_toml

SANDBOX = Provider(
    name="sandbox",
    dialects=("openai",),
    origin=Origin("http", "127.0.0.1", 8788),
    credentials={},
    environments=None,
    timeouts=Timeouts(),
    abort_stops_billing=False,
    tail_tokens=None,
    bills_errors=True,
    output_limit_field="max_completion_tokens",
)
LIMITS = Limits(
    body_bytes=1 << 20,
    body_timeout_s=1.0,
    bodies_bytes=1 << 24,
    answer_bytes=1 << 20,
    stream_buffer_bytes=1 << 20,
    finish_after_hangup_s=1.0,
    failover_attempts=2,
    failover_s=300.0,
    approval_wait_s=300.0,
    approval_arguments_chars=4096,
    early_headers_s=15.0,
)


@dataclass
class House:
    """The office, and what a test asks of its parts directly."""

    office: Office
    store: Store
    keyring: Keyring
    warnings: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def gate(self) -> Gate:
        return self.office.gate

    async def apply(self, **changes: Any) -> registry.PlanRow:
        """Install a registry as tests/harness/configuration.py makes it."""
        return await registry.apply(self.office, document(**changes), "test")

    # Calls, by hand.

    async def hold(
        self,
        usd: int,
        *,
        tokens: int = 10,
        identity: str = "agent/ant",
        model: str = "sandbox-large",
        session: str = "ses_by_hand",
        chain: tuple[Any, ...] | None = None,
        caller: Caller | None = None,
        dialect: str = "openai_chat",
        calls: int = 1,
        output_limit: int = 6,
        tool: str | None = None,
    ) -> "OpenCall":
        """Take a hold that draws on whatever is in force, and see it on disk. `caller`: with its whole chain."""
        gate = self.gate
        if caller is not None:
            identity, session, chain = caller.identity.id, caller.claims.session, caller.chain
        known = gate.registry.identities[identity]
        call_id, now_ns = gate.clock.new_id("call"), gate.clock.now_ns()
        facts = CallFacts(
            call_id=call_id,
            at_ns=now_ns,
            dialect=dialect,
            identity=identity,
            kind=known.kind,
            owner=known.owner,
            team=known.team,
            environment=known.environment,
            organization=gate.registry.organization.name,
            session=session,
            chain=(identity,) if caller is None else caller.names,
            registry_version=gate.registry.version,
            model=model,
            provider="sandbox",
            model_class="standard",
            price_version=gate.registry.prices.version,
            body_bytes=100,
            above=() if caller is None else caller.above,
            billed_team=None if caller is None else caller.billed_team,
            tool=tool,
        )
        scope = scope_facts(facts) if chain is None else msgspec.structs.replace(scope_facts(facts), chain=chain)
        amounts = Amounts(usd, tokens, calls)
        hold = gate.tree.hold(f"{call_id}.1", gate.tree.drawn_by(scope, now_ns), amounts)
        assert isinstance(hold, Hold), hold
        keys = stop_keys([Acting(facts.session, identity, known.owner, known.team)], "crd_by_hand")
        live = LiveCall(call_id, hold.id, identity, facts.session, scope, Line(), stop_keys=keys)
        gate.live.add(live)
        await gate.journal.commit(
            Held(
                attempt_id=hold.id,
                facts=facts,
                epoch=gate.journal.epoch,
                amounts=amounts,
                windows=hold.draw.keys,
                input_tokens_bound=4,
                output_limit=output_limit,
                asked_output_limit=None,
                choices=1,
                factor_bp=10_000,
            )
        )
        return OpenCall(self, facts, hold, live)

    async def spend(self, usd: int, **known: Any) -> str:
        """A call that costs this; returns its id."""
        call = await self.hold(usd, **known)
        call.settle(usd)
        return call.facts.call_id

    async def refuse(self, refusal: Refusal, identity: str = "agent/ant") -> str:
        """A call that is refused; returns its id."""
        call = await self.hold(0, identity=identity)
        call.settle(0, end="voided", outcome="provider_refused")
        facts = CallFacts(**{f: getattr(call.facts, f) for f in call.facts.__struct_fields__} | {"call_id": "call_no"})
        self.gate.journal.offer(Refused(facts, refusal))
        return facts.call_id


@dataclass
class OpenCall:
    """A call between its hold and its settlement."""

    house: House
    facts: CallFacts
    hold: Hold
    live: LiveCall

    def settle(
        self, usd: int, *, tokens: int = 10, end: Any = "posted", outcome: str = "completed", usage: Usage | None = None
    ) -> None:
        """End the hold in one step, as flow/settle.py and flow/record.py do."""
        gate = self.house.gate
        posted = Amounts(usd, 0 if end == "voided" else tokens, 1)
        gate.tree.settle(self.hold.id, posted)
        now_ns = gate.clock.now_ns()
        settled = Settled(
            attempt_id=self.hold.id,
            call_id=self.facts.call_id,
            at_ns=now_ns,
            end=end,
            posted=posted,
            windows=self.hold.draw.keys,
            outcome=outcome,
            detail="",
            status=200,
            usage=usage,
            served_model=self.facts.model,
            service_tier="default",
            priced=True,
            overrun=False,
            first_byte_ns=1_000_000,
            duration_ns=now_ns - self.facts.at_ns,
        )
        gate.journal.append(settled)
        gate.live.remove(self.live)


def scope_facts(facts: CallFacts) -> Facts:
    node: Any = {
        name: getattr(facts, name)
        for name in ("organization", "team", "owner", "environment", "kind", "identity", "session")
    }
    call: Any = {"provider": facts.provider, "model": facts.model, "model_class": facts.model_class}
    return Facts((node,), call)


def document(**changes: Any) -> str:
    return to_toml(configuration.registry(**changes))


@asynccontextmanager
async def opened(folder: Path, **changes: Any) -> AsyncIterator[House]:
    """A house on the store in this folder; an empty one gets a registry with these changes."""
    holder = Holder(os.getpid(), "here", "now", "nothing")
    store = open_store(folder, durability="process", now_ns=time.time_ns(), holder=holder)
    journal = store.start()
    try:
        state = await store.registry()
        clock = SystemClock(store.last_journalled_ns)
        keyring = open_keyring(folder, "acme.example", clock.now_ns())
        current = build(state.entries, state.version) if state.version else await first_registry(store, changes)
        house = await _joined(store, journal, clock, keyring, current)
        yield house
    finally:
        await store.close(10)


async def first_registry(store: Store, changes: Any) -> Registry:
    text = document(**changes)
    state = await store.registry()
    agreed = registry.plan_document(state, registry.read(text, {"sandbox"}))
    prepared = registry.installation(state, agreed, text, "test", time.time_ns())
    await store.install(prepared)
    return build(prepared.entries, prepared.version)


async def _joined(store: Store, journal: Journal, clock: SystemClock, keyring: Keyring, current: Registry) -> House:
    warnings: list[tuple[str, dict[str, str]]] = []
    balances = await store.balances([budget.key for budget in current.budgets])
    units = {budget.key: budget.unit for budget in current.budgets}
    gate = Gate(
        clock=clock,
        registry=current,
        providers={"sandbox": SANDBOX},
        sessions={},
        credentials=keyring,
        tree=BudgetTree(current.budgets, {key: each.of(units[key.budget]) for key, each in balances.items()}),
        bounds={(each.provider, each.model, each.dialect): each for each in await store.bounds()},
        journal=journal,
        upstream=Egress(),
        live=LiveCalls(),
        limits=LIMITS,
        observer=Tally(100),
        stops=Stops(await store.stops_in_force()),
        warn=lambda event, fields: warnings.append((event, dict(fields))),
        planned=PLANNED,
        pins=Pins(await store.pins()),
    )
    live = await store.live_sessions(clock.now_ns())
    spent = await store.instance_balances([LEDGER_KEY], [session.id for session in live])
    worked_ns = await store.last_at_work([session.top for session in live])
    for session in sorted(live, key=lambda each: each.depth):
        at_work_ns = max(session.opened_at_ns, worked_ns.get(session.id, 0))
        gate.open_session(session, spent.get(ledger_key(session.id), NOTHING), at_work_ns)
    facts = ProcessFacts(
        version="0", pid=os.getpid(), started_at_ns=clock.now_ns(), listen=None, durability="process", store="here"
    )
    keys = IssuerKeys(gate.upstream, Path())
    return House(Office(gate, store, keyring, facts, keys, Admins(await store.admins())), store, keyring, warnings)


def posted(house: House, name: str) -> dict[str, int]:
    """What stands in the windows of a budget in memory, by instance."""
    return {w.key.instance: w.posted for w in house.gate.tree.windows() if w.budget.name == name}


async def written(house: House, name: str) -> dict[WindowKey, Amounts]:
    """What stands in the books for a budget in force."""
    await house.store.fold()
    keys = [budget.key for budget in house.gate.registry.budgets if budget.name == name]
    return dict(await house.store.balances(keys))


class Interrupted:
    """A ledger that lets something happen around each of its answers: calls go on while the office works."""

    def __init__(self, ledger: Any, happens: Any) -> None:
        self._ledger = ledger
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._ledger, name)

        def question(*arguments: Any, **named: Any) -> Any:
            # A plain function has made its cut when it returns: what happens "before" it is already too late for it.
            begun = None if inspect.iscoroutinefunction(asked) else asyncio.ensure_future(asked(*arguments, **named))

            async def answer() -> Any:
                await self._happens(f"before {name}")
                found = await (begun or asked(*arguments, **named))
                await self._happens(f"after {name}")
                return found

            return answer()

        return question


class Broken:
    """A journal whose disk is full: what must be durable is not, and says so."""

    def __init__(self, journal: Journal, error: Exception) -> None:
        self._journal = journal
        self._error = error

    @property
    def epoch(self) -> int:
        return self._journal.epoch

    def commit(self, event: Event) -> Any:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(self._error)
        return future

    def append(self, event: Event) -> None:
        self._journal.append(event)

    def offer(self, event: Event) -> None:
        self._journal.offer(event)


class Unfoldable:
    """Books that can be read and not be brought up to date: a correction may be on its way into them."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def fold(self) -> None:
        raise LedgerUnavailableError("disk full")
