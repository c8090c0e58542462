"""Where every request for an answer arrives: its key is known, its line is opened, and every no is said."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from sys import intern
from typing import Protocol

from comptroller.sandbox.bill import Arrival, Bill, Line, fingerprint
from comptroller.sandbox.config import SandboxConfig
from comptroller.sandbox.errors import ApiError, ClientGone, Refusal
from comptroller.sandbox.faults import Control, FaultBook, FaultOptions
from comptroller.sandbox.wire import Exchange, Headers

NOT_HTTP = b"\x15\x03\x01\x00\x02\x02\x28 this is not HTTP\r\n\r\n\x00\xff\xfe"

_NOTED_PATH_CHARACTERS = 2_048
_NOTED_ID_CHARACTERS = 512
_NOTED_VERSION_CHARACTERS = 64
_SHARED_HEADER_SETS = 1_000


class Spoken(Protocol):
    """What an API has to say before anything is asked of it."""

    name: str
    no_key: Refusal
    wrong_key: Refusal

    def key(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The provider key of a request, or None when it has none."""
        ...

    def error(self, refusal: Refusal) -> tuple[Headers, bytes]:
        """An error answer: its own headers, and its body."""
        ...


class Reception(ABC):
    """Receives the requests of one API."""

    def __init__(self, spoken: Spoken, config: SandboxConfig, bill: Bill, faults: FaultBook) -> None:
        self._spoken = spoken
        self.config = config
        self._bill = bill
        self._faults = faults
        self._header_names: dict[tuple[bytes, ...], tuple[str, ...]] = {}

    @abstractmethod
    async def answer(self, exchange: Exchange, line: Line) -> None:
        """Make the answer and hand it over."""

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request, whatever happens to it, with one line on the bill."""
        key = self._spoken.key(exchange.headers)
        accepted = key is not None and self.config.accepts(key)
        line = self._bill.open(fingerprint(key) if key is not None and accepted else None, self._arrival(exchange))
        try:
            if not accepted:
                raise ApiError(self._spoken.no_key if key is None else self._spoken.wrong_key)
            await self.answer(exchange, line)
        except ApiError as error:
            line.status = error.refusal.status
            await self.refuse(exchange, error.refusal)
        except ClientGone:
            pass  # The line says "cut": nobody is left to tell.
        finally:
            if not line.goes_on:
                self._bill.close(line, "done" if exchange.complete else "cut")

    async def refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        """Say no in the words of this API."""
        headers, body = self._spoken.error(refusal)
        await exchange.respond(refusal.status, body, (*headers, *refusal.headers))

    def choose_fault(self, control: Control) -> tuple[str, FaultOptions]:
        """The fault that the body asks for, else one by chance; "" is none."""
        by_chance = self._faults.draw()
        if control.fault is not None:
            return control.fault, control
        return ("", control) if by_chance is None else (by_chance.fault, by_chance)

    def _arrival(self, exchange: Exchange) -> Arrival:
        request_id = exchange.headers.get(b"x-client-request-id")
        version = exchange.headers.get(b"anthropic-version")
        path = exchange.path + ("?" + exchange.query.decode("latin-1") if exchange.query else "")
        return Arrival(
            client_request_id=None if request_id is None else request_id.decode("latin-1")[:_NOTED_ID_CHARACTERS],
            header_names=self._names_of(exchange),
            path_query=intern(path[:_NOTED_PATH_CHARACTERS]),
            at=time.time(),
            surface=self._spoken.name,
            api_version=None if version is None else version.decode("latin-1")[:_NOTED_VERSION_CHARACTERS],
        )

    def _names_of(self, exchange: Exchange) -> tuple[str, ...]:
        """The sorted header names; a client sends the same ones each time, so the lines share one tuple."""
        raw = tuple(exchange.headers)
        names = self._header_names.get(raw)
        if names is None:
            if len(self._header_names) >= _SHARED_HEADER_SETS:
                self._header_names.clear()
            names = self._header_names[raw] = tuple(sorted(name.decode("latin-1") for name in raw))
        return names
