"""Lines on their way to a file descriptor, by a thread of their own: whoever writes one never waits for a reader."""

from __future__ import annotations

import contextlib
import os
import queue
import threading

LINES_MOST = 10_000  # that wait; more are dropped and counted
_AT_ONCE = 500


class LineWriter:
    """Hands lines on in order. The thread starts with the first line; `close` ends it.

    A line that cannot be written is lost and nothing else: a full disk is where calls must be refused, not fail.
    """

    def __init__(self, descriptor: int) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Queue a line, which ends with its newline. Does not wait."""
        if self._lines.qsize() >= LINES_MOST:
            self.dropped += 1
            return
        self._lines.put(line)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="comptroller-log", daemon=True)
            self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Write what waits, for at most so long. Lines that come later are written by a new thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._lines.put(None)
            thread.join(timeout_s)

    def _work(self) -> None:
        more = True
        while more:
            lines = [self._lines.get()]
            with contextlib.suppress(queue.Empty):
                while lines[-1] is not None and len(lines) < _AT_ONCE:
                    lines.append(self._lines.get_nowait())
            more = lines[-1] is not None
            self._write(b"".join(line for line in lines if line is not None))

    def _write(self, text: bytes) -> None:
        # Not through sys.stderr: its lock, held by a thread that waits for a reader, aborts the process at its end.
        with contextlib.suppress(OSError):
            while text:
                text = text[os.write(self._descriptor, text) :]
