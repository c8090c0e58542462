"""What can be set on the sandbox provider: type, default and unit of every setting."""

from __future__ import annotations

from dataclasses import dataclass, field

_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """Settings of one sandbox process; a request's own `sandbox` field overrides speed and delivery."""

    keys: frozenset[str] = field(default=frozenset(), repr=False)
    """Accepted provider keys; empty accepts every key that starts with `sandbox-`."""
    tokens_per_s: float = 0.0
    """Output tokens generated a second; 0 is as fast as possible."""
    first_byte_delay_s: float = 0.0
    """Seconds between the billing of the input and the first byte of the answer."""
    tokens_per_chunk: int = 1
    """Output tokens in one event of a stream."""
    ahead: int = 0
    """Tokens that generation runs ahead of what a stream has sent."""
    answer_tokens: int = 0
    """Output tokens that half of the answers have more of, where a request does not say; 0 is 5 to 60 by chance."""
    abort_stops: bool = True
    """Whether a client's disconnect stops generation (and so the bill)."""
    cache_min_tokens: int = 16
    """Shortest common prefix, in tokens, that the prompt cache reports."""
    cache_prefixes: int = 50_000
    """Prefixes that the prompt cache remembers; the least recently used go first."""
    bill_lines: int = 1_000_000
    """Requests whose own line is kept; the oldest go first, totals stay exact."""
    batch_expires_s: float = 86_400.0
    """Seconds after which what is not made of a batch expires."""
    max_body_bytes: int = 32 * 1024 * 1024
    """Largest request body in bytes; a larger one is answered with 413."""
    allow_any_host: bool = False
    """Whether to listen on an address that is not loopback."""

    def __post_init__(self) -> None:
        """Raise ValueError for a number that makes no sense."""
        for name in (
            "tokens_per_s",
            "first_byte_delay_s",
            "ahead",
            "answer_tokens",
            "batch_expires_s",
            "cache_min_tokens",
            "cache_prefixes",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative")
        for name in ("tokens_per_chunk", "bill_lines", "max_body_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")

    def check_host(self, host: str) -> None:
        """Raise ValueError when `host` is not loopback and that was not allowed."""
        if host not in _LOOPBACK_HOSTS and not self.allow_any_host:
            raise ValueError(f"{host} is not a loopback address: the sandbox takes any key, so say --allow-any-host")

    def accepts(self, key: str) -> bool:
        """Say whether this provider key may be used."""
        if self.keys:
            return key in self.keys
        return key.startswith("sandbox-")
