"""Reading comptroller.toml: every fault at once, and no value repeated that could be a key."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, cast, get_args, get_origin

import msgspec

from comptroller.core.ids import is_name
from comptroller.core.notice.filter import check_pattern
from comptroller.core.problem import Fault, Problem, did_you_mean, join
from comptroller.settings.schema import NotifySettings, ProviderSettings, Settings
from comptroller.settings.servers import (
    Command,
    ServerSettings,
    ServerUrl,
    Variables,
    is_server_name,
    read_command,
    read_server_url,
    read_variables,
    server_contradictions,
)
from comptroller.settings.values import (
    Address,
    BaseUrl,
    KeySource,
    Networks,
    Values,
    WebhookUrl,
    read_address,
    read_base_url,
    read_key_source,
    read_networks,
    read_path,
    read_values,
    read_webhook_url,
)


class SettingsError(Exception):
    """A file that cannot be used. `problems` has everything that is wrong with it."""

    def __init__(self, path: Path, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join((f"{path} cannot be used:", *(f"  {problem.line}" for problem in problems))))
        self.path = path
        self.problems = problems


def load_settings(path: Path) -> Settings:
    """The settings of a file. Raises SettingsError with every fault in it."""
    raw = read_toml(path)
    problems: list[Problem] = []
    folder = path.absolute().parent
    values = _values(Settings, raw, "", folder, problems)
    problems += [*_half_pair("", raw), *_half_pair("admin.", raw.get("admin"))]  # whatever else is wrong
    if not problems:
        settings = Settings(**values)
        problems.extend(_contradictions(settings))
        if not problems:
            return settings
    raise SettingsError(path, tuple(problems))


def read_toml(path: Path) -> dict[str, Any]:
    """A parsed TOML file. Raises SettingsError where it is missing, unreadable or not TOML."""
    try:
        return tomllib.loads(read_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(path, (Problem("file", f"It is not TOML: {error}."),)) from error


def read_text(path: Path) -> str:
    """The text of a file. Raises SettingsError where it is missing or cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SettingsError(path, (Problem("file", "There is no such file."),)) from error
    except OSError as error:
        raise SettingsError(path, (Problem("file", f"It cannot be read: {error.strerror}."),)) from error
    except UnicodeDecodeError as error:
        raise SettingsError(path, (Problem("file", "It is not UTF-8."),)) from error


_OUR_HEADERS = frozenset(
    {
        "host",
        "connection",
        "content-length",
        "content-type",
        "transfer-encoding",
        "accept-encoding",
        "x-client-request-id",
    }
)
# What an answer and its bound are made of, in any API: no server is sent a body without them.
_NEEDED = frozenset(
    {"model", "messages", "input", "prompt", "contents", "stream", "n", "max_tokens", "max_completion_tokens"}
    | {"max_output_tokens", "generationConfig"}
)

_READERS: Mapping[Any, Callable[[object, Path], object]] = {
    Address: read_address,
    BaseUrl: read_base_url,
    Command: read_command,
    KeySource: read_key_source,
    Networks: read_networks,
    Path: read_path,
    ServerUrl: read_server_url,
    Values: read_values,
    Variables: read_variables,
    WebhookUrl: read_webhook_url,
}


def _values(
    kind: type[msgspec.Struct], raw: object, where: str, folder: Path, problems: list[Problem]
) -> dict[str, Any]:
    """The values of one table by field; faults go to `problems`, and what is left out keeps its default."""
    known = {field.name: field for field in msgspec.structs.fields(kind)}
    if not isinstance(raw, dict):
        problems.append(Problem(where, "This must be a table."))
        return {}
    table = cast("dict[str, object]", raw)
    problems.extend(_unknown(join(where, key), key, known) for key in table if key not in known)
    values: dict[str, Any] = {}
    for name, field in known.items():
        path = join(where, name)
        if name in table:
            try:
                values[name] = _value(field.type, table[name], path, folder, problems)
            except Fault as fault:
                problems.append(fault.at(path))
        elif field.required:
            problems.append(Problem(path, "This is missing, and it is mandatory."))
        elif isinstance(field.default, Path):
            values[name] = folder / field.default
    return values


def _unknown(where: str, key: str, known: Collection[str]) -> Problem:
    return Problem(where, "There is no such setting.", did_you_mean(key, known))


