"""`comptroller status`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import say_instant, say_seconds, write, write_json

if TYPE_CHECKING:
    from comptroller.control.status import Status


def status(context: typer.Context, as_json: AsJson = False, config: Config = None) -> None:
    """Say how the gateway is.

    And what it serves. Works where no gateway runs, too.

    \b
    Example:
      comptroller status
    """
    from comptroller.cli.transport import connect
    from comptroller.control.status import Status

    with connect(context, config) as api:
        answer = api.get("status")
    if as_json:
        write_json(answer.body)
        return
    for name, value in _lines(answer.read(Status)):
        write(f"{name:<12} {value}")


def _lines(found: Status) -> Iterator[tuple[str, str]]:
    yield "gateway", _gateway(found)
    yield "store", f"{found.store}, durability {found.durability}, epoch {found.epoch}: {found.ledger}"
    if found.registry_version:
        yield "registry", f"{found.organization}, version {found.registry_version}, price book {found.price_version}"
    else:
        yield "registry", "empty: `comptroller apply` installs one"
    if found.policies:
        yield "policies", f"{found.policies}, version {found.policy_version}"
    else:
        yield "policies", "none is installed: every identity may call every model, as far as budgets go"
    yield "identities", f"{found.identities}, active sessions {found.active_sessions}"
    if found.open_requests:
        yield "requests", f"{found.open_requests} for an identity: `comptroller requests` lists them"
    yield "keys", f"{', '.join(found.key_ids)}: the last one signs"
    deferred = f", {found.deferred_calls} deferred" if found.deferred_calls else ""
    yield "in flight", f"{found.live_calls} calls{deferred}, {found.open_holds} holds"
    if found.stops:
        yield "stopped", f"{found.stops}: `comptroller stops` lists them"
    for name in found.quarantined:
        yield "quarantined", f"{name}: see `comptroller bounds`"
    for provider in (*found.providers, *found.servers):
        kind = "server" if provider.name.startswith("mcp/") else "provider"
        seen = "" if found.serving else ", as this shell sees it"  # the gateway will have variables of its own
        state = f"cannot be used{seen}: {provider.missing}" if provider.missing else f"ready{seen}"
        if provider.aside_until is not None:
            state = f"aside until {say_instant(provider.aside_until)} ({provider.aside_why}): calls go to others first"
        yield kind, f"{provider.name}, {provider.base_url}: {state}"
        for model, until in provider.refused.items():
            yield (
                "refused",
                f"calls of {model or 'every model'} at {provider.name} until {say_instant(until)}: they failed",
            )
    for warning in found.warnings:
        yield "warning", warning


def _gateway(found: Status) -> str:
    if not found.serving:
        return f"not running; this command (version {found.version}) opened the store itself"
    state = "shutting down" if found.draining else "running"
    up = say_seconds(found.uptime_s)
    return f"{state} on {found.listen} for {up}, version {found.version}, process {found.pid}"
