"""From settings to the MCP servers that tool calls leave for: providers named mcp/NAME, and the programs to be run.

A server is a provider with the one family of APIs "mcp": stops, health, circuits and environments are those of
providers. One that the gateway runs itself has an origin of the scheme "stdio", which gateway/stdio serves.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.core.identity.credential import ADMIN_PREFIX, PREFIX
from comptroller.core.identity.secret import SECRET_PREFIX
from comptroller.flow.gate import Provider
from comptroller.flow.key_mask import SHORTEST_KEY
from comptroller.flow.upstream import Origin, Timeouts
from comptroller.gateway.stdio.program import Program, Unusable, find_user
from comptroller.settings import ServerSettings, UnusableKey, read_key, read_variable
from comptroller.settings.servers import ServerUrl

FAMILY = "mcp"
PREFIX_OF_SERVERS = f"{FAMILY}/"
_OURS = tuple(prefix.encode() for prefix in (PREFIX, ADMIN_PREFIX, SECRET_PREFIX))
_NAMES: Mapping[str, str] = {"LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin"}


class Servers(msgspec.Struct, frozen=True):
    """What was built, and what a person should know about it. `programs`: of the servers that we run, by name."""

    by_name: Mapping[str, Provider]
    programs: Mapping[str, Program]
    warnings: tuple[str, ...]


def build_servers(settings: Mapping[str, ServerSettings], environ: Mapping[str, str]) -> Servers:
    """All servers. One whose key, variable or user is missing is built all the same, with the reason in `missing`."""
    warnings: list[str] = []
    providers: dict[str, Provider] = {}
    programs: dict[str, Program] = {}
    for name, server in settings.items():
        if server.command is None:
            provider = _remote(name, server, environ, warnings)
        else:
            provider, program = _local(name, server, environ, warnings)
            if program is not None:
                programs[name] = program
        if provider.missing is not None:
            warnings.append(f"Calls to the server {name} will be refused: {provider.missing}.")
        providers[provider.name] = provider
    return Servers(providers, programs, tuple(warnings))


def _remote(name: str, server: ServerSettings, environ: Mapping[str, str], warnings: list[str]) -> Provider:
    if server.url is None:
        raise ValueError(f"the server {name} has neither a command nor a url")
    credentials: dict[str, tuple[bytes, bytes]] = {}
    missing = None
    if server.api_key is not None:
        try:
            key = read_key(f"The key of the server {name}", server.api_key, environ, warnings)
            if key.startswith(_OURS):
                raise UnusableKey(f"{server.api_key} holds a credential of Comptroller's own, not the server's key")
            credentials = {FAMILY: (b"authorization", b"Bearer " + key)}
        except UnusableKey as reason:
            missing = str(reason)
    return _provider(name, server, _origin(server.url, server), credentials, missing)


def _origin(url: ServerUrl, server: ServerSettings) -> Origin:
    return Origin(url.scheme, url.host, url.port, url.path, url.base.private or server.private_network)


def _local(
    name: str, server: ServerSettings, environ: Mapping[str, str], warnings: list[str]
) -> tuple[Provider, Program | None]:
    program, missing = None, None
    variables: dict[str, str] = {}
    try:
        for variable, source in server.variables.items():
            value = read_variable(f"The variable {variable} of the server {name}", source, environ, warnings)
            if value.startswith(_OURS):
                raise UnusableKey(f"{source} holds a credential of Comptroller's own")
            variables[variable] = value.decode("utf-8", "surrogateescape")
        user = find_user(server.run_as, allow_same_user=server.allow_same_user)
        program = Program(
            name=name,
            command=tuple(server.command or ()),
            user=user,
            environ={**_NAMES, **variables},
            processes=server.processes,
            memory_bytes=server.memory_bytes,
            idle_s=server.idle_s,
        )
        if user is None:
            warnings.append(
                f"The server {name} runs as the gateway's own user (allow_same_user): "
                "it can read every key that the gateway has."
            )
    except (UnusableKey, Unusable) as reason:
        missing = str(reason)
    # A server may say what it was told: long values are secrets, or nobody misses them.
    secrets = tuple(
        text
        for value in variables.values()
        if len(text := value.encode("utf-8", "surrogateescape")) >= SHORTEST_KEY and b"\n" not in text
    )
    return _provider(name, server, Origin("stdio", name, 0), {}, missing, secrets), program


def _provider(
    name: str,
    server: ServerSettings,
    origin: Origin,
    credentials: Mapping[str, tuple[bytes, bytes]],
    missing: str | None,
    secrets: tuple[bytes, ...] = (),
) -> Provider:
    return Provider(
        name=PREFIX_OF_SERVERS + name,
        dialects=(FAMILY,),
        origin=origin,
        credentials=credentials,
        environments=server.environments,
        timeouts=Timeouts(
            connect_s=server.connect_timeout_s,
            first_byte_s=server.timeout_s,
            idle_s=server.timeout_s,
            total_s=server.total_timeout_s,
        ),
        abort_stops_billing=False,
        tail_tokens=None,
        bills_errors=True,
        output_limit_field="max_completion_tokens",
        missing=missing,
        keys_beside=secrets,
        token_audience=str(server.url) if server.token is not None else None,
        acts_as=server.identity,
        price_callback=None if server.price_callback is None else _origin(server.price_callback, server),
    )
