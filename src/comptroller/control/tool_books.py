"""Border: what of the books is about the tools of MCP servers. It is part of the Ledger (interfaces.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from comptroller.core.tool.pin import Pin


class ToolBooks(Protocol):
    async def pins(self) -> Sequence[Pin]:
        """How each tool stands, by their names."""
        ...

    async def tool_definitions(self, server: str, tool: str) -> Mapping[str, str]:
        """The texts of the definitions that the pin of this tool names, by their digests."""
        ...
