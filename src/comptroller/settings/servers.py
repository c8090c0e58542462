"""The settings of MCP servers: `[servers.NAME]`, what each may say, and what contradicts itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, NamedTuple, cast

import msgspec
from msgspec import Meta, field

from comptroller.core.identity.identity import Environment
from comptroller.core.problem import Fault, Problem, join
from comptroller.settings.values import BaseUrl, KeySource, read_key_source, read_webhook_url

_APIS = frozenset(
    {"openai", "anthropic", "gemini"}
)  # whose own tools have names as those of servers (docs/tools-in-models.md)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_WORDS_MOST = 256
MIB = 1024 * 1024
_OURS = ("PATH", "HOME", "LANG")


class Command(tuple[str, ...]):
    """What is run, as the system is given it: an absolute path and its arguments. No shell reads it."""

    __slots__ = ()


class ServerUrl(NamedTuple):
    """The whole address that requests go to, path and query included."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    path: str

    @property
    def base(self) -> BaseUrl:
        """The server without the path."""
        return BaseUrl(self.scheme, self.host, self.port, "")

    def __str__(self) -> str:
        return f"{self.base}{self.path}"


class Variables(dict[str, KeySource]):
    """What a server finds in its environment: where each value is kept, never the value."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One MCP server: a remote one by its address, or one that the gateway runs beside itself by its command."""

    # Never settable over the API: whoever could write it there would have a shell beside every provider key.
    command: Command | None = None
    url: ServerUrl | None = None
    # Another user than the gateway's: that user cannot read the state folder, nor the gateway's memory.
    run_as: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$")] | None = None
    # Said by whoever accepts that the server can read all that the gateway can. It warns at every start.
    allow_same_user: bool = False
    # All of its environment beside PATH, HOME and LANG: nothing of the gateway's own is handed on.
    variables: Variables = field(default_factory=Variables)
    # How many processes of it run at once. A client of the older protocol has one of its own; a small one has 60 MB.
    processes: Annotated[int, Meta(ge=1, le=1000)] = 16
    # What each of them may have (RLIMIT_DATA). A server of Node or Python has 60 to 200 MB.
    memory_bytes: Annotated[int, Meta(ge=64 * MIB, le=1024 * 1024 * MIB)] = 2048 * MIB
    # A session that asks nothing for so long is over, and so is its process.
    idle_s: Annotated[float, Meta(gt=0, le=86_400)] = 1800.0
    # Where the server's own key is kept. The caller's credential is never handed on.
    api_key: KeySource | None = None
    # "identity": each request carries a short-lived token of the gateway's, which says who calls for whom.
    token: Literal["identity"] | None = None
    # The identity (of kind tool) that this server is when it calls models or tools itself: it alone may exchange such a
    # token for a session below its caller's.
    identity: str | None = None
    # Who says what each call of its tools costs, before it is held: prices that depend on the arguments are in no book.
    price_callback: ServerUrl | None = None
    # A call leaves only for servers of its identity's environment. Left out: all.
    environments: Annotated[tuple[Environment, ...], Meta(min_length=1)] | None = None
    # Whether the name may lead to an address of a private network. Not, unless it is said.
    private_network: bool = False
    # A connection takes milliseconds; longer means it is not coming.
    connect_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 10.0
    # Until the first sign of an answer, and between two of them: clients themselves give up after 60.
    timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 60.0
    # No call takes longer, so no hold stays open longer. Streams that tell what is new are opened again by clients.
    total_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 1800.0


def is_server_name(text: str) -> bool:
    """True for a name of a server: it is a part of addresses (/mcp/NAME) and of tools' names (NAME/TOOL)."""
    return _NAME.fullmatch(text) is not None


def read_command(raw: object, folder: Path) -> Command:
    """A list of texts, the first of them an absolute path. Arguments are never repeated: one may be a secret."""
    del folder
    hint = "Write it as a list, such as ['/usr/bin/node', '/opt/server.js', '/srv/data']; no shell reads it."
    if not isinstance(raw, list) or not raw or not all(isinstance(word, str) for word in cast("list[object]", raw)):
        raise Fault("This must be a list of texts.", hint)
    words = Command(cast("list[str]", raw))
    if len(words) > _WORDS_MOST or any("\0" in word for word in words):
        raise Fault("This is not a command.", hint)
    if not PurePosixPath(words[0]).is_absolute():
        sentence = "The program must be named by its absolute path: what PATH leads to is up to others."
        raise Fault(sentence, hint)
    return words


