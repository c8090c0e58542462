"""The command's way to the admin plane: over HTTP to a running gateway, else to the same app in this process.

Where no gateway owns the store, the command opens it itself and asks the very same ASGI app, so each
command has one way of asking, and the admin credential goes to nobody else who may listen on that port.
A store that another process owns is never opened: its holder is named.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import typer

from comptroller.cli.failure import CommandError
from comptroller.cli.options import chosen_config
from comptroller.cli.secure import check_certificate, connection_to
from comptroller.cli.target import Target, find_target

T = TypeVar("T")

_CONNECT_S = 5.0
_PREFIX = "/api/v1/"


class Answer(NamedTuple):
    """What the admin plane said."""

    status: int
    body: bytes

    def read(self, kind: type[T]) -> T:
        """The body as rows of this kind."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise CommandError(
                f"The gateway's answer is not what this command expects: {error}.",
                "Are the command and the gateway of the same version? `comptroller version` and `comptroller status`.",
            ) from error


class Wire(Protocol):
    """One request, one answer."""

    def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer: ...


class Api:
    """The admin plane, wherever it is."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def get(self, *path: str, **query: str | int | None) -> Answer:
        """Ask. Query values that are None are left out."""
        return self._ask("GET", path, query, b"")

    def post(self, *path: str, sent: object = None, document: bytes | None = None, **query: int | None) -> Answer:
        """Act, with a JSON body or a document."""
        body = document if document is not None else msgspec.json.encode(sent)
        return self._ask("POST", path, query, body)

    def _ask(self, method: str, path: tuple[str, ...], query: Mapping[str, str | int | None], body: bytes) -> Answer:
        given = {name: value for name, value in query.items() if value is not None}
        target = _PREFIX + "/".join(quote(part, safe="") for part in path) + (f"?{urlencode(given)}" if given else "")
        kind = {"content-type": "application/json"} if body else {}
        answer = self._wire.send(method, target, kind, body)
        if answer.status >= 400:
            raise _refusal(answer)
        return answer


@contextmanager
def connect(context: typer.Context, config: Path | None) -> Generator[Api]:
    """The admin plane of the gateway that this command is about."""
    target = find_target(chosen_config(context, config))
    if _is_there(target):
        yield Api(_Online(target))
    elif target.config is None:
        raise CommandError(
            f"Nothing listens on {target.where}.",
            "Is the gateway running there? COMPTROLLER_ADDR is its admin address.",
        )
    else:
        with _offline(target, target.config) as wire:
            yield Api(wire)


def _is_there(target: Target) -> bool:
    """Whether to ask over the network.

    A store that no gateway owns has none that listens, so whoever does is a stranger, and the admin credential
    is not for it.
    """
    if target.config is not None:
        from comptroller.cli.holder import is_served

        if not is_served(target.config):
            return False
    return _listens(target)


def _listens(target: Target) -> bool:
    try:
        with socket.create_connection((target.host, target.port), timeout=_CONNECT_S):
            return True
    except ConnectionRefusedError:
        return False
    except OSError as error:
        if target.config is not None:
            return False
        raise CommandError(f"{target.where} cannot be reached: {error}.", "Check COMPTROLLER_ADDR.") from error


def ask_once(
    target: Target, method: str, path: str, headers: Mapping[str, str], body: bytes, who: str = "The gateway"
) -> Answer:
    """One request, and whatever is answered. Redirects are answers. `who`: as a person calls what is there.

    Raises UnansweredError where nothing is.
    """
    return _Online(target, who).send(method, path, headers, body)


class UnansweredError(CommandError):
    """Whether what was asked was done is not known."""


class _Online:
    """HTTP to the gateway, or to whoever else is named."""

    def __init__(self, target: Target, who: str = "The gateway") -> None:
        self._target = target
        self._who = who

    def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        credential = {"authorization": f"Bearer {self._target.token}"} if self._target.token else {}
        connection = connection_to(self._target)
        try:
            connection.connect()
            if self._target.cert is not None:
                check_certificate(connection, self._target.cert)
            connection.request(method, target, body or None, {**headers, **credential})
            response = connection.getresponse()
            return Answer(response.status, response.read())
        except TimeoutError as error:
            waited = f"{self._target.timeout_s:g} s"
            raise UnansweredError(
                f"{self._who} on {self._target.where} did not answer within {waited}.{self._holder()}",
                "What was asked may still happen: look before you ask again.",
            ) from error
        except ssl.SSLCertVerificationError as error:
            raise CommandError(
                f"Nobody vouches for the certificate of {self._target.where}: {error.verify_message}.",
                "Name the authority that signed it: SSL_CERT_FILE=/path/to/authority.pem.",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise UnansweredError(
                f"{self._who} on {self._target.where} broke off: {error or type(error).__name__}.{self._holder()}",
                "Look at its log, and ask again.",
            ) from error
        finally:
            connection.close()

    def _holder(self) -> str:
        """Who owns the store, if somebody does."""
        if self._target.config is None:
            return ""
        from comptroller.cli.holder import holder_of

        found = holder_of(self._target.config)
        return f" {found}" if found else ""


class _Offline:
    """The admin plane's app in this process, asked through its ASGI door."""

    def __init__(self, runner: asyncio.Runner, app: Any, token: str) -> None:
        self._runner = runner
        self._app = app
        self._token = token

    def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        sent = {**headers, "host": "localhost", "authorization": f"Bearer {self._token}"}
        return self._runner.run(_call(self._app, method, target, sent, body))


@contextmanager
def _offline(target: Target, config: Path) -> Generator[_Offline]:
    from comptroller import app
    from comptroller.cli.holder import said_plainly

    with asyncio.Runner() as runner:
        opening = app.offline(config)
        with said_plainly(f"No gateway of this store listens on {target.where}, and it cannot be opened instead: "):
            inner = runner.run(_enter(opening))
        try:
            token = find_target(config).token or ""  # opening the store for the first time made it
            yield _Offline(runner, inner, token)
        finally:
            runner.run(_leave(opening))


async def _enter(manager: Any) -> Any:
    return await manager.__aenter__()


async def _leave(manager: Any) -> None:
    await manager.__aexit__(None, None, None)


async def _call(app: Any, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """One ASGI call."""
    path, _, query = target.partition("?")
    status, chunks = 500, list[bytes]()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            chunks.append(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": _unquoted(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
    }
    await app(scope, receive, send)
    return Answer(status, b"".join(chunks))


def _unquoted(path: str) -> str:
    from urllib.parse import unquote

    return unquote(path)


def _refusal(answer: Answer) -> CommandError:
    """The admin plane's no, as the command says it."""
    from comptroller.control.problem import ProblemBody

    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
        error = msgspec.json.decode(answer.body, type=ProblemBody)
        hint = error.hint
        if error.code in {"credential_invalid", "credential_missing"}:
            hint = (
                "Does another gateway listen there? Set COMPTROLLER_TOKEN to your credential for it; until somebody "
                "has one (`comptroller admins add`) that is `admin-token` in its state folder."
            )
        return CommandError(error.detail, hint, error.errors)
    return CommandError(
        f"What listens there is not the admin plane of a gateway (HTTP {answer.status}).",
        "Check [admin] listen in comptroller.toml, or COMPTROLLER_ADDR.",
    )
