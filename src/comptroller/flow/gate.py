"""What one gateway process holds while it lives: the state and the borders that the story works with.

There is one `Gate`, made in `app.py` and handed on; nothing here is global. Everything that changes
money or rights changes here first, in one step without waiting, and is journalled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import msgspec

from comptroller.core.approval.approvals import Approvals
from comptroller.core.budget.bounds import Bound
from comptroller.core.budget.draw import Draw, Window
from comptroller.core.budget.hold import NOTHING, Amounts, WindowKey
from comptroller.core.budget.scope import Facts
from comptroller.core.budget.tree import BudgetTree
from comptroller.core.identity.credential import Claims
from comptroller.core.policy.break_glass import Broken
from comptroller.core.pricing.input_counts import InputCounts
from comptroller.core.pricing.prefix import Prefixes
from comptroller.core.pricing.sizes import OutputSizes
from comptroller.core.refusal import Refusal
from comptroller.core.registry.registry import Registry
from comptroller.core.routing.affinity import Affinity
from comptroller.core.routing.breaker import FAILURES_MOST
from comptroller.core.work.session import Reserved, Session
from comptroller.core.work.stop import Stops
from comptroller.flow.callers import Callers
from comptroller.flow.causes import Causes
from comptroller.flow.chain import chain_of
from comptroller.flow.circuits import Circuits
from comptroller.flow.dialect import Deferring, Planned
from comptroller.flow.health import Healths
from comptroller.flow.journal import Journal
from comptroller.flow.kept import Kept
from comptroller.flow.key_mask import KeyMask
from comptroller.flow.live import LiveCalls
from comptroller.flow.mcp.pins import Pins
from comptroller.flow.mcp.rounds import UsedStates
from comptroller.flow.mcp.sessions import McpSessions
from comptroller.flow.mcp.tokens import ServerTokens
from comptroller.flow.notices import Notices, Unheard
from comptroller.flow.observer import Observer
from comptroller.flow.pace import Pacer
from comptroller.flow.retries import Retries
from comptroller.flow.runs import Runs
from comptroller.flow.tool_sets import ToolSets
from comptroller.flow.trails import Trails
from comptroller.flow.upstream import Origin, Timeouts, Upstream
from comptroller.flow.used import ToolsUsed
from comptroller.flow.waiting import Waiting
from comptroller.wire.provider_path import azure_path, versioned_path


class Clock(Protocol):
    """Our time (core/instant.py) and fresh ids."""

    def now_ns(self) -> int:
        """The instant for windows and records: never runs back."""
        ...

    def expiry_ns(self) -> int:
        """The instant for expiries: the later of our time and the wall clock."""
        ...

    def steady_ns(self) -> int:
        """For rates: goes on evenly whatever becomes of the wall clock, and has nothing to do with the calendar."""
        ...

    def new_id(self, prefix: str) -> str: ...


class CredentialVerifier(Protocol):
    def verify(self, credential: str, now_ns: int) -> Claims | Refusal:
        """Check form, signature and time; cached. Whether the session still lives is the gate's to know."""
        ...

    def digest(self, body: bytes) -> str:
        """A keyed digest of a request body, for records."""
        ...

    def mac(self, purpose: str, text: bytes) -> str:
        """A keyed digest by which we know again what we gave out; it survives a restart, and a rotation of keys."""
        ...


