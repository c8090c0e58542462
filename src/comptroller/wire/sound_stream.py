"""Sound that goes on as it comes: what it costs is known from the request, or not at all."""

from __future__ import annotations

from comptroller.core.pricing.usage import Usage


class SoundStream:
    """Reads nothing; every byte passes unchanged. `used`: what the whole of it is billed as, if anybody knows."""

    served_model: str | None = None
    malformed = False
    error = False

    def __init__(self, used: Usage | None) -> None:
        self.usage = used
        self.done = False
        self.started = False

    @property
    def usage_final(self) -> bool:
        """Of sound that broke off nobody knows what was billed."""
        return self.done

    @property
    def input_usage(self) -> Usage | None:
        """Not told."""
        return None

    @property
    def seen_output_tokens(self) -> int:
        """Not visible: nobody asks, since these calls are held in full."""
        return 0

    def feed(self, chunk: bytes) -> bytes:
        """Nothing of it is looked at."""
        self.started = True
        return chunk

    def finish(self) -> bytes:
        """All of it came."""
        self.done = True
        return b""

    def cut_short(self) -> bytes:
        """Nothing: players take what they have."""
        return b""
