"""The routes of the admin plane that are about tools of MCP servers: a part of the table in api.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from comptroller.control import tool_pins
from comptroller.control.office import Office
from comptroller.control.requests import Reason
from comptroller.control.route import Asked, NoQuery, Route, Sent
from comptroller.control.tool_rows import ToolRow, ToolShown

ToolName = Annotated[str, Meta(description="SERVER/TOOL.", examples=["files/read_text_file"])]


class ToolsQuery(Sent, frozen=True):
    server: Annotated[str, Meta(description="Of this server alone.")] | None = None
    waiting: Annotated[bool, Meta(description="Those alone that somebody should look at.")] = False


class ToolQuery(Sent, frozen=True):
    name: ToolName


class ToolDecisionRequest(Sent, frozen=True):
    name: ToolName
    digest: Annotated[str, Meta(description="`shown` of the tool, as it was when somebody looked at it.")]
    reason: Reason


async def _tools(office: Office, asked: Asked[ToolsQuery, None]) -> Sequence[ToolRow]:
    """The tools of MCP servers, and how their definitions stand."""
    return tool_pins.list_tools(office, asked.query.server, waiting=asked.query.waiting)


async def _tool(office: Office, asked: Asked[ToolQuery, None]) -> ToolShown:
    """One tool: the definition that was accepted, that which its server shows, and what differs."""
    return await tool_pins.show_tool(office, asked.query.name)


async def _accept_tool(office: Office, asked: Asked[NoQuery, ToolDecisionRequest]) -> ToolRow:
    """Accept what a server says of a tool, if it still says what was looked at."""
    sent = asked.body
    return await tool_pins.accept(office, sent.name, sent.digest, sent.reason, asked.by)


async def _reject_tool(office: Office, asked: Asked[NoQuery, ToolDecisionRequest]) -> ToolRow:
    """Say no to what a server says of a tool: it is held back until the server says something else."""
    sent = asked.body
    return await tool_pins.reject(office, sent.name, sent.digest, sent.reason, asked.by)


ROUTES: Sequence[Route] = (
    Route("GET", "/tools", "viewer", _tools),
    Route("GET", "/tools/definition", "viewer", _tool, problems=(404,)),
    Route("POST", "/tools/accept", "approver", _accept_tool, "operator", problems=(404, 409, 422)),
    Route("POST", "/tools/reject", "approver", _reject_tool, "operator", problems=(404, 409, 422)),
)