@dataclass(frozen=True)
class Provider:
    """One configured upstream. `credentials` are the finished headers to send, by family of APIs; none: no key."""

    name: str
    dialects: tuple[str, ...]
    origin: Origin
    credentials: Mapping[str, tuple[bytes, bytes]] = field(repr=False)
    environments: tuple[str, ...] | None  # None: all
    timeouts: Timeouts
    abort_stops_billing: bool  # closing the connection ends what is billed ...
    tail_tokens: int | None  # ... at most this many tokens later
    bills_errors: bool
    output_limit_field: Literal["max_completion_tokens", "max_tokens"]
    missing: str | None = None  # why it cannot be used, such as an unset variable
    version_path: str = "/v1"  # that OpenAI's paths begin with
    azure_api_version: str | None = None  # its routes are Azure's, by deployment
    omit_fields: frozenset[str] = frozenset()  # of a JSON body, that it refuses
    keys_beside: tuple[bytes, ...] = field(default=(), repr=False)  # of other entries at its host
    token_audience: str | None = None  # of an MCP server that gets a token of ours for each caller
    price_callback: Origin | None = None  # of an MCP server whose owner says what each call costs
    acts_as: str | None = None  # the identity of that server: it alone may go on with such a token
    breaker_failures: int = FAILURES_MOST  # in a row, after which calls are refused for a while; 0: never

    @property
    def is_server(self) -> bool:
        """Whether it has tools and no models: it is an MCP server (gateway/servers.py)."""
        return self.dialects == ("mcp",)

    @property
    def key(self) -> bytes | None:
        """The key alone, out of any header that holds it: the same in whatever dialects the provider is spoken to."""
        value = next((value for _, value in self.credentials.values()), None)
        return None if value is None else value.removeprefix(b"Bearer ")

    @cached_property
    def mask(self) -> KeyMask:
        """Takes the keys that its host has been given out of what goes back to callers and into records."""
        return KeyMask(*filter(None, (self.key, *self.keys_beside)))

    def path(self, family: str, path: str, model: str) -> str:
        """Where it has what a dialect of this family asks for."""
        if family != "openai":
            return path
        if self.azure_api_version is not None:
            return azure_path(path, model, self.azure_api_version)
        return versioned_path(path, self.version_path)


class Limits(msgspec.Struct, frozen=True):
    """The process's own bounds (settings.py gives the reasons)."""

    body_bytes: int
    body_timeout_s: float
    answer_bytes: int
    stream_buffer_bytes: int
    finish_after_hangup_s: float
    bodies_bytes: int
    failover_attempts: int
    failover_s: float
    approval_wait_s: float
    approval_arguments_chars: int
    early_headers_s: float


