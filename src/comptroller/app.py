"""The only place that joins concrete parts: settings, store, keyring, egress, the gate, and their listeners."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from comptroller import __version__
from comptroller.control import admins, api, caller_api, notify, process_changes, registry, retention, timed
from comptroller.control.admins import AdminMade
from comptroller.control.balances import standing_balances
from comptroller.control.chat import read_chat
from comptroller.control.door import Door as AdminDoor
from comptroller.control.door import Outside
from comptroller.control.issuer_keys import IssuerKeys
from comptroller.control.office import Office, ProcessFacts
from comptroller.core.budget.budget import Unit
from comptroller.core.budget.hold import NOTHING, WindowKey
from comptroller.core.budget.meter import LEDGER_KEY, ledger_key
from comptroller.core.budget.tree import BudgetTree
from comptroller.core.identity.admin import Admins
from comptroller.core.instant import DAY_NS, format_instant
from comptroller.core.money import format_usd
from comptroller.core.registry.build import build, nothing_installed
from comptroller.core.registry.registry import Registry
from comptroller.core.work.stop import Stops
from comptroller.core.work.stored import LASTS_DAYS
from comptroller.flow import deferred
from comptroller.flow.drain import drain
from comptroller.flow.gate import Gate, Limits
from comptroller.flow.kept import MOST, Kept
from comptroller.flow.live import LiveCalls
from comptroller.flow.mcp.pins import Pins
from comptroller.flow.mcp.tokens import ServerTokens
from comptroller.flow.poller import Poller
from comptroller.flow.used import ToolsUsed
from comptroller.gateway import collector
from comptroller.gateway.certificates import Certificate, read_certificates, renew_forever
from comptroller.gateway.clock import SystemClock
from comptroller.gateway.door import Door
from comptroller.gateway.egress import Egress
from comptroller.gateway.hardening import drop_variables, refuse_dumps
from comptroller.gateway.providers import build_providers
from comptroller.gateway.proxies import client_address
from comptroller.gateway.routes import Routes
from comptroller.gateway.servers import build_servers
from comptroller.gateway.serving import Listener
from comptroller.gateway.stdio.host import StdioServers
from comptroller.gateway.supervisor import Supervisor
from comptroller.gateway.surfaces import APIS, CALLS, DEFERRING, LISTS, SHARED
from comptroller.gateway.upstreams import Upstreams
from comptroller.settings import Address, Settings, SettingsError, load_settings, read_policies, read_text, variables_of
from comptroller.shipped import ShippedBook
from comptroller.store.admin_token import open_admin_token
from comptroller.store.backup import DATABASE
from comptroller.store.keyring import open_keyring
from comptroller.store.lock import OFFLINE, Holder
from comptroller.store.open import open_store
from comptroller.store.store import Store
from comptroller.telemetry.library_lines import libraries_heard
from comptroller.telemetry.loop_lag import watch_loop
from comptroller.telemetry.observers import Observers
from comptroller.telemetry.readings import Sources
from comptroller.telemetry.telemetry import Telemetry, trace_faults
from comptroller.wire.planned import PLANNED

ROUTES = Routes(CALLS, APIS, [(route.method, route.path) for route in caller_api.ROUTES], LISTS, SHARED)
_HEALTH = frozenset({"/healthz", "/readyz"})
_METRICS = "/metrics"
_FLUSH_MOST_S = 10.0

Asgi = Callable[..., Any]


OnReady = Callable[["House"], Awaitable[None]]
"""Greets whoever watches, and says what there is to say of providers."""


@dataclass
class House:
    """Every part of one process, joined."""

    settings: Settings
    environ: Mapping[str, str]
    telemetry: Telemetry
    store: Store
    gate: Gate
    office: Office
    door: Door
    admin: Asgi
    outside: Outside
    sources: Sources
    warnings: Sequence[str]  # about providers, servers and the chat tool
    lost: int = 0  # events that were not on disk when the store was closed


@asynccontextmanager
async def open_house(settings: Settings, environ: Mapping[str, str], *, listening: bool) -> AsyncGenerator[House]:
    """Open the store, bring the memory up to what it says, and join the parts; close them in the end.

    Raises StoreHeldError if another process owns the store, and what store and settings raise.
    """
    listen = str(settings.listen) if listening else OFFLINE
    admin = str(settings.admin.listen) if listening else ""
    holder = Holder(os.getpid(), socket.gethostname(), format_instant(time.time_ns()), listen, admin)
    store = open_store(settings.state, durability=settings.durability, now_ns=time.time_ns(), holder=holder)
    house: House | None = None
    telemetry = Telemetry(settings)
    log = telemetry.log
    try:
        store.start(telemetry.tally.wrote)
        _say_recovered(store, telemetry)
        with collector.at_rest():
            house = await _join(settings, environ, store, telemetry, listening=listening)
            if listening:
                await _settle_in(house)
        if listening:
            with libraries_heard(log):
                yield house
        else:
            yield house
    finally:
        lost = await store.close(_FLUSH_MOST_S)
        if lost:
            log.say("journal_unwritten", {"comptroller.events": lost})
        if house is not None:
            house.lost = lost
            if listening:
                log.say("stopped", {"process.pid": os.getpid()})
        telemetry.close()


async def _join(
    settings: Settings, environ: Mapping[str, str], store: Store, telemetry: Telemetry, *, listening: bool
) -> House:
    installed = await store.registry()
    shipped = _shipped(settings)
    current = build(installed.entries, installed.version, shipped) if installed.version else nothing_installed(shipped)
    clock = SystemClock(store.last_journalled_ns)
    keyring = open_keyring(settings.state, current.organization.trust_domain, clock.now_ns())
    providers, servers = build_providers(settings.providers, environ), build_servers(settings.servers, environ)
    live = {session.id: session for session in await store.live_sessions(clock.now_ns())}
    stops = Stops(await store.stops_in_force())
    egress = Egress()
    gate = Gate(
        clock=clock,
        registry=current,
        providers={**providers.by_name, **servers.by_name},
        sessions={},
        credentials=keyring,
        tree=BudgetTree(current.budgets, await _posted(current, store, live, clock.now_ns())),
        bounds={(b.provider, b.model, b.dialect): b for b in await store.bounds()},
        journal=store.journal,
        upstream=Upstreams(egress, StdioServers(servers.programs, settings.limits.answer_bytes, telemetry.log.say)),
        live=LiveCalls(),
        limits=msgspec.convert(settings.limits, Limits, from_attributes=True),
        observer=telemetry.observer(egress, environ, __version__, clock.now_ns),
        warn=telemetry.log.say,
        stops=stops,
        deferring=DEFERRING,
        known_as=settings.known_as,
        planned=PLANNED,
        pins=Pins(await store.pins()),
        tools_used=ToolsUsed(await store.tools_used(sorted({session.top for session in live.values()}))),
        server_tokens=ServerTokens(keyring, settings.known_as),
        objects=Kept(await store.live_objects(clock.now_ns() - LASTS_DAYS * DAY_NS, MOST)),
    )
    spent = await store.instance_balances([LEDGER_KEY], sorted(live))
    worked_ns = await store.last_at_work(sorted({session.top for session in live.values()}))
    for session in sorted(live.values(), key=lambda each: each.depth):
        at_work_ns = max(session.opened_at_ns, worked_ns.get(session.id, 0))
        gate.open_session(session, spent.get(ledger_key(session.id), NOTHING), at_work_ns)
    facts = ProcessFacts(
        version=__version__,
        pid=os.getpid(),
        started_at_ns=clock.now_ns(),
        listen=str(settings.listen) if listening else None,
        durability=settings.durability,
        store=str(settings.state),
        url=settings.known_as,
    )
    issuer_keys = IssuerKeys(egress, settings.registry.parent)
    office = Office(gate, store, keyring, facts, issuer_keys, Admins(await store.admins()))
    await timed.go_on(office)
    for held in await store.deferred_holds():
        deferred.go_on(gate, held, await store.lineage(held.facts.session))
    await notify.begin(office, settings.notify, environ)
    if office.notifying is not None:
        gate.observer = Observers(gate.observer, office.notifying.watch)

    def ready() -> bool:
        return not gate.draining and store.journal.healthy

    outside = _outside(settings)
    admin = api.build(office, outside)
    outbox = office.notifying and office.notifying.outbox
    sources = Sources(gate, telemetry.tally, store.journal, egress, telemetry.log.counts, ready, __version__, outbox)
    door = Door(gate, ROUTES, ready, caller_api.CallerApi(office), settings.trusted_proxies)
    warnings = [*providers.warnings, *servers.warnings]
    office.chat = read_chat(settings.chat.secret, environ, warnings)
    return House(settings, environ, telemetry, store, gate, office, door, admin, outside, sources, warnings)


def _outside(settings: Settings) -> Outside:
    trusted = settings.trusted_proxies

    def address_of(scope: Any) -> str:
        peer = scope["client"][0] if scope["client"] else ""
        return client_address(peer, scope["headers"], trusted)

    own_hosts = {settings.admin.listen.host, *settings.admin.hosts}
    return Outside(open_admin_token(settings.state), own_hosts, address_of)


async def _posted(current: Registry, store: Store, live: Collection[str], now_ns: int) -> dict[WindowKey, int]:
    """What is posted in every window of these budgets that may still be current, in the budget's unit."""
    units: dict[str, Unit] = {budget.key: budget.unit for budget in current.budgets}
    balances = await standing_balances(store, current.budgets, live, now_ns)
    return {key: amounts.of(units[key.budget]) for key, amounts in balances.items()}


