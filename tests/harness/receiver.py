"""A receiver of notices: a webhook on a socket of its own, which verifies what it gets with the official package."""

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from standardwebhooks.webhooks import Webhook

WAIT_S = 60.0
SECRET = "whsec_" + "Y29tcHRyb2xsZXIgdGVzdHMgc2lnbiB3aXRoIHRoaXM="

Answer = Callable[[int], tuple[int, Mapping[str, str]]]
"""From the number of a request, counted from 1, to its status and headers."""


class Received(NamedTuple):
    id: str
    headers: dict[str, str]
    body: bytes
    status: int  # that it was answered with

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def name(self) -> str:
        return self.event["type"].removeprefix("comptroller.")


class ReceiverServer:
    """`with ReceiverServer() as receiver: ...`. `answer`: what it says to each request."""

    def __init__(self, answer: Answer = lambda _: (204, {}), port: int = 0) -> None:
        self.answer = answer
        self.all: list[Received] = []  # in the order of their coming, however they were answered
        self.unsigned: list[str] = []  # why a request was not ours
        self.open = threading.Event()  # while it is not set, nobody is answered
        self.open.set()
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/comptroller?room=ops"

    @property
    def taken(self) -> list[Received]:
        """Those that were answered well."""
        with self._changed:
            return [one for one in self.all if one.status < 300]

    def wait(self, enough: Callable[[list[Received]], object]) -> list[Received]:
        """All that was taken, once it is enough."""
        with self._changed:
            found = self._changed.wait_for(lambda: enough([one for one in self.all if one.status < 300]), WAIT_S)
            assert found, f"only {[(one.name, one.status) for one in self.all]}"
        return self.taken

    def wait_for(self, name: str, count: int = 1) -> list[Received]:
        """Those of one name, once there are so many."""
        self.wait(lambda taken: sum(one.name == name for one in taken) >= count)
        return [one for one in self.taken if one.name == name]

    def wait_for_requests(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.all) >= count, WAIT_S), self.all

    def _take(self, headers: dict[str, str], body: bytes) -> tuple[int, Mapping[str, str]]:
        self.open.wait(WAIT_S)
        try:
            Webhook(SECRET).verify(body, headers)
        except Exception as error:  # noqa: BLE001 - whatever it says, the test shows it
            self.unsigned.append(repr(error))
            return 401, {}
        with self._changed:
            status, more = self.answer(len(self.all) + 1)
            self.all.append(Received(headers["webhook-id"], headers, body, status))
            self._changed.notify_all()
            return status, more

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, more = take({name.lower(): value for name, value in self.headers.items()}, body)
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the library
                """Nobody reads it."""

        return Handler
