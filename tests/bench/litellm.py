"""LiteLLM's proxy from the environment that `make bench-peers` installs: another Python gateway, in production mode."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.machine import Cores
from tests.bench.servers import ROOT, Contestant, end, free_port, wait_listening
from tests.bench.world import MODELS

PROGRAM = ROOT / ".venv-litellm" / "bin" / "litellm"
MISSING = "There is no LiteLLM beside us, so nothing is compared with it. To install it: make bench-peers"
_KEY = "sk-" + "bench-litellm"
_START_S = 180.0


def installed() -> bool:
    return PROGRAM.exists()


@contextmanager
def litellm(folder: Path, provider_port: int, cores: Cores) -> Iterator[Contestant]:
    """One worker, a master key and no database: it knows the caller and prices the call, and keeps no budget."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    (folder / "config.yaml").write_text(json.dumps(_config(provider_port)))  # JSON is YAML
    command = [
        str(PROGRAM), "--config", str(folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(port),
        "--num_workers", "1", "--telemetry", "False",
    ]  # fmt: skip
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(folder),
            stdout=log,
            stderr=log,
            preexec_fn=cores.pin_measured,  # noqa: PLW1509 - no threads of ours fork here
        )
    try:
        wait_listening(port, process, _START_S)
        yield Contestant("LiteLLM", port, [_KEY], process.pid)
    finally:
        end(process)


def _config(provider_port: int) -> dict[str, object]:
    upstream = {"api_base": f"http://127.0.0.1:{provider_port}/v1", "api_key": "nobody"}
    prices = {"input_cost_per_token": 3e-6, "output_cost_per_token": 15e-6}
    return {
        "model_list": [
            {"model_name": name, "litellm_params": {"model": f"openai/{name}", **upstream, **prices}} for name in MODELS
        ],
        "general_settings": {"master_key": _KEY},
        "litellm_settings": {"num_retries": 0, "request_timeout": 3600, "telemetry": False},
    }


def _environment(folder: Path) -> dict[str, str]:
    """Production mode, and whatever it wants from outside leads nowhere."""
    nowhere = "http://127.0.0.1:9"
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "NO_PROXY": "127.0.0.1,localhost",
    }
