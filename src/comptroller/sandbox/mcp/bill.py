"""The bill of tool calls: a line for each request, an account for each server. The judge of the gateway's own books."""

from __future__ import annotations

import base64
import binascii
from collections import deque
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Literal

import msgspec

from comptroller.core.money import format_usd

State = Literal["open", "done", "cut"]

_TOKEN_PARTS = 3


@dataclass(slots=True)
class ToolAccount:
    """Sums of one server. `calls` are tools that ran; a question to the person is a request of its own and no call."""

    requests: int = 0
    calls: int = 0
    result_bytes: int = 0
    charge_nanos: int = 0

    def as_json(self) -> dict[str, object]:
        """The account with money as decimal strings."""
        sums: dict[str, object] = asdict(self)
        return sums | {"charge_usd": format_usd(self.charge_nanos), "charge_nanos": str(self.charge_nanos)}


@dataclass(frozen=True, slots=True)
class Came:
    """What is noted of a request as it arrives."""

    server: str
    at: float
    """Unix time in seconds."""
    key: str | None = None
    """Fingerprint of the bearer key; None where there was none."""
    claims: dict[str, object] | None = None
    """What a bearer that is a signed token says; nobody checked its signature."""
    header_names: tuple[str, ...] = ()
    session: str | None = None


@dataclass(slots=True)
class ToolLine:
    """One JSON-RPC request."""

    seq: int
    came: Came
    accounts: tuple[ToolAccount, ...] = field(repr=False)
    era: str = ""
    method: str = ""
    name: str = ""
    arguments: object = None
    meta: object = None
    """`_meta` of the request."""
    state: State = "open"
    status: int | None = None
    fault: str | None = None
    ran: bool = False
    is_error: bool = False
    result_bytes: int = 0
    units: int = 0
    charge_nanos: int = 0

    def bill(self, *, charge_nanos: int, result_bytes: int, units: int, is_error: bool) -> None:
        """A tool ran."""
        self.ran, self.is_error = True, is_error
        self.result_bytes, self.units, self.charge_nanos = result_bytes, units, charge_nanos
        for account in self.accounts:
            account.calls += 1
            account.result_bytes += result_bytes
            account.charge_nanos += charge_nanos

    def as_json(self) -> dict[str, object]:
        """The line as `GET /sandbox/mcp/bill/calls` shows it."""
        return {
            "seq": self.seq,
            "at": self.came.at,
            "server": self.came.server,
            "key": self.came.key,
            "claims": self.came.claims,
            "session": self.came.session,
            "era": self.era,
            "method": self.method,
            "name": self.name,
            "arguments": self.arguments,
            "meta": self.meta,
            "state": self.state,
            "status": self.status,
            "fault": self.fault,
            "ran": self.ran,
            "is_error": self.is_error,
            "result_bytes": self.result_bytes,
            "units": self.units,
            "charge_nanos": str(self.charge_nanos),
            "received_headers": self.came.header_names,
        }


class ToolBill:
    """All lines and accounts since the start or the last reset."""

    def __init__(self, capacity: int) -> None:
        self._lines: deque[ToolLine] = deque(maxlen=capacity)
        self._next_seq = 1
        self._total = ToolAccount()
        self._servers: dict[str, ToolAccount] = {}

    def open(self, came: Came) -> ToolLine:
        """Open the line of a request."""
        accounts = (self._total, self._servers.setdefault(came.server, ToolAccount()))
        for account in accounts:
            account.requests += 1
        line = ToolLine(self._next_seq, came, accounts)
        self._next_seq += 1
        self._lines.append(line)
        return line

    def lines(self, after: int, limit: int) -> list[dict[str, object]]:
        """Kept lines with a `seq` above `after`, oldest first."""
        first = self._next_seq - len(self._lines)
        kept = islice(self._lines, max(0, after + 1 - first), None)
        return [line.as_json() for line in islice(kept, limit)]

    def as_json(self) -> dict[str, object]:
        """The bill by server and in total."""
        servers = {name: account.as_json() for name, account in self._servers.items()}
        return {"servers": servers, "total": self._total.as_json()}

    def reset(self) -> None:
        """Start an empty bill; numbers go on."""
        self._lines.clear()
        self._total = ToolAccount()
        self._servers = {}


def claims_of(bearer: str) -> dict[str, object] | None:
    """What a bearer that looks like a signed token claims, unchecked; None where it is no such token."""
    parts = bearer.split(".")
    if len(parts) != _TOKEN_PARTS or not bearer.startswith("eyJ"):
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=="), type=dict[str, object])
    except (binascii.Error, msgspec.DecodeError):
        return None
