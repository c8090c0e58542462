"""Providers: is the key there, may we connect, and does somebody listen? No request is sent, so nothing is spent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence

from comptroller.doctor.check import Check, fail, ok, warn
from comptroller.flow.gate import Provider
from comptroller.flow.upstream import UpstreamFailure
from comptroller.gateway.egress_connect import connect, tls_context
from comptroller.gateway.providers import build_provider
from comptroller.settings import ProviderSettings

_PATIENCE_S = 10.0


async def check_providers(
    settings: Mapping[str, ProviderSettings], environ: Mapping[str, str], *, running: bool
) -> Sequence[Check]:
    """Every provider's key and address. `running`: a gateway has an environment of its own, with keys of its own."""
    if not settings:
        return [warn("providers", "No provider is set up, so no call can leave.", "Add one: [providers.NAME].")]
    tls = tls_context()
    checks: list[Check] = []
    for name, one in settings.items():
        warnings: list[str] = []
        provider = build_provider(name, one, environ, warnings)
        checks.append(_key(provider, one, warnings, running=running))
        checks.append(await _reach(provider, tls, min(one.connect_timeout_s, _PATIENCE_S)))
    return checks


def _key(provider: Provider, settings: ProviderSettings, warnings: Sequence[str], *, running: bool) -> Check:
    name = f"providers.{provider.name}.key"
    if provider.missing is not None:
        elsewhere = settings.api_key is not None and settings.api_key.kind == "env" and running
        hint = "Set it where the gateway starts, and restart it: until then calls to this provider are refused."
        if elsewhere:
            hint = f"The gateway has variables of its own: see `comptroller status`. {hint}"
        return (warn if elsewhere else fail)(name, f"{provider.missing}.", hint)
    if warnings:
        return warn(name, " ".join(warnings), "A key that others can read is a key that others can spend with.")
    return ok(name, f"Read from {settings.api_key}." if settings.api_key is not None else "It wants none.")


async def _reach(provider: Provider, tls: ssl.SSLContext, patience_s: float) -> Check:
    """A connection, TLS included, and nothing sent over it."""
    name, origin = f"providers.{provider.name}.address", provider.origin
    where = f"{origin.scheme}://{origin.host}:{origin.port}"
    try:
        async with asyncio.timeout(patience_s):
            opened = await connect(origin, tls if origin.scheme == "https" else None, _Caller, patience_s)
    except UpstreamFailure as failure:
        hint = "Check base_url, the name service, and what stands between."
        if failure.kind == "forbidden_address":
            hint = "If this address is meant, say private_network = true for this provider."
        return fail(name, f"{where} cannot be reached: {failure.detail}.", hint)
    except TimeoutError:
        return fail(name, f"{where} does not answer within {patience_s:g} s.", "Check what stands between.")
    opened.close()
    return ok(name, f"{where} can be reached{', with a certificate that is good' if origin.scheme == 'https' else ''}.")


class _Caller(asyncio.Protocol):
    """Connects and says nothing."""

    def __init__(self) -> None:
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
