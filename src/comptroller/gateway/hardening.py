"""The process's own secrets: not in its environment any more, and not in reach of others on the machine."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable, MutableMapping

_PR_SET_DUMPABLE = 4  # prctl(2)


def refuse_dumps() -> bool:
    """Nobody but root reads our memory or environment from now on, and a crash leaves no core. True if that is so.

    Processes of the same user could otherwise read all keys (/proc/PID/mem and environ, ptrace). Linux only.
    """
    if sys.platform != "linux":
        return False
    return ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0


def drop_variables(environ: MutableMapping[str, str], names: Iterable[str]) -> None:
    """Take variables out of an environment: whatever we start has nothing to inherit, whoever started it."""
    for name in names:
        environ.pop(name, None)
