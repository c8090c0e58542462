"""A message of MCP as the story takes it: a call of a tool, or a free question to its server."""

from __future__ import annotations

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.work.tool_use import ToolUse
from comptroller.wire.mcp.message import TOOL_CALL, Message

# What is governed beside tools/call goes by a name that no tool can have.
_STANDS_FOR = {
    "resources/read": "@resources/read",
    "prompts/get": "@prompts/get",
    "completion/complete": "@completion/complete",
}
_ABOUT_ITSELF = frozenset({"_meta", "inputResponses", "requestState"})
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


class McpRequest(msgspec.Struct, frozen=True):
    """`asked.tool` is filled in further by whoever decides: what a result may have stands there."""

    asked: Asked
    message: Message
    loopback: bool = False  # its server is on this machine, and may send a person to an address there


def full_name(server: str, message: Message) -> str:
    """The name that policies, scopes and records know it by: `SERVER/TOOL`; empty for what is free."""
    if not message.governed:
        return ""
    return f"{server}/{message.name if message.method == TOOL_CALL else _STANDS_FOR[message.method]}"


def read_request(server: str, message: Message, *, loopback: bool = False) -> McpRequest:
    """What a message asks for. It uses no tokens, and no budget counts what is free."""
    name = full_name(server, message)
    if not name:
        return McpRequest(Asked(model="", stream=False, text_tokens=0, free=True), message, loopback)
    arguments = message.arguments if message.method == TOOL_CALL else _plain(message.params)
    use = ToolUse(server=server, name=name, arguments=arguments, hanging_up_cancels=message.modern)
    return McpRequest(Asked(model=name, stream=False, text_tokens=0, tool=use), message, loopback)


def _plain(params: bytes) -> bytes:
    """What a message asks for, without what it says about itself: that is another one each time it is sent."""
    said = _OBJECT.decode(params)
    return _ENCODER.encode({name: value for name, value in said.items() if name not in _ABOUT_ITSELF})