def _value(kind: Any, raw: object, where: str, folder: Path, problems: list[Problem]) -> object:
    reader = _READERS.get(_without_none(kind))
    if reader is not None:
        return reader(raw, folder)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _table(kind, raw, where, folder, problems)
    if get_origin(kind) is dict:
        return _named(get_args(kind)[1], raw, where, folder, problems)
    if kind == tuple[NotifySettings, ...]:
        return _receivers(raw, where, folder, problems)
    return _plain(kind, raw)


def _plain(kind: Any, raw: object) -> object:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise Fault(_say(kind, error)) from None


def _table(kind: type[msgspec.Struct], raw: object, where: str, folder: Path, problems: list[Problem]) -> object:
    before = len(problems)
    values = _values(kind, raw, where, folder, problems)
    return kind(**values) if len(problems) == before else None


def _named(kind: type[msgspec.Struct], raw: object, where: str, folder: Path, problems: list[Problem]) -> object:
    """Tables by their names: those of providers and of servers."""
    if not isinstance(raw, dict):
        raise Fault(f"This must be tables such as [{where}.NAME].")
    tables = cast("dict[str, object]", raw)
    may_be_called = is_server_name if kind is ServerSettings else is_name
    strange = [name for name in tables if not may_be_called(name)]
    problems.extend(
        Problem(join(where, name), f"This is not a name for a {where.removesuffix('s')}.") for name in strange
    )
    return {name: _table(kind, table, join(where, name), folder, problems) for name, table in tables.items()}


def _receivers(raw: object, where: str, folder: Path, problems: list[Problem]) -> object:
    """A list of tables; each is called by its name where it has one, else by its number."""
    if not isinstance(raw, list):
        raise Fault(f"This must be a list of [[{where}]].")
    found: list[object] = []
    for number, table in enumerate(cast("list[object]", raw), 1):
        name = cast("dict[str, object]", table).get("name") if isinstance(table, dict) else None
        place = join(where, name) if isinstance(name, str) and is_name(name) else f"{where}[{number}]"
        found.append(_table(NotifySettings, cast(object, table), place, folder, problems))
    return tuple(found)


def _without_none(kind: Any) -> Any:
    if isinstance(kind, UnionType):
        rest = [one for one in get_args(kind) if one is not NoneType]
        return rest[0] if len(rest) == 1 else kind
    return kind


def _say(kind: Any, error: msgspec.ValidationError) -> str:
    """What is wrong, without the value: the words that may stand here, or what msgspec says of type and range."""
    words = _words(kind)
    if words == ["sqlite"]:
        return "This must be 'sqlite': other stores are not supported yet."
    if words == ["terminated"]:
        return "This must be 'terminated', or not there."
    if words:
        return f"This must be {'a list with some' if _is_list(kind) else 'one'} of {', '.join(map(repr, words))}."
    return f"{str(error).partition(' - at ')[0]}."


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is tuple or any(_is_list(inner) for inner in get_args(kind))


def _words(kind: Any) -> list[str]:
    """Every word that a type of literals knows, however deep they stand in it."""
    return [kind] if isinstance(kind, str) else [word for inner in get_args(kind) for word in _words(inner)]


def _contradictions(settings: Settings) -> list[Problem]:
    """What no single setting can know."""
    found = _tls_contradictions(settings)
    if settings.public_url is not None and settings.public_url.path_prefix:
        sentence = "The gateway answers at the root of a host: its address has no path."
        found.append(Problem("public_url", sentence, "Write it as 'https://HOST'."))
    for name, provider in settings.providers.items():
        found.extend(_provider_contradictions(join("providers", name), provider))
    found.extend(server_contradictions(settings.servers))
    for number, receiver in enumerate(settings.notify):
        others = [each.name for each in settings.notify[:number]]
        found.extend(_receiver_contradictions(join("notify", receiver.name), receiver, others))
    return found


