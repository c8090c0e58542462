"""One process of a server: started without rights, heard line by line, bounded in what it may write, and ended.

It leads a process group of its own, so that what it starts ends with it. A gateway that is killed takes it along
(launch.py), and closes its standard input in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

import msgspec

from comptroller.flow.key_mask import KeyMask
from comptroller.flow.upstream import UpstreamFailure
from comptroller.gateway.stdio.launch import LAUNCHED
from comptroller.gateway.stdio.program import Program

_LAUNCH = Path(__file__).with_name("launch.py")
# What leads nowhere (standard error, what is no message) is read at this pace, whoever floods us.
_IDLE_BYTES_PER_S = 1024 * 1024
_NOTE_CHARACTERS = 500
_NOTE_MOST_BYTES = 8 * 1024  # without a line end in so many bytes, what has come is a line
_PLAIN_VARIABLES = frozenset({"LANG", "PATH"})
_CLOSE_S = 1.0  # after its input ended, until it is told to end
_TERM_S = 2.0  # after that, until it is killed
_LAST_WORDS_S = 1.0  # after it ended, for what it wrote before


class Listener(Protocol):
    """Whoever speaks to a process."""

    def line(self, line: bytes) -> None:
        """It wrote a line, without its end."""
        ...

    def note(self, text: str) -> None:
        """It wrote this to standard error."""
        ...

    def ended(self, why: str) -> None:
        """It is gone. Told once, and nothing after it."""
        ...


class Child(asyncio.SubprocessProtocol):
    """A process. Made by `start_child`."""

    def __init__(self, program: Program, listener: Listener, line_bytes: int) -> None:
        self.program = program
        self.folder = Path(tempfile.gettempdir(), f"comptroller-{program.name}-{secrets.token_hex(8)}")
        self.launched: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.launched.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may have waited
        self.heard_s = 0.0  # when it last wrote to standard output, on the loop's clock
        self.why = ""  # we ended it, for this reason
        self.asked_to_end = False  # and it had done nothing wrong
        self.pid = 0
        self._loop = asyncio.get_running_loop()
        self._listener: Listener | None = listener
        self._line_bytes = line_bytes
        self._transport: asyncio.SubprocessTransport | None = None
        self._open_lines: dict[int, list[bytes]] = {1: [], 2: []}
        self._open_bytes = {1: 0, 2: 0}
        self._paces = {1: _Pace(self._loop), 2: _Pace(self._loop)}
        self._mute = False  # its standard output is closed
        self._exited = False
        self._last_note = ""
        self._mask = _mask_of(program)
        self._timers: list[asyncio.TimerHandle] = []
        self.gone: asyncio.Future[None] = self._loop.create_future()

    # What its listener does.

    def write(self, line: bytes) -> None:
        """Hand it a line."""
        pipe = self._pipe(0)
        if pipe is not None:
            cast("asyncio.WriteTransport", pipe).write(line)

    @property
    def listens(self) -> bool:
        """It is there, and takes what is written to it."""
        return not self.why and not self.gone.done() and self._pipe(0) is not None

    @property
    def unread(self) -> int:
        """Bytes that were written to it and that it did not take yet."""
        pipe = self._pipe(0)
        return 0 if pipe is None else cast("asyncio.WriteTransport", pipe).get_write_buffer_size()

    def wasted(self, size: int) -> None:
        """A line of so many bytes led nowhere: where there are many of these it is read slower."""
        self._slow(1, size)

    def end(self, why: str) -> None:
        """Ask it to end; it is killed if it does not. `why` is for the log."""
        if self.why or self.gone.done():
            return
        self.why, self.asked_to_end = why, True
        pipe = self._pipe(0)
        if pipe is not None:
            pipe.close()
        self._later(_CLOSE_S, lambda: self._signal(signal.SIGTERM))
        self._later(_CLOSE_S + _TERM_S, lambda: self._signal(signal.SIGKILL))

    def kill(self, why: str) -> None:
        """End it now."""
        self.why = self.why or why
        self._signal(signal.SIGKILL)

    # What the event loop says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self.pid = self._transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self.heard_s = self._loop.time()
        else:
            self._slow(fd, len(data))
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._gather(fd, piece)
            line = b"".join(self._open_lines[fd])
            self._open_lines[fd], self._open_bytes[fd] = [], 0
            self._said(fd, line)
        if rest:
            self._gather(fd, rest)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        del exc
        if fd == 1:
            self._mute = True
            if self._exited:
                self._over()
            else:
                self._later(_LAST_WORDS_S, lambda: self.kill("it closed its standard output"))

    def process_exited(self) -> None:
        self._exited = True
        self._signal(signal.SIGKILL)  # whatever it started
        if self._mute:
            self._over()
        else:
            self._later(_LAST_WORDS_S, self._over)

    # Inside.

    def _gather(self, fd: int, piece: bytes) -> None:
        self._open_lines[fd].append(piece)
        self._open_bytes[fd] += len(piece)
        if fd == 2 and self._open_bytes[fd] > _NOTE_MOST_BYTES:
            line = b"".join(self._open_lines[fd])
            self._open_lines[fd], self._open_bytes[fd] = [], 0
            self._said(fd, line)
        elif fd == 1 and self._open_bytes[fd] > self._line_bytes:
            self._open_lines[fd], self._open_bytes[fd] = [], 0
            self.kill(f"it wrote a line of more than {self._line_bytes} bytes")

    def _said(self, fd: int, line: bytes) -> None:
        if fd == 2:
            known = self._mask.thorough(line[:_NOTE_MOST_BYTES])  # a program that fails at its start shows all it has
            text = known.decode("utf-8", "replace").strip()[:_NOTE_CHARACTERS]
            if text:
                self._last_note = text
                if self._listener is not None:
                    self._listener.note(text)
        elif not self.launched.done():
            if line + b"\n" == LAUNCHED:
                self.launched.set_result(None)
            else:
                self.kill("it was not started as it should")
        elif self._listener is not None and line.strip():
            self._listener.line(line)

    def _over(self) -> None:
        if self.gone.done():
            return
        self.gone.set_result(None)
        for timer in self._timers:
            timer.cancel()
        for pace in self._paces.values():
            pace.stop()
        why = self._say_why()
        if not self.launched.done():
            self.launched.set_exception(UpstreamFailure("connect", why))
        listener, self._listener = self._listener, None
        if self._transport is not None:
            self._transport.close()
        self._loop.run_in_executor(None, _remove, self.folder)
        if listener is not None:
            listener.ended(why)

    def _say_why(self) -> str:
        code = None if self._transport is None else self._transport.get_returncode()
        how = f"exit code {code}"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                how = signal.Signals(-code).name
        noted = f"; it last said: {self._last_note}" if self._last_note and not self.why else ""
        return f"{self.why or 'it ended by itself'} ({how}){noted}"

    def _pipe(self, fd: int) -> asyncio.BaseTransport | None:
        """None once it is closed, by whichever side."""
        pipe = None if self._transport is None else self._transport.get_pipe_transport(fd)
        return None if pipe is None or pipe.is_closing() else pipe

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self.pid:
                os.killpg(self.pid, number)

    def _slow(self, fd: int, size: int) -> None:
        pipe = self._pipe(fd)
        if pipe is not None:
            self._paces[fd].take(size, cast("asyncio.ReadTransport", pipe))

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        if not self.gone.done():
            self._timers.append(self._loop.call_later(seconds, what))


class _Pace:
    """Stops the reading of a pipe until the next second when it brought too much in this one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._until_s = 0.0
        self._taken = 0
        self._timer: asyncio.TimerHandle | None = None

    def take(self, size: int, pipe: asyncio.ReadTransport) -> None:
        now_s = self._loop.time()
        if now_s >= self._until_s:
            self._until_s, self._taken = now_s + 1.0, 0
        self._taken += size
        if self._taken > _IDLE_BYTES_PER_S and self._timer is None:
            pipe.pause_reading()
            self._timer = self._loop.call_at(self._until_s, self._resume, pipe)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _resume(self, pipe: asyncio.ReadTransport) -> None:
        self._timer = None
        if not pipe.is_closing():
            pipe.resume_reading()