def _say_recovered(store: Store, telemetry: Telemetry) -> None:
    recovered = store.recovered
    if recovered.count:
        charge_usd = format_usd(recovered.amount_nanos)
        telemetry.log.say("recovered", {"comptroller.calls": recovered.count, "comptroller.charge_usd": charge_usd})


async def _settle_in(house: House) -> None:
    """Install the registry file if the store is still empty."""
    if house.gate.registry.version == 0 and house.settings.registry.exists():
        text = read_text(house.settings.registry)
        policies = read_policies(house.settings.policies)
        await registry.apply(house.office, text, "serve (empty store)", policies=policies)
    await _record_start(house)


def _check_first_registry(settings: Settings) -> None:
    """What would be installed into a store that is not there yet fits: a start that fails leaves none behind."""
    if settings.registry.exists() and not (settings.state / DATABASE).exists():
        text = read_text(settings.registry)
        registry.read(text, settings.providers, read_policies(settings.policies), shipped=_shipped(settings))


async def _record_start(house: House) -> None:
    """Write down with which settings and provider keys this process runs, if they are others than before."""
    written = msgspec.json.encode(house.settings, enc_hook=str, order="sorted")  # no secret stands in settings
    digests = {
        name: house.gate.credentials.digest(provider.key)
        for name, provider in house.gate.providers.items()
        if provider.key is not None
    }
    await process_changes.record_start(house.office, blake2b(written, digest_size=16).hexdigest(), digests)


