"""Asking an ASGI app as a stranger would: any client, any header, any body."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

ADMIN = "cptradm_" + "of-this-test"


class Said(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def code(self) -> str:
        return self.body["code"]


class Admin:
    """The admin credential of a test."""

    def matches(self, presented: str) -> bool:
        return presented == ADMIN


async def ask(
    app: Any,
    method: str,
    path: str,
    body: bytes | Any = b"",
    *,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
    client: tuple[str, int] | None = ("127.0.0.1", 40_000),
    credential: str | None = ADMIN,
    meanwhile: Callable[[], Awaitable[object]] | None = None,
) -> Said:
    """One request. `headers` come on top of a good Host and credential; an empty value takes one away.

    `meanwhile` happens while the body is on its way.
    """
    path, _, query = path.partition("?")
    given = {"host": "127.0.0.1:8789", "authorization": f"Bearer {credential}" if credential else ""}
    if isinstance(headers, Mapping):
        given |= headers
    pairs = [*given.items(), *(headers if headers is not None and not isinstance(headers, Mapping) else ())]
    sent: list[dict[str, Any]] = []
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    pieces = [content[i : i + 65_536] for i in range(0, len(content), 65_536)] or [b""]

    async def receive() -> dict[str, Any]:
        piece = pieces.pop(0)
        if meanwhile is not None and not pieces:
            await meanwhile()
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in pairs if value],
        "client": client,
        "server": ("127.0.0.1", 8789),
    }
    await app(scope, receive, send)
    start, *rest = sent
    answered = {name.decode(): value.decode() for name, value in start["headers"]}
    return Said(start["status"], answered, json.loads(b"".join(each.get("body", b"") for each in rest)))
