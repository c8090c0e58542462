"""`comptroller tree`"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from comptroller.control.tree import TreeNode

_COLUMNS = (
    Column("session"),
    Column("who"),
    Column("state"),
    Column("task"),
    Column("own USD", "number"),
    Column("with all below", "number"),
    Column("set aside", "number"),
    Column("calls", "number"),
    Column("tool calls", "number"),
    Column("in flight", "number"),
)


def tree(
    context: typer.Context,
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Its id; `comptroller sessions` lists them.")],
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show a session and all below it as a tree.

    With what each has spent, alone and with all below it.

    \b
    Example:
      comptroller tree ses_01k...
    """
    from comptroller.cli.transport import connect
    from comptroller.control.tree import TreeNode

    with connect(context, config) as api:
        answer = api.get("sessions", session, "tree")
    if as_json:
        write_json(answer.body)
        return
    print_table(_COLUMNS, list(_rows(answer.read(TreeNode), "")), "There is nothing.")


def _rows(node: TreeNode, indent: str) -> Iterator[tuple[str, ...]]:
    state = node.state if node.outcome is None else f"{node.state}: {node.outcome}"
    own, spent = node.own, node.spent
    yield (
        f"{indent}{node.id}",
        node.name,
        state,
        node.task or "",
        own.usd,
        spent.usd,
        node.reserved_usd or "",
        str(own.model_calls),
        str(own.tool_calls),
        str(node.live_calls),
    )
    for child in node.children:
        yield from _rows(child, f"{indent}  ")