def read_server_url(raw: object, folder: Path) -> ServerUrl:
    """The whole address. A faulty one is never repeated: somebody may have put a key into it."""
    return ServerUrl(*read_webhook_url(raw, folder))


def read_variables(raw: object, folder: Path) -> Variables:
    """A table of NAME = "env:NAME" or "file:PATH"."""
    hint = "Write it as { TOKEN = 'env:FILES_TOKEN' }."
    if not isinstance(raw, dict):
        raise Fault("This must be a table.", hint)
    found = Variables()
    for name, source in cast("dict[str, object]", raw).items():
        if _VARIABLE.fullmatch(name) is None:
            raise Fault("A variable's name has letters, digits and underscores.", hint)
        if name in _OURS or name.startswith("LD_"):
            raise Fault(f"{name} is not to be set.", f"The gateway sets {', '.join(_OURS)}, and nobody LD_*.")
        try:
            found[name] = read_key_source(source, folder)
        except Fault as fault:
            raise Fault(f"{name}: {fault.sentence}", fault.hint) from None
    return found


def server_contradictions(servers: Mapping[str, ServerSettings]) -> Iterator[Problem]:
    """What no single setting of a server can know."""
    for name, server in servers.items():
        where = join("servers", name)
        yield from _in_the_clear(f"{where}.url", server.url if server.command is None else None, server)
        yield from _in_the_clear(f"{where}.price_callback", server.price_callback, server)
        if name in _APIS:
            hint = f"Give it another name: {name}/web_search and the like are tools that the API defines itself."
            yield Problem(where, "This is the name of an API.", hint)
        if (server.command is None) == (server.url is None):
            sentence = "A server has either a command or a url." if server.command else "A command or a url is missing."
            yield Problem(where, sentence, "command is run beside the gateway; url is a server that runs elsewhere.")
        elif server.command is not None:
            yield from _local_contradictions(where, server)
        else:
            yield from _remote_contradictions(where, server)


def _local_contradictions(where: str, server: ServerSettings) -> Iterator[Problem]:
    for setting in ("api_key", "token", "identity"):
        if getattr(server, setting) is not None:
            hint = "What it needs to know goes to `variables`."
            yield Problem(f"{where}.{setting}", "A server that the gateway runs takes no key with a request.", hint)
    if server.private_network:
        yield Problem(f"{where}.private_network", "A server that the gateway runs is in no network.", "Leave it out.")
    if server.run_as is None and not server.allow_same_user:
        sentence = "This is missing: as the gateway's own user, the server could read every key that the gateway has."
        hint = "Name a user of its own, or say allow_same_user = true if that is meant."
        yield Problem(f"{where}.run_as", sentence, hint)


def _remote_contradictions(where: str, server: ServerSettings) -> Iterator[Problem]:
    for setting in ("run_as", "allow_same_user", "variables"):
        if getattr(server, setting):
            sentence = "This is for a server that the gateway runs itself."
            yield Problem(f"{where}.{setting}", sentence, "Leave it out, or write command in place of url.")
    if server.identity is not None and server.token is None:
        sentence = "Only a server that gets tokens can exchange them."
        yield Problem(f"{where}.identity", sentence, 'Set token = "identity", or leave it out.')
    if server.api_key is not None and server.token is not None:
        sentence = "A request carries one credential: api_key or token."
        yield Problem(f"{where}.token", sentence, "Leave out the one that the server does not ask for.")


def _in_the_clear(where: str, url: ServerUrl | None, server: ServerSettings) -> Iterator[Problem]:
    if url is not None and url.scheme == "http" and not (url.base.private or server.private_network):
        sentence = "Plain http leaves only for this machine or a private network: what tools say would be in the clear."
        hint = "Use https, or say private_network = true if the name leads to a private address."
        yield Problem(where, sentence, hint)
