"""The bill: one line a request, one account a provider key, exact at every instant.

Tokens are billed by absolute count as they are generated. The accounts are moved by the difference, so
totals stay exact after old lines are dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import islice
from sys import intern
from typing import Literal

from comptroller.core.money import format_usd
from comptroller.sandbox.prices import Counts, Model, charge_nanos
from comptroller.sandbox.prompt import Cached

State = Literal["open", "done", "cut"]


def fingerprint(key: str) -> str:
    """A short SHA-256 of a provider key, to tell keys apart without showing them."""
    return intern(sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:12])


@dataclass(slots=True)
class Account:
    """Sums over requests; tokens by kind, money in nano-USD."""

    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    charge_nanos: int = 0

    def as_json(self) -> dict[str, object]:
        """The account with money as decimal strings."""
        sums: dict[str, object] = asdict(self)
        return sums | {"charge_usd": format_usd(self.charge_nanos), "charge_nanos": str(self.charge_nanos)}


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is noted about a request as it arrives: no values of headers, no body."""

    client_request_id: str | None
    header_names: tuple[str, ...]
    path_query: str
    at: float
    """Unix time in seconds."""
    surface: str = "chat"
    api_version: str | None = None
    """The header `anthropic-version`."""


@dataclass(slots=True)
class Line:
    """One request on the bill. `generated` moves it, and the accounts it belongs to, at once."""

    seq: int
    key: str | None
    arrival: Arrival
    accounts: tuple[Account, ...]
    free: bool = False
    """Nothing is billed or reported, whatever is generated (fault `usage_zero`)."""
    goes_on: bool = False
    """It is billed on after its request, and closed by whoever does the work."""
    model: Model | None = None
    model_name: str = ""
    tier: str = "default"
    state: State = "open"
    fault: str | None = None
    status: int | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    charge_nanos: int = 0

    def begin(self, *, input_tokens: int, audio_tokens: int, cached: Cached) -> None:
        """Bill the prompt: generation starts. `input_tokens` includes what was read from the cache and written."""
        if self.free:
            return
        self.input_tokens, self.audio_tokens = input_tokens, audio_tokens
        self.cached_tokens = cached.read
        self.cache_write_tokens, self.cache_write_1h_tokens = cached.written, cached.written_1h
        for account in self.accounts:
            account.input_tokens += input_tokens
            account.cached_tokens += cached.read
            account.cache_write_tokens += cached.written
        self._recharge()

    def generated(self, output_tokens: int, reasoning_tokens: int) -> None:
        """Bill output up to these absolute counts (`output_tokens` includes reasoning)."""
        if self.free:
            return
        for account in self.accounts:
            account.output_tokens += output_tokens - self.output_tokens
            account.reasoning_tokens += reasoning_tokens - self.reasoning_tokens
        self.output_tokens, self.reasoning_tokens = output_tokens, reasoning_tokens
        self._recharge()

    def bill(self, charge_nanos: int, *, input_tokens: int, output_tokens: int) -> None:
        """Bill an answer that is made in one piece."""
        for account in self.accounts:
            account.input_tokens += input_tokens
            account.output_tokens += output_tokens
            account.charge_nanos += charge_nanos
        self.input_tokens, self.output_tokens, self.charge_nanos = input_tokens, output_tokens, charge_nanos

    def _recharge(self) -> None:
        if self.model is None:
            raise RuntimeError("tokens cannot be billed before the model is known")
        charge = charge_nanos(
            self.model,
            self.tier,
            Counts(
                input_tokens=self.input_tokens,
                cached_tokens=self.cached_tokens,
                cache_write_tokens=self.cache_write_tokens,
                cache_write_1h_tokens=self.cache_write_1h_tokens,
                output_tokens=self.output_tokens,
            ),
        )
        for account in self.accounts:
            account.charge_nanos += charge - self.charge_nanos
        self.charge_nanos = charge

    def as_json(self) -> dict[str, object]:
        """The line as `GET /sandbox/bill/requests` shows it."""
        return {
            "seq": self.seq,
            "client_request_id": self.arrival.client_request_id,
            "key": self.key,
            "surface": self.arrival.surface,
            "api_version": self.arrival.api_version,
            "model": self.model_name,
            "tier": self.tier,
            "at": self.arrival.at,
            "state": self.state,
            "fault": self.fault,
            "status": self.status,
            "input_tokens": self.input_tokens,
            "cached_tokens": self.cached_tokens,
            "cache_write_tokens": self.cache_write_tokens,
            "cache_write_1h_tokens": self.cache_write_1h_tokens,
            "audio_tokens": self.audio_tokens,
            "output_tokens": self.output_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "charge_nanos": str(self.charge_nanos),
            "received_headers": self.arrival.header_names,
            "path_query": self.arrival.path_query,
        }


class Bill:
    """All lines and accounts since the start or the last reset."""

    def __init__(self, capacity: int) -> None:
        self._lines: deque[Line] = deque(maxlen=capacity)
        self._next_seq = 1
        self._total = Account()
        self._accounts: dict[str, Account] = {}
        self.open_requests = 0

    def open(self, key: str | None, arrival: Arrival) -> Line:
        """Open the line of a request; `key` is a fingerprint, or None when the key was not accepted."""
        accounts = (self._total,) if key is None else (self._total, self._accounts.setdefault(key, Account()))
        for account in accounts:
            account.requests += 1
        line = Line(self._next_seq, key, arrival, accounts)
        self._next_seq += 1
        self._lines.append(line)
        self.open_requests += 1
        return line

    def close(self, line: Line, state: State) -> None:
        """Say how a request ended."""
        line.state = state
        self.open_requests -= 1

    def lines(self, key: str | None, after: int) -> Iterator[Line]:
        """Kept lines with a `seq` above `after`, oldest first; of one key when it is given."""
        first = self._next_seq - len(self._lines)
        kept = islice(self._lines, max(0, after + 1 - first), None)
        return (line for line in kept if key is None or line.key == key)

    @property
    def requests(self) -> int:
        """Requests since the start or the last reset."""
        return self._total.requests

    def as_json(self) -> dict[str, object]:
        """The bill by key and in total."""
        keys = {key: account.as_json() for key, account in self._accounts.items()}
        return {"keys": keys, "total": self._total.as_json()}

    def reset(self) -> None:
        """Start an empty bill. Requests still running go on billing the old one, which nobody sees."""
        self._lines.clear()
        self._total = Account()
        self._accounts = {}
