"""MCP servers that the gateway runs itself, over their standard input and output: seen from the story, HTTP."""
