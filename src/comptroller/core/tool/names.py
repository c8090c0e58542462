"""What a function that a model is offered stands for: clients put the name of a server before that of its tool.

Claude Code, Codex and others name the tool TOOL of the MCP server SERVER `mcp__SERVER__TOOL`; frameworks write
`SERVER__TOOL`, `SERVER_TOOL`, or just `TOOL`. Names of functions have letters, digits, `_` and `-`: what else is in the
name of a tool becomes `_`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_BOUNDARIES = "_-./:"
_FORMS = ("mcp__{0}__{1}", "{0}__{1}", "{0}_{1}", "{0}-{1}", "{0}.{1}", "{0}/{1}", "{1}")
_PREFIXES = ("mcp__{0}__", "{0}__")  # by which tools are told whose names nobody has seen


def spelled(name: str) -> str:
    """A name as functions can have it."""
    return _OTHER.sub("_", name)


def names_tool(function: str, tool: str) -> bool:
    """Whether a function may stand for a tool, SERVER/TOOL: its name is that of the tool, or ends with it."""
    own = tool.partition("/")[2]
    return any(
        function == each or (function.endswith(each) and function[-len(each) - 1] in _BOUNDARIES)
        for each in {own, spelled(own)} - {""}
    )


class ToolNames:
    """The tools of known servers, by every name that a function may have for them."""

    def __init__(self, servers: Iterable[str], tools: Iterable[str]) -> None:
        """`tools`: those whose full names are known, SERVER/TOOL."""
        self._tools: dict[str, str] = {}
        shared: set[str] = set()  # names that more than one tool could mean: they stand for none of them
        for tool in tools:
            for form in set(_forms(tool)):
                if self._tools.setdefault(form, tool) != tool:
                    shared.add(form)
        for form in shared:
            del self._tools[form]
        prefixes = {form.format(each): each for each in servers for form in _PREFIXES}
        prefixes |= {form.format(spelled(each)): each for each in servers for form in _PREFIXES}
        self._prefixes = sorted(prefixes.items(), key=lambda pair: -len(pair[0]))

    def tool(self, function: str) -> str | None:
        """The tool that a function stands for, SERVER/TOOL; None: as far as anybody knows, for none."""
        known = self._tools.get(function)
        if known is not None:
            return known
        for start, server in self._prefixes:
            if len(function) > len(start) and function.startswith(start):
                return f"{server}/{function[len(start) :]}"
        return None


def _forms(tool: str) -> Iterator[str]:
    server, _, own = tool.partition("/")
    for whose in {server, spelled(server)}:
        for what in {own, spelled(own)} - {""}:
            yield from (form.format(whose, what) for form in _FORMS)
