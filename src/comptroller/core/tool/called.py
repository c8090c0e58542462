"""Tools inside model calls, as records have them: what a request offered, and what its answer called."""

from __future__ import annotations

import msgspec


class CalledTool(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A tool that the answer of a model calls: what the model wants, and nothing that has happened yet.

    A function by its name, a tool of the provider's own as FAMILY/TOOL, such as `openai/web_search`.
    """

    name: str
    arguments_digest: str = ""  # keyed, of their one spelling (canonical.py); '': too long to be kept