def _tls_contradictions(settings: Settings) -> list[Problem]:
    admin = settings.admin
    found: list[Problem] = []
    either = "TLS ends either in front of the {} or in it."
    if settings.tls is not None and settings.tls_cert is not None:
        found.append(Problem("tls", either.format("gateway"), "Leave out tls, or tls_cert."))
    if admin.tls is not None and admin.tls_cert is not None:
        found.append(Problem("admin.tls", either.format("admin plane"), "Leave out tls, or tls_cert."))
    if settings.shared:
        found += _shared_contradictions(settings)
    if settings.tls is None and settings.tls_cert is None:
        hint = 'Name tls_cert and tls_key, write tls = "terminated" if TLS ends in front of the gateway, or '
        found += _in_the_clear("listen", settings.listen, hint)
    if admin.tls is None and settings.admin_cert is None:
        hint = "Name admin.tls_cert and admin.tls_key, "
        hint += 'write [admin] tls = "terminated" if TLS ends in front of this plane, too, or '
        found += _in_the_clear("admin.listen", admin.listen, hint)
    return found


def _in_the_clear(setting: str, at: Address, hint: str) -> list[Problem]:
    if at.loopback:
        return []
    sentence = f"{at} is reachable from other machines, without TLS."
    return [Problem(setting, sentence, f"{hint}listen on '127.0.0.1:PORT'.")]


def _half_pair(prefix: str, table: object) -> list[Problem]:
    """A certificate without its key, or a key without its certificate."""
    named = [name for name in ("tls_cert", "tls_key") if isinstance(table, dict) and name in table]
    if len(named) != 1:
        return []
    missing = "tls_key" if named == ["tls_cert"] else "tls_cert"
    return [Problem(f"{prefix}{missing}", f"This is missing, and {named[0]} is nothing without it.")]


def _shared_contradictions(settings: Settings) -> list[Problem]:
    found: list[Problem] = []
    if settings.admin.tls_cert is not None:
        sentence = "Both planes share one port, and its certificate is the tls_cert of the data plane."
        found.append(Problem("admin.tls_cert", sentence, "Leave it out, or give [admin] listen a port of its own."))
    if settings.tls is not None or settings.admin.tls is not None or settings.trusted_proxies:
        sentence = "What stands in front would hand the whole world on to the admin plane as if it were this machine."
        hint = "Give [admin] listen a port of its own, and let nothing in front lead there."
        found.append(Problem("admin.listen", sentence, hint))
    return found


def _receiver_contradictions(where: str, receiver: NotifySettings, others: Collection[str]) -> list[Problem]:
    found: list[Problem] = []
    if receiver.name in others:
        found.append(Problem(where, "Another receiver has this name.", "What waits for it is kept under its name."))
    if receiver.url.scheme == "http" and not (receiver.url.base.private or receiver.private_network):
        sentence = "Plain http leaves only for this machine or a private network: notices say who spends what."
        hint = "Use https, or say private_network = true if the name leads to a private address."
        found.append(Problem(f"{where}.url", sentence, hint))
    for pattern in receiver.events:
        try:
            check_pattern(pattern)
        except Fault as fault:
            found.append(fault.at(f"{where}.events"))
    return found


def _provider_contradictions(where: str, provider: ProviderSettings) -> list[Problem]:
    found: list[Problem] = []
    if provider.abort_stops_billing and provider.tail_tokens is None:
        sentence = "With abort_stops_billing this is mandatory: what may still be billed after an abort."
        found.append(Problem(f"{where}.tail_tokens", sentence))
    if provider.base_url.scheme == "http" and not (provider.base_url.private or provider.private_network):
        sentence = "Plain http leaves only for this machine or a private network: a key would travel in the clear."
        hint = "Use https, or say private_network = true if the name leads to a private address."
        found.append(Problem(f"{where}.base_url", sentence, hint))
    if provider.azure_api_version is not None and provider.dialects != ("openai",):
        sentence = "Deployments are for OpenAI's APIs alone."
        found.append(
            Problem(f"{where}.dialects", sentence, 'Write dialects = ["openai"]; other APIs are an entry apart.')
        )
    if provider.api_key_header is not None and provider.api_key_header.lower() in _OUR_HEADERS:
        sentence = "This header is the gateway's own to write."
        found.append(
            Problem(f"{where}.api_key_header", sentence, "Most servers have 'api-key', or need none to be named.")
        )
    found += [
        Problem(
            f"{where}.omit_fields", f"{name!r} is what an answer and its bound are made of.", "It cannot be left out."
        )
        for name in provider.omit_fields
        if name in _NEEDED
    ]
    return found
