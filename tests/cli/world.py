"""What the commands are tried on."""

import http.client
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from comptroller.cli import run
from tests.harness.configuration import budget, identity
from tests.harness.gateway import GatewayProcess

MEMBERS = {"agent/ant": identity("red"), "agent/bee": identity("blue"), "human/dana": identity("blue", "human")}
BUDGETS = [
    budget("all", "100.00 USD", "month"),
    budget("small", "0.01 USD", "day", scope={"identity": "agent/bee"}),
    budget("each", "50 calls", "hour", per="identity"),
]


def chat(gateway: GatewayProcess, credential: str, **changes: Any) -> tuple[int, Any, dict[str, str]]:
    """One JSON completion: status, body, headers."""
    body = {"model": "sandbox-large", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20} | changes
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    headers = {"authorization": f"Bearer {credential}", "content-type": "application/json"}
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        with connection.getresponse() as response:
            return response.status, json.loads(response.read()), {k.lower(): v for k, v in response.getheaders()}
    finally:
        connection.close()


class Done(NamedTuple):
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


class Typed:
    """The command as a user types it, in a folder and with variables of its own; in this process, for speed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str, folder: Path | None = None, **env: str) -> Done:
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["comptroller", *arguments])
            if folder is not None:
                patch.chdir(folder)
            for name, value in env.items():
                patch.setenv(name, value)
            self._capsys.readouterr()
            code = run()
        return Done(code, *self._capsys.readouterr())

    def about(self, gateway: GatewayProcess, *arguments: str) -> str:
        """What a command prints that must succeed."""
        done = self(*arguments, "--config", str(gateway.config))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self, gateway: GatewayProcess, *arguments: str) -> Any:
        """The same, as the JSON it prints."""
        return json.loads(self.about(gateway, *arguments, "--json"))

    def rows_of(self, config: Path, *arguments: str) -> Any:
        """The same of a gateway that is not running."""
        done = self(*arguments, "--config", str(config), "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