def serve(config: Path, *, on_ready: OnReady | None = None) -> int:
    """Run the gateway until SIGTERM or SIGINT, then drain. Returns the exit code."""
    settings = load_settings(config)
    faults = (*_shipped(settings).check(), *trace_faults(settings.traces, os.environ))
    if faults:
        raise SettingsError(config, faults)
    _check_first_registry(settings)
    return uvloop.run(_serve(settings, on_ready))


@asynccontextmanager
async def offline(config: Path) -> AsyncGenerator[Asgi]:
    """The admin plane's app on a store that nobody serves: for commands beside a stopped gateway."""
    async with open_house(load_settings(config), os.environ, listening=False) as house:
        yield house.admin


async def recover(config: Path, name: str, reason: str) -> AdminMade:
    """Make an admin of role admin in a store that nobody serves: for whoever owns the machine, and nobody gets in."""
    async with open_house(load_settings(config), os.environ, listening=False) as house:
        return await admins.recover(house.office, name, reason)


async def _serve(settings: Settings, on_ready: OnReady | None) -> int:
    certificates = read_certificates(settings)
    stop, hurry, supervisor = asyncio.Event(), asyncio.Event(), Supervisor(os.environ)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: hurry.set() if stop.is_set() else stop.set())
    refuse_dumps()
    async with open_house(settings, dict(os.environ), listening=True) as house:
        drop_variables(os.environ, variables_of(settings))
        listeners = _listeners(house, certificates)
        for listener in listeners:
            await listener.start()
        beside = [
            *(asyncio.create_task(job) for job in timed.jobs(house.office)),
            asyncio.create_task(Poller(house.gate, random.Random()).run()),  # noqa: S311 - it spreads questions
            asyncio.create_task(retention.keep(house.office, settings.retention)),
            asyncio.create_task(notify.tell_forever(house.office)),
            asyncio.create_task(watch_loop(house.sources.tally.loop_lag)),
            asyncio.create_task(supervisor.keep_alive()),
        ]
        if certificates or not sys.stdin.isatty():  # else SIGHUP is a terminal that was closed: it ends the process
            beside.append(asyncio.create_task(renew_forever(tuple(certificates.values()), house.telemetry.log.say)))
        collector.calm()
        for sentence in house.warnings if on_ready is None else ():
            house.telemetry.log.say("provider", {"message": sentence})
        _say_started(house)
        supervisor.say("READY=1")
        if on_ready is not None:
            await on_ready(house)
        await stop.wait()
        supervisor.say("STOPPING=1")
        await drain(house.gate, settings.drain_s, hurry)
        for task in beside:
            task.cancel()
        await asyncio.gather(*(listener.stop() for listener in listeners))
        await house.telemetry.flush()
        await house.gate.upstream.close()
    return 1 if house.lost else 0