@dataclass
class Gate:
    """Everything a call meets on its way."""

    clock: Clock
    registry: Registry
    providers: Mapping[str, Provider]
    sessions: dict[str, Session]
    credentials: CredentialVerifier
    tree: BudgetTree
    bounds: dict[tuple[str, str, str], Bound]  # by (provider, model, dialect)
    journal: Journal
    upstream: Upstream
    live: LiveCalls
    limits: Limits
    observer: Observer
    warn: Callable[[str, Mapping[str, str]], None]  # a log line: event, fields; never a secret
    callers: Callers = field(default_factory=Callers)  # who is remembered (flow/identify.py)
    stops: Stops = field(default_factory=Stops)  # replaced as a whole (control/stops.py), asked on every call
    broken: Broken = field(default_factory=Broken)  # replaced as a whole, asked only when policies say no
    approvals: Approvals = field(default_factory=Approvals)  # open tickets, and the grants in force
    prefixes: Prefixes = field(default_factory=Prefixes)  # prompts that were metered since the start, by session
    inputs: InputCounts = field(default_factory=InputCounts)  # what the sessions have sent; for context caps
    sizes: OutputSizes = field(default_factory=OutputSizes)  # learned since the start; they steer, and limit nothing
    server_tokens: ServerTokens | None = None  # for MCP servers that want to know who acts
    mcp_sessions: McpSessions = field(default_factory=McpSessions)  # of servers that speak the older era of MCP
    trails: Trails = field(default_factory=Trails)  # the last steps of sessions since the start (flow/look.py)
    health: Healths = field(default_factory=Healths)  # of the providers
    circuits: Circuits = field(default_factory=Circuits)  # of the providers
    retries: Retries = field(default_factory=Retries)  # of identities that have lately met errors
    affinity: Affinity = field(default_factory=Affinity)  # what routes hold which sessions
    objects: Kept = field(default_factory=Kept)  # what they keep for us, and whose it is
    tools_used: ToolsUsed = field(default_factory=ToolsUsed)  # in each run
    pins: Pins = field(default_factory=Pins)  # of the tools of MCP servers
    deferring: Mapping[str, Deferring] = field(default_factory=dict[str, Deferring])  # by the name of the dialect
    planned: Sequence[Planned] = ()  # the APIs in which a call may be planned (flow/allowance.py)
    tool_sets: ToolSets = field(default_factory=ToolSets)  # that were offered to models lately
    notices: Notices = field(default_factory=Unheard)  # who is told of what people should know
    wake_poller: Callable[[], None] = lambda: None  # something is to be asked of a provider sooner than was planned
    waiting: Waiting = field(default_factory=Waiting)  # calls that wait for an answer
    used_states: UsedStates = field(default_factory=UsedStates)  # of MCP clients that were asked (flow/mcp/elicit.py)
    known_as: str = ""  # the address by which callers find the gateway
    causes: Causes | None = field(init=False)  # of calls to tools; None: there are no servers
    runs: Runs = field(init=False)
    pace: Pacer = field(init=False)
    draining: bool = False

    def __post_init__(self) -> None:
        self.causes = Causes() if any(each.is_server for each in self.providers.values()) else None
        self.runs = Runs(self.sessions)
        self.pace = Pacer(self.clock, self.registry.rates)

    @property
    def model_providers(self) -> tuple[str, ...]:
        """The providers that a model may name: MCP servers are none of them."""
        return tuple(name for name, each in self.providers.items() if not each.is_server)

    def open_session(self, session: Session, posted: Amounts = NOTHING, at_work_ns: int | None = None) -> None:
        """A session may spend from now on; those above it are open. `posted`: what it has spent already.

        `at_work_ns`: when it was last at work; None: now.
        """
        self.sessions[session.id] = session
        self.tree.open_session(session.id, session.bounds, posted)
        self.runs.begin(session, self.clock.expiry_ns() if at_work_ns is None else at_work_ns)
        if session.reserved is not None:
            rows = {WindowKey(*row) for row in session.reserved.rows}
            self.tree.set_aside(session.id, session.reserved.usd_nanos, self.drawn_above(session), rows)

    def set_aside(self, session: Session, usd_nanos: int) -> Session | Window:
        """Set a share aside for a session that was just opened; else the window that has too little left for it."""
        draw = self.drawn_above(session)
        short = self.tree.set_aside(session.id, usd_nanos, draw)
        if isinstance(short, Window):
            return short
        reserved = Reserved(usd_nanos, tuple((key.budget, key.instance, key.start_ns) for key in draw.keys))
        session = self.sessions[session.id] = msgspec.structs.replace(session, reserved=reserved)
        return session

    def drawn_above(self, session: Session) -> Draw:
        """What calls of the sessions above it draw on, whatever they ask for."""
        chain = chain_of(self.registry, self.runs.lineage(session)[1:])
        return self.tree.drawn_by(Facts(chain, {}), self.clock.now_ns())

    def change_session(self, session: Session) -> None:
        """Its bounds are others from now on, for calls in flight too. What stands below it ends no later than it."""
        self.sessions[session.id] = session
        self.tree.bind_session(session.id, session.bounds)
        for each in (session, *self.runs.outliving(session)):
            self.sessions[each.id] = each
            self.runs.rearm(each)
        self.callers.forget_below(session.id)

    def end_session(self, ended: Session) -> None:
        """It has ended, as it says."""
        self.sessions[ended.id] = ended
        self.session_over(ended)

    def session_over(self, session: Session) -> None:
        """It goes on no more: what was set aside for it is free."""
        self.runs.over(session)
        self.tree.release(session.id)
        self.trails.forget(session.id)

    def forget_session(self, session: Session) -> None:
        """It is over and nobody asks for it any more."""
        del self.sessions[session.id]
        self.inputs.forget(session.id)
        self.tree.close_session(session.id)
        self.runs.forget(session)
        if not self.runs.in_tree(session.top):
            self.tools_used.forget(session.top)
