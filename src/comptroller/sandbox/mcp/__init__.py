"""An MCP server to rehearse with: tools that cost something, on a bill of their own, and that can be poisoned."""