def _say_started(house: House) -> None:
    listen, admin = str(house.settings.listen), str(house.settings.admin.listen)
    version = house.gate.registry.version
    listening = {
        "comptroller.listen": listen,
        "comptroller.admin.listen": admin,
        "comptroller.registry.version": version,
    }
    house.telemetry.log.say("started", {"service.version": __version__, "process.pid": os.getpid(), **listening})
    sys.stdout.write(f"comptroller listens on {house.settings.url}, admin on {house.settings.admin_url}\n")
    sys.stdout.flush()


def _listeners(house: House, certificates: Mapping[str, Certificate]) -> list[Listener]:
    """The data plane's and the admin plane's, or one for both if they share an address."""
    data, admin = house.settings.listen, house.settings.admin.listen
    limits = house.settings.limits

    def listener(name: str, app: Asgi, at: Address) -> Listener:
        tls = certificates[name].context if name in certificates else None
        most, stalled_s = limits.header_bytes, limits.stalled_caller_s
        return Listener(app, at.host, at.port, head_bytes=most, stalled_s=stalled_s, tls=tls)

    if house.settings.shared:
        return [listener("listen", _shared(house), data)]
    return [listener("listen", house.door, data), listener("admin.listen", _admin_plane(house), admin)]


def _shared(house: House) -> Asgi:
    admin_plane, own = _admin_plane(house), {*_HEALTH, "/api/hello"}

    async def either(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        admin = path == _METRICS or (path.startswith("/api/") and path not in own)
        await (admin_plane if admin else house.door)(scope, receive, send)

    return either


def _admin_plane(house: House) -> Asgi:
    """What operators reach: the API, the metrics, and whether the process is well."""
    elsewhere = {_METRICS: _metrics(house), **dict.fromkeys(_HEALTH, house.door)}

    async def each(scope: Any, receive: Any, send: Any) -> None:
        await elsewhere.get(scope["path"], house.admin)(scope, receive, send)

    return each


def _metrics(house: House) -> Asgi:
    from comptroller.telemetry.page import Page, ScrapeDoor, scrape_token  # noqa: PLC0415 - slow, and for `serve` alone

    settings, page = house.settings, Page(house.sources)
    admin_door = AdminDoor(house.office, house.outside, page)
    return ScrapeDoor(page, admin_door, scrape_token(settings.metrics.token, house.environ, house.telemetry.log))


def _shipped(settings: Settings) -> ShippedBook:
    tables = {name: provider.price_table for name, provider in settings.providers.items()}
    return ShippedBook({name: table for name, table in tables.items() if table is not None})
