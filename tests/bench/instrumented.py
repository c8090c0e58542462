"""The gateway with instruments inside: `python -m tests.bench.instrumented samples|counts FILE serve --config ...`.

SIGUSR1 switches them on and SIGUSR2 off, which writes FILE. Both distort, each in its own way: `counts` makes every
function slower but counts exactly; `samples` looks at the stacks once for each millisecond of CPU. Times come from
samples only.
"""

import dis
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

EVERY_S = 0.001
DEPTH = 60

Place = tuple[str, str]  # file, function
Stack = tuple[Place, ...]  # where it is, and who called that, and so on


class Samples:
    """CPU time by stack. A sample weighs what its thread has used since the last one, so sums are true.

    Python runs a handler only between two instructions, so time spent below Python (the kernel, the loop) is found at
    the next instruction: at the start of a function that time belongs to whoever called it.
    """

    def __init__(self) -> None:
        self._found: Counter[tuple[str, Stack]] = Counter()
        self._main_ns = self._all_ns = 0
        self._starts: dict[CodeType, int] = {}

    def on(self) -> None:
        self._found.clear()
        self._main_ns, self._all_ns = time.thread_time_ns(), time.process_time_ns()
        signal.signal(signal.SIGPROF, self._take)
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)

    def off(self) -> list[dict[str, Any]]:
        signal.setitimer(signal.ITIMER_PROF, 0)
        return [{"thread": thread, "stack": stack, "ns": ns} for (thread, stack), ns in self._found.items()]

    def _take(self, _: int, frame: FrameType | None) -> None:
        main_ns, all_ns = time.thread_time_ns(), time.process_time_ns()
        main, other = main_ns - self._main_ns, (all_ns - self._all_ns) - (main_ns - self._main_ns)
        self._main_ns, self._all_ns = main_ns, all_ns
        self._found["loop", self._stack(frame)] += main
        if other > 0:
            self._found["writer", self._others_stack()] += other

    def _others_stack(self) -> Stack:
        own = threading.get_ident()
        frames = {number: frame for number, frame in sys._current_frames().items() if number != own}
        busy = [frame for frame in frames.values() if "comptroller/store" in frame.f_code.co_filename]
        return self._stack(busy[0]) if busy else ()

    def _stack(self, frame: FrameType | None) -> Stack:
        if frame is not None and frame.f_lasti <= self._start(frame.f_code):
            frame = frame.f_back
        places: list[Place] = []
        while frame is not None and len(places) < DEPTH:
            places.append((frame.f_code.co_filename, frame.f_code.co_qualname))
            frame = frame.f_back
        return tuple(places)

    def _start(self, code: CodeType) -> int:
        """The offset at which the body of a function begins."""
        known = self._starts.get(code)
        if known is None:
            known = next((each.offset for each in dis.get_instructions(code) if each.opname == "RESUME"), 0)
            self._starts[code] = known
        return known


class Counts:
    """How often each Python function was entered, on every thread. A coroutine counts each time it goes on."""

    def __init__(self) -> None:
        self._found: Counter[CodeType] = Counter()
        self._c_calls = 0
        self._running = False
        threading.setprofile(self._seen)  # for threads that start later: the writer

    def on(self) -> None:
        self._running = True
        sys.setprofile(self._seen)

    def off(self) -> list[dict[str, Any]]:
        self._running = False
        sys.setprofile(None)
        return [
            {"file": code.co_filename, "function": code.co_qualname, "calls": calls}
            for code, calls in self._found.items()
        ]

    def _seen(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and self._running:
            self._found[frame.f_code] += 1


def main() -> None:
    kind, found, *arguments = sys.argv[1:]
    instrument = Samples() if kind == "samples" else Counts()
    _on_signal(signal.SIGUSR1, instrument.on)
    _on_signal(signal.SIGUSR2, lambda: _write(Path(found), instrument.off()))
    from comptroller.cli import run

    sys.argv[1:] = arguments
    sys.exit(run())


def _on_signal(number: signal.Signals, act: Callable[[], None]) -> None:
    signal.signal(number, lambda _number, _frame: act())


def _write(path: Path, found: list[dict[str, Any]]) -> None:
    """Whole or not there: whoever waits for it reads it once it is."""
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(found))
    beside.rename(path)


if __name__ == "__main__":
    main()
