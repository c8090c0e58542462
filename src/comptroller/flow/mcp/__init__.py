"""The story of what MCP clients say. A tool call is a call (flow/call.py); everything else passes on its own."""
