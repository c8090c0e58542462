"""The body of an answer on its way to whoever reads it, and a tap on it for whoever reads along."""

from __future__ import annotations

from collections.abc import Awaitable, Callable


class Tap:
    """Hands bytes to a function in the moment in which they come, and keeps what it returns until somebody takes it."""

    __slots__ = ("_passed", "_through", "fault", "unread")

    def __init__(self, through: Callable[[bytes], bytes]) -> None:
        self.unread = 0  # bytes that were passed on and not taken
        self.fault: Exception | None = None  # what the function raised
        self._through: Callable[[bytes], bytes] | None = through
        self._passed: list[bytes] = []

    def feed(self, raw: bytes) -> bool:
        """Hand these on. False: the function failed, and whoever reads has to hear of it."""
        if self._through is None:
            return True
        try:
            passed = self._through(raw)
        except Exception as error:  # noqa: BLE001 - raised where the stream is read, not in the event loop's hands
            self.fault = error
            return False
        if passed:
            self._passed.append(passed)
            self.unread += len(passed)
        return True

    def take(self) -> bytes:
        """All that was passed on and not taken yet."""
        passed = self._passed
        taken = passed[0] if len(passed) == 1 else b"".join(passed)
        passed.clear()
        self.unread = 0
        return taken

    def shut(self) -> None:
        """Nothing more comes. The function leads back to whoever reads: a ring would be left to the collector."""
        self._through = None


class Chunks:
    """A plain object, because an async generator costs more and outlives a consumer that walks away."""

    __slots__ = ("_next_chunk",)

    def __init__(self, next_chunk: Callable[[], Awaitable[bytes]]) -> None:
        """`next_chunk` raises StopAsyncIteration at the end."""
        self._next_chunk = next_chunk

    def __aiter__(self) -> Chunks:
        return self

    def __anext__(self) -> Awaitable[bytes]:
        return self._next_chunk()
