"""One use of a tool: what a call asks it to do, and what is known of it before it is asked."""

from __future__ import annotations

from typing import Literal

import msgspec

ResultUnit = Literal["kib", "item"]


class ToolUse(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call of one tool. `name` is its full name: `SERVER/TOOL`, as policies, scopes and records say it."""

    server: str
    name: str
    arguments: bytes  # raw JSON; `{}` if there are none
    arguments_digest: str = ""  # keyed
    risks: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()  # of its arguments: url, path, email, ...
    result_bytes: int = 0  # no result is handed on with more
    on_large: str = "truncate"  # or "refuse": what is done about a larger one
    quote_nanos: int | None = None  # what its server's owner says that it costs; None: the price book says
    cause: str | None = None  # the call to a model whose answer asked for it, as far as anybody knows
    hanging_up_cancels: bool = False  # its caller has no other way to say that it should stop
    unit: ResultUnit = "kib"  # that its result is billed by, where the price book has a price for that
