"""What a test does to one of the sandbox's MCP servers, and what that server's own bill then says."""

import json
from typing import Any

from tests.sandbox.process import SandboxProcess
from tests.sandbox.raw import post


class Upstream:
    """One server of the sandbox, by name."""

    def __init__(self, sandbox: SandboxProcess, name: str) -> None:
        self.name = name
        self._sandbox = sandbox

    @property
    def url(self) -> str:
        return f"{self._sandbox.url}/mcp/{self.name}"

    def bend(self, fault: str = "", **options: Any) -> None:
        """Let this be wrong with it, and nothing else."""
        plan = {name: options.pop(name) for name in ("eras", "stream") if name in options}
        body = {"faults": [{"fault": fault, **options}] if fault else [], **plan}
        assert post(self._sandbox, body, path=f"/sandbox/mcp/servers/{self.name}").status == 200

    def heal(self) -> None:
        """Nothing is wrong with it."""
        self.bend()

    def calls(self) -> list[dict[str, Any]]:
        """Its tools that ran, oldest first."""
        page = post(self._sandbox, b"", method="GET", path="/sandbox/mcp/bill/calls").body
        lines = map(json.loads, page.splitlines())
        return [line for line in lines if line["server"] == self.name and line["ran"]]

    def forget_sessions(self) -> None:
        """As a server does that is started anew."""
        assert post(self._sandbox, b"", method="DELETE", path="/sandbox/mcp/sessions").status == 200
