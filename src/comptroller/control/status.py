"""Status: what this process is, and whether it is well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from comptroller.control.identities import list_identities
from comptroller.control.office import Office
from comptroller.core.instant import NANOS_PER_SECOND, format_instant
from comptroller.flow.gate import Gate, Provider
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.upstream import Origin


class ProviderRow(msgspec.Struct, frozen=True):
    name: str
    base_url: str
    dialects: Sequence[str]
    environments: Sequence[str] | None  # null: all
    missing: str | None  # why it cannot be used
    aside_until: str | None = None  # calls go to other providers first until then
    aside_why: str | None = None  # failed, told to wait, credential refused
    refused: Mapping[str, str] = {}  # until when calls are refused, by model; an empty name: of all models


class Status(msgspec.Struct, frozen=True):
    version: str
    pid: int
    started_at: str
    uptime_s: int
    serving: bool  # false: the command opened the store itself
    draining: bool
    listen: str | None
    store: str
    durability: str
    epoch: int
    ledger: str  # "ok", or what is wrong with it
    organization: str
    registry_version: int
    price_version: str
    policy_version: str
    policies: int  # 0: none is installed, and the built-in set decides
    identities: int
    open_requests: int  # for an identity
    active_sessions: int
    live_calls: int
    deferred_calls: int  # whose providers go on after their answers
    open_holds: int
    stops: int  # in force
    quarantined: Sequence[str]
    key_ids: Sequence[str]  # of the keys that verify credentials; the last one signs
    warnings: Sequence[str]
    providers: Sequence[ProviderRow]
    servers: Sequence[ProviderRow] = ()  # of MCP; each is called mcp/NAME


async def show_status(office: Office) -> Status:
    """One picture of the process."""
    ledger = await _ledger(office)
    gate, process = office.gate, office.process
    now_ns = gate.clock.now_ns()
    expiry_ns = gate.clock.expiry_ns()
    return Status(
        version=process.version,
        pid=process.pid,
        started_at=format_instant(process.started_at_ns),
        uptime_s=max(0, now_ns - process.started_at_ns) // NANOS_PER_SECOND,
        serving=process.listen is not None,
        draining=gate.draining,
        listen=process.listen,
        store=process.store,
        durability=process.durability,
        epoch=gate.journal.epoch,
        ledger=ledger,
        organization=gate.registry.organization.name,
        registry_version=gate.registry.version,
        price_version=gate.registry.prices.version,
        policy_version=gate.registry.policies.version,
        policies=0 if gate.registry.policies.built_in else len(gate.registry.policies.policies),
        identities=len(gate.registry.identities),
        open_requests=await _open_requests(office),
        active_sessions=sum(s.goes_on(expiry_ns) for s in gate.sessions.values()),
        live_calls=len(gate.live),
        deferred_calls=len(gate.live.deferred),
        open_holds=len(gate.tree.holds),
        stops=len(gate.stops),
        quarantined=[bound.name for _, bound in sorted(gate.bounds.items()) if bound.quarantined],
        key_ids=office.issuer.key_ids,
        warnings=[f"{row.id}: {warning}" for row in list_identities(office) for warning in row.warnings],
        providers=_providers(office, servers=False),
        servers=_providers(office, servers=True),
    )


async def _ledger(office: Office) -> str:
    try:
        await office.ledger.fold()
    except LedgerUnavailableError as error:
        return str(error) or "cannot be written"
    return "ok"


async def _open_requests(office: Office) -> int:
    try:
        return await office.ledger.open_requests()
    except LedgerUnavailableError:
        return 0  # what is wrong is said of the ledger


def _say_origin(origin: Origin) -> str:
    if origin.scheme == "stdio":
        return "stdio"  # a process of ours
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    port = "" if (origin.scheme, origin.port) in {("http", 80), ("https", 443)} else f":{origin.port}"
    return f"{origin.scheme}://{host}{port}{origin.path_prefix}"


def _providers(office: Office, *, servers: bool) -> Sequence[ProviderRow]:
    found = sorted(office.gate.providers.items())
    return [_provider(office.gate, each) for _, each in found if each.is_server == servers]


def _provider(gate: Gate, provider: Provider) -> ProviderRow:
    health = gate.health.of(provider.name)
    aside = not health.usable(gate.clock.expiry_ns())
    return ProviderRow(
        name=provider.name,
        base_url=_say_origin(provider.origin),
        dialects=provider.dialects,
        environments=provider.environments,
        missing=provider.missing,
        aside_until=format_instant(health.until_ns) if aside else None,
        aside_why=health.why if aside else None,
        refused={
            model: format_instant(until_ns)
            for model, until_ns in gate.circuits.refusing(provider.name, gate.clock.expiry_ns()).items()
        },
    )