async def start_child(program: Program, listener: Listener, line_bytes: int) -> Child:
    """Start a process and wait until it is the program's. Raises UpstreamFailure, kind `connect`."""
    child = Child(program, listener, line_bytes)
    specification = {
        "command": program.command,
        "user": None if program.user is None else msgspec.structs.asdict(program.user),
        "folder": str(child.folder),
        "memory_bytes": program.memory_bytes,
        "parent": os.getpid(),
    }
    line = [sys.executable, "-I", "-S", "-B", str(_LAUNCH), json.dumps(specification)]
    pipe = asyncio.subprocess.PIPE
    try:
        await asyncio.get_running_loop().subprocess_exec(
            lambda: child, *line, stdin=pipe, stdout=pipe, stderr=pipe, cwd="/", start_new_session=True,
            env={**program.environ, "HOME": str(child.folder)},
        )  # fmt: skip
        await child.launched
    except OSError as error:
        raise UpstreamFailure("connect", f"the server {program.name} cannot be started: {error}") from None
    except asyncio.CancelledError:
        child.kill("nobody waits for it")
        raise
    return child


def _mask_of(program: Program) -> KeyMask:
    """Of what it was told in its environment: every line of that, and every run of 16 characters of one."""
    secrets = [value for name, value in program.environ.items() if name not in _PLAIN_VARIABLES]
    return KeyMask(*(line for each in secrets for line in each.encode("utf-8", "surrogateescape").splitlines()))


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
