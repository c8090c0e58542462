"""MCP, the Model Context Protocol, over streamable HTTP: its messages, its answers, its lists.

Two eras are carried side by side (docs/mcp.md). Source: the specification's revisions 2025-03-26 to 2025-11-25
(a handshake, then a session) and 2026-07-28 (every request says all of itself).
"""
