"""From settings to the providers that calls leave for: the only place where their keys are read.

A key is read once, at the start, and lives in the finished header alone. It is never part of a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import msgspec

from comptroller.core.identity.credential import ADMIN_PREFIX, PREFIX
from comptroller.core.identity.secret import SECRET_PREFIX
from comptroller.flow.gate import Provider
from comptroller.flow.upstream import Origin, Timeouts
from comptroller.settings import ProviderSettings, UnusableKey, read_key

# The header that each family of APIs takes a key in.
_CREDENTIALS: Mapping[str, Callable[[bytes], tuple[bytes, bytes]]] = {
    "openai": lambda key: (b"authorization", b"Bearer " + key),
    "anthropic": lambda key: (b"x-api-key", key),
    "gemini": lambda key: (b"x-goog-api-key", key),
}
# What we give to callers and operators. A shell that calls the gateway often has one where a provider's key would be.
_OURS = tuple(prefix.encode() for prefix in (PREFIX, ADMIN_PREFIX, SECRET_PREFIX))


class Providers(msgspec.Struct, frozen=True):
    """What was built, and what a person should know about it."""

    by_name: Mapping[str, Provider]
    warnings: tuple[str, ...]


def build_providers(settings: Mapping[str, ProviderSettings], environ: Mapping[str, str]) -> Providers:
    """All providers. One whose key is missing is built all the same, with the reason in `missing`."""
    warnings: list[str] = []
    built = {name: build_provider(name, one, environ, warnings) for name, one in settings.items()}
    by_name = {name: replace(one, keys_beside=_keys_beside(one, built.values())) for name, one in built.items()}
    return Providers(by_name, tuple(warnings))


def _keys_beside(provider: Provider, others: Iterable[Provider]) -> tuple[bytes, ...]:
    """The keys of other entries at the same host: it may show them in an answer to this one."""
    keys = (each.key for each in others if each.origin.host == provider.origin.host and each is not provider)
    return tuple(key for key in keys if key is not None)


def build_provider(name: str, settings: ProviderSettings, environ: Mapping[str, str], warnings: list[str]) -> Provider:
    """One provider, its key read now. What is worth a warning is added to `warnings`."""
    credentials: dict[str, tuple[bytes, bytes]] = {}
    missing = None
    if settings.api_key is not None:
        try:
            key = read_key(f"The key of the provider {name}", settings.api_key, environ, warnings)
            if key.startswith(_OURS):
                raise UnusableKey(f"{settings.api_key} holds a credential of Comptroller's own, not the provider's key")
            credentials = {family: _credential(settings, family, key) for family in settings.dialects}
        except UnusableKey as reason:
            missing = str(reason)
            warnings.append(f"Calls to the provider {name} will be refused: {missing}.")
    url = settings.base_url
    prefix = url.path_prefix
    if settings.azure_api_version is not None:
        prefix = prefix.removesuffix("/openai")  # its paths begin with it
    return Provider(
        name=name,
        dialects=settings.dialects,
        origin=Origin(url.scheme, url.host, url.port, prefix, url.private or settings.private_network),
        credentials=credentials,
        environments=settings.environments,
        timeouts=Timeouts(
            connect_s=settings.connect_timeout_s,
            first_byte_s=settings.first_byte_timeout_s,
            idle_s=settings.idle_timeout_s,
            total_s=settings.total_timeout_s,
        ),
        abort_stops_billing=settings.abort_stops_billing,
        tail_tokens=settings.tail_tokens,
        bills_errors=settings.bills_errors,
        breaker_failures=settings.breaker_failures,
        output_limit_field=settings.output_limit_field,
        missing=missing,
        version_path=settings.version_path,
        azure_api_version=settings.azure_api_version,
        omit_fields=frozenset(settings.omit_fields),
    )


def _credential(settings: ProviderSettings, family: str, key: bytes) -> tuple[bytes, bytes]:
    """The finished header. Azure's deployments take a key under a name of their own."""
    named = settings.api_key_header or ("api-key" if settings.azure_api_version is not None else None)
    if named is None:
        return _CREDENTIALS[family](key)
    name = named.lower().encode()
    return (name, b"Bearer " + key) if name == b"authorization" else (name, key)
