"""The gateway between MCP servers and clients that others wrote."""
