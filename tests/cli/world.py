"""What the commands are tried on."""

import http.client
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def command(
    gateway: GatewayProcess, *arguments: str, folder: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """The command as it was typed, without any --config, in a folder and with variables of its own."""
    return subprocess.run(
        [sys.executable, "-m", "comptroller", *arguments],
        env={**gateway.environment(), **env},
        cwd=folder or gateway.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
