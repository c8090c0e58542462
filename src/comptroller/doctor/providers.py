"""Providers: is the key there, may we connect, and does somebody listen? No request is sent, so nothing is spent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence

from comptroller.control.status import ProviderRow
from comptroller.doctor.check import Check, fail, ok, warn
from comptroller.flow.upstream import Origin, UpstreamFailure
from comptroller.gateway.egress_connect import connect, tls_context
from comptroller.gateway.providers import build_provider
from comptroller.settings import ProviderSettings

PATIENCE_S = 10.0
_UNKNOWN = "The gateway was started before this provider was set up"


Standing = Mapping[str, ProviderRow]
"""What a running gateway says of each of its providers."""


async def check_providers(
    settings: Mapping[str, ProviderSettings], environ: Mapping[str, str], standing: Standing | None
) -> Sequence[Check]:
    """Every provider's key and address.

    `standing`: what the running gateway says, which has an environment of its own. None if there is none to ask: then
    keys are judged by this environment.
    """
    if not settings:
        return [warn("providers", "No provider is set up, so no call can leave.", "Add one: [providers.NAME].")]
    tls = tls_context()
    checks: list[Check] = []
    for name, one in settings.items():
        warnings: list[str] = []
        provider = build_provider(name, one, environ, warnings)
        row = None if standing is None else standing.get(name)
        missing = provider.missing if standing is None else _UNKNOWN if row is None else row.missing
        patience_s = min(one.connect_timeout_s, PATIENCE_S)
        reached = await reach(f"providers.{name}.address", provider.origin, tls, patience_s, "base_url")
        if missing is not None and reached.state == "fail":
            reached = warn(reached.name, reached.sentence, reached.hint)  # no call goes there
        if missing is None and warnings and provider.missing is None:
            hint = "A key that others can read is a key that others can spend with."
            checks.append(warn(f"providers.{name}.key", " ".join(warnings), hint))
        else:
            checks.append(_key(name, one, missing, asked=standing is not None))
        checks.append(reached)
        if row is not None and row.aside_until is not None:
            checks.append(_aside(row))
        if row is not None and row.refused:
            checks.append(_refused(row))
    return checks


def _aside(row: ProviderRow) -> Check:
    sentence = f"Calls go to other providers first until {row.aside_until}: it was last seen as `{row.aside_why}`."
    hint = "`comptroller calls --outcome provider_refused` (or provider_error, provider_timeout) shows what it said."
    return warn(f"providers.{row.name}.health", sentence, hint)


def _refused(row: ProviderRow) -> Check:
    models = ", ".join(f"{model or 'every model'} until {until}" for model, until in row.refused.items())
    hint = "One call at a time finds out whether it answers again; give its models another provider beside it."
    return warn(
        f"providers.{row.name}.circuit", f"Too many calls in a row failed, so calls are refused: {models}.", hint
    )


def _key(provider: str, settings: ProviderSettings, missing: str | None, *, asked: bool) -> Check:
    """A variable without a key is worth a warning: a provider may be set up and not in use, as those of the sample."""
    name, source = f"providers.{provider}.key", settings.api_key
    if missing is None:
        if source is None:
            return ok(name, "It wants none.")
        return ok(name, f"The gateway has it from {source}." if asked else f"Read from {source}.")
    hint = "Set it where the gateway starts, and restart it: until then calls to this provider are refused."
    if missing == _UNKNOWN:
        return warn(name, f"{missing}.", "Restart it: until then calls to this provider are refused.")
    if source is None or source.kind == "file":
        return fail(name, f"{missing}.", hint)
    return warn(name, f"{missing}{'' if asked else ' (in this shell; the gateway has one of its own)'}.", hint)


async def reach(name: str, origin: Origin, tls: ssl.SSLContext, patience_s: float, setting: str) -> Check:
    """A connection, TLS included, and nothing sent over it. `setting`: the one that names the address."""
    where = f"{origin.scheme}://{origin.host}:{origin.port}"
    try:
        async with asyncio.timeout(patience_s):
            opened = await connect(origin, tls if origin.scheme == "https" else None, _Caller, patience_s)
    except UpstreamFailure as failure:
        hint = f"Check {setting}, the name service, and what stands between."
        if failure.kind == "forbidden_address":
            hint = f"If this address is meant, say private_network = true for this {name.partition('s.')[0]}."
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
