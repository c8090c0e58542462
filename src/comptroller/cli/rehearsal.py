"""`make run`: the gateway with the sandbox provider beside it, on a sample registry; no key, no network."""

from __future__ import annotations

import http.client
import os
import shlex
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from comptroller import app
from comptroller.control.tokens import mint
from comptroller.settings import load_settings

SAMPLES = ("comptroller.toml", "registry.toml", "policies/sample.cedar", "policies/golden.toml")
_AGENT = "agent/scout"


def rehearse(directory: Path) -> int:
    """Write the sample files unless they are there, start the sandbox and the gateway, and say how to use them."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in SAMPLES:
        target = directory / name
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            target.write_text(_sample(name), encoding="utf-8")
    os.environ.setdefault("SANDBOX_API_KEY", "sandbox-demo")
    config = directory / "comptroller.toml"
    sandbox_url = load_settings(config).providers["sandbox"].base_url
    with _Sandbox(sandbox_url.host, sandbox_url.port):
        words = _Words(shlex.quote(str(config.absolute())), shlex.quote(str(Path(sys.executable).parent)))
        return app.serve(config, on_ready=lambda house: _welcome(house, words))


def _sample(name: str) -> str:
    return resources.files("comptroller").joinpath("sample", *name.split("/")).read_text(encoding="utf-8")


class _Words(NamedTuple):
    """Absolute paths, for a shell anywhere. `commands`: the folder that the command is in."""

    config: str
    commands: str


async def _welcome(house: app.House, words: _Words) -> None:
    minted = await mint(house.office, _AGENT, None, "demo")
    base_url = f"{house.settings.url}/v1"
    sys.stdout.write(
        f"""
  The sandbox provider answers as sandbox-large and sandbox-small, draws as sandbox-picture,
  speaks as sandbox-speaker and writes down as sandbox-listener.
  {" ".join(_real(house, name) for name in ("openai", "anthropic", "gemini"))}

  A credential of {_AGENT}, good until {minted.expires_at}:

    export OPENAI_BASE_URL={base_url}
    export OPENAI_API_KEY={minted.credential}
    export ANTHROPIC_BASE_URL={house.settings.url}
    export ANTHROPIC_API_KEY=$OPENAI_API_KEY
    export GOOGLE_GEMINI_BASE_URL={house.settings.url}
    export GEMINI_API_KEY=$OPENAI_API_KEY

  Any OpenAI, Anthropic or Gemini SDK reads them. Or by hand:

    curl $OPENAI_BASE_URL/chat/completions -H "authorization: Bearer $OPENAI_API_KEY" \\
      -H "content-type: application/json" \\
      -d '{{"model": "sandbox-large", "messages": [{{"role": "user", "content": "Hello"}}]}}'

  Tools of an MCP server, under the same identity, policies and money:

    claude mcp add --transport http desk {house.settings.url}/mcp/desk --header "authorization: Bearer $OPENAI_API_KEY"

  Then, in another terminal:

    export COMPTROLLER_CONFIG={words.config} PATH={words.commands}:$PATH
    comptroller budgets     # also: calls, explain CALL_ID, identities, token, plan, apply

  Who exists and what they may spend: registry.toml beside it. Stop with Ctrl-C.

"""
    )
    sys.stdout.flush()


def _real(house: app.House, name: str) -> str:
    """Whether a real provider is served, in a sentence."""
    provider = house.gate.providers.get(name)
    title = {"openai": "OpenAI", "anthropic": "Anthropic", "gemini": "Gemini"}[name]
    if provider is None:
        return f"{title}: not set up."
    return f"{title}: {'served' if provider.missing is None else f'not served ({provider.missing})'}."


class _Sandbox:
    """The sandbox as a process of its own; one that already answers on the port is used as it is."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> None:
        if self._answers():
            return
        command = [sys.executable, "-m", "comptroller.sandbox", "--host", self._host, "--port", str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603 - our own module
        if self._process.stdout is None or not self._process.stdout.readline():
            raise SystemExit(f"The sandbox could not listen on port {self._port}: is something else there?")

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=2)
        try:
            connection.request("GET", "/sandbox/bill")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()
