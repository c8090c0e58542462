"""A caller without an SDK: one request a connection, and everything that came back."""

import http.client
import json
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.harness.gateway import GatewayProcess

CHAT = "/v1/chat/completions"
PATIENCE_S = 60.0
POLL_S = 0.02

Row = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """What the gateway answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> Row:
        """The error of a refusal, in the dialect's shape."""
        return json.loads(self.body)["error"]

    @property
    def code(self) -> str:
        return self.error["code"]

    @property
    def call_id(self) -> str:
        return self.headers["x-comptroller-call-id"]


def chat(text: str = "Tell me about holds.", /, **fields: Any) -> Row:
    """A request body."""
    return {"model": "sandbox-large", "messages": [{"role": "user", "content": text}]} | fields


def encoded(body: Row | bytes) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def mint(gateway: GatewayProcess, identity: str = "agent/ant", **given: Any) -> Row:
    """A fresh session: `credential`, `session`, ..."""
    return gateway.admin("POST", "/sessions", {"identity": identity, **given})


def ask(
    gateway: GatewayProcess,
    credential: str | None,
    body: Row | bytes | None = None,
    *,
    path: str = CHAT,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> Said:
    """Send a request and read the whole answer."""
    with _connected(gateway) as connection:
        _send(connection, credential, chat() if body is None else body, path, method, headers or {})
        with connection.getresponse() as response:
            return Said(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def ask_at_once(gateway: GatewayProcess, credential: str, count: int, **fields: Any) -> list[Said]:
    """So many different requests at the same time."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda number: ask(gateway, credential, chat(f"{number}", **fields)), range(count)))


@contextmanager
def stream(
    gateway: GatewayProcess,
    credential: str,
    body: Row | bytes,
    *,
    receive_bytes: int | None = None,
    path: str = CHAT,
    headers: Mapping[str, str] | None = None,
) -> Iterator[http.client.HTTPResponse]:
    """A stream whose headers have come; leaving the block hangs up. `receive_bytes`: a small receive buffer."""
    asked = body if isinstance(body, bytes) else body | {"stream": True}
    with _connected(gateway, receive_bytes) as connection:
        _send(connection, credential, asked, path, "POST", headers or {})
        with connection.getresponse() as response:
            assert response.status == 200, response.read()
            yield response


@contextmanager
def unanswered(
    gateway: GatewayProcess,
    credential: str,
    body: Row | bytes,
    path: str = CHAT,
    headers: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """A request that was sent; leaving the block hangs up without having waited for an answer."""
    with _connected(gateway) as connection:
        _send(connection, credential, body, path, "POST", headers or {})
        yield


def rest_of(response: http.client.HTTPResponse) -> bytes:
    """What still comes of a stream."""
    try:
        return response.read()
    except http.client.IncompleteRead as broken:
        return broken.partial


def eventually(fact: Callable[[], Any], deadline_s: float = PATIENCE_S) -> Any:
    """Poll until this is true; returns it."""
    until = time.monotonic() + deadline_s
    while not (found := fact()):
        assert time.monotonic() < until, f"not so after {deadline_s} s"
        time.sleep(POLL_S)  # sleep: polling another process
    return found


def row_of(gateway: GatewayProcess, call_id: str) -> Row:
    """The call in the books."""
    (row,) = [row for row in gateway.admin("GET", "/calls?limit=1000") if row["id"] == call_id]
    return row


def settled_row(gateway: GatewayProcess, call_id: str) -> Row:
    """The call in the books, once it is settled."""
    return eventually(lambda: row if (row := row_of(gateway, call_id))["outcome"] != "open" else None)


def budget_of(gateway: GatewayProcess, name: str) -> Row:
    """The one window of a budget."""
    (row,) = [row for row in gateway.admin("GET", "/budgets") if row["name"] == name]
    return row


def nanos(usd: str) -> int:
    """An amount in nano-USD."""
    whole, _, fraction = usd.partition(".")
    return int(whole) * 10**9 + int(fraction.ljust(9, "0"))


@contextmanager
def _connected(gateway: GatewayProcess, receive_bytes: int | None = None) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE_S)
    plug = socket.socket()
    try:
        plug.settimeout(PATIENCE_S)
        if receive_bytes is not None:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plug.connect(("127.0.0.1", gateway.port))
        connection.sock = plug
        yield connection
    finally:
        connection.close()
        plug.close()


def _send(
    connection: http.client.HTTPConnection,
    credential: str | None,
    body: Row | bytes,
    path: str,
    method: str,
    headers: Mapping[str, str],
) -> None:
    authorization = {} if credential is None else {"authorization": f"Bearer {credential}"}
    connection.request(method, path, encoded(body), {"content-type": "application/json", **authorization, **headers})


def allowance(gateway: GatewayProcess, credential: str, query: str = "") -> Row:
    """What the caller API says may be spent now. Raises urllib.error.HTTPError."""
    request = urllib.request.Request(
        f"{gateway.url}/comptroller/v1/allowance{query}", headers={"authorization": f"Bearer {credential}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
