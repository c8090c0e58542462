"""The real model server as a process, and its own token counters: the other side of the comparison."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.real.processes import POLL_S, Child, RunFailed, free_port, get, running
from tests.real.tokens import Tokens

MODEL = "smollm2-135m-instruct"
N_CTX = 8192
SLOTS = 1
START_S = 60.0
# The gauges of the server are read this often in a row before we believe that it is idle.
IDLE_READINGS = 3


@dataclass(frozen=True)
class ModelServer:
    """A running model server; `key` is the key that it demands from its callers."""

    base_url: str
    key: str

    def _metrics(self) -> dict[str, float]:
        text = get(f"{self.base_url}/metrics", {"Authorization": f"Bearer {self.key}"}).decode()
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name.removeprefix("llamacpp:"): float(value) for name, value in pairs}

    def counted(self) -> Tokens:
        """All tokens the server has processed since it started; only finished or cancelled calls are in it."""
        metrics = self._metrics()
        fresh, cached = metrics["prompt_tokens_total"], metrics["prompt_tokens_cached_total"]
        return Tokens(int(fresh + cached), int(cached), int(metrics["tokens_predicted_total"]))

    def idle(self) -> bool:
        """Whether the server works on nothing and has nothing queued, now."""
        metrics = self._metrics()
        return metrics["requests_processing"] == 0 and metrics["requests_deferred"] == 0

    def wait_idle(self, timeout_s: float) -> None:
        """Wait until several readings in a row say idle."""
        deadline = time.monotonic() + timeout_s
        calm = 0
        while calm < IDLE_READINGS:
            if time.monotonic() > deadline:
                raise RunFailed(f"the model server was still busy after {timeout_s:.0f} s")
            calm = calm + 1 if self.idle() else 0
            time.sleep(POLL_S)  # sleep: polling another process


@contextlib.contextmanager
def serving(python: Path, folder: Path, key: str) -> Iterator[ModelServer]:
    """A model server run by the model venv's Python; stopped at the end."""
    port = free_port()
    script = Path(__file__).with_name("serve_model.py")
    command = [str(python), str(script), str(port), str(N_CTX), str(SLOTS)]
    with running(Child("the model server", command, {"LOCAL_API_KEY": key}, folder / "model.log")) as child:
        child.wait_ready(f"http://127.0.0.1:{port}/health", START_S)
        yield ModelServer(f"http://127.0.0.1:{port}", key)
