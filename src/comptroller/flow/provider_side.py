"""Tools that an API defines itself, such as `openai/web_search`: who may offer them to a model.

They are called where no gateway stands, in the course of a call to a model. So they are decided about when they are
offered: by the allow-list of the credential, and where the registry has an entry for such a tool, by the policies.
"""

from __future__ import annotations

from comptroller.core.refusal import Refusal
from comptroller.core.work.tool_use import ToolUse
from comptroller.flow.caller import Caller
from comptroller.flow.gate import Gate
from comptroller.flow.permit import Denied, Permit, refused_by, tool_request
from comptroller.flow.records import Ruling


def refused_tool(gate: Gate, caller: Caller, permit: Permit) -> Denied | None:
    """Why a call that is permitted otherwise may not offer what it offers. Changes nothing."""
    for tool in permit.weighed.asked.provider_tools:
        if caller.tools and not caller.may_use_tool(tool):
            return Denied(caller, _not_in_scope(caller, tool), permit.ruling)
        entry = caller.registry.tool(tool)
        if entry is None:
            continue
        use = ToolUse(tool.partition("/")[0], tool, b"{}", risks=entry.risks)
        question = tool_request(gate, caller, permit.weighed, use)
        verdict = caller.registry.policies.decide(question)
        if not verdict.allowed:
            return Denied(caller, refused_by(caller, question, verdict), Ruling(verdict.ids))
    return None


def _not_in_scope(caller: Caller, tool: str) -> Refusal:
    patterns = " and ".join(", ".join(each) or "none" for each in caller.tools)
    return Refusal(
        code="tool_forbidden",
        sentence=f"The session {caller.claims.session} may not use the tool {tool!r}, which this request offers.",
        hint=f"Leave it out of the request. The session may use {patterns}.",
        param="tools",
    )
